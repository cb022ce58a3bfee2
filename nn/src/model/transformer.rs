//! The pre-norm, decoder-only transformer: makes its parameters and records its forward pass on a tape.
//!
//! `x ← x + attention(norm(x))`, `x ← x + feed_forward(norm(x))` for each block, then a norm and the embedding table
//! again as the head. How parts compute is the layers' matter.

use upbeat_kernels::Element;

use super::config::{Config, ConfigError, Positions};
use super::decoder::Decoder;
use super::error::ModelError;
use crate::gradients::Gradients;
use crate::layers::{Attention, Embedding, FeedForward, Linear, Norm};
use crate::parameter::{Parameter, ParameterList};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// One layer: attention and feed-forward, each behind a norm and added to the residual stream.
pub(crate) struct Block {
    pub(crate) attention_norm: Norm,
    pub(crate) attention: Attention,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) feed_forward: FeedForward,
}

/// A transformer that computes in the precision `E`. Its parameters are kept in [`Element::Wide`]: in `E` itself, or in f32
/// where `E` is bf16, and are then rounded anew for each pass.
pub struct Transformer<E: Element> {
    config: Config,
    parameters: Vec<Parameter<E::Wide>>,
    pub(crate) embedding: Embedding,
    pub(crate) positions: Option<Embedding>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Norm,
    pub(crate) head: Linear,
}

impl<E: Element> Transformer<E> {
    /// A model with fresh parameters: matrices and tables are normal with deviation 0.02, the norms' gains 1.
    ///
    /// The numbers depend on `seed` alone (SplitMix64 for each stretch of 4096 and the Box–Muller transform, computed in
    /// f64 and rounded), so one seed gives the same bits for any number of workers. Errors when the configuration is invalid
    /// or the system refuses the memory.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let count = config.checked_parameter_count()?;
        // Asks before the pool does, whose answer to a refusal is to abort.
        Vec::<E::Wide>::new()
            .try_reserve_exact(count)
            .map_err(|_| ConfigError::Memory { bytes: count.saturating_mul(size_of::<E::Wide>()) })?;

        let mut list = ParameterList::new(seed);
        let width = config.width;
        let norm = |list: &mut _, name: &str| Norm::new(list, name, width, config.norm, config.norm_epsilon);
        let embedding = Embedding::new(&mut list, "embedding", config.vocabulary, width);
        let positions = match config.positions {
            Positions::Rotary { .. } => None,
            Positions::Learned => Some(Embedding::new(&mut list, "positions", config.context, width)),
        };
        let blocks = (0..config.layers)
            .map(|i| Block {
                attention_norm: norm(&mut list, &format!("blocks.{i}.attention_norm")),
                attention: Attention::new(&mut list, &format!("blocks.{i}.attention"), &config),
                feed_forward_norm: norm(&mut list, &format!("blocks.{i}.feed_forward_norm")),
                feed_forward: FeedForward::new(&mut list, &format!("blocks.{i}.feed_forward"), &config),
            })
            .collect();
        let norm = norm(&mut list, "norm");
        let head = embedding.tied_head();
        Ok(Self { parameters: list.finish(), embedding, positions, blocks, norm, head, config })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All parameters, the tied embedding once, in a fixed order.
    pub fn parameters(&self) -> &[Parameter<E::Wide>] {
        &self.parameters
    }

    /// All parameters, to load a checkpoint or to choose which ones decay. Their lengths must stay as they are.
    pub fn parameters_mut(&mut self) -> &mut [Parameter<E::Wide>] {
        &mut self.parameters
    }

    /// Numbers in all parameters together.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.values.len()).sum()
    }

    /// Floating-point operations of training on one token of a full context: 6 a parameter (forward 2, backward 4;
    /// the table of positions is not multiplied) and `12·layers·width·context/2` for causal attention.
    pub fn flops_per_token(&self) -> f64 {
        let Config { context, width, layers, .. } = self.config;
        let table = if self.positions.is_some() { context * width } else { 0 };
        let attention = 12.0 * layers as f64 * width as f64 * context as f64 / 2.0;
        6.0 * (self.parameter_count() - table) as f64 + attention
    }

    /// Mean cross-entropy in nats of `targets` given `tokens`, both `[batch, seq]` row-major, without gradients.
    ///
    /// # Errors
    /// No tokens, a number of them that is no multiple of `seq`, another number of targets, a `seq` longer than the
    /// context, or a token or target outside the vocabulary.
    pub fn loss(&self, tokens: &[u32], targets: &[u32], seq: usize) -> Result<f64, ModelError> {
        self.check(tokens, targets.len(), seq)?;
        let mut tape = Tape::forward_only();
        let logits = self.record_logits(&mut tape, tokens, seq)?;
        Ok(tape.cross_entropy(logits, targets)?.1)
    }

    /// The loss as [`loss`](Self::loss); its gradients are added to those present in `gradients`, which were made
    /// for this model. `gradients` also keep the tape's memory for the next call.
    ///
    /// # Errors
    /// As [`loss`](Self::loss). The gradients are then to be cleared.
    pub fn loss_and_gradients(
        &self,
        tokens: &[u32],
        targets: &[u32],
        seq: usize,
        gradients: &mut Gradients<E>,
    ) -> Result<f64, ModelError> {
        self.loss_and_gradients_with(tokens, targets, seq, gradients, |_| ())
    }

    /// [`loss_and_gradients`](Self::loss_and_gradients) that calls `between` with the loss after the forward pass and
    /// before the backward pass, so that each can be timed.
    ///
    /// # Errors
    /// As [`loss`](Self::loss). The gradients are then to be cleared.
    pub fn loss_and_gradients_with(
        &self,
        tokens: &[u32],
        targets: &[u32],
        seq: usize,
        gradients: &mut Gradients<E>,
        between: impl FnOnce(f64),
    ) -> Result<f64, ModelError> {
        self.check(tokens, targets.len(), seq)?;
        let mut tape = Tape::new(std::mem::take(&mut gradients.workspace));
        let logits = self.record_logits(&mut tape, tokens, seq)?;
        let (loss_var, loss) = tape.cross_entropy(logits, targets)?;
        between(loss);
        tape.backward(loss_var, gradients)?;
        gradients.workspace = tape.into_workspace();
        Ok(loss)
    }

    /// Logits `[batch·seq, vocabulary]` of the token after each of `tokens: [batch, seq]`.
    ///
    /// # Errors
    /// As [`loss`](Self::loss), targets aside.
    pub fn logits(&self, tokens: &[u32], seq: usize) -> Result<Tensor<E>, ModelError> {
        self.check(tokens, tokens.len(), seq)?;
        let mut tape = Tape::forward_only();
        let logits = self.record_logits(&mut tape, tokens, seq)?;
        Ok(tape.into_tensor(logits))
    }

    /// A decoder that feeds one token at a time through a key/value cache. It computes in the parameters' own type.
    pub fn decoder(&self) -> Decoder<'_, E> {
        Decoder::new(self)
    }

    fn check(&self, tokens: &[u32], targets: usize, seq: usize) -> Result<(), ModelError> {
        if tokens.is_empty() || seq == 0 {
            return Err(ModelError::Empty);
        }
        if seq > self.config.context {
            return Err(ModelError::Context { positions: seq, context: self.config.context });
        }
        if !tokens.len().is_multiple_of(seq) {
            return Err(ModelError::Ragged { tokens: tokens.len(), seq });
        }
        if tokens.len() != targets {
            return Err(ModelError::Targets { tokens: tokens.len(), targets });
        }
        Ok(())
    }

    /// Records the forward pass up to the logits. What no later operation reads is released at once.
    fn record_logits<'a>(
        &'a self,
        tape: &mut Tape<'a, E>,
        tokens: &'a [u32],
        seq: usize,
    ) -> Result<Var, ModelError> {
        let parameters = &self.parameters;
        let mut x = self.embedding.forward(tape, parameters, tokens)?;
        if let Some(positions) = &self.positions {
            let placed = positions.add_positions(tape, parameters, x, seq)?;
            tape.release(x);
            x = placed;
        }
        for block in &self.blocks {
            let normed = block.attention_norm.forward(tape, parameters, x)?;
            let mixed = block.attention.forward(tape, parameters, normed, x, seq)?;
            tape.release(normed);
            tape.release(x);
            let normed = block.feed_forward_norm.forward(tape, parameters, mixed)?;
            x = block.feed_forward.forward(tape, parameters, normed, mixed)?;
            tape.release(normed);
            tape.release(mixed);
        }
        let normed = self.norm.forward(tape, parameters, x)?;
        tape.release(x);
        let logits = self.head.forward(tape, parameters, normed, None)?;
        tape.release(normed);
        Ok(logits)
    }
}
