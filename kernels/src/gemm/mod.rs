//! The matrix product in f32: packed panels, a register-blocked micro-kernel, an epilogue on tiles still in cache.
//!
//! One operand (*shared*, the one with the smaller outer dimension) is packed once, in parallel. The tasks are blocks of
//! the other's (*private*) rows or columns: each packs its own block, a cache-sized piece of `k` at a time, and
//! multiplies it with the whole shared operand. `blocking` chooses the sizes, `operand` packs, `product` runs the
//! tasks, `epilogue` finishes tiles; the micro-kernel is [`crate::simd::micro`]. With few rows of A nothing is packed (`skinny`).
//!
//! # Order of summation
//! `k` is cut into blocks whose length depends on `k` alone. Within a block products are added one after the other, from
//! 0, fused where the level has it; blocks are then added in order. So an element's bits depend on its row of A, its
//! column of B and `k`: not on `m`, `n`, tiles, layouts or workers.
//!
//! # Accuracy
//! `|C - AB| ≤ c·k·u·|A||B|` by elements, with `u = 2⁻²⁴` and `c = 2` (a chain of `k` rounded steps; Higham, *Accuracy and
//! Stability of Numerical Algorithms*, §3.5).

mod blocking;
mod epilogue;
mod operand;
mod product;
mod skinny;

use crate::contract;
use crate::element::{Activation, Gemm, Write};
use crate::error::{checked_len, ShapeError};
use crate::matrix::MatMut;
use crate::pool::Buffer;

use operand::Operand;

/// `C ← act(op(A)·op(B) + bias) + residual`, or that added to C; see [`Gemm`].
///
/// With [`Write::Add`] and no activation the blocks of the product, the bias and the residual are added to C in this
/// order. With an activation the right side is finished first and then added.
///
/// # Errors
/// When the shapes of A, B, C and the epilogue do not fit; nothing has been written then.
pub fn gemm(g: Gemm<'_, f32>) -> Result<(), ShapeError> {
    let (m, k, n) = contract::gemm(&g)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let Gemm { a, transpose_a, b, transpose_b, mut c, write, epilogue } = g;
    let a = Operand::new(a, m, transpose_a);
    let b = Operand::new(b, n, !transpose_b);
    let run = if skinny::takes(&a) { skinny::run } else { product::run };
    if write == Write::Overwrite || epilogue.activation == Activation::Identity {
        run(a, b, k, c, write, &epilogue);
        return Ok(());
    }
    let mut beside = Buffer::unspecified(checked_len("C", &[m, n])?);
    run(a, b, k, MatMut::new(&mut beside, m, n)?, Write::Overwrite, &epilogue);
    for (i, from) in beside.chunks_exact(n).enumerate() {
        for (c, x) in c.row_mut(i).iter_mut().zip(from) {
            *c += x;
        }
    }
    Ok(())
}
