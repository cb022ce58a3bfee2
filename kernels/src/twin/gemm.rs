//! The matrix product in f64: `i-k-j` loops, each element summed in the order of `k`.
//!
//! Slow beside a blocked kernel, but rows run in parallel and the inner loop is one that the compiler vectorises, so
//! that a whole model can be trained in f64 for comparison. Products and sums are rounded separately at every level.

use crate::contract;
use crate::element::{Activation, Gemm, Write};
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::matrix::Mat;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};
use crate::twin::activation::{gelu, silu};
use crate::twin::functions::gelu_tanh;

/// Rows of C that one task computes: they share each row of B while it is in cache.
const ROWS: usize = 8;
/// Rows of B taken at once: the running sums are loaded and stored once for all of them.
const UNROLL: usize = 4;

/// `sums[r, j] += Σ_k a(r, k)·b[k, j]`, for the rows of one task.
struct Product<'a, A> {
    a: A,
    b: Mat<'a, f64>,
    sums: &'a mut [f64],
}

impl<A: Fn(usize, usize) -> f64> Kernel for Product<'_, A> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let (k, n) = (self.b.rows(), self.b.cols());
        let whole = k - k % UNROLL;
        for kk in (0..whole).step_by(UNROLL) {
            let b: [&[f64]; UNROLL] = std::array::from_fn(|u| &self.b.row(kk + u)[..n]);
            for (r, sums) in self.sums.chunks_exact_mut(n).enumerate() {
                let a: [f64; UNROLL] = std::array::from_fn(|u| (self.a)(r, kk + u));
                for j in 0..n {
                    let mut sum = sums[j];
                    for u in 0..UNROLL {
                        sum += a[u] * b[u][j];
                    }
                    sums[j] = sum;
                }
            }
        }
        for kk in whole..k {
            for (r, sums) in self.sums.chunks_exact_mut(n).enumerate() {
                let a = (self.a)(r, kk);
                for (sum, &b) in sums.iter_mut().zip(self.b.row(kk)) {
                    *sum += a * b;
                }
            }
        }
    }
}

/// See [`Element::gemm`](crate::Element::gemm).
pub fn gemm(mut g: Gemm<'_, f64>) -> Result<(), ShapeError> {
    let (m, k, n) = contract::gemm(&g)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let (a, epilogue) = (g.a, g.epilogue);
    let turned; // op(B) as rows of n
    let b = if g.transpose_b {
        turned = transposed(g.b);
        Mat::new(&turned, k, n)?
    } else {
        g.b
    };
    let stride = g.c.stride();
    upbeat::par::chunks_mut(g.c.data_mut(), ROWS * stride, |block, c| {
        let first = block * ROWS;
        let rows = ROWS.min(m - first);
        let mut sums = Buffer::<f64>::zeroed(rows * n);
        if g.transpose_a {
            dispatch(Product { a: |r, kk| a.row(kk)[first + r], b, sums: &mut sums });
        } else {
            dispatch(Product { a: |r, kk| a.row(first + r)[kk], b, sums: &mut sums });
        }
        for (r, (c, sums)) in c.chunks_mut(stride).zip(sums.chunks(n)).enumerate() {
            for (j, (c, &sum)) in c.iter_mut().zip(sums).enumerate() {
                let biased = epilogue.scale.unwrap_or(1.0) * sum + epilogue.bias.map_or(0.0, |bias| bias[j]);
                let active = activate(epilogue.activation, biased);
                let value = active + epilogue.residual.map_or(0.0, |residual| residual.row(first + r)[j]);
                *c = if g.write == Write::Add { *c + value } else { value };
            }
        }
    });
    Ok(())
}

/// What the epilogue applies after the bias.
pub(super) fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Silu => silu(x),
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
    }
}

/// A dense copy of the transpose.
fn transposed(x: Mat<'_, f64>) -> Buffer<f64> {
    let (rows, cols) = (x.rows(), x.cols());
    let mut out = Buffer::<f64>::unspecified(rows * cols);
    if rows > 0 {
        upbeat::par::chunks_mut(&mut out, ROWS * rows, |block, out| {
            for r in 0..rows {
                let x = &x.row(r)[block * ROWS..];
                for (out, &x) in out.chunks_exact_mut(rows).zip(x) {
                    out[r] = x;
                }
            }
        });
    }
    out
}
