//! Large products of 8-bit integers: both factors packed into panels of words, tasks over tiles of C.
//!
//! A word holds a row's (or column's) next numbers along `k` as the level multiplies them, so panels of words are packed as
//! panels of `f32` are. A segment's words are filled up with zeros.

use std::ops::Range;

use super::blocking::Blocking;
use super::epilogue::finish;
use super::int8::{Scales, Segments};
use super::operand::{Operand, Side};
use super::panels::pack_shared;
use super::product::RegisterTile;
use super::quantized::Quantized;
use crate::element::Epilogue;
use crate::error::{checked_len, ShapeError};
use crate::grid::{Tile, Tiles};
use crate::isa;
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;
use crate::simd::int8::tile::{cols, multiply, rows, LARGEST};
use crate::simd::int8::{dispatch, DotKernel, Dots, Layout};
use crate::simd::{Kernel, Simd};
use crate::tuning;

/// Numbers worth a task of [`words`].
const TASK_NUMBERS: usize = 1 << 16;

/// `C ← A·Bᵀ` and the epilogue. `k` and C's sizes are not 0.
///
/// # Errors
/// When the size of a packed factor overflows.
pub(super) fn run(
    a: Quantized<'_>,
    b: Quantized<'_>,
    segments: Segments,
    c: MatMut<'_, f32>,
    epilogue: &Epilogue<'_, f32>,
) -> Result<(), ShapeError> {
    let (m, n) = (c.rows(), c.cols());
    let (step, offset) = dispatch(Layout);
    let (mr, nr) = isa::dispatch(RegisterTile);
    let words = Words::new(segments, step);
    checked_len("a packed factor", &[m.saturating_add(mr).max(n.saturating_add(nr)), words.all])?;
    let packed = |q: Quantized<'_>, side, width, offset| {
        let rows = q.values().rows();
        let dense = words.of(q.values(), offset);
        let dense = Mat::new(&dense, rows, words.all)?;
        Ok::<_, ShapeError>(pack_shared(Operand::new(dense, rows, false), side, width, 0..rows, 0..words.all))
    };
    let (panels_a, panels_b) = (packed(a, Side::A, mr, offset)?, packed(b, Side::B, nr, 0)?);
    let phase = Phase {
        panels: (&panels_a, &panels_b),
        words,
        columns: n,
        scales: (Scales::of(a), &by_segments(b, segments)),
        shift: &shifts(b.values(), segments, offset),
    };
    let blocking =
        Blocking::of_packed((m, n, words.all), (mr, nr), upbeat::current_num_workers(), tuning::active());
    let tiles = Tiles::new(c, blocking.task, blocking.slab);
    upbeat::par::for_each(0..tiles.down() * tiles.across(), |index| {
        let (down, across) = (index % tiles.down(), index / tiles.down());
        let (rows, cols) = (tiles.rows_of(down), tiles.cols_of(across));
        let mut tile = tiles.take(down, across);
        dispatch(Task { phase: &phase, row: rows.start, col: cols.start, tile: &mut tile });
        finish(epilogue, rows, cols, &mut tile);
    });
    Ok(())
}

/// A factor's scales as rows, one for each segment, or one for all of them.
fn by_segments(q: Quantized<'_>, segments: Segments) -> Buffer<f32> {
    let (scales, n) = (Scales::of(q), q.values().rows());
    let count = if scales.are_grouped() { segments.count() } else { 1 };
    let mut rows = Buffer::scratch(count * n);
    for (s, row) in rows.chunks_exact_mut(n).enumerate() {
        for (j, scale) in row.iter_mut().enumerate() {
            *scale = scales.get(j, s);
        }
    }
    rows
}

/// `offset·Σb` over each segment of each row, as rows of segments; nothing without an offset.
fn shifts(b: Mat<'_, i8>, segments: Segments, offset: i32) -> Buffer<i32> {
    let n = b.rows();
    let mut shifts = Buffer::scratch(if offset == 0 { 0 } else { segments.count() * n });
    upbeat::par::chunks_mut(&mut shifts, n, |s, shifts| {
        for (j, shift) in shifts.iter_mut().enumerate() {
            let sum: i32 = b.row(j)[segments.range(s)].iter().map(|&x| i32::from(x)).sum();
            *shift = offset.wrapping_mul(sum);
        }
    });
    shifts
}

/// How rows of `k` numbers become words.
#[derive(Clone, Copy)]
struct Words {
    segments: Segments,
    /// Numbers in a word.
    step: usize,
    /// Words of each segment but the last.
    segment: usize,
    /// Words of a row.
    all: usize,
}

impl Words {
    fn new(segments: Segments, step: usize) -> Self {
        let segment = segments.len.div_ceil(step);
        let last = segments.range(segments.count() - 1).len();
        Self { segments, step, segment, all: (segments.count() - 1) * segment + last.div_ceil(step) }
    }

    /// The words of all rows, each number shifted by `offset`, as numbers that nobody computes with.
    fn of(self, values: Mat<'_, i8>, offset: i32) -> Buffer<f32> {
        let mut words = Buffer::scratch(values.rows() * self.all);
        let rows = (TASK_NUMBERS / self.segments.k).max(1);
        upbeat::par::chunks_mut(&mut words, rows * self.all, |task, to| {
            isa::dispatch(Widen { words: self, values, row: task * rows, offset, to });
        });
        words
    }

    /// Where the block that begins at a word ends: a part of one segment, or as many as a panel over `longest` words holds.
    #[inline(always)]
    fn block_end(&self, start: usize, longest: usize) -> usize {
        if self.segment <= longest {
            return (start + longest / self.segment * self.segment).min(self.all);
        }
        let parts = self.segment.div_ceil(longest);
        let segment_end = (start / self.segment + 1) * self.segment;
        (start + self.segment.div_ceil(parts)).min(segment_end).min(self.all)
    }
}

/// Packs the numbers of some rows into words.
struct Widen<'a> {
    words: Words,
    values: Mat<'a, i8>,
    row: usize,
    offset: i32,
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Words { segments, step, segment, all } = self.words;
        for (i, to) in self.to.chunks_exact_mut(all).enumerate() {
            for (s, to) in to.chunks_mut(segment).enumerate() {
                let numbers = &self.values.row(self.row + i)[segments.range(s)];
                if step == 2 {
                    widen::<2>(numbers, self.offset, to);
                } else {
                    widen::<4>(numbers, self.offset, to);
                }
            }
        }
    }
}

/// `STEP` numbers a word, each shifted by `offset`.
#[inline(always)]
fn widen<const STEP: usize>(numbers: &[i8], offset: i32, to: &mut [f32]) {
    let word = |numbers: [i8; STEP]| {
        let mask = u32::MAX >> (32 - 32 / STEP);
        let mut word = 0;
        for (i, x) in numbers.into_iter().enumerate() {
            word |= ((i32::from(x) + offset) as u32 & mask) << (i * 32 / STEP);
        }
        f32::from_bits(word)
    };
    let (whole, rest) = numbers.as_chunks::<STEP>();
    for (to, &numbers) in to.iter_mut().zip(whole) {
        *to = word(numbers);
    }
    if !rest.is_empty() {
        let mut numbers = [0; STEP];
        numbers[..rest.len()].copy_from_slice(rest);
        to[whole.len()] = word(numbers);
    }
}

/// What all tasks share.
struct Phase<'a> {
    /// Both factors' panels, each with all words.
    panels: (&'a [f32], &'a [f32]),
    words: Words,
    /// C's columns.
    columns: usize,
    /// A's scales, and B's by segments.
    scales: (Scales<'a>, &'a [f32]),
    /// What each segment's sums are too large by, a number a column.
    shift: &'a [i32],
}

/// One task: C's `tile`, which begins at `(row, col)`.
struct Task<'a, 'b> {
    phase: &'a Phase<'a>,
    row: usize,
    col: usize,
    tile: &'a mut Tile<'b, f32>,
}

/// Words of a block of `k`: as in `blocking`, a panel of B over it stays in the first-level cache.
const LONGEST_BLOCK: usize = 384;

impl DotKernel for Task<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<D: Dots>(mut self, dots: D) {
        let words = self.phase.words;
        let (height, width) = (self.tile.rows(), self.tile.cols());
        // Sums of segments that are cut.
        let cut = words.segment > LONGEST_BLOCK;
        let mut partial = Buffer::<i32>::scratch(if cut { height * width } else { 0 });
        let mut sums = [0; LARGEST];
        let mut start = 0;
        while start < words.all {
            let end = words.block_end(start, LONGEST_BLOCK);
            for j in (0..width).step_by(cols::<D>()) {
                let b = &self.phase.panels.1[(self.col + j) * words.all..][..cols::<D>() * words.all];
                for i in (0..height).step_by(rows::<D>()) {
                    let a = &self.phase.panels.0[(self.row + i) * words.all..][..rows::<D>() * words.all];
                    let mut from = start;
                    while from < end {
                        let segment = from / words.segment;
                        let last = ((segment + 1) * words.segment).min(words.all);
                        let to = last.min(end);
                        let part_a = &a[from * rows::<D>()..to * rows::<D>()];
                        let part_b = &b[from * cols::<D>()..to * cols::<D>()];
                        multiply(dots, to - from, part_a, part_b, &mut sums);
                        if cut {
                            let first = from == segment * words.segment;
                            self.gather::<D>((i, j), first, to == last, &mut partial, &mut sums);
                        }
                        if to == last {
                            self.scale::<D>((i, j), segment, &mut sums);
                        }
                        from = to;
                    }
                }
            }
            start = end;
        }
    }
}

impl Task<'_, '_> {
    /// The rows and columns of the register tile at `(i, j)`.
    #[inline(always)]
    fn part<D: Dots>(&self, (i, j): (usize, usize)) -> (Range<usize>, Range<usize>) {
        (i..(i + rows::<D>()).min(self.tile.rows()), j..(j + cols::<D>()).min(self.tile.cols()))
    }

    /// Adds a tile's sums over the `first` or a later part of a segment to `partial`, and reads them back at the `last`.
    #[inline(always)]
    fn gather<D: Dots>(
        &self,
        at: (usize, usize),
        first: bool,
        last: bool,
        partial: &mut [i32],
        sums: &mut [i32; LARGEST],
    ) {
        let (rows, columns) = self.part::<D>(at);
        for (row, sums) in rows.zip(sums.chunks_exact_mut(cols::<D>())) {
            let partial = &mut partial[row * self.tile.cols()..][columns.clone()];
            for (partial, sum) in partial.iter_mut().zip(sums) {
                let total = if first { *sum } else { partial.wrapping_add(*sum) };
                *(if last { sum } else { partial }) = total;
            }
        }
    }

    /// Adds a segment's sums times the scales to C, or writes the first one's.
    #[inline(always)]
    fn scale<D: Dots>(&mut self, at: (usize, usize), segment: usize, sums: &mut [i32; LARGEST]) {
        let (rows, columns) = self.part::<D>(at);
        let Phase { scales: (of_a, of_b), shift, .. } = self.phase;
        let (all, columns_of_c) = (self.phase.columns, self.col + columns.start..self.col + columns.end);
        let row_of_b = if of_b.len() > all { segment * all } else { 0 };
        let of_b = &of_b[row_of_b..][columns_of_c.clone()];
        for (row, sums) in rows.zip(sums.chunks_exact_mut(cols::<D>())) {
            let sums = &mut sums[..columns.len()];
            if D::OFFSET != 0 {
                for (sum, shift) in sums.iter_mut().zip(&shift[segment * all..][columns_of_c.clone()]) {
                    *sum = sum.wrapping_sub(*shift);
                }
            }
            let of_a = of_a.get(self.row + row, segment);
            let c = &mut self.tile.row_mut(row)[columns.clone()];
            if segment == 0 {
                for ((c, &sum), &of_b) in c.iter_mut().zip(&*sums).zip(of_b) {
                    *c = (of_a * of_b) * sum as f32;
                }
            } else {
                for ((c, &sum), &of_b) in c.iter_mut().zip(&*sums).zip(of_b) {
                    *c += (of_a * of_b) * sum as f32;
                }
            }
        }
    }
}
