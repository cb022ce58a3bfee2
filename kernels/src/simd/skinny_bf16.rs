//! Products with few rows of A and a B stored as bf16, `[cols, k]`: two numbers in 32 bits are transposed as one, in registers, and
//! widened afterwards, so that B costs half of what f32 would cost to read and to transpose.
//!
//! Each element is summed as [`super::skinny`] sums it, and has the bits of the product with B widened before. What is
//! parallel is not decided here.

use super::tile::span;
use super::Simd;
use crate::bf16;
use crate::grid::Tile;

/// The factors, from their first element on.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a> {
    /// A, `[rows, k]`.
    pub(crate) a: &'a [f32],
    /// From one row of A to the next.
    pub(crate) a_stride: usize,
    /// B, `[cols, k]`.
    pub(crate) b: &'a [bf16],
    /// From one row of B, as stored, to the next.
    pub(crate) b_stride: usize,
}

/// Whether [`across`] can read rows of B that lie `stride` apart at this level: in pairs, the first of a pair in the lower bits.
#[inline(always)]
pub(crate) fn takes<S: Simd>(stride: usize) -> bool {
    S::LANES > 1 && stride.is_multiple_of(2) && cfg!(target_endian = "little")
}

/// `c ← A·B`, or that added to `c`, over `k` in blocks of `block`; one to three rows.
///
/// # Panics
/// When a factor is too short, the number of its elements overflows, `c` has more rows, `block` is odd or 0, or the level does not
/// [take](takes) B's stride.
#[inline(always)]
pub(crate) fn across<S: Simd>(
    simd: S,
    f: Factors<'_>,
    k: usize,
    block: usize,
    c: &mut Tile<'_, f32>,
    add: bool,
) {
    let (rows, cols) = (c.rows(), c.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(takes::<S>(f.b_stride) && block.is_multiple_of(2), "B cannot be read in pairs");
    if k > 0 {
        assert!(f.a.len() >= span(rows, f.a_stride, k), "A is too short");
        assert!(f.b.len() >= span(cols, f.b_stride, k), "B is too short");
    }
    // With a row or two, sums of one vector of columns would wait for their own additions.
    match rows {
        1 => by_columns::<S, 1, 2>(simd, f, k, block, c, add),
        2 => by_columns::<S, 2, 2>(simd, f, k, block, c, add),
        3 => by_columns::<S, 3, 1>(simd, f, k, block, c, add),
        _ => panic!("{rows} rows are too many"),
    }
}

/// All columns, `V` vectors at a time, then one at a time. The factors have been checked.
#[inline(always)]
fn by_columns<S: Simd, const M: usize, const V: usize>(
    simd: S,
    f: Factors<'_>,
    k: usize,
    block: usize,
    c: &mut Tile<'_, f32>,
    add: bool,
) {
    let cols = c.cols();
    let whole = cols / (V * S::LANES) * (V * S::LANES);
    for first in (0..whole).step_by(V * S::LANES) {
        columns::<S, M, V>(simd, f, (k, block), c, add, (first, V * S::LANES));
    }
    for first in (whole..cols).step_by(S::LANES) {
        columns::<S, M, 1>(simd, f, (k, block), c, add, (first, (cols - first).min(S::LANES)));
    }
}

/// `width` columns from `first`, at most `V` vectors; only with one vector may it be less.
#[inline(always)]
fn columns<S: Simd, const M: usize, const V: usize>(
    simd: S,
    f: Factors<'_>,
    (k, block): (usize, usize),
    c: &mut Tile<'_, f32>,
    add: bool,
    (first, width): (usize, usize),
) {
    let b = &f.b[(first * f.b_stride).min(f.b.len())..];
    let lanes = width.min(S::LANES);
    for from in (0..k.max(1)).step_by(block) {
        let to = (from + block).min(k);
        let mut sums = [[simd.splat(0.0); M]; V];
        let mut p = from;
        while p < to {
            let len = (to - p).min(2 * S::LANES);
            for (v, sums) in sums.iter_mut().enumerate() {
                let b = &b[v * S::LANES * f.b_stride + p..];
                if len == 2 * S::LANES {
                    // SAFETY: A was checked to hold `M` rows of `k` numbers, B as many columns of them, and `p + 2·LANES` is at most `k`.
                    unsafe { add_pairs(simd, &f, (b, f.b_stride), (p, len), lanes, sums) };
                } else {
                    // What is left of a block, copied to where whole vectors may be read.
                    let mut rest = [bf16::ZERO; 2 * super::MOST_LANES * super::MOST_LANES];
                    for (lane, to) in rest.chunks_exact_mut(2 * S::LANES).enumerate().take(lanes) {
                        to[..len].copy_from_slice(&b[lane * f.b_stride..][..len]);
                    }
                    // SAFETY: `lanes` rows of `2·LANES` numbers were made, and A was checked to hold `p + len`.
                    unsafe { add_pairs(simd, &f, (&rest, 2 * S::LANES), (p, len), lanes, sums) };
                }
            }
            p += len;
        }
        for i in 0..M {
            let to = &mut c.row_mut(i)[first..first + width];
            for (sums, to) in sums.iter().zip(to.chunks_mut(S::LANES)) {
                let mut sum = sums[i];
                if add || from > 0 {
                    sum = simd.add(simd.load_partial(to), sum);
                }
                simd.store_partial(sum, to);
            }
        }
    }
}

/// Adds the products of `len` numbers from `p`, at most `2·LANES`, to the sums of `M` rows of A and a vector of columns, of which
/// `lanes` are there; `b` begins at `p`, its columns lie so far apart.
///
/// # Safety
/// `M` rows of A must hold `p + len` numbers, `lanes` columns of `b` `2·LANES`; their distance must be even.
#[inline(always)]
unsafe fn add_pairs<S: Simd, const M: usize>(
    simd: S,
    f: &Factors<'_>,
    (b, stride): (&[bf16], usize),
    (p, len): (usize, usize),
    lanes: usize,
    sums: &mut [S::F; M],
) {
    let mut pairs = [simd.splat(0.0); super::MOST_LANES];
    // SAFETY: `2·LANES` numbers of 16 bits are `LANES` of 32, for each of these columns; vectors need no alignment.
    unsafe { simd.load_transposed(b.as_ptr().cast::<f32>(), stride / 2, lanes, &mut pairs[..S::LANES]) };
    let a = f.a.as_ptr().wrapping_add(p);
    let at = |i: usize, q: usize| a.wrapping_add(i * f.a_stride + q);
    for (q, pair) in pairs.iter().enumerate().take(S::LANES) {
        let (even, odd) = simd.widen_pair(*pair);
        for (i, sum) in sums.iter_mut().enumerate() {
            if 2 * q < len {
                // SAFETY: the caller's promise.
                *sum = simd.fma(simd.splat(unsafe { at(i, 2 * q).read() }), even, *sum);
            }
            if 2 * q + 1 < len {
                // SAFETY: the caller's promise.
                *sum = simd.fma(simd.splat(unsafe { at(i, 2 * q + 1).read() }), odd, *sum);
            }
        }
    }
}
