//! Continues a prompt token by token through a decoder's key/value cache.
//!
//! When the context is full the cache starts anew with the later half of what is in it, so a text may be longer than
//! the context at the price of one pass over half a context each half context.

use std::fmt;

use upbeat_kernels::Element;
use upbeat_vulkan::VulkanError;

use crate::model::{Decoder, ModelError};
use crate::sampling::{Sampler, SamplingError};

/// Why generation stopped.
#[derive(Clone, PartialEq)]
pub enum GenerationError {
    /// The prompt holds no token.
    EmptyPrompt,
    /// The model refused a token.
    Model(ModelError),
    /// Nothing could be sampled from the model's output.
    Sampling(SamplingError),
    /// The GPU failed.
    Vulkan(VulkanError),
}

impl fmt::Display for GenerationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyPrompt => write!(f, "the prompt is empty"),
            Self::Model(error) => error.fmt(f),
            Self::Sampling(error) => error.fmt(f),
            Self::Vulkan(error) => error.fmt(f),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for GenerationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GenerationError({self})")
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

impl From<VulkanError> for GenerationError {
    fn from(error: VulkanError) -> Self {
        Self::Vulkan(error)
    }
}

/// What continues a text: a model that remembers what it was fed.
pub trait Decode {
    /// What its logits are.
    type Number: Element;

    /// Forgets every token.
    fn reset(&mut self);

    /// Tokens fed since the start or the last reset.
    fn position(&self) -> usize;

    /// Feeds `tokens`, one at least, and gives the logits `[vocabulary]` of the token after the last of them.
    ///
    /// # Errors
    /// No tokens, one outside the vocabulary, or more than there is room for in the context; what a device fails with.
    fn feed(&mut self, tokens: &[u32]) -> Result<&[Self::Number], GenerationError>;
}

impl<E: Element> Decode for Decoder<'_, E> {
    type Number = E::Wide;

    fn reset(&mut self) {
        Decoder::reset(self);
    }

    fn position(&self) -> usize {
        Decoder::position(self)
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<&[E::Wide], GenerationError> {
        let (&last, before) = tokens.split_last().ok_or(GenerationError::EmptyPrompt)?;
        for &token in before {
            self.step(token)?;
        }
        Ok(self.step(last)?)
    }
}

/// Resets `decoder`, feeds `prompt` and draws up to `count` tokens; `on_token` gets each one and says whether to go on.
///
/// Of a prompt longer than the context only the end is read.
///
/// # Errors
/// An empty prompt, a token outside the vocabulary, or logits that are not finite.
pub fn generate<D: Decode>(
    decoder: &mut D,
    context: usize,
    prompt: &[u32],
    count: usize,
    sampler: &mut Sampler,
    mut on_token: impl FnMut(u32) -> bool,
) -> Result<(), GenerationError> {
    if prompt.is_empty() {
        return Err(GenerationError::EmptyPrompt);
    }
    let mut fed = prompt[prompt.len() - prompt.len().min(context)..].to_vec();
    decoder.reset();
    // How many of them the decoder has seen.
    let mut seen = 0;
    for _ in 0..count {
        if decoder.position() + fed.len() - seen > context {
            fed.drain(..fed.len() - 1 - context / 2);
            seen = 0;
            decoder.reset();
        }
        let logits = decoder.feed(&fed[seen..])?;
        seen = fed.len();
        let next = sampler.pick(logits)?;
        fed.push(next);
        if !on_token(next) {
            break;
        }
    }
    Ok(())
}
