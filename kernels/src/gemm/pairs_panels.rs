//! What [`crate::simd::pairs`] multiplies, from factors as they are stored: panels of words for one, rows for the other.
//!
//! Words of two numbers along the depth travel as `f32` that nobody computes with, so that they are transposed as those are.

use std::ops::Range;

use crate::bf16;
use crate::isa::dispatch;
use crate::matrix::Mat;
use crate::pool::Buffer;
use crate::simd::pairs::{word, Rows, BLOCK, STEP};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};

/// Words of a row that are transposed at once: with the panel they become, 32 KiB.
const WORDS: usize = 128;
/// Panels of a packing task where neighbours lie side by side: 512 bytes of each row of the matrix.
const PANELS: usize = 8;

/// A factor in bf16 with `len` rows (of A) or columns (of B).
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    numbers: &'a [bf16],
    stride: usize,
    pub(super) len: usize,
    /// Whether neighbours lie side by side; otherwise each one's `k` do.
    pub(super) neighbours_adjacent: bool,
}

impl<'a> Factor<'a> {
    pub(super) fn new(stored: Mat<'a, bf16>, len: usize, neighbours_adjacent: bool) -> Self {
        Self { numbers: stored.data(), stride: stored.stride(), len, neighbours_adjacent }
    }

    /// The rows `outer` over `k`, as they are stored, where the unit can read them so: whole blocks, whole steps.
    pub(super) fn direct(&self, outer: &Range<usize>, k: &Range<usize>) -> Option<Rows<'a>> {
        let whole = outer.len().is_multiple_of(BLOCK) && k.len().is_multiple_of(STEP);
        (whole && !self.neighbours_adjacent && !outer.is_empty())
            .then(|| Rows::stored(&self.numbers[outer.start * self.stride + k.start..], self.stride))
    }

    /// Words `[k / 2, to_stride]`, a column for each of `outer`; zeros beyond `k` and `outer`.
    #[inline(always)]
    fn columns<S: Simd>(
        &self,
        simd: S,
        outer: Range<usize>,
        k: Range<usize>,
        (words, width): (usize, usize),
        to: &mut [f32],
        to_stride: usize,
    ) {
        if self.neighbours_adjacent {
            for q in 0..words {
                let row = |p: usize| {
                    let from = p * self.stride;
                    if p < k.end {
                        &self.numbers[from + outer.start..from + outer.end]
                    } else {
                        &[][..]
                    }
                };
                interleave(row(k.start + 2 * q), row(k.start + 2 * q + 1), &mut to[q * to_stride..][..width]);
            }
            return;
        }
        let mut rows = [0.0; BLOCK * WORDS];
        for from in (0..words).step_by(WORDS) {
            let count = (words - from).min(WORDS);
            let p = k.start + 2 * from..k.end;
            self.rows(simd, outer.clone(), p, (count, width), &mut rows, WORDS);
            transpose(simd, (width, count), &rows, WORDS, &mut to[from * to_stride..], to_stride);
        }
    }

    /// Words `[height, to_stride]`, a row for each of `outer`; zeros beyond `k` and `outer`. At most [`BLOCK`] rows.
    #[inline(always)]
    fn rows<S: Simd>(
        &self,
        simd: S,
        outer: Range<usize>,
        k: Range<usize>,
        (words, height): (usize, usize),
        to: &mut [f32],
        to_stride: usize,
    ) {
        if !self.neighbours_adjacent {
            for i in 0..height {
                let to = &mut to[i * to_stride..][..words];
                let from = (outer.start + i) * self.stride;
                let row = if i < outer.len() { &self.numbers[from + k.start..from + k.end] } else { &[][..] };
                side_by_side(row, to);
            }
            return;
        }
        let mut columns = [0.0; STEP / 2 * BLOCK];
        for from in (0..words).step_by(STEP / 2) {
            let p = (k.start + 2 * from).min(k.end)..k.end;
            self.columns(simd, outer.clone(), p, (STEP / 2, BLOCK), &mut columns, BLOCK);
            transpose(simd, (STEP / 2, height), &columns, BLOCK, &mut to[from..], to_stride);
        }
    }
}

/// `to[j]` holds `low[j]` and `high[j]`, 0 for those that are missing.
#[inline(always)]
fn interleave(low: &[bf16], high: &[bf16], to: &mut [f32]) {
    let both = low.len().min(high.len()).min(to.len());
    for ((to, &low), &high) in to[..both].iter_mut().zip(low).zip(high) {
        *to = word([low, high]);
    }
    for (j, to) in to.iter_mut().enumerate().skip(both) {
        let number = |row: &[bf16]| row.get(j).copied().unwrap_or(bf16::ZERO);
        *to = word([number(low), number(high)]);
    }
}

/// The numbers of a row two a word, zeros behind them.
#[inline(always)]
fn side_by_side(row: &[bf16], to: &mut [f32]) {
    let (pairs, rest) = row.as_chunks::<2>();
    let count = pairs.len().min(to.len());
    for (to, &pair) in to[..count].iter_mut().zip(pairs) {
        *to = word(pair);
    }
    let behind = &mut to[count..];
    behind.fill(0.0);
    if let ([last], Some(to)) = (rest, behind.first_mut()) {
        *to = word([*last, bf16::ZERO]);
    }
}

/// Copies the rows `outer` over `k` into `to`, as [`Rows::packed`] reads them.
struct PackRows<'a, 'b> {
    factor: Factor<'a>,
    outer: Range<usize>,
    k: Range<usize>,
    to: &'b mut [f32],
}

impl Kernel for PackRows<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let words = STEP / 2;
        for (first, to) in
            self.outer.clone().step_by(BLOCK).zip(self.to.chunks_mut(panel_words(self.k.len())))
        {
            let rows = first..(first + BLOCK).min(self.outer.end);
            for (p, to) in self.k.clone().step_by(STEP).zip(to.chunks_mut(BLOCK * words)) {
                self.factor.rows(simd, rows.clone(), p..self.k.end.min(p + STEP), (words, BLOCK), to, words);
            }
        }
    }
}

/// The rows copied into `room`, whole blocks and steps of them: as many words as a panel holds for each block.
pub(super) fn packed_rows<'a>(
    factor: Factor<'_>,
    outer: Range<usize>,
    k: Range<usize>,
    room: &'a mut [f32],
) -> Rows<'a> {
    let (words, steps) = (outer.len().div_ceil(BLOCK) * panel_words(k.len()), k.len().div_ceil(STEP));
    let room = &mut room[..words];
    dispatch(PackRows { factor, outer, k, to: room });
    Rows::packed(room, steps)
}

/// Words that a panel over `k` numbers holds.
pub(super) fn panel_words(k: usize) -> usize {
    k.next_multiple_of(STEP) / 2 * BLOCK
}

/// All of a factor as panels, one behind the other, each `[words of k, BLOCK]`; packed in parallel.
pub(super) fn panels(factor: Factor<'_>, k: usize) -> Buffer<f32> {
    let (panel, count) = (panel_words(k), factor.len.div_ceil(BLOCK));
    let mut packed =
        Buffer::unspecified(panel.checked_mul(count).expect("panels are hardly more than the factor"));
    let at_once = if factor.neighbours_adjacent { PANELS } else { 1 };
    upbeat::par::chunks_mut(&mut packed, (panel * at_once).max(1), |task, to| {
        dispatch(PackPanels { factor, first: task * at_once * BLOCK, k, to });
    });
    packed
}

struct PackPanels<'a, 'b> {
    factor: Factor<'a>,
    first: usize,
    k: usize,
    to: &'b mut [f32],
}

impl Kernel for PackPanels<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { factor, first, k, to } = self;
        let panel = panel_words(k);
        // A step of all panels after the other: rows of the matrix are read along.
        let step = if factor.neighbours_adjacent { STEP } else { k.next_multiple_of(STEP) };
        for from in (0..k).step_by(step) {
            for (index, to) in to.chunks_mut(panel).enumerate() {
                let outer = first + index * BLOCK;
                let outer = outer..(outer + BLOCK).min(factor.len);
                let to = &mut to[from / 2 * BLOCK..][..step / 2 * BLOCK];
                factor.columns(simd, outer, from..k, (step / 2, BLOCK), to, BLOCK);
            }
        }
    }
}
