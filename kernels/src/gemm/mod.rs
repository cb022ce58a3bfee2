//! The matrix product in f32: packed panels, a register-blocked micro-kernel, an epilogue on tiles still in cache.
//!
//! One operand (*shared*, the one with the smaller outer dimension) is packed once, in parallel. The tasks are blocks of
//! the other's (*private*) rows or columns: each packs its own block, a cache-sized piece of `k` at a time, and
//! multiplies it with the whole shared operand. `blocking` chooses the sizes, `operand` and `panels` pack, `product` runs the
//! tasks, `epilogue` finishes tiles; the micro-kernel is [`crate::simd::micro`]. With few rows of A little is packed (`skinny`).
//! `packed` keeps packed weights beyond a call, `batch` runs many products in one, `linear` rows of many tasks. [`quantized`] and `int8` multiply 8-bit integers
//! with scales.
//!
//! # Order of summation
//! `k` is cut into blocks whose length depends on `k` alone. Within a block products are added one after the other, from
//! 0, fused where the level has it; blocks are then added in order. So an element's bits depend on its row of A, its
//! column of B and `k`: not on `m`, `n`, tiles, layouts or workers.
//!
//! # Accuracy
//! `|C - AB| ≤ c·k·u·|A||B|` by elements, with `u = 2⁻²⁴` and `c = 2` (a chain of `k` rounded steps; Higham, *Accuracy and
//! Stability of Numerical Algorithms*, §3.5).

mod batch;
mod blocking;
mod epilogue;
mod int8;
mod int8_rows;
mod int8_tiles;
mod linear;
mod operand;
mod packed;
mod pairs;
mod pairs_panels;
mod panels;
mod product;
pub mod quantized;
mod skinny;
mod stored;

use crate::contract;
use crate::element::{Activation, Epilogue, Gemm, Write};
use crate::error::{checked_len, ShapeError};
use crate::matrix::MatMut;
use crate::pool::Buffer;

pub(crate) use blocking::block_of_k;
use operand::Operand;
pub(crate) use product::RegisterTile;

pub use batch::{gemm_batched, gemm_grouped, GemmBatch, MatBatch, MatBatchMut};
pub use int8::{gemm_int8, GemmInt8};
pub use linear::Linear;
pub use packed::{gemm_packed, GemmPacked, PackedB};
pub(crate) use stored::gemm_bf16;
pub use stored::{gemm_stored, GemmStored, Stored};

/// `C ← act(scale·op(A)·op(B) + bias) + residual`, or that added to C; see [`Gemm`].
///
/// With [`Write::Add`], no scale and no activation the blocks of the product, the bias and the residual are added to C in this
/// order. With one of them the right side is finished first and then added.
///
/// # Errors
/// When the shapes of A, B, C and the epilogue do not fit; nothing has been written then.
///
/// ```
/// use upbeat_kernels::{gemm::gemm, Epilogue, Gemm, Mat, MatMut, Write};
///
/// let mut c = [0.0f32; 2];
/// gemm(Gemm {
///     a: Mat::new(&[1.0, 2.0], 1, 2)?,
///     transpose_a: false,
///     b: Mat::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?,
///     transpose_b: false,
///     c: MatMut::new(&mut c, 1, 2)?,
///     write: Write::Overwrite,
///     epilogue: Epilogue { bias: Some(&[0.5, 0.5]), scale: Some(2.0), ..Epilogue::default() },
/// })?;
/// assert_eq!(c, [14.5, 20.5]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn gemm(g: Gemm<'_, f32>) -> Result<(), ShapeError> {
    let (m, k, n) = contract::gemm(&g)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let Gemm { a, transpose_a, b, transpose_b, c, write, epilogue } = g;
    let a = Operand::new(a, m, transpose_a);
    multiply(a, Operand::new(b, n, !transpose_b), k, c, write, &epilogue)
}

/// Runs a product of any two factors; C has rows and columns.
fn multiply(
    a: Operand<'_>,
    b: Operand<'_>,
    k: usize,
    c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
) -> Result<(), ShapeError> {
    finish((a.len, b.len), c, write, epilogue, |c, write| {
        if skinny::takes(&a, &b) {
            skinny::run(a, skinny::Right::Stored(b), k, c, write, epilogue);
        } else {
            product::run(a, b, k, c, write, epilogue);
        }
    })
}

/// Whether the parts of the right side can be added to C one after the other.
fn is_linear(epilogue: &Epilogue<'_, f32>) -> bool {
    epilogue.activation == Activation::Identity && epilogue.scale.is_none()
}

/// Runs a product into C, or beside it where the right side must be finished before it is added.
fn finish(
    (m, n): (usize, usize),
    mut c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
    run: impl FnOnce(MatMut<'_, f32>, Write),
) -> Result<(), ShapeError> {
    if write == Write::Overwrite || is_linear(epilogue) {
        run(c, write);
        return Ok(());
    }
    let mut beside = Buffer::scratch(checked_len("C", &[m, n])?);
    run(MatMut::new(&mut beside, m, n)?, Write::Overwrite);
    for (i, from) in beside.chunks_exact(n).enumerate() {
        for (c, x) in c.row_mut(i).iter_mut().zip(from) {
            *c += x;
        }
    }
    Ok(())
}
