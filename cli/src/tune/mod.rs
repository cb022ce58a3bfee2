//! `upbeat tune`: searches for the block sizes with which products run fastest on this machine, and saves them. What it does for a Vulkan
//! device is in `vulkan.rs`.

pub(crate) mod args;
mod vulkan;

use std::fs;
use std::path::Path;

use upbeat_kernels::tuning::{search, Found, Trial, Tuning, TuningError};
use upbeat_vulkan::Options;

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::machine::{device, instruction_set, runtime};
use crate::output::Output;
use crate::progress::Progress;
use args::TuneArgs;

/// Sizes as people read them.
pub(crate) fn sizes(tuning: &Tuning) -> String {
    let Tuning { private_bytes, shared_bytes, task_work, tasks } = tuning;
    format!(
        "{} KiB a task, {:.1} MiB shared, {task_work} multiply-adds or more a task, {tasks} tasks a worker",
        private_bytes >> 10,
        *shared_bytes as f64 / f64::from(1 << 20),
    )
}

fn line(trial: &Trial) -> String {
    let Trial { tuning, rate, best_before, taken } = trial;
    let gain = 100.0 * (rate / best_before - 1.0);
    let verdict = if *taken { "taken" } else { "" };
    format!("{rate:7.1} GFLOP/s  {gain:+5.1} %  {:<78} {verdict}", sizes(tuning)).trim_end().to_owned() + "\n"
}

/// Runs the command.
pub(crate) fn run(args: &TuneArgs, output: &mut Output) -> Result<(), Failure> {
    instruction_set()?;
    // Compiled kernels that no other process would use are not kept.
    let (device, said) = device(&args.device, Options::from_env().no_pipeline_cache())?;
    if let Some(device) = device {
        return vulkan::run(&device, args, output);
    }
    if !args.only.is_empty() || args.small {
        return Err(Failure::Input("--only and --small are for Vulkan devices: --device vulkan".to_owned()));
    }
    if args.device != DeviceArg::Cpu {
        output.line(said);
    }
    // Known before the search, which takes its time.
    let path = match &args.out {
        _ if args.dry_run => None,
        Some(path) => Some(path.clone()),
        None => Some(Tuning::usual_path().ok_or(TuningError::NoFolder)?),
    };
    if let Some(folder) = path.as_deref().and_then(Path::parent) {
        fs::create_dir_all(folder).map_err(|source| Failure::write(folder, &source))?;
    }
    let runtime = runtime(args.workers)?;
    output.line(format_args!("{} workers, each beside the best sizes so far", runtime.num_workers()));
    let progress = Progress::new();
    progress.at(0.0, "products with other sizes of blocks");
    let Found { tuning, trials } = runtime.install(|_| {
        search(args.rounds as usize, |share, trial| {
            progress.at(share, "products with other sizes of blocks");
            progress.text(output, &line(trial));
        })
    });
    drop(progress);
    let taken = trials.iter().filter(|trial| trial.taken).count();
    output.line(format_args!("best of {} tried, {taken} of them taken: {}", trials.len(), sizes(&tuning)));
    match path {
        Some(path) => {
            tuning.save(&path)?;
            output.line(format_args!("saved in {}; no result changes by it", path.display()));
        }
        None => output.line("nothing was saved"),
    }
    Ok(())
}
