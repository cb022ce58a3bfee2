//! The largest of each window, and where it was.

use std::ops::Range;

use super::Pool2d;
use crate::conv::{rows_of_strip, Axis, Strip};
use crate::element::Write;
use crate::error::{check, checked_len, ShapeError};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::lanes::{fold, Fold};
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::window::{fold_windows, WindowFold};
use crate::simd::{Kernel, Simd};

/// Numbers behind a strip that its last vector may read.
const SLACK: usize = 16;

/// The first largest.
#[derive(Clone, Copy)]
struct Largest;

impl WindowFold<1> for Largest {
    #[inline(always)]
    fn start<S: Simd>(self, simd: S) -> [S::F; 1] {
        [simd.splat(f32::NEG_INFINITY)]
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, [most]: [S::F; 1], x: S::F, _tap: usize) -> [S::F; 1] {
        [simd.select(simd.less(most, x), x, most)]
    }
}

/// The first largest and the number of its tap, exact in `f32` as there are few.
#[derive(Clone, Copy)]
struct Place;

impl WindowFold<2> for Place {
    #[inline(always)]
    fn start<S: Simd>(self, simd: S) -> [S::F; 2] {
        [simd.splat(f32::NEG_INFINITY), simd.splat(0.0)]
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, [most, place]: [S::F; 2], x: S::F, tap: usize) -> [S::F; 2] {
        let larger = simd.less(most, x);
        [simd.select(larger, x, most), simd.select(larger, simd.splat(tap as f32), place)]
    }
}

/// 0, or NaN when there is one. Infinities count as numbers.
#[derive(Clone, Copy)]
struct AnyNan;

impl Fold<1> for AnyNan {
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        let finite = simd.min(simd.splat(f32::MAX), simd.abs(x));
        simd.fma(finite, simd.splat(0.0), sum)
    }
}

/// Rows of windows of one plane.
struct Task<'a> {
    pool: &'a Pool2d,
    axes: Option<(&'a Axis, &'a Axis)>,
    rows: Range<usize>,
    cols: usize,
    source: &'a [f32],
    out: &'a mut [f32],
    indices: Option<&'a mut [u32]>,
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Some((down, right)) = self.axes else { return self.one_by_one() };
        let strip = Strip::new(down, right, self.rows.clone(), 0..self.cols);
        let mut held = Buffer::<f32>::unspecified(strip.plane() + SLACK);
        strip.fill(self.source, f32::NEG_INFINITY, &mut held[..strip.plane()]);
        held[strip.plane()..].fill(0.0);
        if simd.sum(fold(simd, [&held[..]], AnyNan)).is_nan() {
            return self.one_by_one();
        }
        let width = self.pool.kernel.1;
        let mut taps = Buffer::unspecified(self.pool.kernel.0 * width);
        for (tap, at) in taps.iter_mut().enumerate() {
            *at = strip.tap(tap / width, tap % width);
        }
        let (rows, cols) = (self.rows.len(), self.cols);
        let tile = |to| Tile::whole(MatMut::new(to, rows, cols).expect("the output has its rows"));
        let Some(indices) = &mut self.indices else {
            return fold_windows(simd, &held, &taps, strip.stride(), Largest, &mut [tile(self.out)]);
        };
        let mut places = Buffer::<f32>::unspecified(rows * cols);
        let mut both = [tile(&mut *self.out), tile(&mut places)];
        fold_windows(simd, &held, &taps, strip.stride(), Place, &mut both);
        let (down, right) = self.pool.lines();
        for (row, y) in self.rows.clone().enumerate() {
            for x in 0..cols {
                let at = row * cols + x;
                // Padding is never larger than a number; of a window of nothing but -∞ the first element counts.
                let tap = places[at] as usize;
                let (r, s) = if tap == 0 { (0, 0) } else { (tap / width, tap % width) };
                let down = (y * down.stride + r).saturating_sub(down.padding);
                let right = (x * right.stride + s).saturating_sub(right.padding);
                indices[at] = (down * self.pool.width + right) as u32;
            }
        }
    }
}

impl Task<'_> {
    /// Each window by its elements; the first NaN counts as the largest.
    fn one_by_one(&mut self) {
        let ((down, right), width) = (self.pool.lines(), self.pool.width);
        for (row, y) in self.rows.clone().enumerate() {
            for x in 0..self.cols {
                let (rows, cols) = (down.seen(y), right.seen(x));
                let mut best = rows.start * width + cols.start;
                for at in rows.flat_map(|r| cols.clone().map(move |c| r * width + c)) {
                    let (x, most) = (self.source[at], self.source[best]);
                    if x > most || (x.is_nan() && !most.is_nan()) {
                        best = at;
                    }
                }
                self.out[row * self.cols + x] = self.source[best];
                if let Some(indices) = &mut self.indices {
                    indices[row * self.cols + x] = best as u32;
                }
            }
        }
    }
}

/// Room for indices in planes of `u32` elements.
pub(crate) fn check_indices(pool: &Pool2d, output: usize, indices: Option<usize>) -> Result<(), ShapeError> {
    if let Some(found) = indices {
        check("the length of the indices", output, found)?;
        let plane = checked_len("a plane", &[pool.height, pool.width])?;
        u32::try_from(plane).map_err(|_| ShapeError::Overflow { what: "an index in a plane" })?;
    }
    Ok(())
}

/// The largest of each window. `indices`, shaped as `out`, receives where it was in its plane (`row · width + column`; of
/// equal ones the first), which the backward pass needs. A NaN is larger than any number.
///
/// # Errors
/// When the shape contradicts itself, a length does not fit it, or planes have too many elements for the indices; nothing has
/// been written then.
///
/// ```
/// use upbeat_kernels::pooling::{max_pool_forward, Pool2d};
/// let pool =
///     Pool2d { batch: 1, channels: 1, height: 2, width: 4, kernel: (2, 2), stride: (2, 2), padding: (0, 0) };
/// let (mut out, mut indices) = ([0.0; 2], [0; 2]);
/// max_pool_forward(&pool, &[1.0, 5.0, 2.0, 3.0, 4.0, 0.0, 7.0, 6.0], &mut out, Some(&mut indices))?;
/// assert_eq!((out, indices), ([5.0, 7.0], [1, 6]));
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn max_pool_forward(
    pool: &Pool2d,
    x: &[f32],
    out: &mut [f32],
    indices: Option<&mut [u32]>,
) -> Result<(), ShapeError> {
    let (height, width) = pool.check(x.len(), out.len())?;
    check_indices(pool, out.len(), indices.as_deref().map(<[u32]>::len))?;
    if out.is_empty() {
        return Ok(());
    }
    let axes = pool.axes();
    let strips = axes.as_ref().and_then(|(down, right)| rows_of_strip(down, right, (height, width)));
    let axes = axes.as_ref().filter(|_| strips.is_some()).map(|(down, right)| (down, right));
    let rows = strips.unwrap_or(height);
    let (planes, plane) = (pool.batch * pool.channels, pool.height * pool.width);
    let tiles = Tiles::new(MatMut::new(out, planes, height * width)?, 1, rows * width);
    let places = match indices {
        Some(indices) => Some(Tiles::new(MatMut::new(indices, planes, height * width)?, 1, rows * width)),
        None => None,
    };
    upbeat::par::for_each(0..planes * tiles.across(), |task| {
        let (at, part) = (task / tiles.across(), task % tiles.across());
        dispatch(Task {
            pool,
            axes,
            rows: part * rows..height.min((part + 1) * rows),
            cols: width,
            source: &x[at * plane..][..plane],
            out: tiles.take(at, part).into_slice(),
            indices: places.as_ref().map(|places| places.take(at, part).into_slice()),
        });
    });
    Ok(())
}

/// Gradient of [`max_pool_forward`], from the indices that it gave: each window's goes to its largest element. `dx` as `write`
/// says. Gradients of one element are added in the order of its windows.
///
/// # Errors
/// When the shape contradicts itself, a length does not fit it, or an index points outside its plane; nothing has been written
/// then.
///
/// ```
/// use upbeat_kernels::{pooling::{max_pool_backward, Pool2d}, Write};
/// let pool =
///     Pool2d { batch: 1, channels: 1, height: 1, width: 3, kernel: (1, 2), stride: (1, 1), padding: (0, 0) };
/// let mut dx = [7.0; 3];
/// max_pool_backward(&pool, &[1.0, 2.0], &[1, 1], &mut dx, Write::Overwrite)?;
/// assert_eq!(dx, [0.0, 3.0, 0.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn max_pool_backward(
    pool: &Pool2d,
    dy: &[f32],
    indices: &[u32],
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    let (height, width) = pool.check(dx.len(), dy.len())?;
    check_indices(pool, dy.len(), Some(indices.len()))?;
    let (plane, windows) = (pool.height * pool.width, height * width);
    if let Some(&index) = indices.iter().find(|&&index| index as usize >= plane) {
        return Err(ShapeError::Index { what: "the place of a maximum", index: index as usize, len: plane });
    }
    upbeat::par::chunks_mut(dx, plane, |at, dx| {
        if write == Write::Overwrite {
            dx.fill(0.0);
        }
        let from = at * windows..(at + 1) * windows;
        for (&dy, &index) in dy[from.clone()].iter().zip(&indices[from]) {
            dx[index as usize] += dy;
        }
    });
    Ok(())
}
