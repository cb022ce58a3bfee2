//! One factor of a product, seen from its outer dimension (rows of A, columns of B), and how it becomes panels.
//!
//! A panel holds `R` neighbours (the micro-kernel's rows or columns) side by side at each `k`, zeros where the matrix
//! ends. The copying itself is [`crate::simd::pack`]'s. Numbers stored in 16 bits are widened on the way: what comes after sees
//! panels of `f32`.

use std::ops::Range;

use super::stored::Stored;
use crate::convert::{widen_lanes, Storage};
use crate::isa::dispatch;
use crate::matrix::Mat;
use crate::pool::Buffer;
use crate::simd::micro::{tile_cols, tile_rows};
use crate::simd::pack::{copy_panel, transpose_panel, AHEAD};
use crate::simd::{Kernel, Simd};
use crate::{bf16, f16};

/// Rows of `k` copied before the next panel's: their reads then run along the matrix' rows, in as many streams as the
/// prefetcher follows.
const ROWS_AT_ONCE: usize = AHEAD;

/// Numbers widened at once, 16 KiB.
const WIDENED: usize = 4096;

/// A factor's numbers as they are stored.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

impl<'a> Numbers<'a> {
    /// Those in 32 bits.
    ///
    /// # Panics
    /// When they are stored in 16.
    #[inline(always)]
    pub(super) fn f32(self) -> &'a [f32] {
        match self {
            Self::F32(numbers) => numbers,
            _ => unreachable!("numbers that are to be widened first"),
        }
    }

    /// `to[i·pitch + j] ← numbers[from + i·stride + j]` for `i < rows`, `j < cols`.
    #[inline(always)]
    fn widen(self, from: usize, stride: usize, (rows, cols): (usize, usize), to: &mut [f32], pitch: usize) {
        #[inline(always)]
        fn rows_of<T: Storage>(numbers: &[T], stride: usize, cols: usize, to: &mut [f32], pitch: usize) {
            for (i, to) in to.chunks_mut(pitch).enumerate() {
                widen_lanes(&numbers[i * stride..][..cols], &mut to[..cols]);
            }
        }
        let to = &mut to[..rows * pitch];
        match self {
            Self::F32(numbers) => {
                for (i, to) in to.chunks_mut(pitch).enumerate() {
                    to[..cols].copy_from_slice(&numbers[from + i * stride..][..cols]);
                }
            }
            Self::Bf16(numbers) => rows_of(&numbers[from..], stride, cols, to, pitch),
            Self::F16(numbers) => rows_of(&numbers[from..], stride, cols, to, pitch),
        }
    }
}

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
    pub(super) data: Numbers<'a>,
    pub(super) stride: usize,
    /// Rows of A, columns of B.
    pub(super) len: usize,
    /// Whether neighbours lie side by side; otherwise each one's `k` do.
    pub(super) neighbours_adjacent: bool,
}

impl<'a> Operand<'a> {
    /// `stored` with `len` rows or columns that count as outer, stored as `[k, len]` when `neighbours_adjacent`.
    pub(super) fn new(stored: Mat<'a, f32>, len: usize, neighbours_adjacent: bool) -> Self {
        Self { data: Numbers::F32(stored.data()), stride: stored.stride(), len, neighbours_adjacent }
    }

    /// [`Operand::new`] for any storage.
    pub(super) fn stored(stored: Stored<'a>, len: usize, neighbours_adjacent: bool) -> Self {
        let (data, stride) = match stored {
            Stored::F32(mat) => (Numbers::F32(mat.data()), mat.stride()),
            Stored::Bf16(mat) => (Numbers::Bf16(mat.data()), mat.stride()),
            Stored::F16(mat) => (Numbers::F16(mat.data()), mat.stride()),
        };
        Self { data, stride, len, neighbours_adjacent }
    }

    /// Whether the numbers need not be widened.
    pub(super) fn is_f32(&self) -> bool {
        matches!(self.data, Numbers::F32(_))
    }

    /// The same factor in f32 with each neighbour's `k` side by side, copied to `dense` where they are not.
    pub(super) fn by_rows<'b>(self, k: usize, dense: &'b mut Buffer<f32>) -> Operand<'b>
    where
        'a: 'b,
    {
        if !self.neighbours_adjacent && self.is_f32() {
            return self;
        }
        *dense = Buffer::unspecified(self.len * k);
        if !dense.is_empty() {
            dispatch(Dense { operand: self, k, to: dense });
        }
        Operand { data: Numbers::F32(dense), stride: k, len: self.len, neighbours_adjacent: false }
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
        // Rows of this many numbers are widened beside, whole vectors of them.
        let (pitch, room) =
            if self.is_f32() { (k.len(), 0) } else { (k.len().min(WIDENED / R / 16 * 16), WIDENED) };
        let mut beside = Buffer::<f32>::scratch(room);
        if !self.neighbours_adjacent {
            for ((from, width), to) in panels.zip(to.chunks_mut(panel)) {
                for p in k.clone().step_by(pitch) {
                    let (len, to) = ((k.end - p).min(pitch), &mut to[(p - k.start) * R..]);
                    let first = from * self.stride + p;
                    let (block, stride) = match self.data {
                        Numbers::F32(numbers) => (&numbers[first..], self.stride),
                        stored => {
                            stored.widen(first, self.stride, (width, len), &mut beside, pitch);
                            (&beside[..], pitch)
                        }
                    };
                    transpose_panel::<S, R>(simd, block, stride, width, len, to);
                }
            }
            return;
        }
        for p in k.clone().step_by(ROWS_AT_ONCE) {
            let rows = (k.end - p).min(ROWS_AT_ONCE);
            for ((from, width), to) in panels.clone().zip(to.chunks_mut(panel)) {
                let first = p * self.stride + from;
                let (block, stride) = match self.data {
                    Numbers::F32(numbers) => (&numbers[first..], self.stride),
                    stored => {
                        stored.widen(first, self.stride, (rows, width), &mut beside, R);
                        (&beside[..], R)
                    }
                };
                copy_panel::<R>(block, stride, width, rows, &mut to[(p - k.start) * R..]);
            }
        }
    }
}

/// Copies a factor to `to`, `[len, k]`, in f32.
struct Dense<'a> {
    operand: Operand<'a>,
    k: usize,
    to: &'a mut [f32],
}

impl Kernel for Dense<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Operand { data, stride, len, neighbours_adjacent } = self.operand;
        if !neighbours_adjacent {
            data.widen(0, stride, (len, self.k), self.to, self.k);
            return;
        }
        let mut column = Buffer::scratch(len);
        for p in 0..self.k {
            data.widen(p * stride, stride, (1, len), &mut column, len);
            for (to, &x) in self.to[p..].iter_mut().step_by(self.k).zip(&*column) {
                *to = x;
            }
        }
    }
}
