//! What a training's checkpoint holds, and the way to it and back.
//!
//! `parameters.safetensors` has the model's settings, its parameters under their own names and the tokenizer: all that
//! generating needs. `state.safetensors` has the moments (`first.NAME`, `second.NAME`), the history of losses, and as
//! settings the step, the state of the batch generator, the hash of the text, the training's configuration and the type it
//! computes in (`dtype`). Parameters and moments are always saved unrounded, so those of a bf16 training are f32's.

use std::path::Path;

use upbeat_kernels::{Buffer, Element};

use super::config::{read_model, write_model, TrainConfig};
use super::history::History;
use crate::checkpoint::archive::to_bytes;
use crate::checkpoint::store::NamedFile;
use crate::checkpoint::{load, Archive, Array, CheckpointError, Numbers, Record};
use crate::data::Tokenizer;
use crate::model::Transformer;
use crate::optimizer::{AdamWOptimizer, Moments};

const PARAMETERS: &str = "parameters.safetensors";
const STATE: &str = "state.safetensors";
const DTYPE: &str = "dtype";
const CODE_POINTS: &str = "tokenizer.code_points";

/// A training's state as loaded: give it to [`Trainer::resume`](super::Trainer::resume).
pub struct Checkpoint<E: Element> {
    /// The settings that the training began with.
    pub config: TrainConfig,
    /// The model with its parameters.
    pub model: Transformer<E>,
    /// The vocabulary.
    pub tokenizer: Tokenizer,
    /// Losses up to now.
    pub history: History,
    pub(super) optimizer: AdamWOptimizer<E>,
    pub(super) windows: u64,
    pub(super) fingerprint: u64,
}

/// What [`to_files`] needs.
pub(super) struct View<'a, E: Element> {
    pub(super) config: &'a TrainConfig,
    pub(super) model: &'a Transformer<E>,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) history: &'a History,
    pub(super) optimizer: &'a AdamWOptimizer<E>,
    pub(super) windows: u64,
    pub(super) fingerprint: u64,
}

/// The files of a checkpoint. Takes memory for the parameters and moments once more.
pub(super) fn to_files<E: Element>(view: &View<'_, E>) -> Vec<NamedFile> {
    let floats = |name: String, shape: &[usize], values| Array {
        name,
        shape: shape.to_vec(),
        numbers: Numbers::Floats(values),
    };
    let code_points = view.tokenizer.code_points();
    let mut parameters: Vec<Array<'_, E::Wide>> =
        view.model.parameters().iter().map(|p| floats(p.name.clone(), &p.shape, &p.values)).collect();
    parameters.push(Array {
        name: CODE_POINTS.into(),
        shape: vec![code_points.len()],
        numbers: Numbers::Words(&code_points),
    });

    let mut record = Record::default();
    view.config.write(&mut record);
    record.set(DTYPE, E::NAME);
    record.set("step", view.optimizer.step_count());
    record.set("windows", view.windows);
    record.set("text", view.fingerprint);
    let mut state = Vec::new();
    for (parameter, moments) in view.model.parameters().iter().zip(view.optimizer.state()) {
        state.push(floats(format!("first.{}", parameter.name), &parameter.shape, &moments.first));
        state.push(floats(format!("second.{}", parameter.name), &parameter.shape, &moments.second));
    }
    let history = view.history.to_columns();
    for (name, column) in &history {
        state.push(Array {
            name: (*name).into(),
            shape: vec![column.len()],
            numbers: Numbers::Doubles(column),
        });
    }
    vec![
        (PARAMETERS, to_bytes(&write_model(view.model.config()).to_text(), &parameters)),
        (STATE, to_bytes(&record.to_text(), &state)),
    ]
}

/// Loads the model and its vocabulary from the newest checkpoint in `folder`, without the training's state.
///
/// # Errors
/// No checkpoint there, an unreadable or damaged one, or one of another precision.
pub fn load_model<E: Element>(folder: &Path) -> Result<(Transformer<E>, Tokenizer), CheckpointError> {
    let (path, files) = load(folder, &[PARAMETERS])?;
    parse_model(&path, &files[0])
}

/// The type that the training of the newest checkpoint in `folder` computes in, an [`Element::NAME`]; `None` where an older
/// version, which knew no choice, did not say.
///
/// # Errors
/// No checkpoint there, or an unreadable or damaged one.
pub fn saved_dtype(folder: &Path) -> Result<Option<String>, CheckpointError> {
    let (path, files) = load(folder, &[STATE])?;
    let damaged = |reason| CheckpointError::Damaged { path: path.join(STATE), reason };
    let archive = Archive::parse(&files[0]).map_err(damaged)?;
    let mut record = Record::from_text(archive.text()).map_err(damaged)?;
    let dtype: String = record.take_or(DTYPE, String::new()).map_err(damaged)?;
    Ok(Some(dtype).filter(|dtype| !dtype.is_empty()))
}

/// The model of a parameters file.
fn parse_model<E: Element>(
    path: &Path,
    bytes: &[u8],
) -> Result<(Transformer<E>, Tokenizer), CheckpointError> {
    let damaged = |reason| CheckpointError::Damaged { path: path.join(PARAMETERS), reason };
    let archive = Archive::parse(bytes).map_err(damaged)?;
    let config = Record::from_text(archive.text()).and_then(read_model).map_err(damaged)?;
    let count = config.checked_parameter_count().map_err(|e| damaged(e.to_string()))?;
    // Compared before the model is made, so that settings alone cannot ask for memory that the file does not fill.
    if count != archive.float_count() {
        let reason = format!("its settings ask for {count} parameters, and it has {}", archive.float_count());
        return Err(CheckpointError::Shape(reason));
    }
    let code_points = archive.words(CODE_POINTS).map_err(damaged)?;
    let tokenizer = Tokenizer::from_code_points(&code_points).map_err(|e| damaged(e.to_string()))?;
    if tokenizer.vocabulary() != config.vocabulary {
        let reason = format!("{} characters for {} tokens", tokenizer.vocabulary(), config.vocabulary);
        return Err(CheckpointError::Shape(reason));
    }
    let mut model = Transformer::new(config, 0).map_err(|e| damaged(e.to_string()))?;
    if archive.len() != model.parameters().len() + 1 {
        let reason =
            format!("it has {} arrays for {} parameters", archive.len() - 1, model.parameters().len());
        return Err(CheckpointError::Shape(reason));
    }
    for parameter in model.parameters_mut() {
        archive
            .floats(&parameter.name, &parameter.shape, &mut parameter.values)
            .map_err(CheckpointError::Shape)?;
    }
    Ok((model, tokenizer))
}

impl<E: Element> Checkpoint<E> {
    /// Loads the newest checkpoint in `folder`.
    ///
    /// # Errors
    /// No checkpoint there, an unreadable or damaged one, or one of another precision. [`saved_dtype`] says which one it is of.
    pub fn load(folder: &Path) -> Result<Self, CheckpointError> {
        let (path, files) = load(folder, &[PARAMETERS, STATE])?;
        let (model, tokenizer) = parse_model::<E>(&path, &files[0])?;
        let damaged = |reason| CheckpointError::Damaged { path: path.join(STATE), reason };
        let archive = Archive::parse(&files[1]).map_err(damaged)?;
        let mut record = Record::from_text(archive.text()).map_err(damaged)?;
        let config = TrainConfig::read(model.config().clone(), &mut record).map_err(damaged)?;
        let dtype = record.take_or(DTYPE, E::Wide::NAME.to_owned()).map_err(damaged)?;
        if dtype != E::NAME {
            return Err(CheckpointError::Dtype { saved: dtype, asked: E::NAME });
        }
        let step = record.take("step").map_err(damaged)?;
        let windows = record.take("windows").map_err(damaged)?;
        let fingerprint = record.take("text").map_err(damaged)?;
        record.finish().map_err(damaged)?;
        let history = History::from_columns(|name| archive.doubles(name)).map_err(damaged)?;
        if history.losses.len() as u64 != step {
            return Err(damaged(format!("{} losses for {step} steps", history.losses.len())));
        }
        let mut moments = Vec::new();
        for parameter in model.parameters() {
            let read = |prefix: &str| {
                let mut values = Buffer::<E::Wide>::zeroed(parameter.values.len());
                archive
                    .floats(&format!("{prefix}.{}", parameter.name), &parameter.shape, &mut values)
                    .map_err(CheckpointError::Shape)?;
                Ok(values)
            };
            let (first, second) = (read("first")?, read("second")?);
            moments.push(Moments { name: parameter.name.clone(), first, second });
        }
        let mut optimizer = AdamWOptimizer::new(&model, config.optimizer);
        optimizer.restore(step, moments).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { config, model, tokenizer, history, optimizer, windows, fingerprint })
    }

    /// Steps made.
    pub fn step(&self) -> u64 {
        self.optimizer.step_count()
    }
}
