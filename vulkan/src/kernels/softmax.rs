//! Softmax of rows.

use super::{count, rows, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

impl Commands {
    /// Softmax of each row of `x: [rows, cols]`, shifted by its largest number. A row of `-∞` alone gives zeros, one with NaN or `∞` NaN.
    /// In place where `out` is `x`.
    ///
    /// # Errors
    /// Lengths that do not fit; buffers of another device, or that overlap otherwise.
    pub fn softmax(
        &mut self,
        x: &Buffer<f32>,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let rows = rows("the length of x", x.len(), cols)?;
        Self::check("the length of out", x.len(), out.len())?;
        let parameters = [count("the number of rows", rows)?, count("the number of columns", cols)?];
        let groups = self.groups_for_rows(rows);
        self.dispatch(
            Kernel::Softmax,
            &[WORKGROUP],
            groups,
            &[x.operand(Access::ReadInPlace), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }
}
