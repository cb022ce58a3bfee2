//! The options of `upbeat tune`.

use std::path::PathBuf;

use clap::Args;

use crate::args::DeviceArg;

#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// What to tune: cpu, best, vulkan, or a device, as `upbeat generate` has it
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = DeviceArg::parse)]
    pub(crate) device: DeviceArg,
    /// Where what was found is saved [default: a file in upbeat in the user's folder for caches, where every process finds it: tuning for
    /// the CPU, vulkan-tuning-VENDOR-DEVICE for a Vulkan device]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Workers of the CPU [default: what UPBEAT_WORKERS or the system says]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// What to search on a Vulkan device, by name or part of one, such as gemm,attention; the rest stays as it was [default: everything]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Tiny work on a Vulkan device: everything runs and is checked, and what is found means little, and is saved with --out alone
    #[arg(long)]
    pub(crate) small: bool,
    /// Times that each piece of work runs with each sizes or shape
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Search and show, but save nothing
    #[arg(long, conflicts_with = "out")]
    pub(crate) dry_run: bool,
}
