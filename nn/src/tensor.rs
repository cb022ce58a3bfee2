//! Tensors over pooled buffers: a shape of at most four dimensions and the dense, row-major numbers it describes.
//!
//! Shapes are checked when made, so that a product of dimensions never overflows later. What is computed with the
//! numbers is the kernels' matter, how it was computed the tape's.

use std::fmt;

use upbeat_kernels::error::checked_len;
use upbeat_kernels::pool::Plain;
use upbeat_kernels::{Buffer, ShapeError};

/// Most dimensions a [`Shape`] has.
pub const MAX_RANK: usize = 4;

/// Dimensions of a dense row-major tensor, kept inline so that making one never allocates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
    len: usize,
}

impl Shape {
    /// A shape of `dims`, outermost first.
    ///
    /// # Errors
    /// More than [`MAX_RANK`] of them, or a size in bytes that overflows.
    pub fn new(dims: &[usize]) -> Result<Self, ShapeError> {
        if dims.len() > MAX_RANK {
            return Err(ShapeError::Mismatch {
                what: "the number of dimensions (at most)",
                expected: MAX_RANK,
                found: dims.len(),
            });
        }
        let len = checked_len("a tensor", dims)?;
        let mut inline = [1; MAX_RANK];
        inline[..dims.len()].copy_from_slice(dims);
        Ok(Self { dims: inline, rank: dims.len(), len })
    }

    /// The shape of a single number, `[]`.
    pub(crate) const SCALAR: Self = Self { dims: [1; MAX_RANK], rank: 0, len: 1 };

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The innermost dimension; 1 for a single number.
    pub fn cols(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The product of all dimensions but the innermost.
    pub fn rows(&self) -> usize {
        match self.dims().split_last() {
            Some((_, outer)) if !outer.contains(&0) => outer.iter().product(),
            Some(_) => 0,
            None => 1,
        }
    }

    /// The same rows with `cols` columns.
    pub(crate) fn with_cols(&self, cols: usize) -> Result<Self, ShapeError> {
        let mut dims = self.dims;
        dims[self.rank.max(1) - 1] = cols;
        Self::new(&dims[..self.rank.max(1)])
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dims().fmt(f)
    }
}

/// `Ok` when two dimensions agree.
pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), ShapeError> {
    if expected == found {
        Ok(())
    } else {
        Err(ShapeError::Mismatch { what, expected, found })
    }
}

/// A shape and its numbers, in a buffer of the pool.
#[derive(Clone, Debug)]
pub struct Tensor<E: Plain> {
    shape: Shape,
    values: Buffer<E>,
}

impl<E: Plain> Tensor<E> {
    /// A tensor of `dims` over `values`, which must hold exactly as many elements.
    ///
    /// # Errors
    /// As [`Shape::new`], and another number of elements.
    pub fn new(dims: &[usize], values: Buffer<E>) -> Result<Self, ShapeError> {
        let shape = Shape::new(dims)?;
        check("the length of a tensor", shape.len(), values.len())?;
        Ok(Self { shape, values })
    }

    /// A tensor of `dims` holding a copy of `values`.
    ///
    /// # Errors
    /// As [`Shape::new`], and another number of elements.
    pub fn copied(dims: &[usize], values: &[E]) -> Result<Self, ShapeError> {
        let shape = Shape::new(dims)?;
        check("the length of a tensor", shape.len(), values.len())?;
        Ok(Self { shape, values: Buffer::copied(values) })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn zeroed(dims: &[usize]) -> Result<Self, ShapeError> {
        let shape = Shape::new(dims)?;
        Ok(Self { shape, values: Buffer::zeroed(shape.len()) })
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The numbers, row-major.
    pub fn values(&self) -> &[E] {
        &self.values
    }

    /// The numbers, writable.
    pub fn values_mut(&mut self) -> &mut [E] {
        &mut self.values
    }

    /// The shape and the numbers.
    pub fn into_parts(self) -> (Shape, Buffer<E>) {
        (self.shape, self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns() {
        let shape = Shape::new(&[2, 3, 5]).unwrap();
        assert_eq!((shape.rows(), shape.cols(), shape.len()), (6, 5, 30));
        assert_eq!((Shape::SCALAR.rows(), Shape::SCALAR.cols(), Shape::SCALAR.len()), (1, 1, 1));
        let empty = Shape::new(&[0, 4]).unwrap();
        assert_eq!((empty.rows(), empty.cols(), empty.is_empty()), (0, 4, true));
        assert_eq!(shape.with_cols(7).unwrap().dims(), [2, 3, 7]);
    }

    #[test]
    fn bad_shapes_are_refused() {
        assert!(matches!(Shape::new(&[usize::MAX, 2]), Err(ShapeError::Overflow { .. })));
        assert!(matches!(Shape::new(&[1; 5]), Err(ShapeError::Mismatch { expected: 4, found: 5, .. })));
        assert!(matches!(
            Tensor::copied(&[2, 2], &[0.0f32; 3]),
            Err(ShapeError::Mismatch { expected: 4, found: 3, .. })
        ));
    }
}
