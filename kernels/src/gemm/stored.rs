//! Products of factors stored in 16 bits, bf16 or f16, or one of them and one in f32.
//!
//! Numbers are widened while they are packed, so no factor is copied whole, and every bit of the result is that of the
//! product of the widened factors: the order of summation and the accuracy are [`super::gemm`]'s. Large products take the time
//! of f32's; with few rows of A, widening takes longer than reading twice the bytes would.
//!
//! Two factors in bf16 are multiplied as they are where the machine has a unit for that ([`crate::simd::pairs`]), in a fraction of that
//! time, from `k = 16` on. Then the order of summation and the accuracy are the unit's, and subnormal numbers count as 0. The first such product
//! asks Linux for AMX, after which signal stacks of threads (`sigaltstack`) must be large enough to save its registers, 11 KiB;
//! `UPBEAT_BF16=f32` does without.

use super::operand::Operand;
use super::pairs::{self, Target};
use super::pairs_panels::Factor;
use crate::contract;
use crate::convert::{narrow, wide, widen};
use crate::element::{Epilogue, Gemm, Write};
use crate::error::{checked_len, ShapeError};
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;
use crate::simd::pairs::Unit;
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
/// converted to f32 before (a signalling NaN becomes quiet); or, two factors in bf16, those of the unit that multiplies them
/// ([`Unit::active`](crate::simd::pairs::Unit::active)). Either way an element's bits depend on its row of A, its column of B and `k` alone (but
/// for which of two NaNs' payloads it gets).
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
    if let (Stored::Bf16(a), Stored::Bf16(b)) = (a, b) {
        if let Some(unit) = pairs_unit(k) {
            let (a, b) = (Factor::new(a, m, transpose_a), Factor::new(b, n, !transpose_b));
            return super::finish((m, n), c, write, &epilogue, |c, write| {
                pairs::run(unit, a, b, k, Target::Wide(c), write, &epilogue);
            });
        }
    }
    let a = Operand::stored(a, m, transpose_a);
    super::multiply(a, Operand::stored(b, n, !transpose_b), k, c, write, &epilogue)
}

/// The shortest `k` that is worth a unit's whole step.
const SHORTEST: usize = 16;

/// What multiplies two factors in bf16, where it is not f32's multiply-add: a question of `k` alone.
fn pairs_unit(k: usize) -> Option<Unit> {
    if k < SHORTEST {
        return None;
    }
    Unit::active()
}

/// The same with C in bf16, each element rounded once at the end.
///
/// # Errors
/// As [`gemm_stored`].
pub(crate) fn gemm_bf16(g: Gemm<'_, bf16>) -> Result<(), ShapeError> {
    let (m, k, n) = contract::gemm(&g)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let Gemm { a, transpose_a, b, transpose_b, mut c, write, epilogue } = g;
    let bias = epilogue.bias.map(wide);
    let residual = epilogue.residual.map(|r| (r, wide(r.data())));
    let residual = match &residual {
        Some((r, data)) => Some(Mat::strided(data, r.rows(), r.cols(), r.stride())?),
        None => None,
    };
    let scale = epilogue.scale.map(f32::from);
    let epilogue = Epilogue { scale, bias: bias.as_deref(), activation: epilogue.activation, residual };
    if let Some(unit) = pairs_unit(k).filter(|_| write == Write::Overwrite || super::is_linear(&epilogue)) {
        let (a, b) = (Factor::new(a, m, transpose_a), Factor::new(b, n, !transpose_b));
        pairs::run(unit, a, b, k, Target::Stored(c), write, &epilogue);
        return Ok(());
    }
    let mut sum = Buffer::<f32>::scratch(checked_len("a product", &[m, n])?);
    if write == Write::Add {
        sum.chunks_exact_mut(n).enumerate().try_for_each(|(i, sum)| widen(c.row_mut(i), sum))?;
    }
    let wide_c = MatMut::new(&mut sum, m, n)?;
    gemm_stored(GemmStored {
        a: a.into(),
        transpose_a,
        b: b.into(),
        transpose_b,
        c: wide_c,
        write,
        epilogue,
    })?;
    if c.stride() == n {
        return narrow(&sum, c.data_mut());
    }
    sum.chunks_exact(n).enumerate().try_for_each(|(i, sum)| narrow(sum, c.row_mut(i)))
}
