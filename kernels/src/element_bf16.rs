//! The kernels on bf16 under [`Element`]'s names: operands are widened to f32, the f32 kernels compute, and each result
//! is rounded once. Nothing is computed here but those conversions. Matrix products are `gemm`'s, which has units for bf16.
//!
//! Statistics, losses and what is summed over a batch (the gradients of parameters) stay f32. Where a kernel works on
//! rows or elements alone, a task widens as many as stay in its core's cache; backward passes
//! that sum over rows widen whole operands into scratch of the pool.

use crate::convert::{narrow, wide, widen};
use crate::element::{AdamW, AttentionShape, Element, Epilogue, Gemm, RopeShape, Stored, Write};
use crate::error::{check, ShapeError};
use crate::gemm::{gemm_bf16, gemm_stored, GemmStored};
use crate::grid::Tiles;
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;
use crate::{bf16, contract, embedding};

/// Results that a task of [`by_rows`] computes: widened with their operands they fit a second-level cache.
const CHUNK: usize = 1 << 13;

/// Lets `kernel` write, or add to, `out` in f32; it is rounded once, after that. An error leaves `out` as it was.
fn rounding(
    out: &mut [bf16],
    write: Write,
    kernel: impl FnOnce(&mut [f32]) -> Result<(), ShapeError>,
) -> Result<(), ShapeError> {
    let mut sum = Buffer::scratch(out.len());
    if write == Write::Add {
        widen(out, &mut sum)?;
    }
    kernel(&mut sum)?;
    narrow(&sum, out)
}

/// A kernel whose results in a row depend on its operands' numbers in the same row alone, in chunks of rows: `x[k]`
/// has rows of `widths[k]`, `out` has rows of `width`. The caller has checked the lengths.
fn by_rows<const N: usize>(
    x: [&[bf16]; N],
    widths: [usize; N],
    out: &mut [bf16],
    width: usize,
    write: Write,
    kernel: impl Fn([&[f32]; N], &mut [f32]) -> Result<(), ShapeError> + Sync,
) -> Result<(), ShapeError> {
    let rows = (CHUNK / width.max(1)).max(1);
    upbeat::par::chunks_mut(out, (rows * width).max(1), |chunk, out| {
        let here = out.len() / width;
        let mut k = 0;
        let x = x.map(|x| {
            let x = wide(&x[chunk * rows * widths[k]..][..here * widths[k]]);
            k += 1;
            x
        });
        rounding(out, write, |out| kernel(x.each_ref().map(|x| &**x), out))
            .unwrap_or_else(|error| panic!("the lengths of all rows were checked: {error}"));
    });
    Ok(())
}

/// [`by_rows`] for kernels on single elements, whose operands have the length of `out`.
fn by_elements<const N: usize>(
    x: [&[bf16]; N],
    out: &mut [bf16],
    write: Write,
    kernel: impl Fn([&[f32]; N], &mut [f32]) -> Result<(), ShapeError> + Sync,
) -> Result<(), ShapeError> {
    contract::same(out.len(), &x.map(<[bf16]>::len))?;
    by_rows(x, [1; N], out, 1, write, kernel)
}

impl Element for bf16 {
    type Wide = f32;

    const NAME: &'static str = "bf16";

    fn from_f64(x: f64) -> Self {
        bf16::from_f64(x)
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn stored(values: &[f32]) -> Stored<'_, Self> {
        let mut rounded = Buffer::unspecified(values.len());
        narrow(values, &mut rounded).expect("the copy is as long");
        Stored::Rounded(rounded)
    }

    fn narrowed(values: Buffer<f32>) -> Buffer<Self> {
        let mut rounded = Buffer::unspecified_as(values.tag(), values.len());
        narrow(&values, &mut rounded).expect("the copy is as long");
        rounded
    }

    fn add_to_wide(a: &[Self], out: &mut [f32]) -> Result<(), ShapeError> {
        check("the length of an operand", out.len(), a.len())?;
        f32::add_scaled(&wide(a), 1.0, out)
    }

    fn gemm(gemm: Gemm<'_, Self>) -> Result<(), ShapeError> {
        gemm_bf16(gemm)
    }

    fn gemm_wide(
        a: Mat<'_, Self>,
        transpose_a: bool,
        b: Mat<'_, Self>,
        transpose_b: bool,
        c: MatMut<'_, f32>,
        write: Write,
    ) -> Result<(), ShapeError> {
        let (a, b, epilogue) = (a.into(), b.into(), Epilogue::default());
        gemm_stored(GemmStored { a, transpose_a, b, transpose_b, c, write, epilogue })
    }

    fn attention_forward(
        shape: AttentionShape,
        qkv: &[Self],
        out: &mut [Self],
        lse: &mut [f32],
    ) -> Result<(), ShapeError> {
        contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
        let AttentionShape { seq, heads, dim, .. } = shape;
        let (width, rows) = (seq * heads * dim, seq * heads);
        if width == 0 {
            return f32::attention_forward(shape, &[], &mut [], lse);
        }
        // A sequence a task: what is widened at once is that of a few sequences.
        let statistics = Tiles::of_slice(lse, rows);
        upbeat::par::chunks_mut(out, width, |i, out| {
            let qkv = wide(&qkv[3 * width * i..][..3 * width]);
            let lse = statistics.take(0, i).into_slice();
            let one = AttentionShape { batch: 1, ..shape };
            rounding(out, Write::Overwrite, |out| f32::attention_forward(one, &qkv, out, lse))
                .unwrap_or_else(|error| panic!("the lengths of all sequences were checked: {error}"));
        });
        Ok(())
    }

    fn attention_backward(
        shape: AttentionShape,
        qkv: &[Self],
        out: &[Self],
        lse: &[f32],
        d_out: &[Self],
        d_qkv: &mut [Self],
    ) -> Result<(), ShapeError> {
        contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
        contract::same(out.len(), &[d_out.len()])?;
        contract::same(qkv.len(), &[d_qkv.len()])?;
        let AttentionShape { seq, heads, dim, .. } = shape;
        let (width, rows) = (seq * heads * dim, seq * heads);
        upbeat::par::chunks_mut(d_qkv, (3 * width).max(1), |i, d_qkv| {
            let (from, qkv) = (width * i, wide(&qkv[3 * width * i..][..3 * width]));
            let (out, d_out) = (wide(&out[from..][..width]), wide(&d_out[from..][..width]));
            let lse = &lse[rows * i..][..rows];
            let one = AttentionShape { batch: 1, ..shape };
            rounding(d_qkv, Write::Overwrite, |d_qkv| {
                f32::attention_backward(one, &qkv, &out, lse, &d_out, d_qkv)
            })
            .unwrap_or_else(|error| panic!("the lengths of all sequences were checked: {error}"));
        });
        Ok(())
    }

    fn attention_decode(
        heads: usize,
        dim: usize,
        q: &[Self],
        keys: &[Self],
        values: &[Self],
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        let [q, keys, values] = [q, keys, values].map(wide);
        rounding(out, Write::Overwrite, |out| f32::attention_decode(heads, dim, &q, &keys, &values, out))
    }

    fn layer_norm_forward(
        x: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
        epsilon: f64,
        out: &mut [Self],
        mean: &mut [f32],
        rstd: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (x, weight, bias) = (wide(x), wide(weight), bias.map(wide));
        rounding(out, Write::Overwrite, |out| {
            f32::layer_norm_forward(&x, &weight, bias.as_deref(), epsilon, out, mean, rstd)
        })
    }

    fn layer_norm_backward(
        dy: &[Self],
        x: &[Self],
        weight: &[Self],
        mean: &[f32],
        rstd: &[f32],
        dx: &mut [Self],
        write: Write,
        d_weight: &mut [f32],
        d_bias: Option<&mut [f32]>,
    ) -> Result<(), ShapeError> {
        let [dy, x, weight] = [dy, x, weight].map(wide);
        rounding(dx, write, |dx| {
            f32::layer_norm_backward(&dy, &x, &weight, mean, rstd, dx, write, d_weight, d_bias)
        })
    }

    fn rms_norm_forward(
        x: &[Self],
        weight: &[Self],
        epsilon: f64,
        out: &mut [Self],
        rstd: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (x, weight) = (wide(x), wide(weight));
        rounding(out, Write::Overwrite, |out| f32::rms_norm_forward(&x, &weight, epsilon, out, rstd))
    }

    fn rms_norm_backward(
        dy: &[Self],
        x: &[Self],
        weight: &[Self],
        rstd: &[f32],
        dx: &mut [Self],
        write: Write,
        d_weight: &mut [f32],
    ) -> Result<(), ShapeError> {
        let [dy, x, weight] = [dy, x, weight].map(wide);
        rounding(dx, write, |dx| f32::rms_norm_backward(&dy, &x, &weight, rstd, dx, write, d_weight))
    }

    fn softmax_forward(x: &[Self], cols: usize, out: &mut [Self]) -> Result<(), ShapeError> {
        contract::rows(x.len(), cols, out.len())?;
        by_rows([x], [cols], out, cols, Write::Overwrite, |[x], out| f32::softmax_forward(x, cols, out))
    }

    fn softmax_backward(
        dy: &[Self],
        y: &[Self],
        cols: usize,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError> {
        contract::rows(dy.len(), cols, dx.len())?;
        contract::same(dy.len(), &[y.len()])?;
        by_rows([dy, y], [cols; 2], dx, cols, write, |[dy, y], dx| {
            f32::softmax_backward(dy, y, cols, dx, write)
        })
    }

    fn gelu_forward(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        by_elements([x], out, Write::Overwrite, |[x], out| f32::gelu_forward(x, out))
    }

    fn gelu_backward(dy: &[Self], x: &[Self], dx: &mut [Self], write: Write) -> Result<(), ShapeError> {
        by_elements([dy, x], dx, write, |[dy, x], dx| f32::gelu_backward(dy, x, dx, write))
    }

    fn silu_forward(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        by_elements([x], out, Write::Overwrite, |[x], out| f32::silu_forward(x, out))
    }

    fn silu_backward(dy: &[Self], x: &[Self], dx: &mut [Self], write: Write) -> Result<(), ShapeError> {
        by_elements([dy, x], dx, write, |[dy, x], dx| f32::silu_backward(dy, x, dx, write))
    }

    fn swiglu_forward(gate_up: &[Self], width: usize, out: &mut [Self]) -> Result<(), ShapeError> {
        contract::swiglu(gate_up.len(), width, out.len())?;
        by_rows([gate_up], [2 * width], out, width, Write::Overwrite, |[gate_up], out| {
            f32::swiglu_forward(gate_up, width, out)
        })
    }

    fn swiglu_backward(
        dy: &[Self],
        gate_up: &[Self],
        width: usize,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError> {
        contract::swiglu(gate_up.len(), width, dy.len())?;
        contract::same(gate_up.len(), &[dx.len()])?;
        by_rows([dy, gate_up], [width, 2 * width], dx, 2 * width, write, |[dy, gate_up], dx| {
            f32::swiglu_backward(dy, gate_up, width, dx, write)
        })
    }

    fn rope_forward(x: &[Self], shape: RopeShape, out: &mut [Self]) -> Result<(), ShapeError> {
        let x = wide(x);
        rounding(out, Write::Overwrite, |out| f32::rope_forward(&x, shape, out))
    }

    fn rope_backward(dy: &[Self], shape: RopeShape, dx: &mut [Self], write: Write) -> Result<(), ShapeError> {
        let dy = wide(dy);
        rounding(dx, write, |dx| f32::rope_backward(&dy, shape, dx, write))
    }

    fn embedding_forward(
        table: &[Self],
        width: usize,
        ids: &[u32],
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        embedding::embedding_forward(table, width, ids, out)
    }

    fn embedding_backward(
        dy: &[Self],
        width: usize,
        ids: &[u32],
        d_table: &mut [f32],
    ) -> Result<(), ShapeError> {
        f32::embedding_backward(&wide(dy), width, ids, d_table)
    }

    fn cross_entropy_forward(
        logits: &[Self],
        classes: usize,
        targets: &[u32],
        lse: &mut [f32],
    ) -> Result<f64, ShapeError> {
        f32::cross_entropy_forward(&wide(logits), classes, targets, lse)
    }

    fn cross_entropy_backward(
        logits: &[Self],
        classes: usize,
        targets: &[u32],
        lse: &[f32],
        scale: f64,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError> {
        let logits = wide(logits);
        rounding(dx, write, |dx| {
            f32::cross_entropy_backward(&logits, classes, targets, lse, scale, dx, write)
        })
    }

    fn add(a: &[Self], b: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        by_elements([a, b], out, Write::Overwrite, |[a, b], out| f32::add(a, b, out))
    }

    fn mul(a: &[Self], b: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        by_elements([a, b], out, Write::Overwrite, |[a, b], out| f32::mul(a, b, out))
    }

    fn add_scaled(a: &[Self], factor: f64, out: &mut [Self]) -> Result<(), ShapeError> {
        by_elements([a], out, Write::Add, |[a], out| f32::add_scaled(a, factor, out))
    }

    fn add_bias(x: &[Self], bias: &[Self], out: &mut [Self]) -> Result<(), ShapeError> {
        let cols = bias.len();
        contract::rows(x.len(), cols, out.len())?;
        let bias = wide(bias);
        by_rows([x], [cols], out, cols, Write::Overwrite, |[x], out| f32::add_bias(x, &bias, out))
    }

    fn sum_rows(x: &[Self], out: &mut [f32]) -> Result<(), ShapeError> {
        f32::sum_rows(&wide(x), out)
    }

    fn sum_of_squares(x: &[Self]) -> f64 {
        f32::sum_of_squares(&wide(x))
    }

    fn adamw_step(
        step: &AdamW,
        parameter: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<(), ShapeError> {
        f32::adamw_step(step, parameter, gradient, first, second)
    }
}
