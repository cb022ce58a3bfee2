//! How rows are cut into blocks, the items of parallel loops; and sums over rows in a fixed tree of blocks.
//!
//! Blocks depend on the shape alone, so that results have the same bits for any number of workers. An input of one
//! block is computed by a plain call.

use std::ops::Range;

use crate::element::Write;
use crate::error::{checked_len, ShapeError};
use crate::isa::dispatch;
use crate::lanes::{lanewise, Identity};
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};

/// Elements that a block of an element-wise loop holds: 5 to 20 µs of memory traffic.
pub(crate) const ELEMENTS: usize = 1 << 15;
/// The same where an element costs tens of instructions.
pub(crate) const COSTLY_ELEMENTS: usize = 1 << 13;
/// The longest row of which several lie in the first-level cache together.
pub(crate) const NARROW: usize = 1024;
/// Most blocks that a sum over rows is cut into: it bounds the partial sums' memory and the tree above them.
const MOST_PARTIALS: usize = 64;

/// Rows of `cols` elements that make a block of about `elements`.
pub(crate) fn rows(cols: usize, elements: usize) -> usize {
    (elements / cols.max(1)).max(1)
}

/// Rows in a block of [`sum_over_rows`], for rows that cost about `cols` elements each.
pub(crate) fn rows_to_sum(rows: usize, cols: usize) -> usize {
    self::rows(cols, COSTLY_ELEMENTS).max(rows.div_ceil(MOST_PARTIALS))
}

/// Sums over rows: block `b` of `block` rows adds its rows to a partial sum of `width` numbers (`partial(b, rows,
/// sums)`), and the partial sums are added in a binary tree.
pub(crate) fn sum_over_rows(
    rows: usize,
    block: usize,
    width: usize,
    partial: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) -> Result<Buffer<f32>, ShapeError> {
    let blocks = rows.div_ceil(block).max(1);
    let mut sums = Buffer::<f32>::scratch(checked_len("partial sums", &[blocks, width])?);
    upbeat::par::chunks_mut(&mut sums, width.max(1), |b, sums| {
        sums.fill(0.0);
        partial(b, b * block..rows.min((b + 1) * block), sums);
    });
    let mut step = 1;
    while step < blocks {
        for low in (0..blocks - step).step_by(2 * step) {
            let (low, high) = sums[low * width..].split_at_mut(step * width);
            add_to(&high[..width], &mut low[..width]);
        }
        step *= 2;
    }
    Ok(sums)
}

struct AddTo<'a>(&'a [f32], &'a mut [f32]);

impl Kernel for AddTo<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        add_to_lanes(simd, self.0, self.1);
    }
}

/// `out += x`, inside a kernel.
#[inline(always)]
pub(crate) fn add_to_lanes<S: Simd>(simd: S, x: &[f32], out: &mut [f32]) {
    lanewise(simd, [x], out, Write::Add, Identity);
}

/// `out += x`, in one piece.
pub(crate) fn add_to(x: &[f32], out: &mut [f32]) {
    dispatch(AddTo(x, out));
}
