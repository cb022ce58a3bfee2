//! Continues a prompt token by token through a decoder's key/value cache.
//!
//! When the context is full the cache starts anew with the later half of what is in it, so a text may be longer than
//! the context at the price of one pass over half a context each half context.

use std::fmt;

use upbeat_kernels::Element;

use crate::model::{Decoder, ModelError};
use crate::sampling::{Sampler, SamplingError};

/// Why generation stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationError {
    /// The prompt holds no token.
    EmptyPrompt,
    /// The model refused a token.
    Model(ModelError),
    /// Nothing could be sampled from the model's output.
    Sampling(SamplingError),
}

impl fmt::Display for GenerationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyPrompt => write!(f, "the prompt is empty"),
            Self::Model(error) => error.fmt(f),
            Self::Sampling(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GenerationError {}

impl From<ModelError> for GenerationError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<SamplingError> for GenerationError {
    fn from(error: SamplingError) -> Self {
        Self::Sampling(error)
    }
}

/// Resets `decoder`, feeds `prompt` and draws up to `count` tokens; `on_token` gets each one and says whether to go on.
///
/// Of a prompt longer than the context only the end is read.
///
/// # Errors
/// An empty prompt, a token outside the vocabulary, or logits that are not finite.
pub fn generate<E: Element>(
    decoder: &mut Decoder<'_, E>,
    context: usize,
    prompt: &[u32],
    count: usize,
    sampler: &mut Sampler,
    mut on_token: impl FnMut(u32) -> bool,
) -> Result<(), GenerationError> {
    let (&last, before) = prompt.split_last().ok_or(GenerationError::EmptyPrompt)?;
    let mut fed = before[before.len() - before.len().min(context - 1)..].to_vec();
    decoder.reset();
    for &token in &fed {
        decoder.step(token)?;
    }
    let mut next = last;
    for _ in 0..count {
        if decoder.position() == context {
            fed.drain(..fed.len() - context / 2);
            decoder.reset();
            for &token in &fed {
                decoder.step(token)?;
            }
        }
        let logits = decoder.step(next)?;
        fed.push(next);
        next = sampler.pick(logits)?;
        if !on_token(next) {
            break;
        }
    }
    Ok(())
}
