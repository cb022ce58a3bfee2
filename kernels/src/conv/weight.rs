//! The gradients of the weights and of the bias.
//!
//! The weights' gradient is a product that sums over all windows of all images: `dy · windowsᵀ`. A task owns a part of
//! the result and goes through the images; for each block of windows it packs both factors, the right one by rows
//! gathered from a strip and turned.
//!
//! An element's sum runs image by image, in blocks of windows whose length depends on their number in an image alone.

use std::ops::Range;

use super::axis::Strip;
use super::depthwise;
use super::forward::axes;
use super::product::Gather;
use super::shape::{Conv2d, Sizes};
use crate::error::{check, ShapeError};
use crate::gemm::block_of_k;
use crate::gemm::RegisterTile;
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::lanes::{fold, Sum};
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::micro::{multiply, tile_cols, tile_rows};
use crate::simd::pack::transpose_panel;
use crate::simd::{Kernel, Simd};
use crate::tuning;

/// Tasks to aim for a worker.
const TASKS: usize = 4;

/// Gradient of [`forward`](super::forward) with respect to its weights, from that of its output (before ReLU, bias and
/// residual): added to `d_weight`, shaped as the weights.
///
/// # Errors
/// When the shape contradicts itself or a length does not fit it; nothing has been written then.
///
/// ```
/// use upbeat_kernels::conv::{backward_weight, Conv2d};
/// let shape = Conv2d {
///     batch: 1, channels_in: 1, channels_out: 1, groups: 1, height: 1, width: 4,
///     kernel: (1, 2), stride: (1, 1), padding: (0, 0), dilation: (1, 1),
/// };
/// let mut d_weight = [10.0, 20.0];
/// backward_weight(&shape, &[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0, 4.0], &mut d_weight)?;
/// assert_eq!(d_weight, [16.0, 29.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn backward_weight(
    shape: &Conv2d,
    dy: &[f32],
    x: &[f32],
    d_weight: &mut [f32],
) -> Result<(), ShapeError> {
    let sizes = shape.check(x.len(), d_weight.len(), dy.len())?;
    if d_weight.is_empty() || dy.is_empty() {
        return Ok(());
    }
    let (vertical, horizontal) = axes(shape);
    if depthwise::takes(shape) && depthwise::backward_weight(shape, &vertical, &horizontal, dy, x, d_weight)?
    {
        return Ok(());
    }
    let gather = Gather::of_windows(shape, &sizes, &vertical, &horizontal);
    let depth = gather.depth();
    let (rows, cols) = cut(shape, &sizes, depth);
    let tiles = Tiles::grouped(MatMut::new(d_weight, shape.channels_out, depth)?, sizes.outputs, rows, cols);
    upbeat::par::for_each(0..tiles.down() * tiles.across(), |task| {
        let (down, across) = (task / tiles.across(), task % tiles.across());
        let (rows, cols) = (tiles.rows_of(down), tiles.cols_of(across));
        let tile = tiles.take(down, across);
        dispatch(Task { shape, sizes: &sizes, gather: &gather, dy, x, rows, cols, tile });
    });
    Ok(())
}

/// Rows and columns of a task's tile. Rows: as many as leave room for their packed block in a second-level cache.
fn cut(shape: &Conv2d, sizes: &Sizes, depth: usize) -> (usize, usize) {
    let (mr, nr) = dispatch(RegisterTile);
    let block = block_of_k(sizes.out_height * sizes.out_width);
    let fits = (tuning::active().private_bytes / size_of::<f32>() / block / mr).max(1) * mr;
    let rows = sizes.outputs.div_ceil(sizes.outputs.div_ceil(fits)).next_multiple_of(mr);
    let wanted =
        (TASKS * upbeat::current_num_workers()).div_ceil(shape.groups * sizes.outputs.div_ceil(rows));
    (rows, depth.div_ceil(wanted.min(depth.div_ceil(nr))).next_multiple_of(nr))
}

/// One tile of the gradient, over all images.
struct Task<'a> {
    shape: &'a Conv2d,
    sizes: &'a Sizes,
    gather: &'a Gather<'a>,
    dy: &'a [f32],
    x: &'a [f32],
    rows: Range<usize>,
    cols: Range<usize>,
    tile: Tile<'a, f32>,
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (mr, nr) = (tile_rows::<S>(), tile_cols::<S>());
        let windows = self.sizes.out_height * self.sizes.out_width;
        let block = block_of_k(windows);
        let longest = block.min(windows);
        let mut left = Buffer::<f32>::unspecified(self.rows.len().next_multiple_of(mr) * longest);
        let mut panel = Buffer::<f32>::unspecified(nr * longest);
        let mut beside = Buffer::<f32>::unspecified(nr * (longest + nr));
        let mut bases = Buffer::<usize>::unspecified(self.cols.len());
        let group = self.rows.start / self.sizes.outputs;
        let taps = self.gather.depth() / self.sizes.inputs;
        let channels = self.cols.start / taps..self.cols.end.div_ceil(taps);
        for image in 0..self.shape.batch {
            let first = image * self.shape.channels_in + group * self.sizes.inputs;
            let source = &self.x[first * self.gather.plane..][..self.sizes.inputs * self.gather.plane];
            for k in (0..windows).step_by(block) {
                let k = k..windows.min(k + block);
                self.pack_left(simd, image, k.clone(), &mut left);
                let place = self.gather.place(&k);
                let plane = place.strip.as_ref().map_or(0, Strip::plane);
                let mut strip = Buffer::<f32>::unspecified(channels.len() * plane + nr);
                if let Some(place) = &place.strip {
                    let planes =
                        &source[channels.start * self.gather.plane..channels.end * self.gather.plane];
                    place.fill(planes, 0.0, &mut strip[..channels.len() * plane]);
                    self.gather.bases(place, self.cols.clone(), &mut bases);
                }
                for col in (0..self.cols.len()).step_by(nr) {
                    let cols = col..self.cols.len().min(col + nr);
                    let right = Right { source, place: &place, strip: &strip, bases: &bases[cols.clone()] };
                    let at = self.cols.start + col..self.cols.start + cols.end;
                    match nr {
                        2 => self.turn::<S, 2>(simd, &right, at, k.clone(), &mut beside, &mut panel),
                        8 => self.turn::<S, 8>(simd, &right, at, k.clone(), &mut beside, &mut panel),
                        16 => self.turn::<S, 16>(simd, &right, at, k.clone(), &mut beside, &mut panel),
                        32 => self.turn::<S, 32>(simd, &right, at, k.clone(), &mut beside, &mut panel),
                        width => unreachable!("panels of {width}"),
                    }
                    for row in (0..self.tile.rows()).step_by(mr) {
                        let a = &left[row * k.len()..][..k.len() * mr];
                        let mut to = self.tile.part(row..(row + mr).min(self.rows.len()), cols.clone());
                        multiply(simd, k.len(), a, &panel[..k.len() * nr], &mut to, true);
                    }
                }
            }
        }
    }
}

/// What panels of the right factor are made from.
struct Right<'a> {
    source: &'a [f32],
    place: &'a super::product::Place<'a>,
    strip: &'a [f32],
    /// Where the first window of the block is, for each column of the panel.
    bases: &'a [usize],
}

impl Task<'_> {
    /// Packs the rows of `dy` over the windows `k`.
    #[inline(always)]
    fn pack_left<S: Simd>(&self, simd: S, image: usize, k: Range<usize>, to: &mut [f32]) {
        let mr = tile_rows::<S>();
        let windows = self.sizes.out_height * self.sizes.out_width;
        for (row, to) in (0..self.rows.len()).step_by(mr).zip(to.chunks_exact_mut(mr * k.len())) {
            let width = mr.min(self.rows.len() - row);
            let channel = image * self.shape.channels_out + self.rows.start + row;
            let from = &self.dy[channel * windows + k.start..];
            match mr {
                6 => transpose_panel::<S, 6>(simd, from, windows, width, k.len(), to),
                12 => transpose_panel::<S, 12>(simd, from, windows, width, k.len(), to),
                rows => unreachable!("panels of {rows}"),
            }
        }
    }

    /// The panel of the columns `cols` over the windows `k`.
    #[inline(always)]
    fn turn<S: Simd, const R: usize>(
        &self,
        simd: S,
        right: &Right<'_>,
        cols: Range<usize>,
        k: Range<usize>,
        beside: &mut [f32],
        to: &mut [f32],
    ) {
        let (plane, source) = (self.gather.plane, right.source);
        if right.place.direct {
            let from = &source[cols.start * plane + k.start..];
            return transpose_panel::<S, R>(simd, from, plane, cols.len(), k.len(), to);
        }
        let stride = k.len() + R;
        let rows = beside.chunks_exact_mut(stride);
        if let Some(strip) = &right.place.strip {
            let across = self.gather.grid.1;
            for (&base, row) in right.bases.iter().zip(rows) {
                let mut window = k.start;
                while window < k.end {
                    let (y, x) = (window / across, window % across);
                    let from = base + (y - right.place.first.0) * strip.stride() + x - right.place.first.1;
                    let len = (across - x).min(k.end - window);
                    // Whole vectors: what is too much is overwritten by the next run, or lies behind the row.
                    for i in (0..len).step_by(R) {
                        row[window - k.start + i..][..R].copy_from_slice(&right.strip[from + i..][..R]);
                    }
                    window += len;
                }
            }
        } else {
            for (col, row) in cols.clone().zip(rows) {
                for (window, to) in k.clone().zip(row) {
                    *to = self.gather.element(source, window, col);
                }
            }
        }
        transpose_panel::<S, R>(simd, beside, stride, cols.len(), k.len(), to);
    }
}

/// Gradient of the bias: `d_bias[c] += Σ dy` over images and positions, `d_bias: [channels_out]`. Rows of a plane are
/// summed in vectors of `f32`, planes in `f64`.
///
/// # Errors
/// When the shape contradicts itself or a length does not fit it; nothing has been written then.
///
/// ```
/// use upbeat_kernels::conv::{backward_bias, Conv2d};
/// let shape = Conv2d {
///     batch: 1, channels_in: 1, channels_out: 2, groups: 1, height: 1, width: 2,
///     kernel: (1, 1), stride: (1, 1), padding: (0, 0), dilation: (1, 1),
/// };
/// let mut d_bias = [0.0, 1.0];
/// backward_bias(&shape, &[1.0, 2.0, 3.0, 4.0], &mut d_bias)?;
/// assert_eq!(d_bias, [3.0, 8.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn backward_bias(shape: &Conv2d, dy: &[f32], d_bias: &mut [f32]) -> Result<(), ShapeError> {
    let sizes = shape.sizes()?;
    check("the length of the output", shape.output_len()?, dy.len())?;
    check("the length of the bias", shape.channels_out, d_bias.len())?;
    let plane = sizes.out_height * sizes.out_width;
    upbeat::par::chunks_mut(d_bias, 1, |channel, d_bias| {
        let planes =
            (0..shape.batch).map(|image| &dy[(image * shape.channels_out + channel) * plane..][..plane]);
        let sum = planes.flat_map(|plane| plane.chunks(ROW)).map(|row| dispatch(Total(row))).sum::<f64>();
        d_bias[0] += sum as f32;
    });
    Ok(())
}

/// Numbers summed in `f32`.
const ROW: usize = 4096;

/// The sum of a row.
pub(crate) struct Total<'a>(pub(crate) &'a [f32]);

impl Kernel for Total<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        f64::from(simd.sum(fold(simd, [self.0], Sum)))
    }
}
