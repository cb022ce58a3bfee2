//! Products of few rows of 8-bit integers (decoding): B is read once, as it is stored, in tasks over columns.

use super::epilogue::finish;
use super::int8::{Scales, Segments};
use super::quantized::Quantized;
use crate::element::Epilogue;
use crate::grid::{Tile, Tiles};
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;
use crate::simd::int8::rows::{dot, words, Left, Right, MOST_ROWS};
use crate::simd::int8::{dispatch, word, DotKernel, Dots};
use crate::simd::skinny::{group, groups};

/// Bytes of B worth a task, some 20 µs of reading.
const TASK_BYTES: usize = 1 << 18;

/// `C ← A·Bᵀ` and the epilogue. `k` and C's sizes are not 0.
pub(super) fn run(
    a: Quantized<'_>,
    b: Quantized<'_>,
    segments: Segments,
    c: MatMut<'_, f32>,
    epilogue: &Epilogue<'_, f32>,
) {
    let rows = c.rows();
    let width = TASK_BYTES.div_ceil(segments.k).next_multiple_of(2).min(c.cols());
    let (wide, stride) = dispatch(Widen { a: a.values(), segments });
    let tiles = Tiles::new(c, rows, width);
    upbeat::par::for_each(0..tiles.across(), |task| {
        let (mut tile, cols) = (tiles.take(0, task), tiles.cols_of(task));
        dispatch(Task {
            a: Left { words: &wide, stride },
            b: b.values(),
            scales: (Scales::of(a), Scales::of(b)),
            segments,
            first: cols.start,
            tile: &mut tile,
        });
        finish(epilogue, 0..rows, cols, &mut tile);
    });
}

/// Copies A to words of two numbers; each segment of a row fills whole vectors, with zeros at its end.
struct Widen<'a> {
    a: Mat<'a, i8>,
    segments: Segments,
}

impl DotKernel for Widen<'_> {
    type Output = (Buffer<u32>, usize);
    #[inline(always)]
    fn run<D: Dots>(self, _dots: D) -> Self::Output {
        let one = words::<D>(self.segments.len);
        let stride = self.segments.count() * one;
        let mut wide = Buffer::scratch(self.a.rows() * stride);
        wide.fill(0);
        for (i, row) in wide.chunks_exact_mut(stride).enumerate() {
            for (s, to) in row.chunks_exact_mut(one).enumerate() {
                for (to, numbers) in to.iter_mut().zip(self.a.row(i)[self.segments.range(s)].chunks(2)) {
                    *to = word(numbers, 2);
                }
            }
        }
        (wide, stride)
    }
}

/// One task: all rows, and the columns of `tile` from `first`.
struct Task<'a, 'b> {
    a: Left<'a>,
    b: Mat<'a, i8>,
    scales: (Scales<'a>, Scales<'a>),
    segments: Segments,
    first: usize,
    tile: &'a mut Tile<'b, f32>,
}

impl DotKernel for Task<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<D: Dots>(mut self, dots: D) {
        let (rows, cols) = (self.tile.rows(), self.tile.cols());
        let count = groups(rows, MOST_ROWS);
        // Two columns share the loads of A's rows; for one row that matters less than one stream through memory does.
        let most = if rows == 1 { 1 } else { 2 };
        let mut col = 0;
        while col < cols {
            let width = (cols - col).min(most);
            for index in 0..count {
                let (row, height) = group(rows, count, index);
                match (height, width) {
                    (1, 1) => self.columns::<D, 1, 1>(dots, row, col),
                    (2, 1) => self.columns::<D, 2, 1>(dots, row, col),
                    (3, 1) => self.columns::<D, 3, 1>(dots, row, col),
                    (4, 1) => self.columns::<D, 4, 1>(dots, row, col),
                    (1, _) => self.columns::<D, 1, 2>(dots, row, col),
                    (2, _) => self.columns::<D, 2, 2>(dots, row, col),
                    (3, _) => self.columns::<D, 3, 2>(dots, row, col),
                    (4, _) => self.columns::<D, 4, 2>(dots, row, col),
                    _ => unreachable!("a group of {height} rows"),
                }
            }
            col += width;
        }
    }
}

impl Task<'_, '_> {
    /// `M` rows from `row` by `J` columns from `col`.
    #[inline(always)]
    fn columns<D: Dots, const M: usize, const J: usize>(&mut self, dots: D, row: usize, col: usize) {
        let one = words::<D>(self.segments.len);
        let (left, right) = (self.a.stride, self.b.stride());
        let mut sums = [[0.0f32; J]; M];
        for s in 0..self.segments.count() {
            let range = self.segments.range(s);
            let a = Left { words: &self.a.words[row * left + s * one..], stride: left };
            let b =
                Right { numbers: &self.b.data()[(self.first + col) * right + range.start..], stride: right };
            let totals = dot::<D, M, J>(dots, a, b, range.len());
            for (i, (sums, totals)) in sums.iter_mut().zip(totals).enumerate() {
                let of_a = self.scales.0.get(row + i, s);
                for (j, (sum, total)) in sums.iter_mut().zip(totals).enumerate() {
                    let value = (of_a * self.scales.1.get(self.first + col + j, s)) * total as f32;
                    *sum = if s == 0 { value } else { *sum + value };
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            self.tile.row_mut(row + i)[col..col + J].copy_from_slice(sums);
        }
    }
}
