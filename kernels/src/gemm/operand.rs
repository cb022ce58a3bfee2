//! One factor of a product, seen from its outer dimension (rows of A, columns of B), and how it becomes panels.
//!
//! A panel holds `R` neighbours (the micro-kernel's rows or columns) side by side at each `k`, zeros where the matrix
//! ends. The copying itself is [`crate::simd::pack`]'s.

use std::ops::Range;

use crate::matrix::Mat;
use crate::pool::Buffer;
use crate::simd::micro::{tile_cols, tile_rows};
use crate::simd::pack::{copy_panel, transpose_panel, AHEAD};
use crate::simd::Simd;

/// Rows of `k` copied before the next panel's: their reads then run along the matrix' rows, in as many streams as the
/// prefetcher follows.
const ROWS_AT_ONCE: usize = AHEAD;

/// Which factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The left one, whose panels are as wide as a register tile is high.
    A,
    /// The right one.
    B,
}

impl Side {
    /// Neighbours in a panel.
    pub(super) const fn width<S: Simd>(self) -> usize {
        match self {
            Side::A => tile_rows::<S>(),
            Side::B => tile_cols::<S>(),
        }
    }
}

/// A factor with `len` rows (of A) or columns (of B), each of `k` numbers.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
    /// Rows of A, columns of B.
    pub(super) len: usize,
    /// Whether neighbours lie side by side; otherwise each one's `k` do.
    pub(super) neighbours_adjacent: bool,
}

impl<'a> Operand<'a> {
    /// `stored` with `len` rows or columns that count as outer, stored as `[k, len]` when `neighbours_adjacent`.
    pub(super) fn new(stored: Mat<'a, f32>, len: usize, neighbours_adjacent: bool) -> Self {
        Self { data: stored.data(), stride: stored.stride(), len, neighbours_adjacent }
    }

    /// The same factor with each neighbour's `k` side by side, copied to `dense` where they are not.
    pub(super) fn by_rows<'b>(self, k: usize, dense: &'b mut Buffer<f32>) -> Operand<'b>
    where
        'a: 'b,
    {
        if !self.neighbours_adjacent {
            return self;
        }
        *dense = Buffer::unspecified(self.len * k);
        for (i, row) in dense.chunks_exact_mut(k.max(1)).enumerate() {
            for (to, from) in row.iter_mut().zip(self.data[i..].iter().step_by(self.stride)) {
                *to = *from;
            }
        }
        Operand { data: dense, stride: k, len: self.len, neighbours_adjacent: false }
    }

    /// Packs `outer` by `k` into panels that lie `panel` numbers apart, from the front of `to`.
    #[inline(always)]
    pub(super) fn pack<S: Simd>(
        &self,
        simd: S,
        side: Side,
        outer: Range<usize>,
        k: Range<usize>,
        to: &mut [f32],
        panel: usize,
    ) {
        match side.width::<S>() {
            2 => self.pack_panels::<S, 2>(simd, outer, k, to, panel),
            6 => self.pack_panels::<S, 6>(simd, outer, k, to, panel),
            8 => self.pack_panels::<S, 8>(simd, outer, k, to, panel),
            12 => self.pack_panels::<S, 12>(simd, outer, k, to, panel),
            16 => self.pack_panels::<S, 16>(simd, outer, k, to, panel),
            32 => self.pack_panels::<S, 32>(simd, outer, k, to, panel),
            width => unreachable!("panels of {width}"),
        }
    }

    #[inline(always)]
    fn pack_panels<S: Simd, const R: usize>(
        &self,
        simd: S,
        outer: Range<usize>,
        k: Range<usize>,
        to: &mut [f32],
        panel: usize,
    ) {
        if k.is_empty() {
            return;
        }
        let panels = outer.clone().step_by(R).map(|from| (from, (outer.end - from).min(R)));
        if !self.neighbours_adjacent {
            for ((from, width), to) in panels.zip(to.chunks_mut(panel)) {
                let block = &self.data[from * self.stride + k.start..];
                transpose_panel::<S, R>(simd, block, self.stride, width, k.len(), to);
            }
            return;
        }
        for p in k.clone().step_by(ROWS_AT_ONCE) {
            let rows = (k.end - p).min(ROWS_AT_ONCE);
            for ((from, width), to) in panels.clone().zip(to.chunks_mut(panel)) {
                let block = &self.data[p * self.stride + from..];
                copy_panel::<R>(block, self.stride, width, rows, &mut to[(p - k.start) * R..]);
            }
        }
    }
}
