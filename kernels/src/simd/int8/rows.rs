//! Few rows of A, widened before, times numbers of B as they are stored: `[n, k]`, read once along `k`.

use super::Dots;
use crate::simd::prefetch;

/// Most rows of A that meet a column at once.
pub(crate) const MOST_ROWS: usize = 4;
/// Vectors read between two prefetches; at 8 lanes a cache line.
const VECTORS: usize = 4;
/// How far ahead of the reads memory is asked for, in bytes: prefetchers stop at the end of a page, the next row goes on.
const AHEAD: usize = 1024;

/// Rows of A as words of two numbers, from the first word of a segment on.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) words: &'a [u32],
    /// From one row to the next.
    pub(crate) stride: usize,
}

/// Rows of B (columns of the product) as stored, from the first number of a segment on.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) numbers: &'a [i8],
    /// From one row to the next.
    pub(crate) stride: usize,
}

/// Words of a row of A over `len` numbers: whole vectors, so that the last one may be read whole.
#[inline(always)]
pub(crate) const fn words<D: Dots>(len: usize) -> usize {
    len.div_ceil(2 * D::LANES) * D::LANES
}

/// `Σ a·b` over `len` numbers, for `M` rows of A and `J` of B. Sums wrap.
///
/// # Panics
/// When a factor is too short.
#[inline(always)]
pub(crate) fn dot<D: Dots, const M: usize, const J: usize>(
    dots: D,
    a: Left<'_>,
    b: Right<'_>,
    len: usize,
) -> [[i32; J]; M] {
    let vector = 2 * D::LANES;
    assert!(a.words.len() >= crate::simd::tile::span(M, a.stride, words::<D>(len)), "A is too short");
    assert!(b.numbers.len() >= crate::simd::tile::span(J, b.stride, len), "B is too short");
    let whole = len / vector;
    let mut sums = [[dots.zero(); J]; M];
    // SAFETY: both factors hold `whole` vectors in each row.
    unsafe { add(dots, a, b, whole, &mut sums) };
    if whole * vector < len {
        let mut tails = [[0i8; 32]; J];
        for (j, tail) in tails.iter_mut().enumerate() {
            let rest = &b.numbers[j * b.stride..][whole * vector..len];
            tail[..rest.len()].copy_from_slice(rest);
        }
        let a = Left { words: &a.words[whole * D::LANES..], ..a };
        let b = Right { numbers: tails.as_flattened(), stride: 32 };
        // SAFETY: A's words end at a whole vector, and a tail holds one of any level.
        unsafe { add(dots, a, b, 1, &mut sums) };
    }
    let mut totals = [[0; J]; M];
    for (totals, sums) in totals.iter_mut().zip(sums) {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = dots.sum(sum);
        }
    }
    totals
}

/// Adds the products of `vectors` vectors.
///
/// # Safety
/// Each of `M` rows of A and `J` of B must hold that many.
#[inline(always)]
unsafe fn add<D: Dots, const M: usize, const J: usize>(
    dots: D,
    a: Left<'_>,
    b: Right<'_>,
    vectors: usize,
    sums: &mut [[D::I; J]; M],
) {
    let (first_a, first_b) = (a.words.as_ptr(), b.numbers.as_ptr());
    for from in (0..vectors).step_by(VECTORS) {
        for j in 0..J {
            prefetch(first_b.wrapping_add(j * b.stride + from * 2 * D::LANES + AHEAD));
        }
        for v in from..(from + VECTORS).min(vectors) {
            let mut columns = [dots.zero(); J];
            for (j, column) in columns.iter_mut().enumerate() {
                let at = first_b.wrapping_add(j * b.stride + v * 2 * D::LANES);
                // SAFETY: row `j` of B holds this vector.
                *column = unsafe { dots.load_pairs(at) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row `i` of A holds this vector.
                let x = unsafe { dots.load(first_a.wrapping_add(i * a.stride + v * D::LANES)) };
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = dots.dot_pairs(*sum, x, column);
                }
            }
        }
    }
}
