//! `upbeat bench NAME`: measures on this machine what the project promises. Answers are checked before a time is
//! printed.

mod batch;
mod idle;
mod kernels;
mod policy;
mod record;
mod scaling;
mod scheduler;
mod serve;
mod train_gpt;
mod vulkan;

use std::time::Duration;

use crate::args::{Bench, BenchArgs};
use crate::failure::Failure;
use crate::output::Output;

/// What can be measured: name and what it does.
const BENCHES: [(&str, &str); 9] = [
    ("batch", "forming batches: times an item and tails, beside other queues"),
    ("idle", "how long a worker without work polls before it sleeps: CPU time and tails of regions from outside"),
    ("kernels", "products, attention, element-wise kernels, norms, images and flows beside the machine's limits, and the crate gemm with --features peers"),
    ("policy", "learned settings of parallel regions beside every fixed one, and what learning costs"),
    (
        "scheduler",
        "joins, loops, regions and idle workers, beside rayon and chili if built with --features peers",
    ),
    ("scaling", "strong, weak and memory scaling over numbers of workers; writes tables and a picture"),
    ("serve", "many requests to one model: continuous batching beside one task a request and one request alone"),
    ("train-gpt", "training steps of the character-level GPT: 6 layers, width 384, context 256"),
    ("vulkan", "a GPU: what a submission costs, kernels beside the rate at which it copies, products, attention, flows"),
];

/// Runs the command.
pub(crate) fn run(args: &BenchArgs, output: &mut Output) -> Result<(), Failure> {
    match &args.bench {
        Some(Bench::Kernels(args)) => kernels::run(args, output),
        Some(Bench::Scheduler(args)) => scheduler::run(args, output),
        Some(Bench::Scaling(args)) => scaling::run(args, output),
        Some(Bench::TrainGpt(args)) => train_gpt::run(args, output),
        Some(Bench::Batch(args)) => batch::run(args, output),
        Some(Bench::Idle(args)) => idle::run(args, output),
        Some(Bench::Policy(args)) => policy::run(args, output),
        Some(Bench::Serve(args)) => serve::run(args, output),
        Some(Bench::Vulkan(args)) => vulkan::run(args, output),
        None => {
            for (name, what) in BENCHES {
                output.line(format_args!("{name:<12} {what}"));
            }
            output.line("run one with: upbeat bench NAME [--json]");
            Ok(())
        }
    }
}

/// The group `name` of `groups`: name, what it measures, and how its cases are made.
fn group<M: Copy>(
    groups: &[(&'static str, &'static str, M)],
    name: &str,
) -> Result<(&'static str, &'static str, M), Failure> {
    let found = groups.iter().find(|(group, ..)| *group == name);
    found.copied().ok_or_else(|| {
        let known: Vec<_> = groups.iter().map(|(name, ..)| *name).collect();
        Failure::Input(format!("there is no group {name}; there are {}", known.join(", ")))
    })
}

/// How long to measure, as `--seconds` says.
fn limit(seconds: f64) -> Result<Duration, Failure> {
    match (0.0..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(Failure::Input("--seconds must be between 0 and 3600".into())),
    }
}
