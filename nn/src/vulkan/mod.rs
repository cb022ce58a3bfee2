//! A model on a GPU: its parameters in the device's memory, and a decoder that feeds it there.
//!
//! The arithmetic is f32 whatever the model's precision and the weights' [`Storage`] are; logits agree with the CPU's within rounding
//! (`nn/tests/vulkan.rs` has the bound), not bit for bit.

mod decoder;
mod weight;

pub use decoder::VulkanDecoder;
pub use weight::Storage;

use upbeat_kernels::{Element, RopeShape};
use upbeat_vulkan::{Buffer, Commands, Device, Rope, VulkanError};

use crate::layers;
use crate::model::{self, Config, FeedForward, Positions, Transformer};
use crate::parameter::{Parameter, ParameterId};
use weight::Weight;

/// Gains of a norm, and which norm.
struct Norm {
    /// `[width]`
    weight: Buffer<f32>,
    kind: model::Norm,
    epsilon: f64,
}

impl Norm {
    /// The norm of each row of `x`.
    fn apply(&self, commands: &mut Commands, x: &Buffer<f32>, out: &Buffer<f32>) -> Result<(), VulkanError> {
        match self.kind {
            model::Norm::Layer => commands.layer_norm(x, &self.weight, None, self.epsilon, out)?,
            model::Norm::Rms => commands.rms_norm(x, &self.weight, self.epsilon, out)?,
        };
        Ok(())
    }
}

/// Weights of one block, each `[out, in]`.
struct Block {
    attention_norm: Norm,
    qkv: Weight,
    out: Weight,
    feed_forward_norm: Norm,
    up: Weight,
    down: Weight,
}

/// A [`Transformer`]'s parameters on a device, as they were when it was made.
pub struct VulkanModel {
    device: Device,
    config: Config,
    /// `[vocabulary, width]`, the head as well.
    embedding: Weight,
    /// `[context, width]` where positions are learned.
    positions: Option<Buffer<f32>>,
    rope: Option<Rope>,
    blocks: Vec<Block>,
    norm: Norm,
}

impl VulkanModel {
    /// Copies the parameters of `model` to `device`, as f32.
    ///
    /// # Errors
    /// What [`Device::upload`] fails with: above all [`VulkanError::OutOfMemory`].
    pub fn new<E: Element>(model: &Transformer<E>, device: &Device) -> Result<Self, VulkanError> {
        Self::stored(model, device, Storage::F32)
    }

    /// Copies the parameters of `model` to `device`, stored as told.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`VulkanError::Feature`] where the device has no buffers of f16.
    pub fn stored<E: Element>(
        model: &Transformer<E>,
        device: &Device,
        storage: Storage,
    ) -> Result<Self, VulkanError> {
        let parameters: &[Parameter<E::Wide>] = model.parameters();
        let numbers = |id: ParameterId| -> Vec<f32> {
            parameters[id.0].values.iter().map(|x| x.to_f64() as f32).collect()
        };
        let upload = |id| device.upload(&numbers(id));
        let weight = |id| Weight::upload(device, &numbers(id), storage);
        let norm = |norm: &layers::Norm| {
            Ok::<_, VulkanError>(Norm {
                weight: upload(norm.weight)?,
                kind: norm.kind,
                epsilon: norm.epsilon,
            })
        };
        let config = model.config().clone();
        let blocks = model.blocks.iter().map(|block| {
            Ok::<_, VulkanError>(Block {
                attention_norm: norm(&block.attention_norm)?,
                qkv: weight(block.attention.qkv.weight)?,
                out: weight(block.attention.out.weight)?,
                feed_forward_norm: norm(&block.feed_forward_norm)?,
                up: weight(block.feed_forward.up.weight)?,
                down: weight(block.feed_forward.down.weight)?,
            })
        });
        let rope = match config.positions {
            Positions::Rotary { base } => {
                let (heads, dim) = (3 * config.heads, config.width / config.heads);
                // Queries and keys are turned, values are not.
                let shape = RopeShape { seq: 1, first: 0, heads, rotate: 2 * config.heads, dim, base };
                Some(Rope::new(device, shape)?)
            }
            Positions::Learned => None,
        };
        Ok(Self {
            device: device.clone(),
            embedding: weight(model.embedding.table)?,
            positions: model.positions.as_ref().map(|positions| upload(positions.table)).transpose()?,
            rope,
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: norm(&model.norm)?,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A decoder that feeds tokens through a key/value cache on the device.
    pub fn decoder(&self) -> VulkanDecoder<'_> {
        VulkanDecoder::new(self)
    }

    /// Numbers that the first map of a feed-forward part gives a row.
    fn up_width(&self) -> usize {
        match self.config.feed_forward {
            FeedForward::SwiGlu => 2 * self.config.hidden,
            FeedForward::Gelu => self.config.hidden,
        }
    }
}
