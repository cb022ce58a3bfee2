//! The shape of a two-dimensional convolution, and every check that its kernels and their twins make before they write.

use crate::error::{check, checked_len, ShapeError};

/// A convolution of `[batch, channels_in, height, width]` with weights
/// `[channels_out, channels_in / groups, kernel.0, kernel.1]` to `[batch, channels_out, out_height, out_width]`.
///
/// Pairs are `(vertical, horizontal)`. Padding is zeros on both sides. Output channel `o` of group `g` sees the input
/// channels of group `g` only. Like most libraries it is a cross-correlation: the kernel is not flipped.
///
/// ```
/// use upbeat_kernels::conv::Conv2d;
/// let first = Conv2d {
///     batch: 8, channels_in: 3, channels_out: 64, groups: 1, height: 224, width: 224,
///     kernel: (7, 7), stride: (2, 2), padding: (3, 3), dilation: (1, 1),
/// };
/// assert_eq!((first.out_height()?, first.out_width()?), (112, 112));
/// assert_eq!(first.weight_len()?, 64 * 3 * 7 * 7);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Groups of channels that do not see each other; divides both numbers of channels.
    pub groups: usize,
    /// Rows of an input plane.
    pub height: usize,
    /// Columns of an input plane.
    pub width: usize,
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    /// From one window to the next, in elements of the input.
    pub stride: (usize, usize),
    /// Zeros before and behind each column and row.
    pub padding: (usize, usize),
    /// From one tap of the kernel to the next, in elements of the input.
    pub dilation: (usize, usize),
}

/// How many windows fit on an axis.
pub(crate) fn windows(
    what: &'static str,
    len: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Result<usize, ShapeError> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err(ShapeError::Zero { what: "a kernel's size, stride or dilation" });
    }
    let overflow = ShapeError::Overflow { what };
    let extent = (kernel - 1).checked_mul(dilation).and_then(|far| far.checked_add(1));
    let padded = padding.checked_mul(2).and_then(|both| both.checked_add(len));
    let (Some(extent), Some(padded)) = (extent, padded) else { return Err(overflow) };
    // Coordinates are computed with signs.
    if extent.max(padded) > isize::MAX as usize / 8 || stride > isize::MAX as usize / 8 {
        return Err(overflow);
    }
    if extent > padded {
        return Err(ShapeError::Window { what, window: extent, padded });
    }
    Ok((padded - extent) / stride + 1)
}

impl Conv2d {
    /// Rows of an output plane, `⌊(height + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1`.
    ///
    /// # Errors
    /// A kernel, stride or dilation of 0, a kernel that does not fit the padded input, or sizes that overflow.
    pub fn out_height(&self) -> Result<usize, ShapeError> {
        let (kernel, stride, padding, dilation) =
            (self.kernel.0, self.stride.0, self.padding.0, self.dilation.0);
        windows("the padded height", self.height, kernel, stride, padding, dilation)
    }

    /// Columns of an output plane; see [`out_height`](Self::out_height).
    ///
    /// # Errors
    /// As [`out_height`](Self::out_height).
    pub fn out_width(&self) -> Result<usize, ShapeError> {
        let (kernel, stride, padding, dilation) =
            (self.kernel.1, self.stride.1, self.padding.1, self.dilation.1);
        windows("the padded width", self.width, kernel, stride, padding, dilation)
    }

    /// Elements of the input.
    ///
    /// # Errors
    /// When their size in bytes overflows.
    pub fn input_len(&self) -> Result<usize, ShapeError> {
        checked_len("the input", &[self.batch, self.channels_in, self.height, self.width])
    }

    /// Elements of the output.
    ///
    /// # Errors
    /// As [`out_height`](Self::out_height).
    pub fn output_len(&self) -> Result<usize, ShapeError> {
        checked_len("the output", &[self.batch, self.channels_out, self.out_height()?, self.out_width()?])
    }

    /// Elements of the weights.
    ///
    /// # Errors
    /// No groups, channels that they do not divide, or a size in bytes that overflows.
    pub fn weight_len(&self) -> Result<usize, ShapeError> {
        if self.groups == 0 {
            return Err(ShapeError::Zero { what: "the number of groups" });
        }
        for (what, found) in [
            ("the number of input channels", self.channels_in),
            ("that of output channels", self.channels_out),
        ] {
            if !found.is_multiple_of(self.groups) {
                return Err(ShapeError::Multiple { what, unit: self.groups, found });
            }
        }
        let each = self.channels_in / self.groups;
        checked_len("the weights", &[self.channels_out, each, self.kernel.0, self.kernel.1])
    }

    /// Multiply-adds of the forward pass, padding included; of either gradient too.
    ///
    /// # Errors
    /// As [`out_height`](Self::out_height) and [`weight_len`](Self::weight_len), or when the number overflows.
    pub fn multiply_adds(&self) -> Result<u64, ShapeError> {
        let dims = [self.batch, self.out_height()?, self.out_width()?, self.weight_len()?];
        let product = dims.into_iter().try_fold(1u64, |product, dim| product.checked_mul(dim as u64));
        product.ok_or(ShapeError::Overflow { what: "the number of multiply-adds" })
    }

    /// Checks all that the shape says by itself and the lengths of input, weights and output.
    pub(crate) fn check(&self, input: usize, weight: usize, output: usize) -> Result<Sizes, ShapeError> {
        let sizes = self.sizes()?;
        check("the length of the input", self.input_len()?, input)?;
        check("the length of the weights", self.weight_len()?, weight)?;
        check("the length of the output", self.output_len()?, output)?;
        Ok(sizes)
    }

    /// The derived sizes of a shape without contradictions.
    pub(crate) fn sizes(&self) -> Result<Sizes, ShapeError> {
        self.weight_len()?;
        Ok(Sizes {
            inputs: self.channels_in / self.groups,
            outputs: self.channels_out / self.groups,
            out_height: self.out_height()?,
            out_width: self.out_width()?,
        })
    }
}

/// Sizes derived from a [`Conv2d`] that was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Input channels of a group.
    pub(crate) inputs: usize,
    /// Output channels of a group.
    pub(crate) outputs: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

/// What happens to the convolution before it is stored: `out = relu(x ∗ weight + bias + residual)`, each part only if
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct ConvEpilogue<'a, T> {
    /// One value a channel, `[channels_out]`.
    pub bias: Option<&'a [T]>,
    /// Shaped as the output.
    pub residual: Option<&'a [T]>,
    /// Whether what is below 0 becomes 0. NaN stays.
    pub relu: bool,
}

impl<T> Default for ConvEpilogue<'_, T> {
    fn default() -> Self {
        Self { bias: None, residual: None, relu: false }
    }
}

impl<T> ConvEpilogue<'_, T> {
    /// Checks the lengths.
    pub(crate) fn check(&self, channels: usize, output: usize) -> Result<(), ShapeError> {
        if let Some(bias) = self.bias {
            check("the length of the bias", channels, bias.len())?;
        }
        if let Some(residual) = self.residual {
            check("the length of the residual", output, residual.len())?;
        }
        Ok(())
    }
}
