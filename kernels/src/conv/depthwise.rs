//! Convolutions whose channels are alone, by sliding windows over each plane: a product would use one row of a register
//! tile.
//!
//! Every sum runs over the kernel's taps in their order, from 0. A task computes rows of one plane from a strip that
//! fits the caches.

use std::ops::Range;

use super::axis::{Axis, Strip};
use super::product::Finish;
use super::shape::{Conv2d, ConvEpilogue};
use super::transposed::{Phase, Scatter};
use crate::element::Write;
use crate::error::ShapeError;
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::window::{dot_windows, fold_windows, WindowFold};
use crate::simd::{Kernel, Simd};

/// Most output channels that read one input channel: with more, GEMM's register tile is better used.
const MOST_OUTPUTS: usize = 4;
/// Numbers on a strip to aim for: half of a small second-level cache.
const STRIP: usize = 1 << 15;
/// Numbers behind a strip that its last vector may read.
const SLACK: usize = 16;

/// Whether the direct kernels are meant for this shape.
pub(super) fn takes(shape: &Conv2d) -> bool {
    shape.channels_in == shape.groups && shape.channels_out / shape.groups <= MOST_OUTPUTS
}

/// Rows of windows whose strip has about [`STRIP`] numbers; `None` where strips are mostly padding.
pub(crate) fn rows_of_strip(vertical: &Axis, horizontal: &Axis, grid: (usize, usize)) -> Option<usize> {
    let whole = Strip::new(vertical, horizontal, 0..grid.0, 0..grid.1).if_dense()?;
    let row = whole.stride() * vertical.residues();
    let rows = (STRIP / row.max(1)).saturating_sub(vertical.reach()).max(4).min(grid.0);
    Strip::new(vertical, horizontal, 0..rows, 0..grid.1).if_dense().map(|_| rows)
}

/// `Σ weights[t]·x[t]`
#[derive(Clone, Copy)]
struct Weighted<'a>(&'a [f32]);

impl WindowFold<1> for Weighted<'_> {
    #[inline(always)]
    fn start<S: Simd>(self, simd: S) -> [S::F; 1] {
        [simd.splat(0.0)]
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, [sum]: [S::F; 1], x: S::F, tap: usize) -> [S::F; 1] {
        [simd.fma(x, simd.splat(self.0[tap]), sum)]
    }
}

/// Windows `rows` of one plane, all columns, weighted.
pub(crate) struct Plane<'a> {
    pub(crate) vertical: &'a Axis,
    pub(crate) horizontal: &'a Axis,
    pub(crate) rows: Range<usize>,
    pub(crate) cols: usize,
    pub(crate) source: &'a [f32],
    /// One for each tap, those of a row side by side.
    pub(crate) weights: &'a [f32],
    pub(crate) out: &'a mut [f32],
    pub(crate) finish: Option<Finish<'a>>,
}

/// A filled strip and where its taps begin.
fn filled(strip: &Strip<'_>, source: &[f32], taps: (usize, usize)) -> (Buffer<f32>, Buffer<usize>) {
    let mut held = Buffer::<f32>::unspecified(strip.plane() + SLACK);
    strip.fill(source, 0.0, &mut held[..strip.plane()]);
    // A vector may read what is behind the strip; no number of the result depends on it.
    held[strip.plane()..].fill(0.0);
    let mut offsets = Buffer::unspecified(taps.0 * taps.1);
    for (tap, offset) in offsets.iter_mut().enumerate() {
        *offset = strip.tap(tap / taps.1, tap % taps.1);
    }
    (held, offsets)
}

impl Kernel for Plane<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { vertical, horizontal, rows, cols, source, weights, out, finish } = self;
        let taps = (vertical.taps(), horizontal.taps());
        if taps.0 * taps.1 == 0 {
            out.fill(0.0);
        } else {
            let strip = Strip::new(vertical, horizontal, rows.clone(), 0..cols);
            let (held, offsets) = filled(&strip, source, taps);
            let whole = MatMut::new(&mut *out, rows.len(), cols).expect("the output has its rows");
            let mut tiles = [Tile::whole(whole)];
            fold_windows(simd, &held, &offsets, strip.stride(), Weighted(weights), &mut tiles);
        }
        if let Some(finish) = finish {
            let len = out.len();
            let whole = MatMut::new(out, 1, len).expect("a slice is a matrix of one row");
            finish.apply(simd, (0, 0), &mut Tile::whole(whole));
        }
    }
}

/// The forward pass; `false`, with nothing written, when the shape's strips would be mostly padding.
pub(super) fn forward(
    shape: &Conv2d,
    vertical: &Axis,
    horizontal: &Axis,
    x: &[f32],
    weight: &[f32],
    epilogue: &ConvEpilogue<'_, f32>,
    out: &mut [f32],
) -> Result<bool, ShapeError> {
    let sizes = shape.sizes()?;
    let (height, width) = (sizes.out_height, sizes.out_width);
    let Some(rows) = rows_of_strip(vertical, horizontal, (height, width)) else { return Ok(false) };
    let (plane, taps) = (shape.height * shape.width, shape.kernel.0 * shape.kernel.1);
    let planes = shape.batch * shape.channels_out;
    let tiles = Tiles::new(MatMut::new(out, planes, height * width)?, 1, rows * width);
    upbeat::par::for_each(0..planes * tiles.across(), |task| {
        let (at, part) = (task / tiles.across(), task % tiles.across());
        let (channel, first) = (at % shape.channels_out, part * rows);
        let finish = Finish {
            bias: epilogue.bias.map(|bias| &bias[channel..]),
            residual: epilogue.residual.map(|from| (&from[at * height * width + first * width..], 0)),
            relu: epilogue.relu,
        };
        dispatch(Plane {
            vertical,
            horizontal,
            rows: first..height.min(first + rows),
            cols: width,
            source: &x[at / sizes.outputs * plane..][..plane],
            weights: &weight[channel * taps..][..taps],
            out: tiles.take(at, part).into_slice(),
            finish: Some(finish).filter(|f| f.bias.is_some() || f.residual.is_some() || f.relu),
        });
    });
    Ok(true)
}

/// The gradient of the input; `false`, with nothing written, when the shape's strips would be mostly padding.
pub(super) fn backward_input(
    shape: &Conv2d,
    (vertical, horizontal): (&[Phase], &[Phase]),
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    write: Write,
) -> Result<bool, ShapeError> {
    let sizes = shape.sizes()?;
    let window = (sizes.out_height, sizes.out_width);
    let Some(rows) = rows_of_phases(vertical, horizontal) else { return Ok(false) };
    let kernel = shape.kernel.0 * shape.kernel.1;
    let planes = shape.batch * shape.channels_in;
    let rows = rows.saturating_mul(shape.stride.0);
    let tiles = Tiles::new(
        MatMut::new(dx, planes, shape.height * shape.width)?,
        1,
        rows.min(shape.height) * shape.width,
    );
    upbeat::par::for_each(0..planes * tiles.across(), |task| {
        let (at, part) = (task / tiles.across(), task % tiles.across());
        let cols = tiles.cols_of(part);
        let block = cols.start / shape.width..cols.end / shape.width;
        let to = tiles.take(at, part).into_slice();
        for output in 0..sizes.outputs {
            let write = if output == 0 { write } else { Write::Add };
            let from = at * sizes.outputs + output;
            let taps = &weight[from % shape.channels_out * kernel..][..kernel];
            let source = &dy[from * window.0 * window.1..][..window.0 * window.1];
            let spread = Spread { vertical, horizontal, shape, source, weights: taps };
            spread.put(block.clone(), to, write);
        }
    });
    Ok(true)
}

/// Rows of each phase that a task takes; `None` where a phase's strips are mostly padding.
pub(crate) fn rows_of_phases(vertical: &[Phase], horizontal: &[Phase]) -> Option<usize> {
    let mut least = usize::MAX;
    for (down, right) in vertical.iter().flat_map(|down| horizontal.iter().map(move |right| (down, right))) {
        if down.count * right.count * down.taps.len() * right.taps.len() > 0 {
            least = least.min(rows_of_strip(&down.axis, &right.axis, (down.count, right.count))?);
        }
    }
    Some(if least == usize::MAX { vertical.first()?.count } else { least })
}

/// The gradient of one plane's windows, spread over what they read.
pub(crate) struct Spread<'a> {
    pub(crate) vertical: &'a [Phase],
    pub(crate) horizontal: &'a [Phase],
    pub(crate) shape: &'a Conv2d,
    /// The windows' gradients.
    pub(crate) source: &'a [f32],
    pub(crate) weights: &'a [f32],
}

impl Spread<'_> {
    /// Computes the image rows `block` into `to`.
    pub(crate) fn put(&self, block: Range<usize>, to: &mut [f32], write: Write) {
        let (stride, width) = (self.shape.stride, self.shape.width);
        for (down, right) in self.vertical.iter().flat_map(|v| self.horizontal.iter().map(move |h| (v, h))) {
            let rows = down.within(&block, stride.0);
            if rows.is_empty() || right.count == 0 {
                continue;
            }
            let mut weights = Buffer::unspecified(down.taps.len() * right.taps.len());
            let pairs = down.taps.iter().flat_map(|row| right.taps.iter().map(move |col| (row, col)));
            for (weight, (row, col)) in weights.iter_mut().zip(pairs) {
                *weight = self.weights[row * self.shape.kernel.1 + col];
            }
            let plane = |out| Plane {
                vertical: &down.axis,
                horizontal: &right.axis,
                rows: rows.clone(),
                cols: right.count,
                source: self.source,
                weights: &weights,
                out,
                finish: None,
            };
            if stride == (1, 1) && write == Write::Overwrite {
                dispatch(plane(&mut *to));
                continue;
            }
            let mut beside = Buffer::unspecified(rows.len() * right.count);
            dispatch(plane(&mut beside));
            let first = down.first + rows.start * stride.0 - block.start;
            let scatter = Scatter { first, second: right.first, stride, width, count: right.count };
            scatter.put(&beside, to, write);
        }
    }
}

/// Adds the gradient of the weights; `false`, with nothing written, when the shape's strips would be mostly padding.
pub(super) fn backward_weight(
    shape: &Conv2d,
    vertical: &Axis,
    horizontal: &Axis,
    dy: &[f32],
    x: &[f32],
    d_weight: &mut [f32],
) -> Result<bool, ShapeError> {
    let sizes = shape.sizes()?;
    let grid = (sizes.out_height, sizes.out_width);
    let Some(rows) = rows_of_strip(vertical, horizontal, grid) else { return Ok(false) };
    let (plane, taps) = (shape.height * shape.width, shape.kernel.0 * shape.kernel.1);
    upbeat::par::chunks_mut(d_weight, taps, |channel, sums| {
        for image in 0..shape.batch {
            let input = image * shape.channels_in + channel / sizes.outputs;
            let output = image * shape.channels_out + channel;
            dispatch(Correlate {
                vertical,
                horizontal,
                grid,
                rows,
                source: &x[input * plane..][..plane],
                dy: &dy[output * grid.0 * grid.1..][..grid.0 * grid.1],
                sums,
            });
        }
    });
    Ok(true)
}

/// `sums[t] += Σ dy·x[t]` over one plane.
struct Correlate<'a> {
    vertical: &'a Axis,
    horizontal: &'a Axis,
    grid: (usize, usize),
    rows: usize,
    source: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Correlate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let taps = (self.vertical.taps(), self.horizontal.taps());
        for first in (0..self.grid.0).step_by(self.rows) {
            let rows = first..self.grid.0.min(first + self.rows);
            let strip = Strip::new(self.vertical, self.horizontal, rows.clone(), 0..self.grid.1);
            let (held, offsets) = filled(&strip, self.source, taps);
            let dy = &self.dy[rows.start * self.grid.1..rows.end * self.grid.1];
            dot_windows(simd, &held, &offsets, strip.stride(), self.grid.1, dy, self.sums);
        }
    }
}
