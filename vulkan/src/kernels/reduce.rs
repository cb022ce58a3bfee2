//! Sums, means and extremes, of all numbers and of each row.
//!
//! The tree follows from the columns and the device's tuning alone: pieces of 8192 are summed by 128 invocations or more in four sums each,
//! these in a tree, and the pieces' results in the same way. So a row has the bits of the same numbers alone, on one device at least.

use bytemuck::{Pod, Zeroable};

use super::rows::Rows;
use super::{called, count, product};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Columns that one workgroup reduces.
const PIECE: usize = 8192;

/// Operations, numbered as in `shaders/reduce.comp`.
#[derive(Clone, Copy)]
enum Op {
    Sum = 0,
    Mean = 1,
    Max = 2,
    Min = 3,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    rows: u32,
    cols: u32,
    pieces: u32,
    piece: u32,
    divisor: f32,
}

/// A method for all numbers and one for each row.
macro_rules! reductions {
    ($($(#[$doc:meta])* $all:ident, $(#[$rows_doc:meta])* $rows:ident = $op:ident;)*) => {
        impl Commands {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// A length of `out` that is not 1; buffers of another device, or that overlap.
                pub fn $all(&mut self, x: &Buffer<f32>, out: &Buffer<f32>) -> Result<&mut Self, VulkanError> {
                    Self::check("the length of out", 1, out.len())?;
                    self.reduce(Op::$op, x, x.len(), out).map_err(called(stringify!($all)))
                }

                $(#[$rows_doc])*
                ///
                /// `x`: `[rows, cols]`, `out`: `[rows]`.
                ///
                /// # Errors
                /// A length of `x` that is not `out.len()` rows of `cols`; buffers of another device, or that overlap; no memory for
                /// what pieces of long rows come to.
                pub fn $rows(
                    &mut self,
                    x: &Buffer<f32>,
                    cols: usize,
                    out: &Buffer<f32>,
                ) -> Result<&mut Self, VulkanError> {
                    self.reduce(Op::$op, x, cols, out).map_err(called(stringify!($rows)))
                }
            )*
        }
    };
}

reductions! {
    /// `out[0] = Σ x[i]`, in a tree fixed by the length and the [tuning](crate::tuning): off by at most `2⁻²⁴ · 25` of the sum of magnitudes, twice that beyond 8192
    /// numbers and three times beyond 8192². Nothing at all has the sum 0.
    sum,
    /// `out[r] = Σ x[r, c]`, each row with the bits of [`sum`](Self::sum) of it.
    sum_rows = Sum;
    /// [`sum`](Self::sum) divided by the numbers' count; NaN of nothing.
    mean,
    /// [`mean`](Self::mean) of each row.
    mean_rows = Mean;
    /// The largest of `x`, NaN where one is; `-∞` of nothing.
    max,
    /// [`max`](Self::max) of each row.
    max_rows = Max;
    /// The smallest of `x`, NaN where one is; `∞` of nothing.
    min,
    /// [`min`](Self::min) of each row.
    min_rows = Min;
}

impl Commands {
    fn reduce(
        &mut self,
        op: Op,
        x: &Buffer<f32>,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let rows = out.len();
        Self::check("the length of x", product("x", &[rows, cols])?, x.len())?;
        count("the length of x", x.len())?;
        let mut list = self.device().commands();
        let (mut x, mut left) = (x.clone(), cols);
        while left > PIECE {
            let pieces = left.div_ceil(PIECE);
            let parts = Buffer::unspecified(self.device(), rows * pieces)?;
            // Means are divided in the end.
            let op = if matches!(op, Op::Mean) { Op::Sum } else { op };
            list.reduce_pieces(op, &x, rows, left, 1.0, &parts)?;
            (x, left) = (parts, pieces);
        }
        list.reduce_pieces(op, &x, rows, left, cols as f32, out)?;
        self.append(list)
    }

    /// One pass: `x`, `[rows, cols]`, to `out`, `[rows, pieces]`.
    fn reduce_pieces(
        &mut self,
        op: Op,
        x: &Buffer<f32>,
        rows: usize,
        cols: usize,
        divisor: f32,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let (piece, pieces) = (cols.min(PIECE), cols.div_ceil(PIECE).max(1));
        let shared = Rows::new(rows * pieces, piece, self.device().tuning().rows())?;
        let parameters = Parameters {
            rows: count("rows", rows)?,
            cols: count("columns", cols)?,
            pieces: count("pieces", pieces)?,
            piece: count("columns of a piece", piece)?,
            divisor,
        };
        self.dispatch(
            Kernel::Reduce,
            &shared.constants(op as u32),
            shared.groups(),
            &[x.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }
}
