//! What tokens and their positions bring in: embeddings, rotary positions.

use upbeat_kernels::{RopeShape, ShapeError};

use super::{count, product, rows, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::device::Device;
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Cosines and sines of rotary positions, computed in f64: a device's own are too coarse for angles of thousands.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `[positions, dim/2, 2]`
    table: Buffer<f32>,
    positions: usize,
    dim: usize,
    base: f64,
}

impl RopeTable {
    /// The angles of positions `0..positions` of heads `dim` wide, with frequencies of `base`.
    ///
    /// # Errors
    /// An odd `dim`; what [`Device::upload`] fails with.
    pub fn new(device: &Device, positions: usize, dim: usize, base: f64) -> Result<Self, VulkanError> {
        if !dim.is_multiple_of(2) {
            return Err(ShapeError::Multiple { what: "the width of a head", unit: 2, found: dim }.into());
        }
        let mut table = vec![0.0_f32; product("the table", &[positions, dim])?];
        for (i, pair) in table.chunks_exact_mut(2).enumerate() {
            let (position, c) = (i / (dim / 2), i % (dim / 2));
            let angle = position as f64 * base.powf(-2.0 * c as f64 / dim as f64);
            pair.copy_from_slice(&[angle.cos() as f32, angle.sin() as f32]);
        }
        Ok(Self { table: device.upload(&table)?, positions, dim, base })
    }
}

impl Commands {
    /// Rotary positions (Su et al., 2021), pairs `(c, c + dim/2)`, on the first `rotate` heads of each row of `heads · dim` numbers; row `r`
    /// is at position `first + r % seq`. In place where `out` is `x`.
    ///
    /// # Errors
    /// Lengths that do not fit; a table of another width or base, or of too few positions; buffers of another device, or that overlap
    /// otherwise.
    pub fn rope(
        &mut self,
        x: &Buffer<f32>,
        table: &RopeTable,
        shape: RopeShape,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let RopeShape { seq, first, heads, rotate, dim, base } = shape;
        Self::check("the table's width of a head", dim, table.dim)?;
        if base != table.base {
            return Err(ShapeError::Mismatch {
                what: "the table's base",
                expected: base as usize,
                found: table.base as usize,
            }
            .into());
        }
        let width = product("a row", &[heads, dim])?;
        let rows = rows("the length of x", x.len(), width)?;
        super::rows("the number of rows", rows, seq)?;
        Self::check("the length of out", x.len(), out.len())?;
        if rotate > heads {
            return Err(ShapeError::Limit { what: "heads to turn", most: heads, found: rotate }.into());
        }
        let last = first.saturating_add(seq.min(rows));
        if last > table.positions {
            return Err(ShapeError::Limit {
                what: "positions of the table",
                most: table.positions,
                found: last,
            }
            .into());
        }
        let mut parameters = [0; 6];
        let pairs = x.len() / 2;
        for (to, from) in parameters.iter_mut().zip([pairs, seq, first, heads, rotate, dim]) {
            *to = count("a dimension of rotary positions", from)?;
        }
        let groups = self.groups_for(pairs);
        self.dispatch(
            Kernel::Rope,
            &[WORKGROUP],
            groups,
            &[x.operand(Access::ReadInPlace), table.table.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }

    /// Rows of `table: [vocabulary, width]` picked by `tokens`: `out` is `[tokens, width]`. A token outside the vocabulary gives a row of NaN:
    /// the device cannot say so otherwise; check tokens before they are uploaded.
    ///
    /// # Errors
    /// Lengths that do not fit; buffers of another device, or that overlap.
    pub fn embedding(
        &mut self,
        table: &Buffer<f32>,
        width: usize,
        tokens: &Buffer<u32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let vocabulary = rows("the length of the table", table.len(), width)?;
        Self::check("the length of out", product("out", &[tokens.len(), width])?, out.len())?;
        let mut parameters = [0; 3];
        for (to, from) in parameters.iter_mut().zip([out.len(), width, vocabulary]) {
            *to = count("a dimension of an embedding", from)?;
        }
        let groups = self.groups_for(out.len());
        self.dispatch(
            Kernel::Embedding,
            &[WORKGROUP],
            groups,
            &[table.operand(Access::Read), tokens.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }
}
