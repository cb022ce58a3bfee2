//! Feeds tokens to a model on a GPU: a whole prompt in one submission, then token by token through a key/value cache.

use upbeat_kernels::{Activation, ShapeError};
use upbeat_vulkan::{Attention, Buffer, Commands, VulkanError};

use super::VulkanModel;
use crate::generation::{Decode, GenerationError};
use crate::model::{FeedForward, ModelError};

/// Positions that a cache has room for at first. The room doubles when it is full.
const FIRST_POSITIONS: usize = 64;

/// Buffers of the forward pass of some rows.
struct Scratch {
    rows: usize,
    tokens: Buffer<u32>,
    /// The residual stream, `[rows, width]`, its norm, and what attention mixed.
    x: Buffer<f32>,
    normed: Buffer<f32>,
    mixed: Buffer<f32>,
    /// `[rows, up width]`
    up: Buffer<f32>,
    /// `[rows, hidden]`
    hidden: Buffer<f32>,
}

/// Feeds tokens to a [`VulkanModel`].
pub struct VulkanDecoder<'a> {
    model: &'a VulkanModel,
    position: usize,
    /// Packed projections `[room, 3 · width]` of each block: products write them where attention reads them.
    caches: Vec<Buffer<f32>>,
    room: usize,
    scratch: Option<Scratch>,
    /// `[vocabulary]`, on the device and here.
    logits: Option<Buffer<f32>>,
    read: Vec<f32>,
}

impl<'a> VulkanDecoder<'a> {
    pub(super) fn new(model: &'a VulkanModel) -> Self {
        Self {
            model,
            position: 0,
            caches: Vec::new(),
            room: 0,
            scratch: None,
            logits: None,
            read: Vec::new(),
        }
    }

    /// Feeds `tokens` and gives the logits `[vocabulary]` of the token after the last of them. A worker runs other tasks while the
    /// device computes.
    ///
    /// # Errors
    /// No tokens, one outside the vocabulary, more than there is room for in the context: the decoder is then as before. What the
    /// device fails with: [`reset`](Self::reset) it then.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], GenerationError> {
        let config = self.model.config();
        if tokens.is_empty() {
            return Err(GenerationError::EmptyPrompt);
        }
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= config.vocabulary) {
            let error = ShapeError::Index { what: "token", index: token as usize, len: config.vocabulary };
            return Err(ModelError::Shape(error).into());
        }
        let end = self.position + tokens.len();
        if end > config.context {
            return Err(ModelError::Context { positions: end, context: config.context }.into());
        }
        self.make_room(end, tokens.len())?;
        let (Some(scratch), Some(logits)) = (&self.scratch, &self.logits) else {
            unreachable!("room was made");
        };
        scratch.tokens.slice(0..tokens.len()).write(tokens)?;
        let mut commands = self.model.device().commands();
        self.record(&mut commands, scratch, logits, tokens.len())?;
        drop(commands.submit()?);
        logits.read(&mut self.read)?;
        self.position = end;
        Ok(&self.read)
    }

    /// Tokens fed since the start or the last reset.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets every token; the next one is at position 0 again.
    pub fn reset(&mut self) {
        self.position = 0;
    }

    /// Room for positions up to `end` and for the pass of `rows` rows.
    fn make_room(&mut self, end: usize, rows: usize) -> Result<(), VulkanError> {
        let (model, config) = (self.model, self.model.config());
        let (device, width) = (model.device(), config.width);
        if self.room < end {
            let room = end.max(2 * self.room).max(FIRST_POSITIONS).min(config.context);
            let wider: Vec<_> =
                model.blocks.iter().map(|_| device.buffer(room * 3 * width)).collect::<Result<_, _>>()?;
            let mut commands = device.commands();
            let used = self.position * 3 * width;
            for (from, to) in self.caches.iter().zip(&wider) {
                commands.copy(&from.slice(0..used), &to.slice(0..used))?;
            }
            // What is submitted later waits for it.
            drop(commands.submit()?);
            (self.caches, self.room) = (wider, room);
        }
        if self.scratch.as_ref().is_none_or(|scratch| scratch.rows < rows) {
            let floats = |cols: usize| device.buffer(rows * cols);
            self.scratch = Some(Scratch {
                rows,
                tokens: device.buffer(rows)?,
                x: floats(width)?,
                normed: floats(width)?,
                mixed: floats(width)?,
                up: floats(model.up_width())?,
                hidden: floats(config.hidden)?,
            });
        }
        if self.logits.is_none() {
            self.logits = Some(device.buffer(config.vocabulary)?);
            self.read = vec![0.0; config.vocabulary];
        }
        Ok(())
    }

    /// The forward pass of `rows` rows whose tokens are in the scratch, up to the last one's logits.
    fn record(
        &self,
        commands: &mut Commands,
        scratch: &Scratch,
        logits: &Buffer<f32>,
        rows: usize,
    ) -> Result<(), VulkanError> {
        let (model, config) = (self.model, self.model.config());
        let (width, heads, hidden) = (config.width, config.heads, config.hidden);
        let (dim, position, end) = (width / heads, self.position, self.position + rows);
        let part = |buffer: &Buffer<f32>, cols: usize| buffer.slice(0..rows * cols);
        let (x, normed, mixed) =
            (part(&scratch.x, width), part(&scratch.normed, width), part(&scratch.mixed, width));
        let (up, down) = (part(&scratch.up, model.up_width()), part(&scratch.hidden, hidden));

        model.embedding.look_up(commands, width, &scratch.tokens.slice(0..rows), &x)?;
        if let Some(positions) = &model.positions {
            commands.add(&x, &positions.slice(position * width..end * width), &x)?;
        }
        for (block, cache) in model.blocks.iter().zip(&self.caches) {
            block.attention_norm.apply(commands, &x, &normed)?;
            let qkv = cache.slice(position * 3 * width..end * 3 * width);
            block.qkv.apply(commands, (&normed, width), &qkv, Activation::Identity, false)?;
            if let Some(rope) = &model.rope {
                commands.rope(&qkv, &rope.at(position, rows), &qkv)?;
            }
            let attention = Attention {
                batch: 1,
                queries: rows,
                keys: end,
                heads,
                kv_heads: heads,
                dim,
                causal: true,
                q: &qkv,
                q_stride: 3 * width,
                k: &cache.slice(width..cache.len()),
                v: &cache.slice(2 * width..cache.len()),
                kv_stride: 3 * width,
            };
            commands.attention(attention, &mixed)?;
            block.out.apply(commands, (&mixed, width), &x, Activation::Identity, true)?;

            block.feed_forward_norm.apply(commands, &x, &normed)?;
            match config.feed_forward {
                FeedForward::SwiGlu => {
                    block.up.apply(commands, (&normed, width), &up, Activation::Identity, false)?;
                    commands.swiglu(&up, hidden, &down)?;
                    block.down.apply(commands, (&down, hidden), &x, Activation::Identity, true)?;
                }
                FeedForward::Gelu => {
                    block.up.apply(commands, (&normed, width), &up, Activation::Gelu, false)?;
                    block.down.apply(commands, (&up, hidden), &x, Activation::Identity, true)?;
                }
            }
        }
        let last = x.slice((rows - 1) * width..rows * width);
        let normed = normed.slice(0..width);
        model.norm.apply(commands, &last, &normed)?;
        model.embedding.apply(commands, (&normed, width), logits, Activation::Identity, false)
    }
}

impl Decode for VulkanDecoder<'_> {
    type Number = f32;

    fn reset(&mut self) {
        VulkanDecoder::reset(self);
    }

    fn position(&self) -> usize {
        VulkanDecoder::position(self)
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], GenerationError> {
        VulkanDecoder::feed(self, tokens)
    }
}
