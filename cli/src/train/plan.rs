//! From options to a training: which text, which settings, new or resumed.
//!
//! The defaults make a model of about a million parameters, which two cores train in about a minute.

use std::path::{Path, PathBuf};

use upbeat_kernels::Element;
use upbeat_nn::data::{read_texts, DataError, Dataset, Text, Tokenizer};
use upbeat_nn::schedule::Schedule;
use upbeat_nn::train::{saved_dtype, Checkpoint, TrainConfig, Trainer};
use upbeat_nn::{AdamWConfig, Config, FeedForward, Norm, Positions};

use crate::args::{Dtype, FeedForwardKind, NormKind, PositionsKind, TrainArgs};
use crate::checkout;
use crate::failure::Failure;

const LAYERS: usize = 4;
const WIDTH: usize = 128;
const HEADS: usize = 4;
const CONTEXT: usize = 128;
const BATCH: usize = 8;
const STEPS: u64 = 800;
const LEARNING_RATE: f64 = 3e-3;
const SEED: u64 = 1;

/// The text, and where it comes from.
pub(super) struct Source {
    pub(super) texts: Vec<Text>,
    pub(super) described: String,
}

/// Reads the text that was asked for, or the checkout's.
pub(super) fn read_source(args: &TrainArgs) -> Result<Source, Failure> {
    let paths = if args.text.is_empty() { vec![checkout::find()?] } else { args.text.clone() };
    // Endings as people write them: `txt`, `.txt` or `*.txt`.
    let bare = |ending: &String| ending.trim_start_matches('*').trim_start_matches('.').to_owned();
    let extensions: Vec<String> = args.extensions.iter().map(bare).collect();
    let texts = read_texts(&paths, &extensions).map_err(|error| match error {
        DataError::NoFiles { .. } => Failure::Input(format!("{error}; name other endings with --extensions")),
        error => error.into(),
    })?;
    let bytes: usize = texts.iter().map(|t| t.content.len()).sum();
    let names: Vec<String> = paths.iter().map(|p: &PathBuf| p.display().to_string()).collect();
    let files = if texts.len() == 1 { "1 file".into() } else { format!("{} files", texts.len()) };
    let described = format!("{:.1} KB in {files} of {}", bytes as f64 / 1e3, names.join(", "));
    Ok(Source { texts, described })
}

/// The settings of a new training on a text of `vocabulary` kinds of characters.
pub(super) fn settings(args: &TrainArgs, vocabulary: usize) -> TrainConfig {
    let width = args.width.unwrap_or(WIDTH);
    let [layers, heads, context] = [(args.layers, LAYERS), (args.heads, HEADS), (args.context, CONTEXT)]
        .map(|(asked, own)| asked.unwrap_or(own));
    let modern = Config::modern(vocabulary, context, width, layers, heads);
    let feed_forward = match args.feed_forward {
        None | Some(FeedForwardKind::Swiglu) => FeedForward::SwiGlu,
        Some(FeedForwardKind::Gelu) => FeedForward::Gelu,
    };
    let own_hidden = match feed_forward {
        FeedForward::SwiGlu => modern.hidden,
        FeedForward::Gelu => width.saturating_mul(4),
    };
    let model = Config {
        hidden: args.hidden.unwrap_or(own_hidden),
        feed_forward,
        norm: match args.norm {
            None | Some(NormKind::Rms) => Norm::Rms,
            Some(NormKind::Layer) => Norm::Layer,
        },
        positions: match args.positions {
            None | Some(PositionsKind::Rotary) => modern.positions,
            Some(PositionsKind::Learned) => Positions::Learned,
        },
        ..modern
    };
    let steps = args.steps.unwrap_or(STEPS);
    let peak = args.learning_rate.unwrap_or(LEARNING_RATE);
    TrainConfig {
        model,
        batch: args.batch.unwrap_or(BATCH),
        schedule: Schedule {
            peak,
            floor: args.last_learning_rate.unwrap_or(peak / 10.0),
            warmup: args.warmup.unwrap_or((steps / 20).min(100)),
            steps,
        },
        optimizer: AdamWConfig { weight_decay: args.weight_decay.unwrap_or(0.1), ..AdamWConfig::default() },
        clip: args.clip.unwrap_or(1.0),
        seed: args.seed.unwrap_or(SEED),
    }
}

/// The type to train in: what was asked for, and with `--resume` the one that the training in `folder` began in.
pub(super) fn dtype(args: &TrainArgs, folder: &Path) -> Result<Dtype, Failure> {
    if !args.resume {
        return Ok(args.dtype.unwrap_or(Dtype::F32));
    }
    let saved = match saved_dtype(folder)?.as_deref() {
        None | Some("f32") => Dtype::F32,
        Some("bf16") => Dtype::Bf16,
        Some(other) => {
            return Err(Failure::Input(format!(
                "the checkpoint is of a training in {other}, which this command does not train in"
            )))
        }
    };
    let name = |dtype| if dtype == Dtype::Bf16 { "bf16" } else { "f32" };
    match args.dtype {
        Some(asked) if asked != saved => Err(Failure::Input(format!(
            "the checkpoint was trained with --dtype {}, and --dtype {} was given; resuming keeps its settings",
            name(saved),
            name(asked)
        ))),
        _ => Ok(saved),
    }
}

/// A training before its first step.
pub(super) fn begin<E: Element>(args: &TrainArgs, texts: &[Text]) -> Result<Trainer<E>, Failure> {
    let tokenizer = Tokenizer::from_texts(texts);
    let config = settings(args, tokenizer.vocabulary());
    config.validate()?;
    check_memory::<E>(&config)?;
    let dataset = Dataset::new(texts, &tokenizer, config.model.context)?;
    Ok(Trainer::new(config, tokenizer, dataset)?)
}

/// A training that goes on from `checkpoint`. Options that would make it another training are refused; more steps are not:
/// the schedule becomes that of the longer training from here on.
pub(super) fn resume<E: Element>(
    args: &TrainArgs,
    mut checkpoint: Checkpoint<E>,
    texts: &[Text],
) -> Result<Trainer<E>, Failure> {
    let steps = &mut checkpoint.config.schedule.steps;
    *steps = (*steps).max(args.steps.unwrap_or(0));
    let asked = settings(args, checkpoint.config.model.vocabulary);
    differences(args, &asked, &checkpoint.config)?;
    check_memory::<E>(&checkpoint.config)?;
    let dataset = Dataset::new(texts, &checkpoint.tokenizer, checkpoint.config.model.context)?;
    Ok(Trainer::resume(checkpoint, dataset)?)
}

/// Refuses the first option that was given and differs from the checkpoint's.
fn differences(args: &TrainArgs, asked: &TrainConfig, saved: &TrainConfig) -> Result<(), Failure> {
    let (a, s) = (&asked.model, &saved.model);
    let shape = [
        ("layers", args.layers.is_some(), a.layers.to_string(), s.layers.to_string()),
        ("width", args.width.is_some(), a.width.to_string(), s.width.to_string()),
        ("heads", args.heads.is_some(), a.heads.to_string(), s.heads.to_string()),
        ("hidden", args.hidden.is_some(), a.hidden.to_string(), s.hidden.to_string()),
        ("context", args.context.is_some(), a.context.to_string(), s.context.to_string()),
        ("norm", args.norm.is_some(), format!("{:?}", a.norm), format!("{:?}", s.norm)),
        (
            "feed-forward",
            args.feed_forward.is_some(),
            format!("{:?}", a.feed_forward),
            format!("{:?}", s.feed_forward),
        ),
        ("positions", args.positions.is_some(), format!("{:?}", a.positions), format!("{:?}", s.positions)),
    ];
    for (name, given, asked, saved) in shape {
        if given && asked != saved {
            return Err(Failure::Input(format!(
                "the checkpoint has another shape: its {name} is {saved}, and --{name} {asked} was given"
            )));
        }
    }
    let settings = [
        ("steps", args.steps.is_some(), asked.schedule.steps as f64, saved.schedule.steps as f64),
        ("batch", args.batch.is_some(), asked.batch as f64, saved.batch as f64),
        ("learning-rate", args.learning_rate.is_some(), asked.schedule.peak, saved.schedule.peak),
        ("last-learning-rate", args.last_learning_rate.is_some(), asked.schedule.floor, saved.schedule.floor),
        ("warmup", args.warmup.is_some(), asked.schedule.warmup as f64, saved.schedule.warmup as f64),
        (
            "weight-decay",
            args.weight_decay.is_some(),
            asked.optimizer.weight_decay,
            saved.optimizer.weight_decay,
        ),
        ("clip", args.clip.is_some(), asked.clip, saved.clip),
        ("seed", args.seed.is_some(), asked.seed as f64, saved.seed as f64),
    ];
    for (name, given, asked, saved) in settings {
        if given && asked != saved {
            return Err(Failure::Input(format!(
                "the checkpoint was trained with --{name} {saved}, and --{name} {asked} was given; \
                 resuming keeps its settings"
            )));
        }
    }
    Ok(())
}

/// Bytes that training takes, within a factor of about two: parameters with gradients and moments, and what a step
/// keeps of each block.
fn estimated_bytes<E: Element>(config: &TrainConfig) -> f64 {
    let Config { vocabulary, context, width, layers, hidden, .. } = config.model;
    let [vocabulary, context, width, layers, hidden] =
        [vocabulary, context, width, layers, hidden].map(|x| x as f64);
    let parameters = layers * (4.0 * width * width + 3.0 * width * hidden) + (vocabulary + context) * width;
    let kept = layers * (6.0 * width + 3.0 * hidden) + 2.0 * vocabulary;
    let values = config.batch as f64 * context * kept;
    size_of::<E::Wide>() as f64 * 4.0 * parameters + size_of::<E>() as f64 * values
}

/// Refuses a training that the machine's memory cannot hold, which the system would otherwise kill half way.
fn check_memory<E: Element>(config: &TrainConfig) -> Result<(), Failure> {
    let needed = estimated_bytes::<E>(config);
    match memory() {
        Some(total) if needed > total => Err(Failure::Input(format!(
            "this training needs about {:.1} GB of memory, and the machine has {:.1} GB; \
             make the model, the context or the batch smaller",
            needed / 1e9,
            total / 1e9
        ))),
        _ => Ok(()),
    }
}

/// Bytes of memory of the machine, where Linux tells.
fn memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_make_a_valid_training() {
        let config = settings(&TrainArgs::default(), 100);
        assert_eq!(config.validate().map_err(|e| e.to_string()), Ok(()));
        assert!(check_memory::<crate::train::Float>(&config).is_ok());
    }

    #[test]
    fn the_help_names_the_defaults() {
        let mut command = <crate::args::Command as clap::CommandFactory>::command();
        let help = command.find_subcommand_mut("train").expect("the verb").render_long_help().to_string();
        let option = |name: &str| {
            let from = help.find(&format!("--{name} <")).expect("the option");
            help[from..].lines().nth(1).expect("its description").to_string()
        };
        for (name, value) in [
            ("layers", LAYERS as f64),
            ("width", WIDTH as f64),
            ("heads", HEADS as f64),
            ("context", CONTEXT as f64),
            ("batch", BATCH as f64),
            ("steps", STEPS as f64),
            ("learning-rate", LEARNING_RATE),
            ("seed", SEED as f64),
        ] {
            assert!(option(name).ends_with(&format!("[default: {value}]")), "{name}: {}", option(name));
        }
    }

    #[test]
    fn only_options_that_were_given_can_differ_from_a_checkpoint() {
        let saved = settings(&TrainArgs { width: Some(64), seed: Some(9), ..TrainArgs::default() }, 100);
        let check = |args: TrainArgs| {
            let asked = settings(&args, 100);
            differences(&args, &asked, &saved).map_err(|e| e.to_string())
        };
        assert_eq!(check(TrainArgs::default()), Ok(()));
        assert_eq!(check(TrainArgs { width: Some(64), batch: Some(BATCH), ..TrainArgs::default() }), Ok(()));
        assert!(check(TrainArgs { width: Some(128), ..TrainArgs::default() })
            .unwrap_err()
            .contains("another shape"));
        assert!(check(TrainArgs { seed: Some(8), ..TrainArgs::default() }).unwrap_err().contains("--seed 9"));
    }

    #[test]
    fn a_training_beyond_the_memory_is_refused() {
        let args = TrainArgs { width: Some(1 << 20), ..TrainArgs::default() };
        let Err(Failure::Input(sentence)) = check_memory::<crate::train::Float>(&settings(&args, 100)) else {
            panic!()
        };
        assert!(sentence.contains("GB of memory"), "{sentence}");
    }
}
