//! Pooling over windows of each plane of `[batch, channels, height, width]`: the largest, the average, and the average of
//! whole planes; forward and backward.
//!
//! Windows slide over strips as in [`crate::conv`]; windows of more than 4096 elements or mostly of padding, and maxima where
//! there is a NaN, are taken element by element. Every result depends on its own plane alone.

mod average;
mod max;

pub(crate) use average::check_global;
pub use average::{
    average_pool_backward, average_pool_forward, global_average_backward, global_average_forward, Divisor,
};
pub(crate) use max::check_indices;
pub use max::{max_pool_backward, max_pool_forward};

use std::ops::Range;

use crate::conv::{windows, Axis};
use crate::error::{check, checked_len, ShapeError};

/// Most elements of a window that slides over strips.
const MOST_TAPS: usize = 4096;

/// Windows over planes. Pairs are `(vertical, horizontal)`; a window at the border hangs over by at most the padding, and its
/// elements outside are not there.
///
/// ```
/// use upbeat_kernels::pooling::Pool2d;
/// let pool = Pool2d {
///     batch: 1, channels: 64, height: 112, width: 112, kernel: (3, 3), stride: (2, 2), padding: (1, 1),
/// };
/// assert_eq!((pool.out_height()?, pool.out_width()?), (56, 56));
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Images.
    pub batch: usize,
    /// Channels, each pooled on its own.
    pub channels: usize,
    /// Rows of a plane.
    pub height: usize,
    /// Columns of a plane.
    pub width: usize,
    /// Rows and columns of a window.
    pub kernel: (usize, usize),
    /// From one window to the next.
    pub stride: (usize, usize),
    /// How far windows may hang over on each side; less than the kernel, so that none is empty.
    pub padding: (usize, usize),
}

/// One axis of windows with their elements cut to the plane.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) len: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Line {
    /// The plane's coordinates that window `p` sees.
    pub(crate) fn seen(&self, p: usize) -> Range<usize> {
        let from = p * self.stride;
        from.saturating_sub(self.padding)..(from + self.kernel).saturating_sub(self.padding).min(self.len)
    }

    /// The windows as an axis of a strip.
    fn axis(&self) -> Axis {
        let padding = self.padding as i64;
        Axis::new(self.len, self.stride, (0..self.kernel).map(move |tap| tap as i64 - padding))
    }
}

impl Pool2d {
    /// Rows of an output plane, `⌊(height + 2·padding - kernel) / stride⌋ + 1`.
    ///
    /// # Errors
    /// A kernel or stride of 0, a kernel that does not fit the padded plane, padding that is not less than the kernel, or
    /// sizes that overflow.
    pub fn out_height(&self) -> Result<usize, ShapeError> {
        Self::out("the padded height", &self.lines().0)
    }

    /// Columns of an output plane; see [`out_height`](Self::out_height).
    ///
    /// # Errors
    /// As [`out_height`](Self::out_height).
    pub fn out_width(&self) -> Result<usize, ShapeError> {
        Self::out("the padded width", &self.lines().1)
    }

    fn out(what: &'static str, line: &Line) -> Result<usize, ShapeError> {
        let out = windows(what, line.len, line.kernel, line.stride, line.padding, 1)?;
        if line.padding >= line.kernel {
            return Err(ShapeError::Index { what: "padding", index: line.padding, len: line.kernel });
        }
        if line.len == 0 {
            return Err(ShapeError::Zero { what: "a side of a pooled plane" });
        }
        Ok(out)
    }

    pub(crate) fn lines(&self) -> (Line, Line) {
        let Self { kernel, stride, padding, .. } = *self;
        (
            Line { len: self.height, kernel: kernel.0, stride: stride.0, padding: padding.0 },
            Line { len: self.width, kernel: kernel.1, stride: stride.1, padding: padding.1 },
        )
    }

    /// Checks the shape and the lengths of input and output; gives rows and columns of an output plane.
    pub(crate) fn check(&self, input: usize, output: usize) -> Result<(usize, usize), ShapeError> {
        let out = (self.out_height()?, self.out_width()?);
        let dims = [self.batch, self.channels];
        let [rows, cols] = dims;
        check(
            "the length of the input",
            checked_len("the input", &[rows, cols, self.height, self.width])?,
            input,
        )?;
        check("the length of the output", checked_len("the output", &[rows, cols, out.0, out.1])?, output)?;
        Ok(out)
    }

    /// The axes of strips, unless windows are too large for them.
    fn axes(&self) -> Option<(Axis, Axis)> {
        let taps = self.kernel.0.checked_mul(self.kernel.1)?;
        let (down, right) = self.lines();
        (taps <= MOST_TAPS).then(|| (down.axis(), right.axis()))
    }
}
