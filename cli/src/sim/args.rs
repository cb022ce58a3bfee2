//! The command line of `upbeat sim`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    pub(crate) sim: Option<Sim>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sim {
    /// Simulate one workload on one machine
    #[command(allow_negative_numbers = true)]
    Run(RunArgs),
    /// Compare all policies on all workloads, seed by seed
    Compare(CompareArgs),
    /// Draw efficiency over 1 to 256 workers
    Scaling(ScalingArgs),
    /// Run five workloads on two real workers and on two simulated ones
    Calibrate(CalibrateArgs),
    /// Make the learned policy's weights: simulate random regions, train, write a file
    Learn(LearnArgs),
    /// Judge the learned policy on machines that it was not made with
    Judge(JudgeArgs),
    /// Make the choices of a runtime's policy again, from the log that Runtime::policy_log gave
    Replay(ReplayArgs),
    /// How long an idle worker should spin before it parks: fixed times, ski rental and Hedge on made-up idle periods
    Idle(IdleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A preset (2-core, 2x32, 4x28, 8x32) or a file that describes a machine
    #[arg(long, value_name = "MACHINE", default_value = "2x32")]
    pub(crate) machine: String,
    /// What is run: tree, memory-tree, uts, skewed-loop, quicksort, layers, layers-placed, attention or service
    #[arg(long, value_name = "NAME", default_value = "tree", conflicts_with = "graph")]
    pub(crate) workload: String,
    /// Run a recorded graph instead
    #[arg(long, value_name = "FILE")]
    pub(crate) graph: Option<PathBuf>,
    /// Number of workers [default: what the machine has]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// nearest, random, round-robin, last-victim, steal-half, ski-rental, tuned or oracle
    #[arg(long, value_name = "NAME", default_value = "nearest")]
    pub(crate) policy: String,
    /// Settings of the region: on-request, eager, push, push-patient, placed or lazy
    #[arg(long, value_name = "NAME", default_value = "on-request")]
    pub(crate) settings: String,
    /// What idle workers do: today (one of them watches, the others sleep), spin (for 20 µs), near (the same, and they mind their node) or
    /// learned (each learns for how long)
    #[arg(long, value_name = "NAME", default_value = "today")]
    pub(crate) idling: String,
    /// Seed of the workload and of the choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A preset (2-core, 2x32, 4x28, 8x32) or a file that describes a machine
    #[arg(long, value_name = "MACHINE", default_value = "2x32")]
    pub(crate) machine: String,
    /// Workloads [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) workload: Vec<String>,
    /// Number of workers
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) workers: usize,
    /// What idle workers do: today, spin, near or learned
    #[arg(long, value_name = "NAME", default_value = "spin")]
    pub(crate) idling: String,
    /// Seeds, each run under every policy
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    /// Look for where each policy is worst instead, over this many random machines and workloads
    #[arg(long, value_name = "CASES", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) sweep: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScalingArgs {
    /// A preset (2-core, 2x32, 4x28, 8x32) or a file that describes a machine
    #[arg(long, value_name = "MACHINE", default_value = "8x32")]
    pub(crate) machine: String,
    /// What is run
    #[arg(long, value_name = "NAME", default_value = "tree")]
    pub(crate) workload: String,
    /// Seeds, of which the mean counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    /// Folder for simulated-NAME.md, .csv and .svg
    #[arg(long, value_name = "FOLDER", default_value = "upbeat-out")]
    pub(crate) out: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Rounds, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 51, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// Random regions, each simulated with every configuration
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) regions: u64,
    /// Where the simulated regions are kept; those that it has are not simulated again
    #[arg(long, value_name = "FILE", default_value = "upbeat-out/regions.txt")]
    pub(crate) data: PathBuf,
    /// Where the weights go
    #[arg(long, value_name = "FILE", default_value = "upbeat-out/learned.policy")]
    pub(crate) out: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// Random regions on machines of four nodes, which are not learned from
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) cases: u64,
    /// Seeds of each
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=1000))]
    pub(crate) seeds: u64,
    /// Weights that `upbeat sim learn` wrote [default: those that come with this version]
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// The regions that they were made of: judges also what is thought of kinds of work that were never seen
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The log's text
    #[arg(value_name = "FILE")]
    pub(crate) log: PathBuf,
    /// The weights that the runtime was built with [default: those that come with this version]
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Idle periods a trace
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) periods: u32,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
