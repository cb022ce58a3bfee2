//! Products of factors stored in 16 bits, bf16 or f16, or one of them and one in f32.
//!
//! Numbers are widened while they are packed, so no factor is copied whole, and every bit of the result is that of the
//! product of the widened factors: the order of summation and the accuracy are [`super::gemm`]'s. Large products take the time
//! of f32's; with few rows of A, widening takes longer than reading twice the bytes would.

use super::operand::Operand;
use crate::contract;
use crate::element::{Epilogue, Write};
use crate::error::ShapeError;
use crate::matrix::{Mat, MatMut};
use crate::{bf16, f16};

/// A matrix in one of the types that numbers are stored in.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// 32 bits.
    F32(Mat<'a, f32>),
    /// The upper 16 bits of those.
    Bf16(Mat<'a, bf16>),
    /// IEEE 754's 16 bits.
    F16(Mat<'a, f16>),
}

impl Stored<'_> {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32(mat) => (mat.rows(), mat.cols()),
            Self::Bf16(mat) => (mat.rows(), mat.cols()),
            Self::F16(mat) => (mat.rows(), mat.cols()),
        }
    }
}

impl<'a> From<Mat<'a, f32>> for Stored<'a> {
    fn from(mat: Mat<'a, f32>) -> Self {
        Self::F32(mat)
    }
}

impl<'a> From<Mat<'a, bf16>> for Stored<'a> {
    fn from(mat: Mat<'a, bf16>) -> Self {
        Self::Bf16(mat)
    }
}

impl<'a> From<Mat<'a, f16>> for Stored<'a> {
    fn from(mat: Mat<'a, f16>) -> Self {
        Self::F16(mat)
    }
}

/// [`Gemm`](crate::Gemm) with factors in any storage; sums and C are f32.
#[derive(Debug)]
pub struct GemmStored<'a> {
    /// Left factor as stored: `[m, k]`, or `[k, m]` when `transpose_a`.
    pub a: Stored<'a>,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Right factor as stored: `[k, n]`, or `[n, k]` when `transpose_b`, as weights are.
    pub b: Stored<'a>,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
    /// Output `[m, n]`.
    pub c: MatMut<'a, f32>,
    /// Overwrite C or add to it.
    pub write: Write,
    /// Applied to the finished product.
    pub epilogue: Epilogue<'a, f32>,
}

/// `C ← act(scale·op(A)·op(B) + bias) + residual`, or that added to C: the bits of [`gemm`](super::gemm) with both factors
/// converted to f32 before (a signalling NaN becomes quiet).
///
/// # Errors
/// When the shapes of A, B, C and the epilogue do not fit; nothing has been written then.
///
/// ```
/// use upbeat_kernels::gemm::{gemm_stored, GemmStored};
/// use upbeat_kernels::{bf16, Epilogue, Mat, MatMut, Write};
///
/// let weights = [1.0, 2.0, 3.0, 4.0].map(bf16::from_f32);
/// let mut c = [0.0; 2];
/// gemm_stored(GemmStored {
///     a: Mat::new(&[1.0f32, 0.5], 1, 2)?.into(),
///     transpose_a: false,
///     b: Mat::new(&weights, 2, 2)?.into(),
///     transpose_b: true,
///     c: MatMut::new(&mut c, 1, 2)?,
///     write: Write::Overwrite,
///     epilogue: Epilogue::default(),
/// })?;
/// assert_eq!(c, [2.0, 5.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn gemm_stored(g: GemmStored<'_>) -> Result<(), ShapeError> {
    let GemmStored { a, transpose_a, b, transpose_b, c, write, epilogue } = g;
    let turned = |(rows, cols): (usize, usize), turn: bool| if turn { (cols, rows) } else { (rows, cols) };
    let ((m, k), (k_b, n)) = (turned(a.shape(), transpose_a), turned(b.shape(), transpose_b));
    contract::product((m, k), (k_b, n), (c.rows(), c.cols()), &epilogue)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let a = Operand::stored(a, m, transpose_a);
    super::multiply(a, Operand::stored(b, n, !transpose_b), k, c, write, &epilogue)
}
