//! The GEMM micro-kernel: a tile of C held in registers while a panel of A meets a panel of B.
//!
//! Each element's products are added in the order of `k`, one multiply-add after the other from 0, whatever the tile's
//! size and place: that is what makes a row's result independent of the rows around it. Blocking over `k` and the
//! layout of whole matrices are `gemm`'s business.

use std::ptr::null;

use super::tile::span;
use super::{prefetch_later, Simd, LINE};
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

/// Columns of the widest register tile of any level.
pub const MAX_COLS: usize = 32;
/// The largest register tile of any level, in elements.
const LARGEST: usize = 12 * MAX_COLS;

/// What is asked for while a tile is computed: numbers that the next tiles need, in memory or a cache that is far.
#[derive(Clone, Copy)]
pub struct Ahead {
    at: *const f32,
    /// From one step of `k` to the next; no more than `tile_cols` of any level.
    step: usize,
}

impl Ahead {
    /// Nothing.
    const NONE: Self = Self { at: null(), step: 0 };

    /// Part `part` of `parts` of the first `k` steps of `next`, a panel of B. Nothing is read where that is shorter.
    #[inline(always)]
    pub fn part<S: Simd>(next: &[f32], k: usize, part: usize, parts: usize) -> Self {
        let width = tile_cols::<S>();
        Self { at: next.as_ptr().wrapping_add(k * width / parts * part), step: width.div_ceil(parts) }
    }
}

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
    unsafe { checked::<S, true, false, false>(simd, k, a, b, c, (add, null()), Ahead::NONE) }
}

/// [`multiply`], asking for `ahead` meanwhile.
///
/// # Panics
/// As [`multiply`].
#[inline(always)]
pub fn multiply_ahead<S: Simd>(
    simd: S,
    k: usize,
    a: &[f32],
    b: &[f32],
    c: &mut Tile<'_, f32>,
    add: bool,
    ahead: Ahead,
) {
    assert!(a.len() / tile_rows::<S>() >= k, "a panel is too short");
    let a = Left { first: a.as_ptr(), row: 1, step: tile_rows::<S>() };
    // SAFETY: the panel holds `tile_rows` numbers in each of `k` steps.
    unsafe { checked::<S, true, true, false>(simd, k, a, b, c, (add, null()), ahead) }
}

/// Most rows that [`multiply_rows`] takes.
pub const MAX_ROWS: usize = 6;

/// [`multiply_ahead`] with A as it is stored, rows of `k` that lie `stride` apart: `c.rows()` of them, at most [`MAX_ROWS`]; beginning with
/// `sums` of [`accumulate_rows`] where there are any.
///
/// # Panics
/// When A, the panel or the sums are too short, the number of A's elements overflows, or `c` is too large.
#[inline(always)]
pub fn multiply_rows<S: Simd>(
    simd: S,
    k: usize,
    (a, stride): (&[f32], usize),
    b: &[f32],
    c: &mut Tile<'_, f32>,
    (add, sums): (bool, Option<&[f32]>),
    ahead: Option<Ahead>,
) {
    assert!(c.rows() <= MAX_ROWS, "{} rows are too many", c.rows());
    assert!(k == 0 || a.len() >= span(c.rows(), stride, k), "A is too short");
    assert!(sums.is_none_or(|sums| sums.len() / tile_cols::<S>() >= c.rows()), "too few sums");
    let a = Left { first: a.as_ptr(), row: stride, step: 1 };
    let from = sums.map_or(null(), <[f32]>::as_ptr);
    match (ahead, sums) {
        // SAFETY: A holds `c.rows()` rows of `k` numbers, and so many rows of sums there are.
        (Some(ahead), Some(_)) => unsafe {
            checked::<S, false, true, true>(simd, k, a, b, c, (add, from), ahead)
        },
        // SAFETY: the same.
        (Some(ahead), None) => unsafe {
            checked::<S, false, true, false>(simd, k, a, b, c, (add, from), ahead)
        },
        // SAFETY: the same.
        (None, Some(_)) => unsafe {
            checked::<S, false, false, true>(simd, k, a, b, c, (add, from), Ahead::NONE)
        },
        // SAFETY: the same.
        (None, None) => unsafe {
            checked::<S, false, false, false>(simd, k, a, b, c, (add, from), Ahead::NONE)
        },
    }
}

/// The first steps of [`multiply_rows`], whose sums `[rows, tile_cols]` the next ones go on with: from 0 when `starts`.
///
/// # Panics
/// As [`multiply_rows`].
#[inline(always)]
pub fn accumulate_rows<S: Simd>(
    simd: S,
    k: usize,
    (a, stride): (&[f32], usize),
    b: &[f32],
    sums: &mut [f32],
    starts: bool,
    ahead: Ahead,
) {
    let rows = sums.len() / tile_cols::<S>();
    assert!(rows <= MAX_ROWS, "{rows} rows are too many");
    assert!(k == 0 || a.len() >= span(rows, stride, k), "A is too short");
    assert!(b.len() / tile_cols::<S>() >= k, "a panel is too short");
    let a = Left { first: a.as_ptr(), row: stride, step: 1 };
    let sums = sums.as_mut_ptr();
    let from = if starts { null() } else { sums.cast_const() };
    let to = Target { c: sums, stride: tile_cols::<S>(), rows, add: false, sums: from };
    // SAFETY: A holds `rows` rows of `k` numbers, the panel `k` steps, and the sums are `rows` rows of two vectors.
    unsafe {
        match starts {
            true => by_rows::<S, 2, false, true, false>(simd, k, a, b.as_ptr(), to, ahead),
            false => by_rows::<S, 2, false, true, true>(simd, k, a, b.as_ptr(), to, ahead),
        }
    }
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
/// `a` must be valid for reading `k` numbers of `c.rows()` rows, when `PACKED` of `tile_rows` rows, and when `FROM` `sums` for reading `c.rows()`
/// rows of `tile_cols` numbers.
#[inline(always)]
unsafe fn checked<S: Simd, const PACKED: bool, const AHEAD: bool, const FROM: bool>(
    simd: S,
    k: usize,
    a: Left,
    b: &[f32],
    c: &mut Tile<'_, f32>,
    (add, sums): (bool, *const f32),
    ahead: Ahead,
) {
    let (rows, cols, stride) = (c.rows(), c.cols(), c.stride());
    assert!(rows <= tile_rows::<S>() && cols <= tile_cols::<S>(), "the tile has {rows} rows, {cols} columns");
    assert!(b.len() / tile_cols::<S>() >= k, "a panel is too short");
    let b = b.as_ptr();
    if cols == tile_cols::<S>() {
        let to = Target { c: c.as_mut_ptr(), stride, rows, add, sums };
        // SAFETY: the panels hold `k` steps, and the tile holds `rows` rows of two vectors.
        unsafe { by_rows::<S, 2, PACKED, AHEAD, FROM>(simd, k, a, b, to, ahead) }
        return;
    }
    // A level may have any number of lanes; the memory below has room for those up to 32.
    const { assert!(tile_rows::<S>() * tile_cols::<S>() <= LARGEST, "the register tile is too large") };
    // A tile at the right border is computed beside C and copied: the same sums, added in the same way.
    let mut beside = [0.0f32; LARGEST];
    let to = Target { c: beside.as_mut_ptr(), stride: tile_cols::<S>(), rows, add: false, sums };
    if cols > S::LANES {
        // SAFETY: as above, with `beside` for C: it holds the largest tile.
        unsafe { by_rows::<S, 2, PACKED, AHEAD, FROM>(simd, k, a, b, to, ahead) }
    } else {
        // SAFETY: as above, with `beside` for C: it holds the largest tile.
        unsafe { by_rows::<S, 1, PACKED, AHEAD, FROM>(simd, k, a, b, to, ahead) }
    }
    for i in 0..rows {
        let from = &beside[i * tile_cols::<S>()..][..cols];
        for (c, &x) in c.row_mut(i).iter_mut().zip(from) {
            *c = if add { *c + x } else { x };
        }
    }
}

/// Where a register tile goes: `rows` rows at `c`, `stride` apart; and the sums that it begins with, rows of `tile_cols`, when `FROM`, else from 0.
#[derive(Clone, Copy)]
struct Target {
    c: *mut f32,
    stride: usize,
    rows: usize,
    add: bool,
    sums: *const f32,
}

/// Picks the register tile with enough rows.
///
/// # Safety
/// `a` must be valid for `k` numbers of `to.rows` rows (when `PACKED`, of `tile_rows`), `b` for `k` steps of a panel, and
/// `to.c` for `to.rows` rows of `V` vectors, when `FROM` `to.sums` too, its rows `tile_cols` apart.
#[inline(always)]
unsafe fn by_rows<S: Simd, const V: usize, const PACKED: bool, const AHEAD: bool, const FROM: bool>(
    simd: S,
    k: usize,
    a: Left,
    b: *const f32,
    to: Target,
    ahead: Ahead,
) {
    macro_rules! pick {
        ($($rows:literal)*) => {
            match to.rows {
                0 => {}
                // SAFETY: the caller's promise; more rows than `to.rows` are computed but not written.
                $(rows if rows <= $rows => unsafe { tile::<S, $rows, V, AHEAD, FROM>(simd, k, a, b, to, ahead) },)*
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
unsafe fn tile<S: Simd, const M: usize, const V: usize, const AHEAD: bool, const FROM: bool>(
    simd: S,
    k: usize,
    a: Left,
    mut b: *const f32,
    to: Target,
    mut ahead: Ahead,
) {
    let mut sums = [[simd.splat(0.0); V]; M];
    for i in 0..M.min(to.rows) {
        // The row is read and written only after `k` steps; a tile's row may straddle two cache lines.
        let row = to.c.wrapping_add(i * to.stride);
        super::prefetch(row);
        super::prefetch(row.wrapping_add(V * S::LANES - 1));
    }
    if FROM {
        for (i, row) in sums.iter_mut().enumerate().take(to.rows) {
            for (v, sum) in row.iter_mut().enumerate() {
                // SAFETY: there are `to.rows` rows of sums, each of `tile_cols` numbers.
                *sum = unsafe { simd.load_ptr(to.sums.wrapping_add(i * tile_cols::<S>() + v * S::LANES)) };
            }
        }
    }
    let mut first = a.first;
    for _ in 0..k {
        if AHEAD {
            // Into the second level: the first has no room for two panels.
            prefetch_later(ahead.at);
            prefetch_later(ahead.at.wrapping_add(LINE));
            ahead.at = ahead.at.wrapping_add(ahead.step);
        }
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
