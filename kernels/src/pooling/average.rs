//! The average of each window, and of whole planes.

use std::ops::Range;

use super::Pool2d;
use crate::blocks;
use crate::contract;
use crate::conv::{phases_of, rows_of_phases, rows_of_strip, Axis, Conv2d, Phase, Plane, Spread};
use crate::element::Write;
use crate::error::{check, ShapeError};
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::lanes::{fold, Sum};
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};

/// What a window's sum is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The elements of a whole window, as if padding were zeros.
    Kernel,
    /// The elements that are in the plane.
    Inside,
}

/// What each window's sum is divided by: `rows[y] · cols[x]`.
struct Counts {
    rows: Buffer<f32>,
    cols: Buffer<f32>,
}

impl Counts {
    fn new(pool: &Pool2d, (height, width): (usize, usize), divisor: Divisor) -> Self {
        let (down, right) = pool.lines();
        let (mut rows, mut cols) = (Buffer::unspecified(height), Buffer::unspecified(width));
        for (line, counts) in [(down, &mut rows), (right, &mut cols)] {
            for (p, count) in counts.iter_mut().enumerate() {
                *count = match divisor {
                    Divisor::Kernel => line.kernel as f32,
                    Divisor::Inside => line.seen(p).len() as f32,
                };
            }
        }
        Self { rows, cols }
    }
}

/// `x / (row · col)`: the quotients of a row of windows, in place.
struct Divide<'a> {
    counts: &'a Counts,
    rows: Range<usize>,
    x: &'a mut [f32],
}

impl Kernel for Divide<'_> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let lines = self.x.chunks_exact_mut(self.counts.cols.len());
        for (x, row) in lines.zip(&self.counts.rows[self.rows]) {
            for (x, col) in x.iter_mut().zip(self.counts.cols.iter()) {
                *x /= row * col;
            }
        }
    }
}

/// The average of each window, its sum taken row by row in the order of columns.
///
/// # Errors
/// When the shape contradicts itself or a length does not fit it; nothing has been written then.
///
/// ```
/// use upbeat_kernels::pooling::{average_pool_forward, Divisor, Pool2d};
/// let pool =
///     Pool2d { batch: 1, channels: 1, height: 1, width: 3, kernel: (1, 2), stride: (2, 2), padding: (0, 1) };
/// let mut out = [0.0; 2];
/// average_pool_forward(&pool, Divisor::Kernel, &[1.0, 2.0, 3.0], &mut out)?;
/// assert_eq!(out, [0.5, 2.5]);
/// average_pool_forward(&pool, Divisor::Inside, &[1.0, 2.0, 3.0], &mut out)?;
/// assert_eq!(out, [1.0, 2.5]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn average_pool_forward(
    pool: &Pool2d,
    divisor: Divisor,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (height, width) = pool.check(x.len(), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let axes = pool.axes();
    let strips = axes.as_ref().and_then(|(down, right)| rows_of_strip(down, right, (height, width)));
    let rows = strips.unwrap_or(height);
    let counts = Counts::new(pool, (height, width), divisor);
    let (planes, plane) = (pool.batch * pool.channels, pool.height * pool.width);
    let mut ones = Buffer::unspecified(if strips.is_some() { pool.kernel.0 * pool.kernel.1 } else { 0 });
    ones.fill(1.0);
    let tiles = Tiles::new(MatMut::new(out, planes, height * width)?, 1, rows * width);
    upbeat::par::for_each(0..planes * tiles.across(), |task| {
        let (at, part) = (task / tiles.across(), task % tiles.across());
        let (source, out) = (&x[at * plane..][..plane], tiles.take(at, part).into_slice());
        let rows = part * rows..height.min((part + 1) * rows);
        match axes.as_ref().filter(|_| strips.is_some()) {
            Some(axes) => sums(axes, rows.clone(), width, source, &ones, out),
            None => one_by_one(pool, rows.clone(), source, out),
        }
        dispatch(Divide { counts: &counts, rows, x: out });
    });
    Ok(())
}

/// The sums of rows of windows from strips.
fn sums(
    axes: &(Axis, Axis),
    rows: Range<usize>,
    cols: usize,
    source: &[f32],
    weights: &[f32],
    out: &mut [f32],
) {
    let (vertical, horizontal) = axes;
    dispatch(Plane { vertical, horizontal, rows, cols, source, weights, out, finish: None });
}

/// The sums of rows of windows by their elements.
fn one_by_one(pool: &Pool2d, rows: Range<usize>, source: &[f32], out: &mut [f32]) {
    let (down, right) = pool.lines();
    let cols = out.len() / rows.len();
    for (row, y) in rows.enumerate() {
        for (x, out) in out[row * cols..][..cols].iter_mut().enumerate() {
            let cols = right.seen(x);
            *out = 0.0;
            for r in down.seen(y) {
                *out += source[r * pool.width..][cols.clone()].iter().sum::<f32>();
            }
        }
    }
}

/// Gradient of [`average_pool_forward`]: each window's, divided as it was, goes to all its elements. `dx` as `write` says.
///
/// # Errors
/// When the shape contradicts itself or a length does not fit it; nothing has been written then.
///
/// ```
/// use upbeat_kernels::{pooling::{average_pool_backward, Divisor, Pool2d}, Write};
/// let pool =
///     Pool2d { batch: 1, channels: 1, height: 1, width: 3, kernel: (1, 2), stride: (1, 1), padding: (0, 0) };
/// let mut dx = [0.0; 3];
/// average_pool_backward(&pool, Divisor::Kernel, &[2.0, 4.0], &mut dx, Write::Overwrite)?;
/// assert_eq!(dx, [1.0, 3.0, 2.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn average_pool_backward(
    pool: &Pool2d,
    divisor: Divisor,
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    let (height, width) = pool.check(dx.len(), dy.len())?;
    if dx.is_empty() {
        return Ok(());
    }
    let counts = Counts::new(pool, (height, width), divisor);
    let shape = as_conv(pool);
    let strips = pool.kernel.0.checked_mul(pool.kernel.1).filter(|&taps| taps <= super::MOST_TAPS);
    let phases = strips.map(|_| phases_of(&shape, (height, width)));
    let phases = phases.filter(|(down, right)| rows_of_phases(down, right).is_some());
    let mut ones = Buffer::unspecified(strips.unwrap_or(0));
    ones.fill(1.0);
    let (plane, windows) = (pool.height * pool.width, height * width);
    upbeat::par::chunks_mut(dx, plane, |at, dx| {
        let mut shared = Buffer::copied(&dy[at * windows..][..windows]);
        dispatch(Divide { counts: &counts, rows: 0..height, x: &mut shared });
        match &phases {
            Some((down, right)) => spread((down, right), &shape, &shared, &ones, dx, write),
            None => spread_one_by_one(pool, &shared, dx, write),
        }
    });
    Ok(())
}

/// The convolution that sums windows, for one plane.
fn as_conv(pool: &Pool2d) -> Conv2d {
    Conv2d {
        batch: 1,
        channels_in: 1,
        channels_out: 1,
        groups: 1,
        height: pool.height,
        width: pool.width,
        kernel: pool.kernel,
        stride: pool.stride,
        padding: pool.padding,
        dilation: (1, 1),
    }
}

/// The gradient of a plane, from strips of its windows'.
fn spread(
    (vertical, horizontal): (&[Phase], &[Phase]),
    shape: &Conv2d,
    source: &[f32],
    weights: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    let rows = rows_of_phases(vertical, horizontal).expect("the strips of this shape were checked");
    let rows = rows.saturating_mul(shape.stride.0).min(shape.height);
    for (block, dx) in dx.chunks_mut(rows * shape.width).enumerate() {
        let block = block * rows..(block * rows + dx.len() / shape.width);
        Spread { vertical, horizontal, shape, source, weights }.put(block, dx, write);
    }
}

/// The gradient of a plane, window by window.
fn spread_one_by_one(pool: &Pool2d, source: &[f32], dx: &mut [f32], write: Write) {
    let (down, right) = pool.lines();
    if write == Write::Overwrite {
        dx.fill(0.0);
    }
    let cols = (pool.width + 2 * pool.padding.1 - pool.kernel.1) / pool.stride.1 + 1;
    for (at, dy) in source.iter().enumerate() {
        for row in down.seen(at / cols) {
            dx[row * pool.width..][right.seen(at % cols)].iter_mut().for_each(|dx| *dx += dy);
        }
    }
}

/// Rows of planes and their averages.
struct Averages<'a>(&'a [f32], &'a mut [f32]);

impl Kernel for Averages<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let plane = self.0.len() / self.1.len();
        for (x, out) in self.0.chunks_exact(plane).zip(self.1) {
            let mut sum = 0.0;
            for row in x.chunks(ROW) {
                sum += f64::from(simd.sum(fold(simd, [row], Sum)));
            }
            *out = (sum / plane as f64) as f32;
        }
    }
}

/// Numbers summed in `f32`; sums of rows are added in `f64`.
const ROW: usize = 4096;

/// The average of each plane: `x: [planes, plane]`, `out: [planes]`.
///
/// # Errors
/// When `x` has another length than `out` has planes of `plane` elements, or `plane` is 0; nothing has been written then.
///
/// ```
/// use upbeat_kernels::pooling::global_average_forward;
/// let mut out = [0.0; 2];
/// global_average_forward(&[1.0, 2.0, 3.0, 5.0], 2, &mut out)?;
/// assert_eq!(out, [1.5, 4.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn global_average_forward(x: &[f32], plane: usize, out: &mut [f32]) -> Result<(), ShapeError> {
    check_global(x.len(), plane, out.len())?;
    let planes = blocks::rows(plane, blocks::ELEMENTS);
    upbeat::par::chunks_mut(out, planes, |block, out| {
        dispatch(Averages(&x[block * planes * plane..][..out.len() * plane], out));
    });
    Ok(())
}

/// Planes of a global average.
pub(crate) fn check_global(x: usize, plane: usize, planes: usize) -> Result<(), ShapeError> {
    if plane == 0 {
        return Err(ShapeError::Zero { what: "the size of an averaged plane" });
    }
    check("the number of averages", contract::units("the length of x", x, plane)?, planes)
}

/// Rows of planes and their gradients.
struct Shares<'a> {
    dy: &'a [f32],
    dx: &'a mut [f32],
    write: Write,
}

impl Kernel for Shares<'_> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let plane = self.dx.len() / self.dy.len();
        for (dy, dx) in self.dy.iter().zip(self.dx.chunks_exact_mut(plane)) {
            let share = dy / plane as f32;
            match self.write {
                Write::Overwrite => dx.fill(share),
                Write::Add => dx.iter_mut().for_each(|dx| *dx += share),
            }
        }
    }
}

/// Gradient of [`global_average_forward`]: `dx[p, i] = dy[p] / plane`, overwritten or added to as `write` says.
///
/// # Errors
/// As [`global_average_forward`].
///
/// ```
/// use upbeat_kernels::{pooling::global_average_backward, Write};
/// let mut dx = [1.0; 4];
/// global_average_backward(&[2.0, 4.0], 2, &mut dx, Write::Add)?;
/// assert_eq!(dx, [2.0, 2.0, 3.0, 3.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn global_average_backward(
    dy: &[f32],
    plane: usize,
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    check_global(dx.len(), plane, dy.len())?;
    let planes = blocks::rows(plane, blocks::ELEMENTS);
    upbeat::par::chunks_mut(dx, planes * plane, |block, dx| {
        let dy = &dy[block * planes..][..dx.len() / plane];
        dispatch(Shares { dy, dx, write });
    });
    Ok(())
}
