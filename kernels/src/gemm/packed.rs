//! Right factors packed once and multiplied many times: weights.
//!
//! The panels are those that [`gemm`](super::gemm) packs for each call, so results have the same bits.

use super::operand::{Operand, Side};
use super::panels::pack_shared;
use super::product::{self, RegisterTile};
use super::{finish, skinny};
use crate::contract;
use crate::element::{Epilogue, Write};
use crate::error::{checked_len, ShapeError};
use crate::isa::dispatch;
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;

/// A right factor `[k, n]`, packed for this machine's instruction set.
///
/// It holds `k·n` numbers, `n` rounded up to the width of a panel (32 at most), in memory of the pool.
#[derive(Clone, Debug)]
pub struct PackedB {
    panels: Buffer<f32>,
    k: usize,
    n: usize,
}

impl PackedB {
    /// Packs B, stored as `[k, n]`, or as `[n, k]` when `transposed`, in parallel.
    ///
    /// # Errors
    /// When the packed size in bytes overflows.
    ///
    /// ```
    /// use upbeat_kernels::gemm::PackedB;
    /// use upbeat_kernels::Mat;
    ///
    /// let weights = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    /// let packed = PackedB::new(Mat::new(&weights, 3, 2)?, true)?;
    /// assert_eq!((packed.k(), packed.n()), (2, 3));
    /// # Ok::<(), upbeat_kernels::ShapeError>(())
    /// ```
    pub fn new(b: Mat<'_, f32>, transposed: bool) -> Result<Self, ShapeError> {
        let (k, n) = if transposed { (b.cols(), b.rows()) } else { (b.rows(), b.cols()) };
        let width = dispatch(RegisterTile).1;
        let columns = n.checked_next_multiple_of(width).ok_or(ShapeError::Overflow { what: "packed B" })?;
        checked_len("packed B", &[k, columns])?;
        let operand = Operand::new(b, n, !transposed);
        Ok(Self { panels: pack_shared(operand, Side::B, width, 0..n, 0..k), k, n })
    }

    /// Rows of B.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        self.n
    }
}

/// [`Gemm`](crate::Gemm) with the right factor packed already.
#[derive(Debug)]
pub struct GemmPacked<'a> {
    /// Left factor as stored: `[m, k]`, or `[k, m]` when `transpose_a`.
    pub a: Mat<'a, f32>,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Right factor `[k, n]`.
    pub b: &'a PackedB,
    /// Output `[m, n]`.
    pub c: MatMut<'a, f32>,
    /// Overwrite C or add to it.
    pub write: Write,
    /// Applied to the finished product.
    pub epilogue: Epilogue<'a, f32>,
}

/// `C ← act(scale·op(A)·B + bias) + residual`, or that added to C: the bits of [`gemm`](super::gemm).
///
/// # Errors
/// When the shapes of A, B, C and the epilogue do not fit; nothing has been written then.
///
/// ```
/// use upbeat_kernels::gemm::{gemm_packed, GemmPacked, PackedB};
/// use upbeat_kernels::{Epilogue, Mat, MatMut, Write};
///
/// let weights = PackedB::new(Mat::new(&[1.0f32, 0.0, 0.0, 2.0], 2, 2)?, false)?;
/// let mut c = [0.0; 2];
/// gemm_packed(GemmPacked {
///     a: Mat::new(&[3.0, 4.0], 1, 2)?,
///     transpose_a: false,
///     b: &weights,
///     c: MatMut::new(&mut c, 1, 2)?,
///     write: Write::Overwrite,
///     epilogue: Epilogue::default(),
/// })?;
/// assert_eq!(c, [3.0, 8.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn gemm_packed(g: GemmPacked<'_>) -> Result<(), ShapeError> {
    let GemmPacked { a, transpose_a, b, c, write, epilogue } = g;
    let (m, k) = if transpose_a { (a.cols(), a.rows()) } else { (a.rows(), a.cols()) };
    contract::product((m, k), (b.k, b.n), (c.rows(), c.cols()), &epilogue)?;
    if m == 0 || b.n == 0 {
        return Ok(());
    }
    let a = Operand::new(a, m, transpose_a);
    finish((m, b.n), c, write, &epilogue, |c, write| {
        if m <= skinny::MAX_ROWS_BY_PANEL {
            skinny::run(a, skinny::Right::Packed { panels: &b.panels, n: b.n }, k, c, write, &epilogue);
        } else {
            product::run_packed(a, &b.panels, (k, b.n), c, write, &epilogue);
        }
    })
}
