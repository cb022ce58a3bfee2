//! The search: for each tunable every shape that the device can run, beside the one that kernels take by themselves.

use std::time::{Duration, Instant};

use super::cases::{self, Case};
use super::{Tunable, Tuning};
use crate::device::Device;
use crate::error::VulkanError;

/// A shape must be faster than the kernels' own by this much to be taken: less is noise.
const GAIN: f64 = 1.03;
/// What one measurement takes at least, as far as [`REPEATS`] allow: beside it a submission's own time counts little.
const LONG_ENOUGH: Duration = Duration::from_millis(4);
/// Times that a piece of work runs in one measurement at most.
const REPEATS: u32 = 64;

/// How much a search measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Times that each shape is measured on each piece of work.
    pub rounds: usize,
    /// Tiny pieces of work: everything runs and is checked, and times mean little.
    pub small: bool,
}

/// What became of a shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Right, and so many times as fast as the shape that kernels take by themselves.
    Right(f64),
    /// Its answers are not within the kernels' bounds: it is never taken, and the driver or a kernel is at fault.
    Wrong,
    /// The device would not run it.
    Failed(VulkanError),
}

/// A shape that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The shape, in the words of files.
    pub shape: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was found for one tunable.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What has a choice.
    pub tunable: Tunable,
    /// The shape that was taken.
    pub shape: String,
    /// How many times as fast it is as the shape that kernels take by themselves; 1 where it is that one.
    pub speed: f64,
    /// Every other shape that the device can run. None where the device never takes shapes of this tunable.
    pub trials: Vec<Trial>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best shapes; of what was not searched, the device's own.
    pub tuning: Tuning,
    /// One for each tunable, in order.
    pub decisions: Vec<Decision>,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// This share of it, from 0 to 1, is done, and shapes of this tunable are being measured.
    Measuring(f64, Tunable),
    /// A tunable is done.
    Decided(&'a Decision),
}

/// A shape, with a handle that takes it.
struct Candidate {
    shape: String,
    tuning: Tuning,
    device: Device,
    outcome: Outcome,
}

/// Measures the shapes of `tunables` on a device, in which nothing else should run meanwhile. On each of a few pieces of work every shape
/// is first checked against what the kernels compute by themselves, then measured in turn with all others, and its median counts. The
/// fastest is measured once more beside the kernels' own, and taken where it is right and at least 3 % faster both times, in the geometric
/// mean.
///
/// # Errors
/// What buffers and submissions can fail with. What one shape fails with is its outcome, unless the device is lost.
///
/// # Panics
/// When `effort.rounds` is 0.
pub fn search(
    device: &Device,
    tunables: &[Tunable],
    effort: Effort,
    mut progress: impl FnMut(Step<'_>),
) -> Result<Found, VulkanError> {
    assert!(effort.rounds > 0, "nothing is measured in no rounds");
    let mut tuning = device.tuning();
    let mut decisions = Vec::new();
    for (at, &tunable) in tunables.iter().enumerate() {
        let share = |of_it: f64| (at as f64 + of_it) / tunables.len() as f64;
        progress(Step::Measuring(share(0.0), tunable));
        let cases = cases::of(device, tunable, effort.small)?;
        let mut candidates = candidates(device, tuning, tunable);
        for (of_them, case) in cases.iter().enumerate() {
            check(case, &mut candidates)?;
            compare(case, &mut candidates, effort.rounds)?;
            progress(Step::Measuring(share((of_them + 1) as f64 / cases.len() as f64), tunable));
        }
        let (found, decision) = decide(tunable, candidates, &cases, effort.rounds)?;
        tuning = found;
        progress(Step::Decided(&decision));
        decisions.push(decision);
    }
    Ok(Found { tuning, decisions })
}

/// The shapes that the device can run; the first is the kernels' own.
fn candidates(device: &Device, tuning: Tuning, tunable: Tunable) -> Vec<Candidate> {
    let of = |shape: String| {
        let tuning = tuning.with(tunable, &shape).ok()?;
        let device = device.with_tuning(tuning).ok()?;
        Some(Candidate { shape, tuning, device, outcome: Outcome::Right(0.0) })
    };
    tunable.shapes().into_iter().filter_map(of).collect()
}

/// Lets every shape answer once. The answer of the first is what the others are compared with.
fn check(case: &Case, candidates: &mut [Candidate]) -> Result<(), VulkanError> {
    let mut expected: Option<Vec<f32>> = None;
    for candidate in candidates.iter_mut().filter(|candidate| matches!(candidate.outcome, Outcome::Right(_)))
    {
        case.out.write(&vec![f32::NAN; case.out.len()])?;
        let answer = time(case, &candidate.device, 1).and_then(|_| case.out.to_vec());
        match (&expected, answer) {
            (None, answer) => expected = Some(answer?),
            (Some(_), Err(error @ (VulkanError::DeviceLost | VulkanError::Timeout { .. }))) => {
                return Err(error);
            }
            (Some(_), Err(error)) => candidate.outcome = Outcome::Failed(error),
            (Some(expected), Ok(answer)) if !case.agrees(&answer, expected) => {
                candidate.outcome = Outcome::Wrong;
            }
            (Some(_), Ok(_)) => {}
        }
    }
    Ok(())
}

/// Measures in interleaved rounds the shapes that are right so far, and adds to each the logarithm of how many times as fast as the first
/// it is.
fn compare(case: &Case, candidates: &mut [Candidate], rounds: usize) -> Result<(), VulkanError> {
    let Some(own) = candidates.first() else { return Ok(()) };
    let once = time(case, &own.device, 1)?.max(Duration::from_nanos(1));
    let repeats = (LONG_ENOUGH.as_nanos() / once.as_nanos()).clamp(1, REPEATS.into()) as u32;
    let mut times = vec![Vec::with_capacity(rounds); candidates.len()];
    for _ in 0..rounds {
        for (candidate, times) in candidates.iter().zip(&mut times) {
            if matches!(candidate.outcome, Outcome::Right(_)) {
                times.push(time(case, &candidate.device, repeats)?);
            }
        }
    }
    let medians: Vec<_> = times.into_iter().map(median).collect();
    for (candidate, own_and_its) in candidates.iter_mut().zip(medians.iter().map(|&its| (medians[0], its))) {
        if let (Outcome::Right(sum), (Some(own), Some(its))) = (&mut candidate.outcome, own_and_its) {
            *sum += (own / its).ln();
        }
    }
    Ok(())
}

/// In seconds.
fn median(mut times: Vec<Duration>) -> Option<f64> {
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| time.as_secs_f64().max(1e-9))
}

/// The time from handing over one submission of so many runs to its end.
fn time(case: &Case, device: &Device, repeats: u32) -> Result<Duration, VulkanError> {
    let mut commands = device.commands();
    for _ in 0..repeats {
        (case.record)(&mut commands)?;
    }
    let start = Instant::now();
    commands.submit()?.wait()?;
    Ok(start.elapsed())
}

/// The fastest that is right, where it gains enough: also when it is measured again, beside the kernels' own alone. The best of several is
/// often the luckiest.
fn decide(
    tunable: Tunable,
    mut candidates: Vec<Candidate>,
    cases: &[Case],
    rounds: usize,
) -> Result<(Tuning, Decision), VulkanError> {
    let speed = |sum: f64| (sum / cases.len().max(1) as f64).exp();
    let trials: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let outcome = match &candidate.outcome {
                Outcome::Right(sum) => Outcome::Right(speed(*sum)),
                other => other.clone(),
            };
            Trial { shape: candidate.shape.clone(), outcome }
        })
        .collect();
    let best = fastest(&trials);
    let mut taken = (0, 1.0);
    if best > 0 {
        // The first place stays that of the kernels' own.
        candidates.swap(1, best);
        candidates[..2].iter_mut().for_each(|candidate| candidate.outcome = Outcome::Right(0.0));
        cases.iter().try_for_each(|case| compare(case, &mut candidates[..2], rounds))?;
        taken = match candidates[1].outcome {
            Outcome::Right(sum) if speed(sum) > GAIN => (1, speed(sum)),
            _ => taken,
        };
    }
    let Candidate { tuning, shape, .. } = candidates.swap_remove(taken.0);
    // Without a case nothing was tried.
    let trials = trials.into_iter().skip(1).filter(|_| !cases.is_empty()).collect();
    Ok((tuning, Decision { tunable, shape, speed: taken.1, trials }))
}

/// The place of the shape to take: the first, unless another is right and gains enough.
fn fastest(trials: &[Trial]) -> usize {
    let mut best = (0, GAIN);
    for (at, trial) in trials.iter().enumerate().skip(1) {
        match trial.outcome {
            Outcome::Right(speed) if speed > best.1 => best = (at, speed),
            _ => {}
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(outcomes: &[Outcome]) -> usize {
        let trial = |outcome: &Outcome| Trial { shape: String::new(), outcome: outcome.clone() };
        fastest(&outcomes.iter().map(trial).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_is_right_and_gains_enough_is_taken() {
        use Outcome::{Failed, Right, Wrong};
        assert_eq!(place(&[Right(1.0)]), 0);
        assert_eq!(place(&[Right(1.0), Right(1.02), Right(0.5)]), 0, "that is noise");
        assert_eq!(place(&[Right(1.0), Right(1.1), Right(1.3), Right(1.2)]), 2);
        assert_eq!(place(&[Right(1.0), Wrong, Failed(VulkanError::DeviceLost), Right(1.1)]), 3);
        assert_eq!(place(&[Right(1.0), Wrong, Right(f64::NAN)]), 0);
    }

    #[test]
    fn a_median_is_of_what_was_measured() {
        let ms = |times: &[u64]| median(times.iter().map(|&t| Duration::from_millis(t)).collect());
        assert_eq!(ms(&[]), None);
        assert_eq!(ms(&[9, 1, 2]), Some(0.002));
    }
}
