//! LayerNorm and RMSNorm of rows.

use bytemuck::{Pod, Zeroable};

use super::{count, rows, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// How rows are brought to one scale.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// `(x - mean)/√(variance + ε) · weight + bias` (Ba et al., 2016).
    Layer {
        /// `[cols]`
        weight: &'a Buffer<f32>,
        /// `[cols]`
        bias: Option<&'a Buffer<f32>>,
    },
    /// `x/√(mean of squares + ε) · weight` (Zhang and Sennrich, 2019).
    Rms {
        /// `[cols]`
        weight: &'a Buffer<f32>,
    },
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    rows: u32,
    cols: u32,
    epsilon: f32,
}

impl Commands {
    /// The norm of each row of `x: [rows, cols]`; as many columns as the weight has. The mean is taken before the variance. In place where
    /// `out` is `x`.
    ///
    /// # Errors
    /// Lengths that do not fit; buffers of another device, or that overlap otherwise.
    pub fn norm(
        &mut self,
        x: &Buffer<f32>,
        norm: Norm<'_>,
        epsilon: f32,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let (kind, weight, bias) = match norm {
            Norm::Layer { weight, bias } => (0, weight, bias),
            Norm::Rms { weight } => (1, weight, None),
        };
        let cols = weight.len();
        let rows = rows("the length of x", x.len(), cols)?;
        Self::check("the length of out", x.len(), out.len())?;
        Self::check("the length of the bias", cols, bias.map_or(cols, Buffer::len))?;
        let parameters = Parameters {
            rows: count("the number of rows", rows)?,
            cols: count("the number of columns", cols)?,
            epsilon,
        };
        let groups = self.groups_for_rows(rows);
        self.dispatch(
            Kernel::Norm,
            &[WORKGROUP, kind, u32::from(bias.is_some())],
            groups,
            &[
                x.operand(Access::ReadInPlace),
                weight.operand(Access::Read),
                bias.unwrap_or(weight).operand(Access::Read),
                out.operand(Access::Write),
            ],
            bytemuck::bytes_of(&parameters),
        )
    }
}
