//! The command line: what can be asked for, with the defaults that are known before a checkpoint or a text is read.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::sim::args::SimArgs;
use crate::tune::args::TuneArgs;

/// Trains small transformers on CPU cores, and shows how the cores were used.
#[derive(Debug, Parser)]
#[command(name = "upbeat", version, about, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
Environment:
  UPBEAT_WORKERS             how many workers
  UPBEAT_TOPOLOGY            a machine to try, such as \"node:2 core:8 pu:2\"
  UPBEAT_MODE                when work is shared, for finding races: never-promote, always-promote, seed=NUMBER
  UPBEAT_POLICY              whether settings of regions are learned: static, bandit, learned
  UPBEAT_ISA                 instruction set: scalar, sse4.1, neon, avx2, avx512, emulated512
  UPBEAT_BF16                what multiplies matrices in bf16: amx, dots, f32
  UPBEAT_TUNING              the file of block sizes, or off
  UPBEAT_VULKAN_DEVICE       a Vulkan device: its place in the list of upbeat info, its kind, part of its name, or any
  UPBEAT_VULKAN_CACHE        the file of compiled Vulkan kernels, or off
  UPBEAT_VULKAN_TUNING       the file of shapes of Vulkan kernels, or off
  UPBEAT_VULKAN_COOPERATIVE  whether products on Vulkan use cooperative matrices: 1 or 0
  UPBEAT_VULKAN_VALIDATE     whether Vulkan is validated: 1 or 0
Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (what was trained is saved).";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Train a character-level transformer; without options on this checkout's own Rust and Markdown
    #[command(allow_negative_numbers = true)]
    Train(Box<TrainArgs>),
    /// Continue a prompt with a trained model
    #[command(allow_negative_numbers = true)]
    Generate(GenerateArgs),
    /// Show the cores, caches, NUMA nodes and instruction sets, and what was chosen
    Info(InfoArgs),
    /// Measure; without a name, list what can be measured
    Bench(BenchArgs),
    /// Search for the block sizes with which products run fastest on this machine, or the shapes with which a GPU's kernels do, and save them
    Tune(TuneArgs),
    /// Simulate workers on machines of up to 1024 CPUs; without a verb, list what can be simulated
    Sim(SimArgs),
}

/// Options that shape a training are `None` when not given, so that `--resume` can tell a wish from a default.
#[derive(Debug, Default, Args)]
pub(crate) struct TrainArgs {
    /// Files and folders of text [default: this checkout]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) text: Vec<PathBuf>,
    /// Endings of the files taken from folders; `target` and hidden ones are left out
    #[arg(long, value_name = "ENDING", value_delimiter = ',', default_values_t = ["rs".to_string(), "md".to_string()])]
    pub(crate) extensions: Vec<String>,
    /// Folder for the checkpoint, the loss curve and the trace
    #[arg(long, value_name = "FOLDER", default_value = "upbeat-out")]
    pub(crate) out: PathBuf,
    /// Go on with the checkpoint in the output folder
    #[arg(long)]
    pub(crate) resume: bool,

    /// Transformer blocks [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) layers: Option<usize>,
    /// Width of the model [default: 128]
    #[arg(long, value_name = "N")]
    pub(crate) width: Option<usize>,
    /// Attention heads; they must divide the width [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) heads: Option<usize>,
    /// Width inside the feed-forward part [default: 8/3 of the width, or 4 times it with gelu]
    #[arg(long, value_name = "N")]
    pub(crate) hidden: Option<usize>,
    /// Characters that the model sees at once [default: 128]
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<usize>,
    /// Normalisation [default: rms]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) norm: Option<NormKind>,
    /// Feed-forward part [default: swiglu]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) feed_forward: Option<FeedForwardKind>,
    /// Positions [default: rotary]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) positions: Option<PositionsKind>,

    /// Type of values and gradients: bf16 halves their memory, parameters stay f32 [default: f32, or what is resumed]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) dtype: Option<Dtype>,
    /// Steps of the whole training; more than before with --resume makes it longer [default: 800]
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    /// Stop and save after this step, as if interrupted there
    #[arg(long, value_name = "N")]
    pub(crate) stop_after: Option<u64>,
    /// Sequences in a step [default: 8]
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// Highest learning rate [default: 0.003]
    #[arg(long, value_name = "X")]
    pub(crate) learning_rate: Option<f64>,
    /// Learning rate at the end of the cosine [default: a tenth of the highest]
    #[arg(long, value_name = "X")]
    pub(crate) last_learning_rate: Option<f64>,
    /// Steps in which the learning rate rises [default: a twentieth of all, at most 100]
    #[arg(long, value_name = "N")]
    pub(crate) warmup: Option<u64>,
    /// Decoupled weight decay of matrices [default: 0.1]
    #[arg(long, value_name = "X")]
    pub(crate) weight_decay: Option<f64>,
    /// Largest norm of the gradients [default: 1]
    #[arg(long, value_name = "X")]
    pub(crate) clip: Option<f64>,
    /// Seed of the parameters and batches [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Where to train: the CPU; GPUs generate with `upbeat generate --device`
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = DeviceArg::parse)]
    pub(crate) device: DeviceArg,
    /// Workers of the runtime [default: UPBEAT_WORKERS, or what this process may use]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Steps between measurements of the held-out loss [default: a tenth of all]
    #[arg(long, value_name = "N")]
    pub(crate) evaluate_every: Option<u64>,
    /// Steps between samples; 0 for none [default: a quarter of all]
    #[arg(long, value_name = "N")]
    pub(crate) sample_every: Option<u64>,
    /// Steps between checkpoints, besides the one at the end [default: a quarter of all]
    #[arg(long, value_name = "N")]
    pub(crate) save_every: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// Everything in f32
    F32,
    /// Values and gradients between layers in bf16; arithmetic, sums, parameters and the optimizer in f32
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NormKind {
    /// RMSNorm
    Rms,
    /// LayerNorm without bias
    Layer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeedForwardKind {
    /// SwiGLU, three matrices
    Swiglu,
    /// GELU, two matrices
    Gelu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PositionsKind {
    /// Rotary
    Rotary,
    /// A trained table
    Learned,
}

/// Where to compute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeviceArg {
    #[default]
    Cpu,
    /// The GPU that the environment chooses or else the fastest; the CPU where there is none.
    Best,
    /// The one that the environment chooses, or the fastest GPU.
    Vulkan,
    /// The one of a place, a kind or a name.
    Which(String),
}

impl DeviceArg {
    /// What follows `vulkan:` is what `UPBEAT_VULKAN_DEVICE` takes, and so is any other word: `cpu` alone is the CPU with its own kernels.
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let word = word.trim();
        let is = |known: &str| word.eq_ignore_ascii_case(known);
        let which = match word.split_once(':') {
            Some((kind, which)) if kind.trim().eq_ignore_ascii_case("vulkan") => which.trim(),
            _ => word,
        };
        match which {
            "" => {
                Err("it is cpu, best, vulkan, or a Vulkan device's place, kind or part of its name"
                    .to_owned())
            }
            _ if is("cpu") => Ok(Self::Cpu),
            _ if is("best") => Ok(Self::Best),
            _ if is("vulkan") => Ok(Self::Vulkan),
            which => Ok(Self::Which(which.to_owned())),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Output folder of a training, or its checkpoint folder
    #[arg(long, value_name = "FOLDER", default_value = "upbeat-out")]
    pub(crate) checkpoint: PathBuf,
    /// Text to continue
    #[arg(long, value_name = "TEXT", default_value = "\n")]
    pub(crate) prompt: String,
    /// Characters to write
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) tokens: usize,
    /// 0 takes the most probable character, higher is wilder
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    pub(crate) temperature: f64,
    /// Draw among the most probable characters that together have this probability
    #[arg(long, value_name = "X", default_value_t = 0.95)]
    pub(crate) top_p: f64,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to compute: cpu; best (a GPU, or the CPU where there is none); vulkan (the device that UPBEAT_VULKAN_DEVICE chooses, or the
    /// fastest GPU); or a device as UPBEAT_VULKAN_DEVICE names it: a place in the list of `upbeat info`, a kind, or part of a name, after
    /// vulkan: where it is the kind cpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = DeviceArg::parse)]
    pub(crate) device: DeviceArg,
    /// How a Vulkan device stores the weights: f16 takes half the memory, and rounds them to 11 bits
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub(crate) weights: WeightsArg,
    /// Workers of the runtime [default: UPBEAT_WORKERS, or what this process may use]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
}

/// How a device stores weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsArg {
    F32,
    F16,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the machine instead: packages, memory nodes, caches, cores and CPUs, and how far nodes are from each other
    #[arg(long, conflicts_with = "json")]
    pub(crate) topology: bool,
    /// Draw a machine that is described, such as "package:2 node:2 core:8 pu:2"
    #[arg(long, value_name = "TEXT", requires = "topology", conflicts_with = "sysfs")]
    pub(crate) describe: Option<String>,
    /// Draw the machine of which this is a copy of /sys/devices/system
    #[arg(long, value_name = "FOLDER", requires = "topology")]
    pub(crate) sysfs: Option<PathBuf>,
    /// Draw it as a picture, too
    #[arg(long, value_name = "FILE", requires = "topology")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) bench: Option<Bench>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The kernels' rows on one and two workers, beside the machine's limits
    Kernels(KernelsArgs),
    /// The scheduler's rows on one and two workers, answers checked, in interleaved rounds
    Scheduler(SchedulerArgs),
    /// The same work on more and more workers: speed-up, efficiency, serial fraction
    Scaling(ScalingArgs),
    /// Training steps of the character-level GPT: 6 layers, width 384, 6 heads, context 256, vocabulary 65
    TrainGpt(TrainGptArgs),
    /// Many requests to one model: continuous batching beside one task a request, tokens checked to be the same
    Serve(ServeArgs),
    /// Forming batches: times an item and tails, beside a locked queue and, built with peers, tokio's channel and crossbeam's queue
    Batch(BatchArgs),
    /// How long a worker without work polls before it sleeps: CPU time and tails of regions from outside, four ways in interleaved rounds
    Idle(IdleArgs),
    /// Learned settings of parallel regions beside every fixed one on two workers, answers checked, and what learning costs
    Policy(PolicyArgs),
    /// A Vulkan device: submissions, kernels beside the rate at which it copies, products, attention, flows; answers checked
    Vulkan(VulkanArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// Groups of rows [default: all]
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Rounds, of which the best counts
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) rounds: u32,
    /// A program that does the same rows in turn with us, such as "python3 benches/kernels-peers.py"
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
    /// Tiny shapes: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    /// Groups of rows [default: all]
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// About the time for each row
    #[arg(long, value_name = "X", default_value_t = 4.0)]
    pub(crate) seconds: f64,
    /// Tiny workloads: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScalingArgs {
    /// Numbers of workers [default: 1, 2, 4 and so on up to what this process may use]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) workers: Vec<usize>,
    /// Folder for scaling.md, scaling.csv and scaling.svg
    #[arg(long, value_name = "FOLDER", default_value = "upbeat-out")]
    pub(crate) out: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// About the time for each workload
    #[arg(long, value_name = "X", default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Tiny workloads: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrainGptArgs {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Steps that are timed, after two that are not
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub(crate) steps: usize,
    /// Sequences in a step
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) batch: usize,
    /// Workers of the runtime [default: UPBEAT_WORKERS, or what this process may use]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Type of values and gradients; f64 runs the slow twins
    #[arg(long, alias = "precision", value_enum, value_name = "KIND", default_value = "f32")]
    pub(crate) dtype: Precision,
    /// Compare the losses of 20 steps at batch 1 with an f64 run instead of timing; takes minutes
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Few items: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VulkanArgs {
    /// Which one: a place in the list of `upbeat info`, a kind, or part of a name [default: UPBEAT_VULKAN_DEVICE, or the fastest GPU]
    #[arg(long, value_name = "DEVICE", value_parser = DeviceArg::parse)]
    pub(crate) device: Option<DeviceArg>,
    /// Only rows whose name has one of these words in it, such as "GEMM,attention f16"
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// A program that does the same rows in turn with us, such as "python3 benches/vulkan-peers.py"
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
    /// Interleaved rounds, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Mebibytes of the largest buffer of a row that is compared with copies [default: 256 or less, as the device's memory allows; 16 where a CPU computes]
    #[arg(long, value_name = "MIB", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) megabytes: Option<usize>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Tiny shapes and one round: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Rounds, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Few regions: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// About the time for each work; one that seems to miss its goal is measured again, longer
    #[arg(long, value_name = "X", default_value_t = 4.0)]
    pub(crate) seconds: f64,
    /// Tiny works: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Clients that each have one request open at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) requests: usize,
    /// Requests that each client makes, one after the other
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) each: usize,
    /// Tokens that a request draws on average; they range from half as many to half as many more
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub(crate) tokens: usize,
    /// Tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) prompt: usize,
    /// Width of the model, a multiple of 64
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) width: usize,
    /// Transformer blocks [default: 12, or more until the weights are 4 times the last-level cache, as far as memory allows]
    #[arg(long, value_name = "N")]
    pub(crate) layers: Option<usize>,
    /// Tokens that there are
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub(crate) vocabulary: usize,
    /// Rows of a step in all: one of each request, the others, a quarter at least, for parts of prompts
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) rows: usize,
    /// How many times as long as without parts of prompts a step with them may take, at least 1; 0 for any
    #[arg(long, value_name = "X", default_value_t = 1.25)]
    pub(crate) stretch: f64,
    /// Rounds in which each way has its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Workers of the runtime [default: UPBEAT_WORKERS, or what this process may use]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// A tiny model and few tokens: everything runs and is checked, and the numbers mean nothing
    #[arg(long)]
    pub(crate) small: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// The fast kernels
    F32,
    /// Stored in bf16, computed in f32, with f32 parameters
    Bf16,
    /// Their reference twins
    F64,
}
