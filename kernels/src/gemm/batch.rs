//! Many products in one call: batches of one shape at fixed distances, and groups of any shapes.
//!
//! The products are the items of one parallel loop and each is a product with tasks of its own, so that many small ones and a
//! few large ones keep all workers busy. Each has the bits that it has alone.

use super::gemm;
use super::packed::{gemm_packed, GemmPacked, PackedB};
use crate::contract;
use crate::element::{Epilogue, Gemm, Write};
use crate::error::{checked_len, ShapeError};
use crate::matrix::{Mat, MatMut};

/// Equally shaped matrices `[batch, rows, cols]` at a fixed distance from each other.
#[derive(Clone, Copy, Debug)]
pub struct MatBatch<'a> {
    data: &'a [f32],
    batch: usize,
    rows: usize,
    cols: usize,
    row_stride: usize,
    batch_stride: usize,
}

/// The smallest slice that holds a batch.
fn extent(
    (batch, rows, cols): (usize, usize, usize),
    row_stride: usize,
    batch_stride: usize,
) -> Result<usize, ShapeError> {
    if row_stride < cols {
        return Err(ShapeError::Stride { cols, stride: row_stride });
    }
    if batch == 0 || rows == 0 || cols == 0 {
        return Ok(0);
    }
    let one = checked_len("a matrix", &[rows, row_stride])? - (row_stride - cols);
    let others = checked_len("a batch", &[batch - 1, batch_stride])?;
    others.checked_add(one).ok_or(ShapeError::Overflow { what: "a batch" })
}

impl<'a> MatBatch<'a> {
    /// Matrix `i` begins at element `i * batch_stride`, its rows lie `row_stride` apart. A `batch_stride` of 0 repeats one
    /// matrix. `data` may be longer than needed.
    ///
    /// # Errors
    /// A row stride shorter than a row, too few elements, or a size in bytes that overflows.
    pub fn strided(
        data: &'a [f32],
        (batch, rows, cols): (usize, usize, usize),
        row_stride: usize,
        batch_stride: usize,
    ) -> Result<Self, ShapeError> {
        let need = extent((batch, rows, cols), row_stride, batch_stride)?;
        if data.len() < need {
            return Err(ShapeError::Mismatch {
                what: "the length of a batch",
                expected: need,
                found: data.len(),
            });
        }
        Ok(Self { data: &data[..need], batch, rows, cols, row_stride, batch_stride })
    }

    /// Dense matrices one behind the other; `data` must hold `batch * rows * cols` elements at least.
    ///
    /// # Errors
    /// As [`MatBatch::strided`].
    pub fn new(data: &'a [f32], batch: usize, rows: usize, cols: usize) -> Result<Self, ShapeError> {
        Self::strided(data, (batch, rows, cols), cols, checked_len("a matrix", &[rows, cols])?)
    }

    /// Matrix `i`.
    fn get(&self, i: usize) -> Result<Mat<'a, f32>, ShapeError> {
        let from = if self.data.is_empty() { 0 } else { i * self.batch_stride };
        Mat::strided(&self.data[from..], self.rows, self.cols, self.row_stride)
    }
}

/// Equally shaped matrices `[batch, rows, cols]` that can be written, and so do not overlap.
#[derive(Debug)]
pub struct MatBatchMut<'a> {
    data: &'a mut [f32],
    batch: usize,
    rows: usize,
    cols: usize,
    row_stride: usize,
    batch_stride: usize,
}

impl<'a> MatBatchMut<'a> {
    /// As [`MatBatch::strided`]; a matrix must end before the next one begins.
    ///
    /// # Errors
    /// As there, and a `batch_stride` shorter than a matrix.
    pub fn strided(
        data: &'a mut [f32],
        (batch, rows, cols): (usize, usize, usize),
        row_stride: usize,
        batch_stride: usize,
    ) -> Result<Self, ShapeError> {
        let need = extent((batch, rows, cols), row_stride, batch_stride)?;
        let one = extent((batch.min(1), rows, cols), row_stride, batch_stride)?;
        if batch > 1 && batch_stride < one {
            return Err(ShapeError::Stride { cols: one, stride: batch_stride });
        }
        if data.len() < need {
            return Err(ShapeError::Mismatch {
                what: "the length of a batch",
                expected: need,
                found: data.len(),
            });
        }
        Ok(Self { data: &mut data[..need], batch, rows, cols, row_stride, batch_stride })
    }

    /// As [`MatBatch::new`].
    ///
    /// # Errors
    /// As [`MatBatch::strided`].
    pub fn new(data: &'a mut [f32], batch: usize, rows: usize, cols: usize) -> Result<Self, ShapeError> {
        Self::strided(data, (batch, rows, cols), cols, checked_len("a matrix", &[rows, cols])?)
    }
}

/// A batch of products of one shape: `C[i] ← act(scale·op(A[i])·op(B[i]) + bias) + residual`, or that added to `C[i]`.
#[derive(Debug)]
pub struct GemmBatch<'a> {
    /// Left factors as stored: `[batch, m, k]`, or `[batch, k, m]` when `transpose_a`.
    pub a: MatBatch<'a>,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Right factors as stored: `[batch, k, n]`, or `[batch, n, k]` when `transpose_b`.
    pub b: MatBatch<'a>,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
    /// Outputs `[batch, m, n]`.
    pub c: MatBatchMut<'a>,
    /// Overwrite C or add to it.
    pub write: Write,
    /// Applied to each product: all share its bias and residual.
    pub epilogue: Epilogue<'a, f32>,
}

/// Runs a batch. A right factor that is repeated (`batch_stride` 0) is packed once.
///
/// # Errors
/// When the shapes or the numbers of matrices do not fit; nothing has been written then.
///
/// ```
/// use upbeat_kernels::gemm::{gemm_batched, GemmBatch, MatBatch, MatBatchMut};
/// use upbeat_kernels::{Epilogue, Write};
///
/// // Two products of one row by one column.
/// let (a, b, mut c) = ([1.0f32, 2.0, 3.0, 4.0], [1.0f32, 1.0, 10.0, 10.0], [0.0f32; 2]);
/// gemm_batched(GemmBatch {
///     a: MatBatch::new(&a, 2, 1, 2)?,
///     transpose_a: false,
///     b: MatBatch::new(&b, 2, 2, 1)?,
///     transpose_b: false,
///     c: MatBatchMut::new(&mut c, 2, 1, 1)?,
///     write: Write::Overwrite,
///     epilogue: Epilogue::default(),
/// })?;
/// assert_eq!(c, [3.0, 70.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn gemm_batched(g: GemmBatch<'_>) -> Result<(), ShapeError> {
    let GemmBatch { a, transpose_a, b, transpose_b, c, write, epilogue } = g;
    crate::error::check("matrices of b", a.batch, b.batch)?;
    crate::error::check("matrices of c", a.batch, c.batch)?;
    let turned = |rows: usize, cols: usize, turn: bool| if turn { (cols, rows) } else { (rows, cols) };
    let of_b = turned(b.rows, b.cols, transpose_b);
    contract::product(turned(a.rows, a.cols, transpose_a), of_b, (c.rows, c.cols), &epilogue)?;
    if c.data.is_empty() {
        return Ok(());
    }
    // The last matrix has no gap behind it.
    let size = if c.batch == 1 { c.data.len() } else { c.batch_stride };
    let repeated =
        if b.batch > 1 && b.batch_stride == 0 { Some(PackedB::new(b.get(0)?, transpose_b)?) } else { None };
    upbeat::par::chunks_mut(c.data, size, |i, c_data| {
        let mut product = || {
            let (a, c) = (a.get(i)?, MatMut::strided(c_data, c.rows, c.cols, c.row_stride)?);
            match &repeated {
                Some(b) => gemm_packed(GemmPacked { a, transpose_a, b, c, write, epilogue }),
                None => gemm(Gemm { a, transpose_a, b: b.get(i)?, transpose_b, c, write, epilogue }),
            }
        };
        product().expect("the whole batch was checked");
    });
    Ok(())
}

/// Runs products of any shapes as one batch.
///
/// # Errors
/// When the shapes of one of them do not fit; nothing has been written then.
///
/// ```
/// use upbeat_kernels::{gemm::gemm_grouped, Epilogue, Gemm, Mat, MatMut, Write};
///
/// let (a, b, mut c, mut d) = ([1.0f32, 2.0], [3.0f32, 4.0], [0.0f32; 1], [0.0f32; 4]);
/// let (row, column) = (Mat::new(&a, 1, 2)?, Mat::new(&b, 2, 1)?);
/// let (write, epilogue) = (Write::Overwrite, Epilogue::default());
/// let (transpose_a, transpose_b) = (false, false);
/// gemm_grouped(&mut [
///     Gemm { a: row, transpose_a, b: column, transpose_b, c: MatMut::new(&mut c, 1, 1)?, write, epilogue },
///     Gemm { a: column, transpose_a, b: row, transpose_b, c: MatMut::new(&mut d, 2, 2)?, write, epilogue },
/// ])?;
/// assert_eq!((c, d), ([11.0], [3.0, 6.0, 4.0, 8.0]));
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn gemm_grouped(products: &mut [Gemm<'_, f32>]) -> Result<(), ShapeError> {
    for product in products.iter() {
        contract::gemm(product)?;
    }
    upbeat::par::chunks_mut(products, 1, |_, product| {
        for Gemm { a, transpose_a, b, transpose_b, c, write, epilogue } in product {
            let (rows, cols, stride) = (c.rows(), c.cols(), c.stride());
            let (a, transpose_a, b, transpose_b) = (*a, *transpose_a, *b, *transpose_b);
            let c = MatMut::strided(c.data_mut(), rows, cols, stride).expect("the same view once more");
            let again = Gemm { a, transpose_a, b, transpose_b, c, write: *write, epilogue: *epilogue };
            gemm(again).expect("all products were checked");
        }
    });
    Ok(())
}
