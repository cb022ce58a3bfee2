//! The GEMM micro-kernel: a tile of C held in registers while a panel of A meets a panel of B.
//!
//! Each element's products are added in the order of `k`, one multiply-add after the other from 0, whatever the tile's
//! size and place: that is what makes a row's result independent of the rows around it. Blocking over `k` and the
//! layout of whole matrices are `gemm`'s business.

use super::tile::span;
use super::Simd;
use crate::grid::Tile;

/// Rows of a register tile, and so of a panel of A: with two vectors of columns 24 accumulators of 32 registers at
/// 16 lanes, else 12 of 16; the rest holds the two vectors of B and the broadcast element of A.
pub const fn tile_rows<S: Simd>() -> usize {
    if S::LANES == 16 {
        12
    } else {
        6
    }
}

/// Columns of a register tile, and so of a panel of B: two vectors.
pub const fn tile_cols<S: Simd>() -> usize {
    2 * S::LANES
}

/// The largest register tile of any level, in elements.
const LARGEST: usize = 12 * 32;

/// `c ← Σ_p a[p]·b[p]`, or that added to `c`.
///
/// `a` is a panel `[k, tile_rows]`, `b` a panel `[k, tile_cols]`; `c` is at most `[tile_rows, tile_cols]`, and what
/// the panels hold beyond its rows and columns does not matter.
///
/// # Panics
/// When a panel is too short or `c` too large.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, k: usize, a: &[f32], b: &[f32], c: &mut Tile<'_, f32>, add: bool) {
    assert!(a.len() / tile_rows::<S>() >= k, "a panel is too short");
    let a = Left { first: a.as_ptr(), row: 1, step: tile_rows::<S>() };
    // SAFETY: the panel holds `tile_rows` numbers in each of `k` steps.
    unsafe { checked::<S, true>(simd, k, a, b, c, add) }
}

/// Most rows that [`multiply_rows`] takes.
pub const MAX_ROWS: usize = 6;

/// [`multiply`] with A as it is stored, rows of `k` that lie `stride` apart: `c.rows()` of them, at most [`MAX_ROWS`].
///
/// # Panics
/// When A or the panel is too short, the number of A's elements overflows, or `c` is too large.
#[inline(always)]
pub fn multiply_rows<S: Simd>(
    simd: S,
    k: usize,
    a: &[f32],
    stride: usize,
    b: &[f32],
    c: &mut Tile<'_, f32>,
    add: bool,
) {
    assert!(c.rows() <= MAX_ROWS, "{} rows are too many", c.rows());
    assert!(k == 0 || a.len() >= span(c.rows(), stride, k), "A is too short");
    // SAFETY: A holds `c.rows()` rows of `k` numbers.
    unsafe { checked::<S, false>(simd, k, Left { first: a.as_ptr(), row: stride, step: 1 }, b, c, add) }
}

/// Where a tile's rows of A are: element `(i, p)` at `first + i * row + p * step`.
#[derive(Clone, Copy)]
struct Left {
    first: *const f32,
    row: usize,
    step: usize,
}

/// [`multiply`], A checked already.
///
/// # Safety
/// `a` must be valid for reading `k` numbers of `c.rows()` rows, when `PACKED` of `tile_rows` rows.
#[inline(always)]
unsafe fn checked<S: Simd, const PACKED: bool>(
    simd: S,
    k: usize,
    a: Left,
    b: &[f32],
    c: &mut Tile<'_, f32>,
    add: bool,
) {
    let (rows, cols, stride) = (c.rows(), c.cols(), c.stride());
    assert!(rows <= tile_rows::<S>() && cols <= tile_cols::<S>(), "the tile has {rows} rows, {cols} columns");
    assert!(b.len() / tile_cols::<S>() >= k, "a panel is too short");
    let b = b.as_ptr();
    if cols == tile_cols::<S>() {
        let to = Target { c: c.as_mut_ptr(), stride, rows, add };
        // SAFETY: the panels hold `k` steps, and the tile holds `rows` rows of two vectors.
        unsafe { by_rows::<S, 2, PACKED>(simd, k, a, b, to) }
        return;
    }
    // A level may have any number of lanes; the memory below has room for those up to 32.
    const { assert!(tile_rows::<S>() * tile_cols::<S>() <= LARGEST, "the register tile is too large") };
    // A tile at the right border is computed beside C and copied: the same sums, added in the same way.
    let mut beside = [0.0f32; LARGEST];
    let to = Target { c: beside.as_mut_ptr(), stride: tile_cols::<S>(), rows, add: false };
    if cols > S::LANES {
        // SAFETY: as above, with `beside` for C: it holds the largest tile.
        unsafe { by_rows::<S, 2, PACKED>(simd, k, a, b, to) }
    } else {
        // SAFETY: as above, with `beside` for C: it holds the largest tile.
        unsafe { by_rows::<S, 1, PACKED>(simd, k, a, b, to) }
    }
    for i in 0..rows {
        let from = &beside[i * tile_cols::<S>()..][..cols];
        for (c, &x) in c.row_mut(i).iter_mut().zip(from) {
            *c = if add { *c + x } else { x };
        }
    }
}

/// Where a register tile goes: `rows` rows at `c`, `stride` apart.
#[derive(Clone, Copy)]
struct Target {
    c: *mut f32,
    stride: usize,
    rows: usize,
    add: bool,
}

/// Picks the register tile with enough rows.
///
/// # Safety
/// `a` must be valid for `k` numbers of `to.rows` rows (when `PACKED`, of `tile_rows`), `b` for `k` steps of a panel, and
/// `to.c` for `to.rows` rows of `V` vectors.
#[inline(always)]
unsafe fn by_rows<S: Simd, const V: usize, const PACKED: bool>(
    simd: S,
    k: usize,
    a: Left,
    b: *const f32,
    to: Target,
) {
    macro_rules! pick {
        ($($rows:literal)*) => {
            match to.rows {
                0 => {}
                // SAFETY: the caller's promise; more rows than `to.rows` are computed but not written.
                $(rows if rows <= $rows => unsafe { tile::<S, $rows, V>(simd, k, a, b, to) },)*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    if PACKED && S::LANES == 16 {
        pick!(1 2 4 6 8 10 12)
    } else {
        pick!(1 2 3 4 5 6)
    }
}

/// One register tile of `M` rows by `V` vectors.
///
/// # Safety
/// As [`by_rows`], and A must hold `M` rows.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    k: usize,
    a: Left,
    mut b: *const f32,
    to: Target,
) {
    let mut sums = [[simd.splat(0.0); V]; M];
    for i in 0..M.min(to.rows) {
        // The row is read and written only after `k` steps; a tile's row may straddle two cache lines.
        let row = to.c.wrapping_add(i * to.stride);
        super::prefetch(row);
        super::prefetch(row.wrapping_add(V * S::LANES - 1));
    }
    let mut first = a.first;
    for _ in 0..k {
        let mut columns = [simd.splat(0.0); V];
        for (v, column) in columns.iter_mut().enumerate() {
            // SAFETY: the panel of B holds `tile_cols` numbers in this step.
            *column = unsafe { simd.load_ptr(b.wrapping_add(v * S::LANES)) };
        }
        for (i, row) in sums.iter_mut().enumerate() {
            // SAFETY: A holds `M` numbers in this step.
            let x = simd.splat(unsafe { *first.wrapping_add(i * a.row) });
            for (sum, column) in row.iter_mut().zip(columns) {
                *sum = simd.fma(x, column, *sum);
            }
        }
        first = first.wrapping_add(a.step);
        b = b.wrapping_add(tile_cols::<S>());
    }
    for (i, row) in sums.iter().enumerate() {
        if i >= to.rows {
            break;
        }
        for (v, sum) in row.iter().enumerate() {
            let c = to.c.wrapping_add(i * to.stride + v * S::LANES);
            let mut sum = *sum;
            if to.add {
                // SAFETY: row `i` of the target holds `V` vectors.
                sum = simd.add(unsafe { simd.load_ptr(c) }, sum);
            }
            // SAFETY: row `i` of the target holds `V` vectors.
            unsafe { simd.store_ptr(sum, c) };
        }
    }
}
