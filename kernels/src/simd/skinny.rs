//! Products with few rows of A, where packing B would cost more than the product: B is read once, as it is stored.
//!
//! Each element is summed as the micro-kernel sums it ([`super::micro`]): blocks of `k`, in each one multiply-add after the
//! other from 0, blocks added in order. So both give the same bits. What is parallel is not decided here.

use super::tile::span;
use super::Simd;
use crate::grid::Tile;

/// Most rows of A that these kernels take. Beyond, the shuffles and loads saved are no longer what costs.
pub const MAX_ROWS: usize = 4;

/// The factors, from their first element on.
#[derive(Clone, Copy)]
pub struct Factors<'a> {
    /// A, `[rows, k]`.
    pub a: &'a [f32],
    /// From one row of A to the next.
    pub a_stride: usize,
    /// B, `[cols, k]` when transposed, else `[k, cols]`.
    pub b: &'a [f32],
    /// From one row of B, as stored, to the next.
    pub b_stride: usize,
    /// Whether B is stored as `[cols, k]`.
    pub transposed: bool,
}

/// `c ← A·B`, or that added to `c`, over `k` in blocks of `block`. `c` is `[rows, cols]` with at most [`MAX_ROWS`] rows.
///
/// # Panics
/// When a factor is too short, the number of its elements overflows, `c` has more rows, or `block` is 0.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, f: Factors<'_>, k: usize, block: usize, c: &mut Tile<'_, f32>, add: bool) {
    let (rows, cols) = (c.rows(), c.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    let needed = |rows: usize, stride: usize, cols: usize| match (rows, cols) {
        (0, _) | (_, 0) => 0,
        _ => span(rows, stride, cols),
    };
    let (b_rows, b_cols) = if f.transposed { (cols, k) } else { (k, cols) };
    assert!(f.a.len() >= needed(rows, f.a_stride, k), "A is too short");
    assert!(f.b.len() >= needed(b_rows, f.b_stride, b_cols), "B is too short");
    // Enough independent sums to hide a multiply-add's latency, few enough for the registers.
    match (rows, f.transposed) {
        (1, true) => by_columns::<S, 1, 4>(simd, f, k, block, c, add),
        (2, true) => by_columns::<S, 2, 3>(simd, f, k, block, c, add),
        (3, true) => by_columns::<S, 3, 2>(simd, f, k, block, c, add),
        (4, true) => by_columns::<S, 4, 2>(simd, f, k, block, c, add),
        (1, false) => by_columns::<S, 1, 8>(simd, f, k, block, c, add),
        (2, false) => by_columns::<S, 2, 4>(simd, f, k, block, c, add),
        (3, false) => by_columns::<S, 3, 3>(simd, f, k, block, c, add),
        (4, false) => by_columns::<S, 4, 2>(simd, f, k, block, c, add),
        _ => panic!("{rows} rows are too many"),
    }
}

/// All columns, in groups of `V` vectors. The factors have been checked.
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
    for first in (0..cols).step_by(V * S::LANES) {
        let width = (cols - first).min(V * S::LANES);
        for from in (0..k.max(1)).step_by(block) {
            let to = (from + block).min(k);
            let sums = if f.transposed && width == V * S::LANES {
                across::<S, M, V, true>(simd, f, (first, width), (from, to))
            } else if f.transposed {
                across::<S, M, V, false>(simd, f, (first, width), (from, to))
            } else {
                along::<S, M, V>(simd, f, (first, width), (from, to))
            };
            for (i, sums) in sums.iter().enumerate() {
                let row = &mut c.row_mut(i)[first..first + width];
                for (to, sum) in row.chunks_mut(S::LANES).zip(sums) {
                    let mut sum = *sum;
                    if add || from > 0 {
                        sum = simd.add(simd.load_partial(to), sum);
                    }
                    simd.store_partial(sum, to);
                }
            }
        }
    }
}

/// Element `(i, p)` of A in every lane.
///
/// # Safety
/// A must hold it.
#[inline(always)]
unsafe fn broadcast<S: Simd>(simd: S, f: &Factors<'_>, i: usize, p: usize) -> S::F {
    // SAFETY: the caller's promise.
    simd.splat(unsafe { *f.a.as_ptr().wrapping_add(i * f.a_stride + p) })
}

/// Sums over `k` in `from..to` for `width` columns from `first`, B stored as `[cols, k]`: blocks of vectors along `k`
/// are turned, so that lanes are columns. `WHOLE` says that `width` is that of `V` vectors.
#[inline(always)]
fn across<S: Simd, const M: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    f: Factors<'_>,
    (first, width): (usize, usize),
    (from, to): (usize, usize),
) -> [[S::F; V]; M] {
    let mut sums = [[simd.splat(0.0); V]; M];
    // Columns behind the last one repeat it; their sums are not stored. Whole groups need no such care, and then the
    // columns' addresses differ by one stride.
    let start = first * f.b_stride;
    let column = |v: usize, lane: usize| {
        let column = v * S::LANES + lane;
        start + if WHOLE { column } else { column.min(width - 1) } * f.b_stride
    };
    let whole = from + (to - from) / S::LANES * S::LANES;
    for p in (from..whole).step_by(S::LANES) {
        for v in 0..V {
            let mut turned = [simd.splat(0.0); 16];
            for (lane, row) in turned.iter_mut().enumerate().take(S::LANES) {
                // SAFETY: B was checked to hold this column up to `k`, and `p + LANES` is at most that.
                *row = unsafe { simd.load_ptr(f.b.as_ptr().wrapping_add(column(v, lane) + p)) };
            }
            simd.transpose(&mut turned[..S::LANES]);
            for (q, b) in turned.iter().enumerate().take(S::LANES) {
                for (i, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: A was checked to hold `M` rows up to `k`.
                    let a = unsafe { broadcast(simd, &f, i, p + q) };
                    sums[v] = simd.fma(a, *b, sums[v]);
                }
            }
        }
    }
    for p in whole..to {
        for v in 0..V {
            let mut b = [0.0; 16];
            for (lane, b) in b.iter_mut().enumerate().take(S::LANES) {
                *b = f.b[column(v, lane) + p];
            }
            let b = simd.load(&b);
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: A was checked to hold `M` rows up to `k`.
                let a = unsafe { broadcast(simd, &f, i, p) };
                sums[v] = simd.fma(a, b, sums[v]);
            }
        }
    }
    sums
}

/// The same sums, B stored as `[k, cols]`: its rows are vectors of columns already.
#[inline(always)]
fn along<S: Simd, const M: usize, const V: usize>(
    simd: S,
    f: Factors<'_>,
    (first, width): (usize, usize),
    (from, to): (usize, usize),
) -> [[S::F; V]; M] {
    let mut sums = [[simd.splat(0.0); V]; M];
    for p in from..to {
        let row = p * f.b_stride + first;
        for v in 0..V {
            let b = if width == V * S::LANES {
                // SAFETY: B was checked to hold `width` numbers of this row from `first`.
                unsafe { simd.load_ptr(f.b.as_ptr().wrapping_add(row + v * S::LANES)) }
            } else {
                let start = (v * S::LANES).min(width);
                simd.load_partial(&f.b[row + start..row + (start + S::LANES).min(width)])
            };
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: A was checked to hold `M` rows up to `k`.
                let a = unsafe { broadcast(simd, &f, i, p) };
                sums[v] = simd.fma(a, b, sums[v]);
            }
        }
    }
    sums
}
