//! Attention whose resolution follows the information in the keys, with a bound on every output's error. `docs/adaptive-attention.md` has
//! the proof.

use upbeat_kernels::attention::{Attention, Heads, HeadsMut, Resolution, Summary};
use upbeat_kernels::{Buffer, ShapeError};
use upbeat_vulkan::{AttentionLayout, Buffer as Block, Commands, VulkanError};

use super::attention::{layout_of, on_host};
use super::{run_all, Mask};
use crate::{Tensor, TensorError};

/// What [`Tensor::adaptive_attention`] gives: the outputs, and for each how far it may be off.
#[derive(Clone, Debug)]
pub struct Adaptive {
    /// `[batch, queries, heads, dim]`
    pub output: Tensor,
    /// `[batch, heads, queries]`: the most by which an output may differ from exact attention, `‖o − ô‖₂`, but for rounding; 0 where every
    /// key was taken by itself.
    pub bounds: Tensor,
    /// `[batch, heads, queries]`: a lower bound of `e^−KL`, the part of the information that was kept; 1 where every key was taken by
    /// itself.
    pub quality: Tensor,
}

impl Tensor {
    /// [`attention`](Self::attention) at a [`Resolution`]: tiles of 32 keys whose logits hardly vary for a block of queries are taken by
    /// their means, the others key by key. Each output comes with a bound of its error that no data breaks.
    ///
    /// Worth it for many queries to long sequences of keys that change slowly (text, audio, images); keys without locality leave nothing to
    /// save, and then it takes a third longer than plain attention. Two devices may choose other tiles: each keeps its own bounds.
    ///
    /// ```
    /// use upbeat_tensor::{Device, Mask, Resolution, Tensor};
    ///
    /// // Keys that change slowly: 512 positions, one head of 8.
    /// let wave = |phase: f32| (0..512 * 8).map(|i| ((i / 8) as f32 / 200.0 + phase * (i % 8) as f32).sin()).collect::<Vec<_>>();
    /// let of = |phase| Tensor::from_slice(&wave(phase), &[1, 512, 1, 8], &Device::Cpu);
    /// let (q, k, v) = (of(0.1)?, of(0.4)?, of(0.7)?);
    /// let found = q.adaptive_attention(&k, &v, Mask::Causal, Resolution::Tolerance(0.05))?;
    /// assert!(found.bounds.max()?.item()? <= 0.05);
    /// let off = found.output.sub(&q.attention(&k, &v, Mask::Causal)?)?;
    /// assert!(off.mul(&off)?.sum_rows()?.max()?.item()?.sqrt() <= 0.05);
    /// # Ok::<(), upbeat_tensor::TensorError>(())
    /// ```
    ///
    /// # Errors
    /// Shapes that do not fit; on Vulkan devices, heads wider than 256; operands on two devices.
    pub fn adaptive_attention(
        &self,
        keys: &Self,
        values: &Self,
        mask: Mask,
        resolution: Resolution,
    ) -> Result<Adaptive, TensorError> {
        let layout = layout_of("adaptive_attention", [self, keys, values], mask)?;
        let AttentionLayout { batch, queries, heads, .. } = layout;
        let of_rows = vec![batch, heads, queries];
        let shapes = [self.shape().to_vec(), of_rows.clone(), of_rows];
        let operands = [self.operand(), keys.operand(), values.operand()];
        let cpu = |outs: [&mut [f32]; 3]| {
            adapt_on_host(&layout, resolution, [self, keys, values].map(Self::host), outs)
        };
        let vulkan = |commands: &mut Commands, outs: [&Block<f32>; 3]| {
            adapt(commands, &layout, resolution, [self, keys, values].map(Self::block), outs)
        };
        let place = operands[0].place();
        let [output, bounds, quality] = run_all("adaptive_attention", &place, operands, shapes, cpu, vulkan)?;
        Ok(Adaptive { output, bounds, quality })
    }
}

fn adapt_on_host(
    layout: &AttentionLayout,
    resolution: Resolution,
    [q, k, v]: [&[f32]; 3],
    [out, bounds, quality]: [&mut [f32]; 3],
) -> Result<(), ShapeError> {
    let &AttentionLayout { batch, queries, keys, heads, kv_heads, dim, causal, .. } = layout;
    let (of_q, of_k) = ([batch, queries, heads, dim], [batch, keys, kv_heads, dim]);
    let (q, k, v) = (Heads::new(q, of_q)?, Heads::new(k, of_k)?, Heads::new(v, of_k)?);
    let summary = Summary::new(k, v)?;
    let mut sums = Buffer::scratch(batch * heads * queries);
    let out = HeadsMut::new(out, of_q)?;
    let attention = Attention::new().mask(on_host(causal));
    let found = attention.adaptive(resolution, &summary, q, k, v, out, &mut sums)?;
    bounds.copy_from_slice(&found.bounds);
    quality.copy_from_slice(&found.quality);
    Ok(())
}

fn adapt(
    commands: &mut Commands,
    layout: &AttentionLayout,
    resolution: Resolution,
    [q, k, v]: [&Block<f32>; 3],
    [out, bounds, quality]: [&Block<f32>; 3],
) -> Result<(), VulkanError> {
    if layout.dim == 0 {
        // Nothing to be off by; a summary of nothing there is not.
        commands.fill(bounds, 0.0)?.fill(quality, 1.0)?;
        return Ok(());
    }
    let summary = commands.summarise_tiles(layout, k, v)?;
    let found = commands.attention_adaptive(layout, resolution, &summary, q, k, v, out)?;
    commands.copy(&found.bounds, bounds)?.copy(&found.quality, quality)?;
    Ok(())
}
