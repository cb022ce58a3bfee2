//! Training: batches, gradients, clipping, the optimizer, evaluation, saving and resuming.
//!
//! A [`Trainer`] is a function of its configuration and its text. Its whole state is in a checkpoint, so ten steps, a
//! save, a resume and ten more steps give the bits of twenty steps, for any number of workers.

mod checkpoint;
mod config;
mod error;
mod history;

use std::path::PathBuf;
use std::time::Instant;

use upbeat_kernels::Element;

pub use checkpoint::{load_model, saved_dtype, Checkpoint};
pub use config::TrainConfig;
pub use error::TrainError;
pub use history::History;

use crate::checkpoint::disk::Disk;
use crate::checkpoint::Store;
use crate::data::{Dataset, Tokenizer, Windows};
use crate::gradients::Gradients;
use crate::model::Transformer;
use crate::optimizer::AdamWOptimizer;

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Steps made, this one included.
    pub step: u64,
    /// Mean loss of the batch in nats a token, before the step.
    pub loss: f64,
    /// Learning rate used.
    pub learning_rate: f64,
    /// Norm of all gradients together before clipping; `None` where clipping is off.
    pub gradient_norm: Option<f64>,
    /// Tokens trained on.
    pub tokens: usize,
    /// When the step, and with it drawing the batch and the forward pass, began.
    pub start: Instant,
    /// When the forward pass ended and the backward pass began.
    pub backward: Instant,
    /// When the backward pass ended, and clipping and the optimizer began.
    pub update: Instant,
    /// When the step ended.
    pub end: Instant,
}

/// A training in progress.
pub struct Trainer<E: Element> {
    config: TrainConfig,
    tokenizer: Tokenizer,
    dataset: Dataset,
    model: Transformer<E>,
    optimizer: AdamWOptimizer<E>,
    gradients: Gradients<E>,
    windows: Windows,
    history: History,
    tokens: Vec<u32>,
    targets: Vec<u32>,
}

impl<E: Element> Trainer<E> {
    /// A training before its first step.
    ///
    /// # Errors
    /// Settings that make no sense, or too little memory for the parameters.
    ///
    /// # Panics
    /// When the dataset's windows are not as long as the model's context, or the vocabularies differ.
    pub fn new(config: TrainConfig, tokenizer: Tokenizer, dataset: Dataset) -> Result<Self, TrainError> {
        config.validate()?;
        let model = Transformer::new(config.model.clone(), config.seed)?;
        let optimizer = AdamWOptimizer::new(&model, config.optimizer);
        let fingerprint = dataset.fingerprint();
        // Its own stream, so that batches and initial parameters share no numbers.
        let windows = Windows::new(config.seed ^ 0xBA7C_4ED5).state();
        let history = History::default();
        Self::resume(
            Checkpoint { config, model, tokenizer, history, optimizer, windows, fingerprint },
            dataset,
        )
    }

    /// Goes on where `checkpoint` was saved.
    ///
    /// # Errors
    /// [`TrainError::OtherText`] when `dataset` is not of the same text.
    ///
    /// # Panics
    /// When the dataset's windows are not as long as the model's context, or the vocabularies differ.
    pub fn resume(checkpoint: Checkpoint<E>, dataset: Dataset) -> Result<Self, TrainError> {
        let Checkpoint { config, model, tokenizer, history, optimizer, windows, fingerprint } = checkpoint;
        assert_eq!(dataset.context(), config.model.context, "windows as long as the model's context");
        assert_eq!(tokenizer.vocabulary(), config.model.vocabulary, "one vocabulary");
        if dataset.fingerprint() != fingerprint {
            return Err(TrainError::OtherText);
        }
        Ok(Self {
            gradients: Gradients::new(&model),
            windows: Windows::new(windows),
            config,
            tokenizer,
            dataset,
            model,
            optimizer,
            history,
            tokens: Vec::new(),
            targets: Vec::new(),
        })
    }

    /// Draws a batch and makes one step.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] when the loss or, with clipping, the gradients are not finite. The training is then as
    /// before the step.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let start = Instant::now();
        let before = self.windows.clone();
        let made = self.optimizer.step_count();
        let learning_rate = self.config.schedule.rate(made);
        self.windows.draw(&self.dataset, self.config.batch, &mut self.tokens, &mut self.targets);
        self.gradients.clear();
        let context = self.config.model.context;
        let mut backward = start;
        let loss = self.model.loss_and_gradients_with(
            &self.tokens,
            &self.targets,
            context,
            &mut self.gradients,
            |_| backward = Instant::now(),
        )?;
        let update = Instant::now();
        let gradient_norm = self.config.clip.is_finite().then(|| self.gradients.global_norm());
        for (what, value) in [("loss", Some(loss)), ("gradient", gradient_norm)] {
            if value.is_some_and(|x| !x.is_finite()) {
                self.windows = before;
                return Err(TrainError::NotFinite { step: made + 1, what });
            }
        }
        let scale =
            gradient_norm
                .map_or(1.0, |norm| if norm > self.config.clip { self.config.clip / norm } else { 1.0 });
        self.optimizer.step(&mut self.model, &self.gradients, learning_rate, scale);
        self.history.losses.push(loss);
        Ok(StepReport {
            step: made + 1,
            loss,
            learning_rate,
            gradient_norm,
            tokens: self.tokens.len(),
            start,
            backward,
            update,
            end: Instant::now(),
        })
    }

    /// Mean loss in nats a token on up to `windows` windows of the held-out part, the same ones every time; kept in
    /// the history.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] when it is not finite.
    pub fn evaluate(&mut self, windows: usize) -> Result<f64, TrainError> {
        let context = self.config.model.context;
        let (tokens, targets) = self.dataset.held_out_windows(windows);
        let mut total = 0.0;
        for (tokens, targets) in
            tokens.chunks(self.config.batch * context).zip(targets.chunks(self.config.batch * context))
        {
            total += self.model.loss(tokens, targets, context)? * tokens.len() as f64;
        }
        let (loss, step) = (total / tokens.len() as f64, self.step_count());
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step, what: "held-out loss" });
        }
        if self.history.held_out.last().is_none_or(|last| last.0 != step) {
            self.history.held_out.push((step, loss));
        }
        Ok(loss)
    }

    /// Saves everything that [`Checkpoint::load`] and [`resume`](Self::resume) need.
    ///
    /// # Errors
    /// What the system refused; the older checkpoint is then whole.
    pub fn save<D: Disk>(&self, store: &Store<D>) -> Result<PathBuf, TrainError> {
        let files = checkpoint::to_files(&checkpoint::View {
            config: &self.config,
            model: &self.model,
            tokenizer: &self.tokenizer,
            history: &self.history,
            optimizer: &self.optimizer,
            windows: self.windows.state(),
            fingerprint: self.dataset.fingerprint(),
        });
        Ok(store.save(&files)?)
    }

    /// Steps made.
    pub fn step_count(&self) -> u64 {
        self.optimizer.step_count()
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The model as it is now.
    pub fn model(&self) -> &Transformer<E> {
        &self.model
    }

    /// Ends the training: the model and its tokenizer, to serve or to sample.
    pub fn into_model(self) -> (Transformer<E>, Tokenizer) {
        (self.model, self.tokenizer)
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The text.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Losses so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Floating-point operations of one step.
    pub fn flops_per_step(&self) -> f64 {
        self.model.flops_per_token() * (self.config.batch * self.config.model.context) as f64
    }
}
