//! The forward pass: the product of packed weights and gathered windows, or the direct kernel where channels are alone.

use super::axis::Axis;
use super::depthwise;
use super::product::{Finish, Gather, Task};
use super::shape::{Conv2d, ConvEpilogue};
use crate::element::Write;
use crate::error::{checked_len, ShapeError};
use crate::gemm::RegisterTile;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::micro::tile_rows;
use crate::simd::pack::transpose_panel;
use crate::simd::{Kernel, Simd};

/// `out = relu(x ∗ weight + bias + residual)`, overwriting `out`; shapes are those of [`Conv2d`] and [`ConvEpilogue`].
///
/// `out[n, o, y, x] = Σ weight[o, c, r, s] · input[n, first + c, y·stride + r·dilation - padding, …]` over the input
/// channels of `o`'s group and the kernel, zeros outside the image.
///
/// # Errors
/// When the shape contradicts itself or a length does not fit it; nothing has been written then.
///
/// ```
/// use upbeat_kernels::conv::{forward, Conv2d, ConvEpilogue};
/// let shape = Conv2d {
///     batch: 1, channels_in: 1, channels_out: 1, groups: 1, height: 3, width: 3,
///     kernel: (3, 3), stride: (1, 1), padding: (1, 1), dilation: (1, 1),
/// };
/// let mut out = [0.0; 9];
/// forward(&shape, &[1.0; 9], &[1.0; 9], &ConvEpilogue::default(), &mut out)?;
/// assert_eq!(out, [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn forward(
    shape: &Conv2d,
    x: &[f32],
    weight: &[f32],
    epilogue: &ConvEpilogue<'_, f32>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let sizes = shape.check(x.len(), weight.len(), out.len())?;
    epilogue.check(shape.channels_out, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    // A sum over no channels need not know its windows, whose taps may be too many to be counted: nothing holds them.
    let one_tap = Conv2d {
        height: sizes.out_height,
        width: sizes.out_width,
        kernel: (1, 1),
        stride: (1, 1),
        padding: (0, 0),
        dilation: (1, 1),
        ..*shape
    };
    let shape = if weight.is_empty() { &one_tap } else { shape };
    let (vertical, horizontal) = axes(shape);
    if depthwise::takes(shape) && depthwise::forward(shape, &vertical, &horizontal, x, weight, epilogue, out)?
    {
        return Ok(());
    }
    let plane = sizes.out_height * sizes.out_width;
    let gather = Gather::of_windows(shape, &sizes, &vertical, &horizontal);
    let (mr, nr) = dispatch(RegisterTile);
    let packed = pack(weight, shape.groups, sizes.outputs, gather.depth(), mr)?;
    let (rows, cols) = gather.cut(shape.batch * shape.groups, sizes.outputs, (mr, nr));
    let out = MatMut::new(out, shape.batch * shape.channels_out, plane)?;
    let tiles = Tiles::grouped(out, sizes.outputs, rows, cols);
    let each = sizes.outputs.next_multiple_of(mr) * gather.depth();
    upbeat::par::for_each(0..tiles.down() * tiles.across(), |task| {
        let (down, across) = (task / tiles.across(), task % tiles.across());
        let (rows, windows) = (tiles.rows_of(down), tiles.cols_of(across));
        let (group, first) = (rows.start / sizes.outputs, rows.start % sizes.outputs);
        let channel = rows.start % shape.channels_out;
        let finish = Finish {
            bias: epilogue.bias.map(|bias| &bias[channel..]),
            residual: epilogue.residual.map(|from| (&from[rows.start * plane + windows.start..], plane)),
            relu: epilogue.relu,
        };
        let image = sizes.inputs * gather.plane;
        dispatch(Task {
            gather: &gather,
            source: &x[group * image..][..image],
            packed: &packed[group % shape.groups * each + first * gather.depth()..],
            windows,
            tile: tiles.take(down, across),
            write: Write::Overwrite,
            finish: Some(finish).filter(|f| f.bias.is_some() || f.residual.is_some() || f.relu),
        });
    });
    Ok(())
}

/// How the windows lie on the input.
pub(crate) fn axes(shape: &Conv2d) -> (Axis, Axis) {
    let axis = |source, kernel: usize, stride, padding: usize, dilation: usize| {
        Axis::new(source, stride, (0..kernel).map(move |tap| (tap * dilation) as i64 - padding as i64))
    };
    let Conv2d { kernel, stride, padding, dilation, .. } = *shape;
    let vertical = axis(shape.height, kernel.0, stride.0, padding.0, dilation.0);
    (vertical, axis(shape.width, kernel.1, stride.1, padding.1, dilation.1))
}

/// The weights `[groups · rows, depth]` as panels of `mr` rows, each group's from a panel's begin on.
fn pack(
    weight: &[f32],
    groups: usize,
    rows: usize,
    depth: usize,
    mr: usize,
) -> Result<Buffer<f32>, ShapeError> {
    let panels = rows.div_ceil(mr);
    let mut packed = Buffer::unspecified(checked_len("the packed weights", &[groups, panels, mr, depth])?);
    upbeat::par::chunks_mut(&mut packed, (mr * depth).max(1), |panel, to| {
        let (group, first) = (panel / panels, panel % panels * mr);
        let from = &weight[(group * rows + first) * depth..];
        dispatch(Pack { from, depth, width: mr.min(rows - first), to });
    });
    Ok(packed)
}

/// One panel of weights.
struct Pack<'a> {
    from: &'a [f32],
    depth: usize,
    width: usize,
    to: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match tile_rows::<S>() {
            6 => transpose_panel::<S, 6>(simd, self.from, self.depth, self.width, self.depth, self.to),
            12 => transpose_panel::<S, 12>(simd, self.from, self.depth, self.width, self.depth, self.to),
            rows => unreachable!("panels of {rows}"),
        }
    }
}
