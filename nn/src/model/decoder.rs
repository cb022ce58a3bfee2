//! Decoding: one token at a time, keys and values of earlier positions kept in a cache, which grows with them. It runs in
//! the parameters' own type, so in f32 for a model that trains in bf16.

use upbeat_kernels::{Activation, Buffer, Element};

use super::error::ModelError;
use super::transformer::Transformer;
use crate::layers::Cache;

/// Feeds tokens to a model one by one; see [`step`](Self::step).
pub struct Decoder<'a, E: Element> {
    model: &'a Transformer<E>,
    caches: Vec<Cache<E::Wide>>,
    position: usize,
    /// The residual stream, `[width]`, before and after the current part of a block, and its norm.
    x: Buffer<E::Wide>,
    next: Buffer<E::Wide>,
    normed: Buffer<E::Wide>,
    logits: Buffer<E::Wide>,
}

impl<'a, E: Element> Decoder<'a, E> {
    pub(super) fn new(model: &'a Transformer<E>) -> Self {
        let config = model.config();
        Self {
            model,
            caches: model.blocks.iter().map(|_| Cache::new(config)).collect(),
            position: 0,
            x: Buffer::zeroed(config.width),
            next: Buffer::zeroed(config.width),
            normed: Buffer::zeroed(config.width),
            logits: Buffer::zeroed(config.vocabulary),
        }
    }

    /// Feeds `token` at the next position and gives the logits `[vocabulary]` of the token after it.
    ///
    /// Allocates nothing once as many positions were fed before a reset, and otherwise at each doubling of their number.
    /// Errors when the token is outside the vocabulary or the context is full; the decoder is then as before.
    pub fn step(&mut self, token: u32) -> Result<&[E::Wide], ModelError> {
        let Self { model, caches, position, x, next, normed, logits } = self;
        let (parameters, context) = (model.parameters(), model.config().context);
        if *position == context {
            return Err(ModelError::Context { positions: context + 1, context });
        }
        let row = model.embedding.row(parameters, token as usize)?;
        match &model.positions {
            Some(table) => E::Wide::add(row, table.row(parameters, *position)?, x)?,
            None => x.copy_from_slice(row),
        }
        for (block, cache) in model.blocks.iter().zip(caches) {
            block.attention_norm.apply(parameters, x, normed)?;
            block.attention.apply(parameters, cache, *position, normed, x, next)?;
            std::mem::swap(x, next);
            block.feed_forward_norm.apply(parameters, x, normed)?;
            block.feed_forward.apply(parameters, normed, x, next)?;
            std::mem::swap(x, next);
        }
        model.norm.apply(parameters, x, normed)?;
        model.head.apply(parameters, normed, Activation::Identity, None, logits)?;
        *position += 1;
        Ok(logits)
    }

    /// How many tokens were fed since the start or the last reset.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets every token; the next one is at position 0 again.
    pub fn reset(&mut self) {
        self.position = 0;
    }
}
