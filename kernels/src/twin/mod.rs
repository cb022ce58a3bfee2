//! The kernels' slow twins in f64: what each one computes, written as its formula with plain loops.
//!
//! They check the same contracts as the fast kernels and make [`Element`] for `f64`. Every sum runs in a fixed order,
//! so their bits do not depend on the number of workers either; only the costliest run their rows in parallel.
//! Shapes and errors are those of [`Element`].

pub mod activation;
pub mod adaptive;
pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod dropout;
pub mod elementwise;
pub mod flow;
pub mod functions;
pub mod gemm;
pub mod int8;
pub mod norm;
pub mod pooling;
pub mod rope;
pub mod softmax;

use crate::element::{AdamW, AttentionShape, Element, Epilogue, Gemm, RopeShape, Stored, Write};
use crate::error::ShapeError;
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;

/// Elements that one task of [`fill`] and [`put`] computes.
const CHUNK: usize = 4096;

/// `out[i] = f(i)`, in parallel.
fn fill(out: &mut [f64], f: impl Fn(usize) -> f64 + Sync) {
    put(out, Write::Overwrite, f);
}

/// `out[i] = f(i)` or `out[i] += f(i)`, in parallel.
fn put(out: &mut [f64], write: Write, f: impl Fn(usize) -> f64 + Sync) {
    upbeat::par::chunks_mut(out, CHUNK, |chunk, out| {
        for (i, out) in out.iter_mut().enumerate() {
            let value = f(chunk * CHUNK + i);
            *out = if write == Write::Add { *out + value } else { value };
        }
    });
}

/// The largest of `x(0..n)`, or 0 where there is nothing but `-∞`: what keeps `exp(x - shift)` from overflowing.
fn shift(n: usize, x: impl Fn(usize) -> f64) -> f64 {
    let largest = (0..n).map(x).fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        0.0
    } else {
        largest
    }
}

/// `log Σᵢ exp(x(i))` for `i` in `0..n`, shifted by the largest; `-∞` when nothing or only `-∞` is summed.
/// A NaN or a `∞` gives NaN, as in the fast kernels.
pub(crate) fn log_sum_exp(n: usize, x: impl Fn(usize) -> f64) -> f64 {
    let shift = shift(n, &x);
    (0..n).map(|i| (x(i) - shift).exp()).sum::<f64>().ln() + shift
}

impl Element for f64 {
    type Wide = Self;

    const NAME: &'static str = "f64";

    fn from_f64(x: f64) -> Self {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn stored(values: &[Self]) -> Stored<'_, Self> {
        Stored::Same(values)
    }

    fn narrowed(values: Buffer<Self>) -> Buffer<Self> {
        values
    }

    fn add_to_wide(a: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        elementwise::add_scaled(a, 1.0, out)
    }

    fn gemm(gemm: Gemm<'_, Self>) -> Result<(), ShapeError> {
        gemm::gemm(gemm)
    }

    fn gemm_wide(
        a: Mat<'_, Self>,
        transpose_a: bool,
        b: Mat<'_, Self>,
        transpose_b: bool,
        c: MatMut<'_, Self>,
        write: Write,
    ) -> Result<(), ShapeError> {
        gemm::gemm(Gemm { a, transpose_a, b, transpose_b, c, write, epilogue: Epilogue::default() })
    }

    fn attention_forward(
        shape: AttentionShape,
        qkv: &[Self],
        out: &mut [Self],
        lse: &mut [Self],
    ) -> Result<(), ShapeError> {
        attention::forward(shape, qkv, out, lse)
    }

    fn attention_backward(
        shape: AttentionShape,
        qkv: &[Self],
        out: &[Self],
        lse: &[Self],
        d_out: &[Self],
        d_qkv: &mut [Self],
    ) -> Result<(), ShapeError> {
        attention::backward(shape, qkv, out, lse, d_out, d_qkv)
    }

    fn attention_decode(
        heads: usize,
        dim: usize,
        q: &[Self],
        keys: &[Self],
        values: &[Self],
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        attention::decode(heads, dim, q, keys, values, out)
    }

    fn layer_norm_forward(
        x: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
        epsilon: f64,
        out: &mut [Self],
        mean: &mut [Self],
        rstd: &mut [Self],
    ) -> Result<(), ShapeError> {
        norm::layer_norm_forward(x, weight, bias, epsilon, out, mean, rstd)
    }
    #[allow(clippy::too_many_arguments)]
    fn layer_norm_backward(
        dy: &[Self],
        x: &[Self],
        weight: &[Self],
        mean: &[Self],
        rstd: &[Self],
        dx: &mut [Self],
        write: Write,
        d_weight: &mut [Self],
        d_bias: Option<&mut [Self]>,
    ) -> Result<(), ShapeError> {
        norm::layer_norm_backward(dy, x, weight, mean, rstd, dx, write, d_weight, d_bias)
    }

    fn rms_norm_forward(
        x: &[Self],
        weight: &[Self],
        epsilon: f64,
        out: &mut [Self],
        rstd: &mut [Self],
    ) -> Result<(), ShapeError> {
        norm::rms_norm_forward(x, weight, epsilon, out, rstd)
    }

    fn rms_norm_backward(
        dy: &[Self],
        x: &[Self],
        weight: &[Self],
        rstd: &[Self],
        dx: &mut [Self],
        write: Write,
        d_weight: &mut [Self],
    ) -> Result<(), ShapeError> {
        norm::rms_norm_backward(dy, x, weight, rstd, dx, write, d_weight)
    }

    fn softmax_forward(x: &[Self], cols: usize, out: &mut [Self]) -> Result<(), ShapeError> {
        softmax::softmax_forward(x, cols, out)
    }

    fn softmax_backward(
        dy: &[Self],
        y: &[Self],
        cols: usize,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError> {
        softmax::softmax_backward(dy, y, cols, dx, write)
    }

    fn gelu_forward(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        activation::forward(activation::gelu, x, out)
    }

    fn gelu_backward(dy: &[Self], x: &[Self], dx: &mut [Self], write: Write) -> Result<(), ShapeError> {
        activation::backward(activation::gelu_derivative, dy, x, dx, write)
    }

    fn silu_forward(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        activation::forward(activation::silu, x, out)
    }

    fn silu_backward(dy: &[Self], x: &[Self], dx: &mut [Self], write: Write) -> Result<(), ShapeError> {
        activation::backward(activation::silu_derivative, dy, x, dx, write)
    }

    fn swiglu_forward(gate_up: &[Self], width: usize, out: &mut [Self]) -> Result<(), ShapeError> {
        activation::swiglu_forward(gate_up, width, out)
    }

    fn swiglu_backward(
        dy: &[Self],
        gate_up: &[Self],
        width: usize,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError> {
        activation::swiglu_backward(dy, gate_up, width, dx, write)
    }

    fn rope_forward(x: &[Self], shape: RopeShape, out: &mut [Self]) -> Result<(), ShapeError> {
        rope::rope_forward(x, shape, out)
    }

    fn rope_backward(dy: &[Self], shape: RopeShape, dx: &mut [Self], write: Write) -> Result<(), ShapeError> {
        rope::rope_backward(dy, shape, dx, write)
    }

    fn embedding_forward(
        table: &[Self],
        width: usize,
        ids: &[u32],
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        elementwise::embedding_forward(table, width, ids, out)
    }

    fn embedding_backward(
        dy: &[Self],
        width: usize,
        ids: &[u32],
        d_table: &mut [Self],
    ) -> Result<(), ShapeError> {
        elementwise::embedding_backward(dy, width, ids, d_table)
    }

    fn cross_entropy_forward(
        logits: &[Self],
        classes: usize,
        targets: &[u32],
        lse: &mut [Self],
    ) -> Result<f64, ShapeError> {
        softmax::cross_entropy_forward(logits, classes, targets, lse)
    }

    fn cross_entropy_backward(
        logits: &[Self],
        classes: usize,
        targets: &[u32],
        lse: &[Self],
        scale: f64,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError> {
        softmax::cross_entropy_backward(logits, classes, targets, lse, scale, dx, write)
    }

    fn add(a: &[Self], b: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        elementwise::add(a, b, out)
    }

    fn mul(a: &[Self], b: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        elementwise::mul(a, b, out)
    }

    fn add_scaled(a: &[Self], factor: f64, out: &mut [Self]) -> Result<(), ShapeError> {
        elementwise::add_scaled(a, factor, out)
    }

    fn add_bias(x: &[Self], bias: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        elementwise::add_bias(x, bias, out)
    }

    fn sum_rows(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        elementwise::sum_rows(x, out)
    }

    fn sum_of_squares(x: &[Self]) -> f64 {
        elementwise::sum_of_squares(x)
    }

    fn adamw_step(
        step: &AdamW,
        parameter: &mut [Self],
        gradient: &[Self],
        first: &mut [Self],
        second: &mut [Self],
    ) -> Result<(), ShapeError> {
        elementwise::adamw_step(step, parameter, gradient, first, second)
    }
}
