//! Softmax of rows and its logarithm.

use bytemuck::{Pod, Zeroable};

use super::called;
use super::rows::Rows;
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Operations, numbered as in `shaders/softmax.comp`.
#[derive(Clone, Copy)]
enum Op {
    Softmax = 0,
    Log = 1,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    rows: u32,
    cols: u32,
}

impl Commands {
    /// `out[r, c] = exp(x[r, c] - max) / Σ exp(x[r, i] - max)` for each row of width `cols`, `max` being its largest number. A row of
    /// nothing but `-∞` gives zeros; a NaN or a `∞` makes its row NaN. In place where `out` is `x`.
    ///
    /// `x` and `out`: `[rows, cols]`.
    ///
    /// # Errors
    /// A length of `x` that is no multiple of `cols`, or another one of `out`; buffers of another device, or that overlap otherwise.
    pub fn softmax(
        &mut self,
        x: &Buffer<f32>,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.softmax_or_log(Op::Softmax, x, cols, out)
    }

    /// The logarithm of [`softmax`](Self::softmax), `(x[r, c] - max) - log Σ exp(x[r, i] - max)`, which does not underflow. A row of
    /// nothing but `-∞` gives `-∞`; a NaN or a `∞` makes its row NaN. In place where `out` is `x`.
    ///
    /// # Errors
    /// As [`softmax`](Self::softmax).
    pub fn log_softmax(
        &mut self,
        x: &Buffer<f32>,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.softmax_or_log(Op::Log, x, cols, out)
    }

    fn softmax_or_log(
        &mut self,
        op: Op,
        x: &Buffer<f32>,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let rows = Rows::of("the length of x", x.len(), cols, self.device().tuning().rows())?;
        Self::check("the length of out", x.len(), out.len())?;
        self.dispatch(
            Kernel::Softmax,
            &rows.constants(op as u32),
            rows.groups(),
            &[x.operand(Access::ReadInPlace), out.operand(Access::Write)],
            bytemuck::bytes_of(&Parameters { rows: rows.rows, cols: rows.cols }),
        )
        .map_err(called(match op {
            Op::Softmax => "softmax",
            Op::Log => "log_softmax",
        }))
    }
}
