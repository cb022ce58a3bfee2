//! The gradient of the input: windows that slide over the output's gradient.
//!
//! Along an axis, input coordinate `i` was read by tap `r` of window `(i + padding - r·dilation) / stride`, where that
//! is whole. So the coordinates of one residue modulo the stride (a *phase*) have the same taps, and their gradients
//! are a convolution of stride 1 with those taps. With strides above 1 each phase is computed on its own and put in its
//! place; taps that would meet zeros between the windows cost nothing.

use std::ops::Range;

use super::axis::Axis;
use super::depthwise;
use super::product::{Gather, Task};
use super::shape::{Conv2d, Sizes};
use crate::element::Write;
use crate::error::{checked_len, ShapeError};
use crate::gemm::RegisterTile;
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;

/// Input coordinates `first`, `first + stride`, … of one axis.
pub(crate) struct Phase {
    pub(crate) first: usize,
    /// Coordinates.
    pub(crate) count: usize,
    /// What they read of the output's gradient.
    pub(crate) axis: Axis,
    /// The kernel's taps that they meet, in the axis' order.
    pub(crate) taps: Buffer<usize>,
}

impl Phase {
    /// The phase from `first`, of `len` coordinates that `windows` windows read.
    pub(crate) fn new(
        first: usize,
        (len, windows): (usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Self {
        let window = |tap: usize| (first + padding) as i64 - (tap * dilation) as i64;
        let meets = move |tap: &usize| window(*tap) % stride as i64 == 0;
        let count = (0..kernel).filter(meets).count();
        let mut taps = Buffer::unspecified(count);
        for (to, tap) in taps.iter_mut().zip((0..kernel).filter(meets)) {
            *to = tap;
        }
        let axis = Axis::new(windows, 1, taps.iter().map(|&tap| window(tap) / stride as i64));
        Self { first, count: (len - first.min(len)).div_ceil(stride), axis, taps }
    }

    /// Which of this phase's coordinates lie in `range`.
    pub(crate) fn within(&self, range: &Range<usize>, stride: usize) -> Range<usize> {
        let before = |end: usize| (end.max(self.first) - self.first).div_ceil(stride).min(self.count);
        before(range.start)..before(range.end)
    }
}

/// The phases of both axes, vertical first, for rows and columns of windows.
pub(crate) fn phases(shape: &Conv2d, windows: (usize, usize)) -> (Vec<Phase>, Vec<Phase>) {
    let Conv2d { kernel, stride, padding, dilation, .. } = *shape;
    let down = |first| {
        let lens = (shape.height, windows.0);
        Phase::new(first, lens, kernel.0, stride.0, padding.0, dilation.0)
    };
    let right = |first| {
        let lens = (shape.width, windows.1);
        Phase::new(first, lens, kernel.1, stride.1, padding.1, dilation.1)
    };
    // Phases behind the last coordinate are empty.
    let vertical = (0..stride.0.min(shape.height)).map(down).collect();
    (vertical, (0..stride.1.min(shape.width)).map(right).collect())
}

/// Gradient of [`forward`](super::forward) with respect to its input, from that of its output (before ReLU, bias and
/// residual): `dx`, shaped as the input, is overwritten or added to as `write` says.
///
/// # Errors
/// When the shape contradicts itself or a length does not fit it; nothing has been written then.
///
/// ```
/// use upbeat_kernels::{conv::{backward_input, Conv2d}, Write};
/// let shape = Conv2d {
///     batch: 1, channels_in: 1, channels_out: 1, groups: 1, height: 2, width: 3,
///     kernel: (1, 2), stride: (1, 1), padding: (0, 0), dilation: (1, 1),
/// };
/// let mut dx = [0.0; 6];
/// backward_input(&shape, &[1.0, 1.0, 1.0, 1.0], &[2.0, 3.0], &mut dx, Write::Overwrite)?;
/// assert_eq!(dx, [2.0, 5.0, 3.0, 2.0, 5.0, 3.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn backward_input(
    shape: &Conv2d,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    let sizes = shape.check(dx.len(), weight.len(), dy.len())?;
    if dx.is_empty() {
        return Ok(());
    }
    if dy.is_empty() {
        // No output channel reads the input.
        if write == Write::Overwrite {
            dx.fill(0.0);
        }
        return Ok(());
    }
    let (vertical, horizontal) = phases(shape, (sizes.out_height, sizes.out_width));
    if depthwise::takes(shape)
        && depthwise::backward_input(shape, (&vertical, &horizontal), dy, weight, dx, write)?
    {
        return Ok(());
    }
    let (mr, nr) = dispatch(RegisterTile);
    let mut factors = Vec::with_capacity(vertical.len() * horizontal.len());
    for (down, right) in vertical.iter().flat_map(|down| horizontal.iter().map(move |right| (down, right))) {
        let gather = Gather {
            vertical: &down.axis,
            horizontal: &right.axis,
            grid: (down.count, right.count),
            channels: sizes.outputs,
            plane: sizes.out_height * sizes.out_width,
        };
        let packed = pack(shape, &sizes, weight, (down, right), mr)?;
        factors.push((down, right, gather, packed));
    }
    let plane = shape.height * shape.width;
    // The first phase has as many coordinates as any other.
    let (rows, cols) = factors[0].2.cut(shape.batch * shape.groups, sizes.inputs, (mr, nr));
    let one = factors.len() == 1 && shape.stride == (1, 1);
    let cols = if one {
        cols
    } else {
        // Whole rows of the image, so that a task has all phases of its elements.
        (cols / horizontal[0].count).max(1).saturating_mul(shape.stride.0).min(shape.height) * shape.width
    };
    let dx = MatMut::new(dx, shape.batch * shape.channels_in, plane)?;
    let tiles = Tiles::grouped(dx, sizes.inputs, rows, cols);
    let image = sizes.outputs * sizes.out_height * sizes.out_width;
    upbeat::par::for_each(0..tiles.down() * tiles.across(), |task| {
        let (down, across) = (task / tiles.across(), task % tiles.across());
        let (rows, cols) = (tiles.rows_of(down), tiles.cols_of(across));
        let (group, first) = (rows.start / sizes.inputs, rows.start % sizes.inputs);
        let source = &dy[group * image..][..image];
        let mut tile = tiles.take(down, across);
        let panels = |gather: &Gather<'_>| {
            group % shape.groups * sizes.inputs.next_multiple_of(mr) * gather.depth() + first * gather.depth()
        };
        if one {
            let (_, _, gather, packed) = &factors[0];
            let packed = &packed[panels(gather)..];
            return dispatch(Task { gather, source, packed, windows: cols, tile, write, finish: None });
        }
        let image_rows = cols.start / shape.width..cols.end / shape.width;
        for (vertical, horizontal, gather, packed) in &factors {
            let within = vertical.within(&image_rows, shape.stride.0);
            let windows = within.start * horizontal.count..within.end * horizontal.count;
            if windows.is_empty() {
                continue;
            }
            let mut beside = Buffer::unspecified(rows.len() * windows.len());
            let whole = MatMut::new(&mut beside, rows.len(), windows.len()).expect("it has this size");
            dispatch(Task {
                gather,
                source,
                packed: &packed[panels(gather)..],
                windows: windows.clone(),
                tile: Tile::whole(whole),
                write: Write::Overwrite,
                finish: None,
            });
            let place = Scatter {
                first: vertical.first + within.start * shape.stride.0 - image_rows.start,
                second: horizontal.first,
                stride: shape.stride,
                width: shape.width,
                count: horizontal.count,
            };
            for row in 0..rows.len() {
                place.put(&beside[row * windows.len()..][..windows.len()], tile.row_mut(row), write);
            }
        }
    });
    Ok(())
}

/// Where a phase's elements go in a block of image rows.
pub(crate) struct Scatter {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) stride: (usize, usize),
    /// Of the image.
    pub(crate) width: usize,
    /// Elements of the phase in a row.
    pub(crate) count: usize,
}

impl Scatter {
    /// Puts the rows of `from` to their places.
    pub(crate) fn put(&self, from: &[f32], to: &mut [f32], write: Write) {
        for (row, from) in from.chunks_exact(self.count).enumerate() {
            let start = (self.first + row * self.stride.0) * self.width + self.second;
            let to = to[start..].iter_mut().step_by(self.stride.1).zip(from);
            match write {
                Write::Overwrite => to.for_each(|(to, &x)| *to = x),
                Write::Add => to.for_each(|(to, &x)| *to += x),
            }
        }
    }
}

/// The transposed weights of a pair of phases as panels: rows are input channels, `k` runs over output channels and taps.
fn pack(
    shape: &Conv2d,
    sizes: &Sizes,
    weight: &[f32],
    (down, right): (&Phase, &Phase),
    mr: usize,
) -> Result<Buffer<f32>, ShapeError> {
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    let taps = down.taps.len() * right.taps.len();
    let panels = inputs.div_ceil(mr);
    let dims = [shape.groups, panels, mr, outputs, taps];
    let mut packed = Buffer::unspecified(checked_len("the packed weights", &dims)?);
    let kernel = shape.kernel.0 * shape.kernel.1;
    upbeat::par::chunks_mut(&mut packed, (mr * outputs * taps).max(1), |panel, to| {
        let (group, first) = (panel / panels, panel % panels * mr);
        let width = mr.min(inputs - first);
        to.fill(0.0);
        for (output, to) in to.chunks_exact_mut(mr * taps).enumerate() {
            for lane in 0..width {
                let at = ((group * outputs + output) * inputs + first + lane) * kernel;
                let from = &weight[at..][..kernel];
                let mut to = to[lane..].iter_mut().step_by(mr);
                for &row in down.taps.iter() {
                    for &col in right.taps.iter() {
                        let to = to.next().expect("a panel holds each tap");
                        *to = from[row * shape.kernel.1 + col];
                    }
                }
            }
        }
    });
    Ok(packed)
}
