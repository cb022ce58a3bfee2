//! Reductions in fixed trees: the bits depend on the shape alone.

use super::{count, rows, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// What numbers are reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum; of none, 0.
    Sum,
    /// The largest; NaN where one is; of none, `-∞`.
    Max,
    /// The smallest; NaN where one is; of none, `∞`.
    Min,
}

/// Numbers that a workgroup takes of a long list: enough that it is worth one, few enough that many can run.
const PART: usize = 4096;

impl Commands {
    /// Each row of `x: [rows, cols]` reduced to a number of `out: [rows]`. A sum is of 128 partial sums, added in a tree.
    ///
    /// # Errors
    /// Lengths that do not fit; buffers of another device, or that overlap.
    pub fn reduce_rows(
        &mut self,
        reduction: Reduction,
        x: &Buffer<f32>,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        // Rows of nothing are as many as `out` has.
        let rows =
            if cols == 0 && x.is_empty() { out.len() } else { rows("the length of x", x.len(), cols)? };
        Self::check("the length of out", rows, out.len())?;
        self.parts(reduction, x, rows, cols, out)
    }

    /// All of `x` reduced to the one number of `out`: parts of 4096 first, then those, until one is left. Scratch memory for the parts is
    /// taken from the device.
    ///
    /// # Errors
    /// An `out` of more or less than one number; [`VulkanError::OutOfMemory`]; buffers of another device, or that overlap.
    pub fn reduce(
        &mut self,
        reduction: Reduction,
        x: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the length of out", 1, out.len())?;
        // Nothing is added before all that can fail was tried.
        let mut stages = Vec::new();
        let mut len = x.len();
        while len > PART {
            len = len.div_ceil(PART);
            stages.push(self.device().buffer::<f32>(len)?);
        }
        let mut added = self.device().commands();
        let mut from = x;
        for to in &stages {
            added.parts(reduction, from, to.len(), PART, to)?;
            from = to;
        }
        added.parts(reduction, from, 1, from.len(), out)?;
        self.append(added)
    }

    fn parts(
        &mut self,
        reduction: Reduction,
        x: &Buffer<f32>,
        rows: usize,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let parameters = [
            count("the length of x", x.len())?,
            count("the number of rows", rows)?,
            count("the number of columns", cols)?,
        ];
        let groups = self.groups_for_rows(rows);
        self.dispatch(
            Kernel::Reduce,
            &[WORKGROUP, reduction as u32],
            groups,
            &[x.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }
}
