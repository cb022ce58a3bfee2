//! LayerNorm and RMSNorm of rows.

use bytemuck::{Pod, Zeroable};

use super::called;
use super::rows::Rows;
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Operations, numbered as in `shaders/norm.comp`.
#[derive(Clone, Copy)]
enum Op {
    Layer = 0,
    LayerBias = 1,
    Rms = 2,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    rows: u32,
    cols: u32,
    epsilon: f32,
}

impl Commands {
    /// LayerNorm (Ba, Kiros and Hinton, 2016) of rows of width `weight.len()`:
    /// `out[r, c] = (x[r, c] - mean) / √(variance + epsilon) · weight[c] + bias[c]`, the variance being the biased one. A NaN or an
    /// infinity makes its row NaN. Sums beyond `f32::MAX` overflow. In place where `out` is `x`.
    ///
    /// `x` and `out`: `[rows, cols]`; `weight` and `bias`: `[cols]`.
    ///
    /// # Errors
    /// A length of `x` that is no multiple of the weight's, or other lengths of `out` and the bias; buffers of another device, or that
    /// overlap otherwise.
    ///
    /// # Panics
    /// When `epsilon` is NaN, beyond f32's numbers, or below 0.
    pub fn layer_norm(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        bias: Option<&Buffer<f32>>,
        epsilon: f64,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        match bias {
            Some(bias) => self.norm(Op::LayerBias, x, weight, bias, epsilon, out),
            None => self.norm(Op::Layer, x, weight, weight, epsilon, out),
        }
    }

    /// RMSNorm (Zhang and Sennrich, 2019) of rows of width `weight.len()`:
    /// `out[r, c] = x[r, c] / √(mean of squares + epsilon) · weight[c]`. A NaN makes its row NaN; an infinity gives NaN in its own place
    /// and 0 in the others. Squares beyond `f32::MAX` overflow, so that their row is 0. In place where `out` is `x`.
    ///
    /// `x` and `out`: `[rows, cols]`; `weight`: `[cols]`.
    ///
    /// # Errors
    /// As [`layer_norm`](Self::layer_norm).
    ///
    /// # Panics
    /// As [`layer_norm`](Self::layer_norm).
    pub fn rms_norm(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        epsilon: f64,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.norm(Op::Rms, x, weight, weight, epsilon, out)
    }

    fn norm(
        &mut self,
        op: Op,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        bias: &Buffer<f32>,
        epsilon: f64,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let as_f32 = epsilon as f32;
        // As in the kernels for CPUs: it is the program's own number, not data.
        assert!(
            as_f32.is_finite() && as_f32 >= 0.0,
            "the epsilon of a norm must be a finite number of at least 0, but is {epsilon}"
        );
        let rows = Rows::of("the length of x", x.len(), weight.len(), self.device().tuning().rows())?;
        Self::check("the length of the bias", weight.len(), bias.len())?;
        Self::check("the length of out", x.len(), out.len())?;
        let x = x.operand(Access::ReadInPlace);
        let [weight, bias] = [weight, bias].map(|buffer| buffer.operand(Access::Read));
        self.dispatch(
            Kernel::Norm,
            &rows.constants(op as u32),
            rows.groups(),
            &[x, weight, bias, out.operand(Access::Write)],
            bytemuck::bytes_of(&Parameters { rows: rows.rows, cols: rows.cols, epsilon: as_f32 }),
        )
        .map_err(called(match op {
            Op::Layer | Op::LayerBias => "layer_norm",
            Op::Rms => "rms_norm",
        }))
    }
}
