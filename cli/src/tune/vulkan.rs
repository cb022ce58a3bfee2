//! `upbeat tune --device vulkan`: searches for the shapes of workgroups with which a device's kernels run fastest, and saves them for it.

use std::fs;
use std::path::Path;

use upbeat_vulkan::tuning::{search, Decision, Effort, Outcome, Step, Tunable, Tuning, TuningError};
use upbeat_vulkan::Device;

use super::args::TuneArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// What is asked for, in the order in which it is searched.
fn wanted(only: &[String]) -> Result<Vec<Tunable>, Failure> {
    let names = || Tunable::ALL.iter().map(|tunable| tunable.name()).collect::<Vec<_>>().join(", ");
    if let Some(word) =
        only.iter().find(|word| !Tunable::ALL.iter().any(|known| known.name().contains(&***word)))
    {
        return Err(Failure::Input(format!("--only: no name has {word:?} in it; there are {}", names())));
    }
    let asked_for =
        |tunable: &&Tunable| only.is_empty() || only.iter().any(|word| tunable.name().contains(&**word));
    Ok(Tunable::ALL.iter().filter(asked_for).copied().collect())
}

/// A line of the table, and one for each shape that is not to be had.
fn lines(Decision { tunable, shape, speed, trials }: &Decision) -> String {
    let name = tunable.name();
    let (own, tried) = (tunable.shapes().swap_remove(0), trials.len());
    let mut text = match (tried, *shape == own) {
        (0, _) => format!("{name:<20} the device has no choice\n"),
        (_, true) => format!("{name:<20} {shape:<20} kept, beside {tried} others\n"),
        (_, false) => {
            format!("{name:<20} {shape:<20} {speed:.2} times as fast as {own}, best of {tried} others\n")
        }
    };
    for trial in trials {
        match &trial.outcome {
            Outcome::Right(_) => {}
            Outcome::Wrong => {
                text += &format!(
                    "{name:<20} {} is never taken: its answers are wrong on this device\n",
                    trial.shape
                );
            }
            Outcome::Failed(error) => {
                text += &format!("{name:<20} {} is never taken: {error}\n", trial.shape)
            }
        }
    }
    text
}

/// Runs the command for a device.
pub(super) fn run(device: &Device, args: &TuneArgs, output: &mut Output) -> Result<(), Failure> {
    if args.workers.is_some() {
        return Err(Failure::Input("--workers is for the CPU: --device cpu".to_owned()));
    }
    let tunables = wanted(&args.only)?;
    // Known before the search, which takes its time.
    let path = match &args.out {
        _ if args.dry_run => None,
        Some(path) => Some(path.clone()),
        // Nobody should go on with what such work says because he tried the command.
        None if args.small => None,
        None => Some(Tuning::usual_path(device).ok_or(TuningError::NoFolder)?),
    };
    if let Some(folder) = path.as_deref().and_then(Path::parent) {
        fs::create_dir_all(folder).map_err(|source| Failure::write(folder, &source))?;
    }
    output.line(format_args!(
        "{}, {}; medians of {} interleaved rounds, answers checked",
        device.info().name,
        device.info().driver,
        args.rounds
    ));
    let progress = Progress::new();
    let effort = Effort { rounds: args.rounds as usize, small: args.small };
    let found = search(device, &tunables, effort, |step| match step {
        Step::Measuring(share, tunable) => progress.at(share, tunable.name()),
        Step::Decided(decision) => progress.text(output, &lines(decision)),
    })?;
    drop(progress);
    let (changed, all) = (found.tuning.changed(), Tunable::ALL.len());
    output.line(format_args!("{changed} of {all} are not what kernels take by themselves"));
    match path {
        Some(path) => {
            found.tuning.save(&path, device)?;
            output.line(format_args!(
                "saved in {} for this device and driver; sums may differ in their last bits by it",
                path.display()
            ));
        }
        None if args.dry_run => output.line("nothing was saved"),
        None => output
            .line("nothing was saved, for such small work says little; --out FILE saves it all the same"),
    }
    Ok(())
}
