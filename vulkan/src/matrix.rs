//! Row-major views of matrices on the device, checked when made so that kernels need not check again.

use upbeat_kernels::ShapeError;

use crate::commands::{Access, Operand};
use crate::memory::{Buffer, Scalar};

/// A row-major matrix `[rows, cols]` on the device; row `i` starts at number `i * stride`. The numbers between its rows are not its
/// own, but a kernel that writes it counts as one that writes them too: it waits for whatever else touches them.
#[derive(Debug)]
pub struct Matrix<'a, T> {
    numbers: &'a Buffer<T>,
    /// From the first number to the last one.
    span: usize,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<T> Clone for Matrix<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matrix<'_, T> {}

impl<'a, T: Scalar> Matrix<'a, T> {
    /// A dense matrix; `numbers` must hold exactly `rows * cols`.
    ///
    /// # Errors
    /// Another length; dimensions too large, as [`strided`](Self::strided) says.
    pub fn new(numbers: &'a Buffer<T>, rows: usize, cols: usize) -> Result<Self, ShapeError> {
        let matrix = Self { numbers, span: span(rows, cols, cols)?, rows, cols, stride: cols };
        match matrix.span == numbers.len() {
            true => Ok(matrix),
            false => Err(mismatch("the length of a matrix", matrix.span, numbers.len())),
        }
    }

    /// A matrix whose rows lie `stride` numbers apart; `numbers` may be longer than needed. Part of the columns of a larger one is such
    /// a matrix, of a [`slice`](Buffer::slice) that begins at its first number.
    ///
    /// # Errors
    /// A stride shorter than a row, or too few numbers; more than 2³¹ - 1 of them: shaders take indices as signed.
    pub fn strided(
        numbers: &'a Buffer<T>,
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<Self, ShapeError> {
        if stride < cols {
            return Err(ShapeError::Stride { cols, stride });
        }
        // A stride that leads to no number may be anything.
        let stride = if rows > 1 && cols > 0 { stride } else { cols };
        let span = span(rows, cols, stride)?;
        if numbers.len() < span {
            return Err(mismatch("the length of a strided matrix", span, numbers.len()));
        }
        Ok(Self { numbers, span, rows, cols, stride })
    }
}

impl<T: Scalar> Matrix<'_, T> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Numbers from one row's start to the next one's; `cols` where there is no next one.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// What a command does to it.
    pub(crate) fn operand(&self, access: Access) -> Operand {
        self.numbers.slice(0..self.span).operand(access)
    }

    /// Whether every row is of whole runs of `count` numbers that lie at multiples of that: those can be read at once.
    pub(crate) fn has_whole(&self, count: usize) -> bool {
        self.operand(Access::Read).is_aligned((count * size_of::<T>()) as u64)
            && self.stride.is_multiple_of(count)
            && self.cols.is_multiple_of(count)
    }
}

fn mismatch(what: &'static str, expected: usize, found: usize) -> ShapeError {
    ShapeError::Mismatch { what, expected, found }
}

/// Numbers from the first to the last one.
fn span(rows: usize, cols: usize, stride: usize) -> Result<usize, ShapeError> {
    let most = i32::MAX as usize;
    let overflow = ShapeError::Overflow { what: "a matrix" };
    let span = match rows.checked_sub(1) {
        Some(before) if cols > 0 => {
            before.checked_mul(stride).and_then(|start| start.checked_add(cols)).ok_or(overflow)?
        }
        _ => 0,
    };
    match span.max(rows).max(cols) {
        found if found > most => Err(ShapeError::Limit { what: "a matrix's numbers", most, found }),
        _ => Ok(span),
    }
}
