//! Products with few rows of A, where B is read once, as it is stored: `[k, cols]` by whole rows ([`along`]), `[cols, k]`
//! through transposition in registers ([`across`]). With more rows the transposed case packs ([`super::micro`]).
//!
//! Each element is summed as the micro-kernel sums it ([`super::micro`]): blocks of `k`, in each one multiply-add after the
//! other from 0, blocks added in order. So all give the same bits. What is parallel is not decided here.

use super::tile::span;
use super::{prefetch, Simd};
use crate::grid::Tile;

/// Most rows of A that [`along`] takes.
pub const MAX_ROWS_ALONG: usize = 16;
/// Most rows of A that [`across`] takes: it transposes B anew for each row group, which would be all that it does.
pub const MAX_ROWS_ACROSS: usize = 3;
/// Rows of A that are multiplied at once, at most; with two vectors of columns they hide a multiply-add's latency.
const GROUP: usize = 4;
/// Running sums of a strip of columns, kept in the first-level cache: 8 KiB.
const SUMS: usize = 2048;
/// Rows of B that [`along`] multiplies in one pass over the sums: as many as a set of a usual first-level cache has lines,
/// as rows a power of two apart all fall into one.
const DEPTH: usize = 8;

/// The factors, from their first element on.
#[derive(Clone, Copy)]
pub struct Factors<'a> {
    /// A, `[rows, k]`.
    pub a: &'a [f32],
    /// From one row of A to the next.
    pub a_stride: usize,
    /// B, `[k, cols]` for [`along`], `[cols, k]` for [`across`].
    pub b: &'a [f32],
    /// From one row of B, as stored, to the next.
    pub b_stride: usize,
}

impl Factors<'_> {
    /// Panics when a factor is too short for `rows` of A, or for `[b_rows, b_cols]` of B as stored.
    #[inline(always)]
    fn check(&self, rows: usize, k: usize, b_rows: usize, b_cols: usize) {
        if k == 0 {
            return;
        }
        assert!(self.a.len() >= span(rows, self.a_stride, k), "A is too short");
        assert!(self.b.len() >= span(b_rows, self.b_stride, b_cols), "B is too short");
    }
}

/// How `rows` are cut into groups of nearly one size: `(first, rows)` of group `index` of [`groups`]. A group of one or two
/// rows would wait for its own additions.
#[inline(always)]
pub fn group(rows: usize, groups: usize, index: usize) -> (usize, usize) {
    let from = rows * index / groups;
    (from, rows * (index + 1) / groups - from)
}

/// Groups of at most `most` rows.
#[inline(always)]
pub fn groups(rows: usize, most: usize) -> usize {
    rows.div_ceil(most)
}

/// `c ← A·B`, or that added to `c`, for B stored as `[k, cols]`, over `k` in blocks of `block`; at most
/// [`MAX_ROWS_ALONG`] rows.
///
/// # Panics
/// When a factor is too short, the number of its elements overflows, `c` has more rows, or `block` is 0.
#[inline(always)]
pub fn along<S: Simd>(simd: S, f: Factors<'_>, k: usize, block: usize, c: &mut Tile<'_, f32>, add: bool) {
    let (rows, cols) = (c.rows(), c.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(rows <= MAX_ROWS_ALONG, "{rows} rows are too many");
    f.check(rows, k, k, cols);
    let strip = SUMS / rows / (2 * S::LANES) * (2 * S::LANES);
    let mut sums = [0.0f32; SUMS];
    for first in (0..cols).step_by(strip) {
        let width = (cols - first).min(strip);
        for from in (0..k.max(1)).step_by(block) {
            let to = (from + block).min(k);
            sums[..rows * strip].fill(0.0);
            let mut p = from;
            while p < to {
                let depth = (to - p).min(DEPTH);
                for index in 0..groups(rows, GROUP) {
                    let (row, height) = group(rows, groups(rows, GROUP), index);
                    let pass = Pass {
                        a: f.a.as_ptr().wrapping_add(row * f.a_stride + p),
                        a_stride: f.a_stride,
                        b: &f.b[p * f.b_stride + first..],
                        b_stride: f.b_stride,
                        width,
                        sums: &mut sums[row * strip..][..height * strip],
                        strip,
                    };
                    // SAFETY: the factors were checked: A holds these rows and `depth` numbers from `p`, B `depth`
                    // rows of `width` numbers; the sums are `height` strips, of whole vectors.
                    unsafe { pass.of_height(simd, height, depth) };
                }
                p += depth;
            }
            for (i, sums) in sums.chunks(strip).take(rows).enumerate() {
                store_or_add(simd, &sums[..width], &mut c.row_mut(i)[first..first + width], add || from > 0);
            }
        }
    }
}

/// `to ← sums`, or that added.
#[inline(always)]
fn store_or_add<S: Simd>(simd: S, sums: &[f32], to: &mut [f32], add: bool) {
    for (sums, to) in sums.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
        let mut sum = simd.load_partial(sums);
        if add {
            sum = simd.add(simd.load_partial(to), sum);
        }
        simd.store_partial(sum, to);
    }
}

/// Some rows of A times some rows of B, added to running sums.
struct Pass<'a> {
    a: *const f32,
    a_stride: usize,
    b: &'a [f32],
    b_stride: usize,
    width: usize,
    sums: &'a mut [f32],
    strip: usize,
}

impl Pass<'_> {
    /// Picks the code for `height` rows of A and `depth` rows of B.
    ///
    /// # Safety
    /// As [`Pass::run`], and `height` must be in `1..=GROUP`.
    #[inline(always)]
    unsafe fn of_height<S: Simd>(self, simd: S, height: usize, depth: usize) {
        macro_rules! heights {
            ($(($height:literal, $vectors:literal))*) => {
                match height {
                    $(
                        // SAFETY: the caller's promise for this height.
                        $height => unsafe { self.run::<S, $height, $vectors>(simd, depth) },
                    )*
                    _ => unreachable!("a group of {height} rows"),
                }
            };
        }
        heights!((1, 4)(2, 2)(3, 2)(4, 2))
    }

    /// `sums[i] += Σ_q a[i, q]·b[q]` for `M` rows of A and `depth` rows of B, `V` vectors of columns at a time.
    ///
    /// # Safety
    /// A must hold `M` rows of `depth` numbers, at most [`DEPTH`], B `depth` rows of `width` numbers, `sums` `M` strips,
    /// each a multiple of two vectors and at least `width`.
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize, const V: usize>(self, simd: S, depth: usize) {
        let mut x = [[simd.splat(0.0); M]; DEPTH];
        for (q, x) in x.iter_mut().enumerate().take(depth) {
            for (i, x) in x.iter_mut().enumerate() {
                // SAFETY: A holds row `i` up to `depth`.
                *x = simd.splat(unsafe { self.a.wrapping_add(i * self.a_stride + q).read() });
            }
        }
        let (b, sums) = (self.b.as_ptr(), self.sums.as_mut_ptr());
        let whole = self.width / (V * S::LANES) * (V * S::LANES);
        for j in (0..whole).step_by(V * S::LANES) {
            let mut sum = [[simd.splat(0.0); V]; M];
            for (i, sum) in sum.iter_mut().enumerate() {
                for (v, sum) in sum.iter_mut().enumerate() {
                    // SAFETY: strip `i` holds `V` vectors from `j`.
                    *sum = unsafe { simd.load_ptr(sums.wrapping_add(i * self.strip + j + v * S::LANES)) };
                }
            }
            for (q, x) in x.iter().enumerate().take(depth) {
                let row = b.wrapping_add(q * self.b_stride + j);
                for line in (0..V * S::LANES).step_by(16) {
                    prefetch(row.wrapping_add(DEPTH * self.b_stride + line));
                }
                let mut columns = [simd.splat(0.0); V];
                for (v, column) in columns.iter_mut().enumerate() {
                    // SAFETY: row `q` of B holds `V` vectors from `j`.
                    *column = unsafe { simd.load_ptr(row.wrapping_add(v * S::LANES)) };
                }
                for (x, sum) in x.iter().zip(&mut sum) {
                    for (sum, column) in sum.iter_mut().zip(columns) {
                        *sum = simd.fma(*x, column, *sum);
                    }
                }
            }
            for (i, sum) in sum.iter().enumerate() {
                for (v, sum) in sum.iter().enumerate() {
                    // SAFETY: strip `i` holds `V` vectors from `j`.
                    unsafe { simd.store_ptr(*sum, sums.wrapping_add(i * self.strip + j + v * S::LANES)) };
                }
            }
        }
        for j in (whole..self.width).step_by(S::LANES) {
            let end = (j + S::LANES).min(self.width);
            for i in 0..M {
                let to = &mut self.sums[i * self.strip + j..][..S::LANES];
                let mut sum = simd.load(to);
                for (q, x) in x.iter().enumerate().take(depth) {
                    let row = q * self.b_stride;
                    sum = simd.fma(x[i], simd.load_partial(&self.b[row + j..row + end]), sum);
                }
                simd.store(sum, to);
            }
        }
    }
}

/// `c ← A·B`, or that added to `c`, for B stored as `[cols, k]`, over `k` in blocks of `block`; at most
/// [`MAX_ROWS_ACROSS`] rows.
///
/// # Panics
/// As [`along`].
#[inline(always)]
pub fn across<S: Simd>(simd: S, f: Factors<'_>, k: usize, block: usize, c: &mut Tile<'_, f32>, add: bool) {
    let (rows, cols) = (c.rows(), c.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    f.check(rows, k, cols, k);
    match rows {
        1 => by_columns::<S, 1>(simd, f, k, block, c, add),
        2 => by_columns::<S, 2>(simd, f, k, block, c, add),
        3 => by_columns::<S, 3>(simd, f, k, block, c, add),
        _ => panic!("{rows} rows are too many"),
    }
}

/// All columns, a vector at a time: more would be more streams through memory than prefetchers follow. The factors have been
/// checked.
#[inline(always)]
fn by_columns<S: Simd, const M: usize>(
    simd: S,
    f: Factors<'_>,
    k: usize,
    block: usize,
    c: &mut Tile<'_, f32>,
    add: bool,
) {
    let cols = c.cols();
    for first in (0..cols).step_by(S::LANES) {
        let width = (cols - first).min(S::LANES);
        let columns =
            Columns { first: &f.b[(first * f.b_stride).min(f.b.len())..], stride: f.b_stride, lanes: width };
        for from in (0..k.max(1)).step_by(block) {
            let to = (from + block).min(k);
            let mut sums = [simd.splat(0.0); M];
            if width == S::LANES {
                Columns { lanes: S::LANES, ..columns }.add(simd, &f, from, to, &mut sums);
            } else {
                columns.add(simd, &f, from, to, &mut sums);
            }
            for (i, sum) in sums.iter().enumerate() {
                let to = &mut c.row_mut(i)[first..first + width];
                let mut sum = *sum;
                if add || from > 0 {
                    sum = simd.add(simd.load_partial(to), sum);
                }
                simd.store_partial(sum, to);
            }
        }
    }
}

/// Up to a vector of columns of B, each one's `k` side by side. Lanes behind the last column repeat it.
#[derive(Clone, Copy)]
struct Columns<'a> {
    first: &'a [f32],
    stride: usize,
    lanes: usize,
}

impl Columns<'_> {
    /// Adds the products of `from..to`. The factors have been checked.
    #[inline(always)]
    fn add<S: Simd, const M: usize>(
        self,
        simd: S,
        f: &Factors<'_>,
        from: usize,
        to: usize,
        sums: &mut [S::F; M],
    ) {
        let mut p = from;
        while p + S::LANES <= to {
            // SAFETY: both factors were checked to reach `k`, and `p + LANES` is at most that.
            unsafe { self.add_block(simd, f, p, sums) };
            p += S::LANES;
        }
        for p in p..to {
            self.add_one(simd, f, p, sums);
        }
    }

    /// Adds the products of `LANES` numbers from `p` to the sums of `M` rows of A.
    ///
    /// # Safety
    /// The columns and `M` rows of A must hold `p + LANES` numbers.
    #[inline(always)]
    unsafe fn add_block<S: Simd, const M: usize>(
        &self,
        simd: S,
        f: &Factors<'_>,
        p: usize,
        sums: &mut [S::F; M],
    ) {
        let mut block = [simd.splat(0.0); 16];
        let from = self.first.as_ptr().wrapping_add(p);
        // SAFETY: the caller's promise.
        unsafe { simd.load_transposed(from, self.stride, self.lanes, &mut block[..S::LANES]) };
        let a = f.a.as_ptr().wrapping_add(p);
        for (q, b) in block.iter().enumerate().take(S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let a = unsafe { a.wrapping_add(i * f.a_stride + q).read() };
                *sum = simd.fma(simd.splat(a), *b, *sum);
            }
        }
    }

    /// Adds the products at `p` alone.
    #[inline(always)]
    fn add_one<S: Simd, const M: usize>(&self, simd: S, f: &Factors<'_>, p: usize, sums: &mut [S::F; M]) {
        let mut b = [0.0; 16];
        for (lane, b) in b.iter_mut().enumerate().take(S::LANES) {
            *b = self.first[lane.min(self.lanes - 1) * self.stride + p];
        }
        let b = simd.load(&b);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = simd.fma(simd.splat(f.a[i * f.a_stride + p]), b, *sum);
        }
    }
}
