//! Interleaved rounds: limit, kernel and peers one after the other, on one worker and on two. The best round counts, as other work on
//! the machine only slows; the best peer is what we are compared with.

use std::thread::sleep;
use std::time::{Duration, Instant};

use upbeat::Runtime;

use crate::allocations;
use crate::case::{Case, Goal, Sizes};
use crate::cases::Make;
use crate::external::{External, PeerError};
use crate::limits::Limits;

/// Shortest time of a kernel's share of a round, s.
const SHARE: f64 = 2e-3;
/// What follows a turn of an external peer: its threads wait for more work for a while, on the cores that ours need.
const PAUSE: Duration = Duration::from_millis(250);

/// Runtimes of one and two workers with their limits.
pub struct Machine {
    teams: [(Runtime, Limits); 2],
}

impl Machine {
    /// Starts the runtimes.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new() -> Result<Self, upbeat::BuildError> {
        let team = |workers| {
            // Not pinned: the caller sits in a worker's seat and is not pinned either (the peer's threads would inherit that), and at
            // real-time priority it would keep a worker that is pinned to its CPU waiting.
            let runtime = Runtime::builder().workers(workers).build()?;
            Ok::<_, upbeat::BuildError>((runtime, Limits::new(workers)))
        };
        Ok(Self { teams: [team(1)?, team(2)?] })
    }

    /// Runs a case once on each runtime, checks its answer, and measures nothing.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn check(&self, case: &mut Case<'_>) {
        for (runtime, _) in &self.teams {
            runtime.install(|_| (case.run)());
            (case.check)();
        }
        if let Some((_, peer)) = &mut case.peer {
            peer(1);
        }
    }
}

/// What was measured with one number of workers.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The group.
    pub group: &'static str,
    /// What was done.
    pub work: String,
    /// Unit of all rates.
    pub unit: &'static str,
    /// Workers that shared the work.
    pub workers: usize,
    /// Our rate.
    pub rate: f64,
    /// The machine's, in the same rounds.
    pub limit: f64,
    /// The best peer's name and rate.
    pub peer: Option<(String, f64)>,
    /// What was to be reached.
    pub goal: Goal,
    /// Allocations of a call, once warm; `None` where the program does not count.
    pub allocations: Option<f64>,
}

impl Outcome {
    /// Our rate as a share of the limit.
    pub fn share(&self) -> f64 {
        self.rate / self.limit
    }

    /// Our rate as a multiple of the best peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, rate)| self.rate / rate)
    }

    /// The share of the limit that the goal demands.
    pub fn share_needed(&self) -> Option<f64> {
        self.goal.limit.map(|shares| shares[usize::from(self.workers > 1)])
    }

    /// Whether the goal is met: unknown where none was set or, the limit's share being reached, where nobody is beside.
    pub fn met(&self) -> Option<bool> {
        let share = self.share_needed().map(|needed| self.share() >= needed);
        let Some(times) = self.goal.peer else { return share };
        match share {
            Some(false) => share,
            _ => self.ratio().map(|ratio| ratio >= times),
        }
    }
}

fn seconds(call: impl FnOnce()) -> f64 {
    let start = Instant::now();
    call();
    start.elapsed().as_secs_f64()
}

/// A row's name, as the table and external peers have it.
fn row(case: &Case<'_>) -> String {
    format!("{}: {}", case.group, case.work)
}

/// Measures a case on one worker and on two, in `rounds` rounds, `external` beside.
///
/// # Errors
/// When the external peer fails.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(
    machine: &Machine,
    case: &mut Case<'_>,
    rounds: u32,
    mut external: Option<&mut External>,
) -> Result<[Outcome; 2], PeerError> {
    machine.check(case);
    let row = row(case);
    let [one, two] = &machine.teams;
    Ok([
        with_team(one, case, rounds, external.as_deref_mut(), &row)?,
        with_team(two, case, rounds, external, &row)?,
    ])
}

/// [`measure`]s the cases of a group that are `wanted`, and hands each outcome to `each`.
///
/// # Errors
/// When the external peer fails; what follows is not measured then.
///
/// # Panics
/// When an answer is wrong.
pub fn measure_group(
    machine: &Machine,
    make: Make,
    sizes: Sizes,
    wanted: &dyn Fn(&Case<'_>) -> bool,
    rounds: u32,
    mut external: Option<&mut External>,
    each: &mut dyn FnMut(Outcome),
) -> Result<(), PeerError> {
    let mut failed = None;
    make(sizes, &mut |mut case| {
        if failed.is_some() || !wanted(&case) {
            return;
        }
        match measure(machine, &mut case, rounds, external.as_deref_mut()) {
            Ok(outcomes) => outcomes.into_iter().for_each(&mut *each),
            Err(error) => failed = Some(error),
        }
    });
    failed.map_or(Ok(()), Err)
}

/// On one of the runtimes.
fn with_team(
    (runtime, limits): &(Runtime, Limits),
    case: &mut Case<'_>,
    rounds: u32,
    mut external: Option<&mut External>,
    row: &str,
) -> Result<Outcome, PeerError> {
    let workers = runtime.num_workers();
    let once = runtime.install(|_| seconds(&mut case.run));
    let calls = (SHARE / once.max(1e-9)).ceil() as usize;
    let (mut limit, mut best, mut allocated) = (0.0f64, f64::INFINITY, u64::MAX);
    let mut peer: Option<(String, f64)> = None;
    let mut beside = |name: &str, took: f64| {
        if peer.as_ref().is_none_or(|(_, best)| took < *best) {
            peer = Some((name.to_owned(), took));
        }
    };
    for _ in 0..rounds {
        limit = limit.max(limits.measure(runtime, case.bound));
        let took = runtime.install(|_| {
            // What was measured before has emptied the caches, of peers too: each has a call to fill them.
            (case.run)();
            let before = allocations::count();
            let took = seconds(|| (0..calls).for_each(|_| (case.run)()));
            allocated = allocated.min(allocations::count() - before);
            took
        });
        best = best.min(took / calls as f64);
        if let Some((name, call)) = &mut case.peer {
            call(workers);
            let took = seconds(|| (0..calls).for_each(|_| call(workers)));
            beside(name, took / calls as f64);
        }
        if let Some(program) = external.as_deref_mut() {
            match program.ask(workers, calls, row)? {
                Some((name, took)) => beside(&name, took),
                // It will not do it in the next round either.
                None => external = None,
            }
            sleep(PAUSE);
        }
    }
    (case.check)();
    let rate = |took: f64| case.amount / took / 1e9;
    Ok(Outcome {
        group: case.group,
        work: case.work.clone(),
        unit: case.bound.unit(),
        workers,
        rate: rate(best),
        limit,
        peer: peer.map(|(name, took)| (name, rate(took))),
        goal: case.goal,
        allocations: allocations::is_counted().then(|| allocated as f64 / calls as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(goal: Goal, workers: usize) -> Outcome {
        Outcome {
            group: "group",
            work: String::from("work"),
            unit: "GB/s",
            workers,
            rate: 9.0,
            limit: 10.0,
            peer: Some(("peer".to_owned(), 6.0)),
            goal,
            allocations: None,
        }
    }

    #[test]
    fn goals_are_shares_of_the_limit_or_multiples_of_the_peer() {
        assert_eq!(outcome(Goal::limit(0.95, 0.85), 1).met(), Some(false));
        assert_eq!(outcome(Goal::limit(0.95, 0.85), 2).met(), Some(true));
        assert_eq!(outcome(Goal::peer(1.5), 1).met(), Some(true));
        assert_eq!(outcome(Goal::peer(1.6), 1).met(), Some(false));
        assert_eq!(outcome(Goal::limit(0.9, 0.9).and_peer(1.6), 1).met(), Some(false));
        assert_eq!(outcome(Goal::limit(0.9, 0.9).and_peer(1.5), 1).met(), Some(true));
        assert_eq!(outcome(Goal::NONE, 1).met(), None);
        assert_eq!(outcome(Goal::peer(1.0), 1).share(), 0.9);
    }

    #[test]
    fn without_a_peer_only_a_missed_share_is_certain() {
        let alone = |goal| Outcome { peer: None, ..outcome(goal, 1) };
        assert_eq!((alone(Goal::peer(1.0)).met(), alone(Goal::peer(1.0)).ratio()), (None, None));
        assert_eq!(alone(Goal::limit(0.9, 0.9).and_peer(1.0)).met(), None);
        assert_eq!(alone(Goal::limit(0.95, 0.9).and_peer(1.0)).met(), Some(false));
    }
}
