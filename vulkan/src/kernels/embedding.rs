//! Rows of a table picked by token.

use bytemuck::{Pod, Zeroable};
use half::f16;
use upbeat_kernels::ShapeError;

use super::{count, product};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Scalar};
use crate::pipeline::Kernel;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    count: u32,
    width: u32,
    vocabulary: u32,
}

impl Commands {
    /// `out[r] = table[tokens[r]]`, rows of `width`. The tokens are on the device, so that nobody sees a wrong one before it is looked up:
    /// where there is no such token, the row is NaN, and nothing outside the table is read.
    ///
    /// `table`: `[vocabulary, width]`, `tokens`: `[rows]`, `out`: `[rows, width]`.
    ///
    /// # Errors
    /// A length of the table that is no multiple of `width`, or one of `out` that is not that of the rows; buffers of another device, or
    /// that overlap.
    pub fn embedding(
        &mut self,
        table: &Buffer<f32>,
        width: usize,
        tokens: &Buffer<u32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.look_up(Kernel::Embedding, table, width, tokens, out)
    }

    /// [`embedding`](Self::embedding) from a table of 16-bit floats.
    ///
    /// # Errors
    /// As [`embedding`](Self::embedding).
    pub fn embedding_f16(
        &mut self,
        table: &Buffer<f16>,
        width: usize,
        tokens: &Buffer<u32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.look_up(Kernel::EmbeddingF16, table, width, tokens, out)
    }

    fn look_up<T: Scalar>(
        &mut self,
        kernel: Kernel,
        table: &Buffer<T>,
        width: usize,
        tokens: &Buffer<u32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let found = table.len();
        if found != 0 && (width == 0 || !found.is_multiple_of(width)) {
            return Err(ShapeError::Multiple { what: "the length of the table", unit: width, found }.into());
        }
        let len = product("embedded rows", &[tokens.len(), width])?;
        Self::check("the length of the embedded rows", len, out.len())?;
        let parameters = Parameters {
            count: count("the length of out", len)?,
            width: count("the width", width)?,
            vocabulary: count("the length of the table", found)? / width.max(1) as u32,
        };
        let groups = self.groups_for(len);
        self.dispatch(
            kernel,
            &[self.elements()],
            groups,
            &[table.operand(Access::Read), tokens.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }
}
