//! Products of matrices with an epilogue.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::{Activation, ShapeError, Write};

use super::activation::number;
use super::{count, product, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Float};
use crate::pipeline::Kernel;

/// A matrix in a buffer: `rows` rows of `cols` numbers, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    buffer: &'a Buffer<T>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T: Float> Matrix<'a, T> {
    /// All of a buffer, dense, row by row.
    ///
    /// # Errors
    /// [`VulkanError::Shape`] where the buffer has another length.
    pub fn new(buffer: &'a Buffer<T>, rows: usize, cols: usize) -> Result<Self, VulkanError> {
        Commands::check("the length of a matrix", product("a matrix", &[rows, cols])?, buffer.len())?;
        Ok(Self { buffer, rows, cols, stride: cols })
    }

    /// Rows that begin `stride` numbers apart. The buffer may have more than they need.
    ///
    /// # Errors
    /// [`VulkanError::Shape`] where rows overlap or the buffer ends too early.
    pub fn strided(
        buffer: &'a Buffer<T>,
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<Self, VulkanError> {
        if stride < cols {
            return Err(ShapeError::Stride { cols, stride }.into());
        }
        let needed = match rows.checked_sub(1) {
            Some(before) => product("a matrix", &[before, stride])?.saturating_add(cols),
            None => 0,
        };
        if needed > buffer.len() {
            let what = "numbers of a strided matrix";
            return Err(ShapeError::Limit { what, most: buffer.len(), found: needed }.into());
        }
        Ok(Self { buffer, rows, cols, stride })
    }

    fn turned(&self, transpose: bool) -> (usize, usize) {
        if transpose {
            (self.cols, self.rows)
        } else {
            (self.rows, self.cols)
        }
    }
}

/// What happens to a product before it is stored: `act(scale·A·B + bias) + residual`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Factor on the product.
    pub scale: f32,
    /// One number a column of C, `[n]`.
    pub bias: Option<&'a Buffer<f32>>,
    /// Applied after the bias.
    pub activation: Activation,
    /// Added last, `[m, n]`; may be C itself.
    pub residual: Option<Matrix<'a>>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self { scale: 1.0, bias: None, activation: Activation::Identity, residual: None }
    }
}

/// `C ← act(scale·op(A)·op(B) + bias) + residual`, or that added to C: `op(A)` is `[m, k]`, `op(B)` `[k, n]`, C `[m, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a, B = f32> {
    /// Left factor as stored: `[m, k]`, or `[k, m]` where `transpose_a`.
    pub a: Matrix<'a>,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Right factor as stored: `[k, n]`, or `[n, k]` where `transpose_b`; in f32 or, as weights may be, in f16.
    pub b: Matrix<'a, B>,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
    /// The product.
    pub c: Matrix<'a>,
    /// Overwrite C or add to it.
    pub write: Write,
    /// Applied to the finished product.
    pub epilogue: Epilogue<'a>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    m: u32,
    n: u32,
    k: u32,
    lda: u32,
    ldb: u32,
    ldc: u32,
    ldr: u32,
    scale: f32,
}

/// The tile of `shaders/gemm.comp`.
const TILE: (usize, usize) = (64, 128);
/// Rows up to which `shaders/gemv.comp` reads B anew for each: a tile of 64 rows would compute mostly nothing.
const FEW_ROWS: usize = 4;
/// Columns that a workgroup of `shaders/gemv.comp` sums where B is not transposed.
const GEMV_COLS: usize = 32;

impl Commands {
    /// A product of matrices, summed in f32: each number in an order of its own that depends on the shape alone. `k = 0` gives a product of
    /// zeros.
    ///
    /// # Errors
    /// Shapes that do not fit; more than 4 million rows or 8 million columns on devices that allow 65535 workgroups a dimension; buffers of
    /// another device, or a C that overlaps what else is read.
    pub fn gemm<B: Float>(&mut self, gemm: Gemm<'_, B>) -> Result<&mut Self, VulkanError> {
        let Gemm { a, transpose_a, b, transpose_b, c, write, epilogue } = gemm;
        let ((m, k), (k_of_b, n)) = (a.turned(transpose_a), b.turned(transpose_b));
        Self::check("rows of op(B)", k, k_of_b)?;
        Self::check("rows of C", m, c.rows)?;
        Self::check("columns of C", n, c.cols)?;
        Self::check("the length of the bias", n, epilogue.bias.map_or(n, Buffer::len))?;
        if let Some(residual) = epilogue.residual {
            Self::check("rows of the residual", m, residual.rows)?;
            Self::check("columns of the residual", n, residual.cols)?;
        }
        let residual = epilogue.residual.unwrap_or(c);
        let dimension = |dimension| count("a dimension of a product", dimension);
        let parameters = Parameters {
            m: dimension(m)?,
            n: dimension(n)?,
            k: dimension(k)?,
            lda: dimension(a.stride)?,
            ldb: dimension(b.stride)?,
            ldc: dimension(c.stride)?,
            ldr: dimension(residual.stride)?,
            scale: epilogue.scale,
        };
        let (kernel, groups) = if m <= FEW_ROWS {
            let cols = if transpose_b { n } else { n.div_ceil(GEMV_COLS) };
            (
                if B::HALF { Kernel::GemvF16 } else { Kernel::Gemv },
                [self.groups_for_rows(cols)[0], m as u32, 1],
            )
        } else {
            (
                if B::HALF { Kernel::GemmF16 } else { Kernel::Gemm },
                [n.div_ceil(TILE.1) as u32, m.div_ceil(TILE.0) as u32, 1],
            )
        };
        let constants = [
            WORKGROUP,
            u32::from(transpose_a),
            u32::from(transpose_b),
            number(epilogue.activation),
            u32::from(epilogue.bias.is_some()),
            u32::from(epilogue.residual.is_some()),
            u32::from(write == Write::Add),
        ];
        // What is not there is not read: any address does.
        let bias = epilogue.bias.unwrap_or(a.buffer);
        self.dispatch(
            kernel,
            &constants,
            groups,
            &[
                a.buffer.operand(Access::Read),
                b.buffer.operand(Access::Read),
                bias.operand(Access::Read),
                residual.buffer.operand(Access::ReadInPlace),
                c.buffer.operand(Access::Write),
            ],
            bytemuck::bytes_of(&parameters),
        )
    }
}
