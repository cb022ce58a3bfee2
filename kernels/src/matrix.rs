//! Row-major views of matrices, checked when made so that kernels need not check again.

use crate::error::{check, checked_len, ShapeError};

/// The smallest slice that holds `rows` rows of `cols` at `stride`, and the stride to go by.
fn span(rows: usize, cols: usize, stride: usize) -> Result<(usize, usize), ShapeError> {
    if stride < cols {
        return Err(ShapeError::Stride { cols, stride });
    }
    // A stride that leads to no element may be anything, and products with it would overflow.
    if rows == 0 || cols == 0 {
        return Ok((0, cols));
    }
    if rows == 1 {
        return Ok((checked_len("a matrix", &[cols])?, cols));
    }
    Ok((checked_len("a matrix", &[rows, stride])? - (stride - cols), stride))
}

/// A read-only row-major matrix `[rows, cols]`; row `i` starts at element `i * stride`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A dense matrix; `data` must hold exactly `rows * cols` elements.
    ///
    /// # Errors
    /// Another length, or dimensions whose size in bytes overflows.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        check("the length of a matrix", checked_len("a matrix", &[rows, cols])?, data.len())?;
        Ok(Self { data, rows, cols, stride: cols })
    }

    /// A matrix whose rows lie `stride` elements apart; `data` may be longer than needed.
    ///
    /// # Errors
    /// A stride shorter than a row, too few elements, or dimensions whose size in bytes overflows.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Result<Self, ShapeError> {
        let (need, stride) = span(rows, cols, stride)?;
        if data.len() < need {
            return Err(ShapeError::Mismatch {
                what: "the length of a strided matrix",
                expected: need,
                found: data.len(),
            });
        }
        Ok(Self { data: &data[..need], rows, cols, stride })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row's start to the next one's; `cols` where there is no next one, or no elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`. Panics when there is no such row.
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return &[];
        }
        &self.data[i * self.stride..][..self.cols]
    }

    /// The elements from the first to the last one of the matrix, gaps between rows included.
    pub fn data(&self) -> &'a [T] {
        self.data
    }
}

/// A writable row-major matrix `[rows, cols]`; row `i` starts at element `i * stride`.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> MatMut<'a, T> {
    /// A dense matrix; `data` must hold exactly `rows * cols` elements.
    ///
    /// # Errors
    /// Another length, or dimensions whose size in bytes overflows.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        check("the length of a matrix", checked_len("a matrix", &[rows, cols])?, data.len())?;
        Ok(Self { data, rows, cols, stride: cols })
    }

    /// A matrix whose rows lie `stride` elements apart; `data` may be longer than needed.
    ///
    /// # Errors
    /// A stride shorter than a row, too few elements, or dimensions whose size in bytes overflows.
    pub fn strided(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Result<Self, ShapeError> {
        let (need, stride) = span(rows, cols, stride)?;
        if data.len() < need {
            return Err(ShapeError::Mismatch {
                what: "the length of a strided matrix",
                expected: need,
                found: data.len(),
            });
        }
        Ok(Self { data: &mut data[..need], rows, cols, stride })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row's start to the next one's; `cols` where there is no next one, or no elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`. Panics when there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return &mut [];
        }
        &mut self.data[i * self.stride..][..self.cols]
    }

    /// The elements from the first to the last one of the matrix, gaps between rows included.
    pub fn data_mut(&mut self) -> &mut [T] {
        self.data
    }

    /// Gives up the view for its elements, from the first to the last one, gaps between rows included.
    pub fn into_data(self) -> &'a mut [T] {
        self.data
    }

    /// The same matrix, read only.
    pub fn as_mat(&self) -> Mat<'_, T> {
        Mat { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }
}
