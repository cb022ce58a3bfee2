//! Quantised matrices and their product: sums of integers in i64, scales in f64.

use super::gemm::activate;
use crate::contract;
use crate::element::Epilogue;
use crate::error::ShapeError;
use crate::gemm::quantized::Quantized;
use crate::matrix::MatMut;

/// Number `(i, j)` of a quantised matrix.
pub fn number(q: Quantized<'_>, i: usize, j: usize) -> f64 {
    scale(q, i, j) * f64::from(q.values().row(i)[j])
}

/// The scale of number `(i, j)`.
fn scale(q: Quantized<'_>, i: usize, j: usize) -> f64 {
    f64::from(q.scales()[i * q.groups() + j / q.group()])
}

/// See [`gemm_int8`](crate::gemm::gemm_int8), into f64.
///
/// # Errors
/// When the shapes do not fit; nothing has been written then.
pub fn gemm(
    a: Quantized<'_>,
    b: Quantized<'_>,
    mut c: MatMut<'_, f64>,
    epilogue: &Epilogue<'_, f64>,
) -> Result<(), ShapeError> {
    let (m, k, n) = (a.values().rows(), a.values().cols(), b.values().rows());
    contract::product((m, k), (b.values().cols(), n), (c.rows(), c.cols()), epilogue)?;
    let segment = a.group().min(b.group());
    for i in 0..m {
        for j in 0..n {
            let sum: f64 = (0..k)
                .step_by(segment)
                .map(|from| {
                    let pairs = from..(from + segment).min(k);
                    let product =
                        |p: usize| i64::from(a.values().row(i)[p]) * i64::from(b.values().row(j)[p]);
                    let sum: i64 = pairs.map(product).sum();
                    scale(a, i, from) * scale(b, j, from) * sum as f64
                })
                .sum();
            let biased = epilogue.scale.unwrap_or(1.0) * sum + epilogue.bias.map_or(0.0, |bias| bias[j]);
            let residual = epilogue.residual.map_or(0.0, |residual| residual.row(i)[j]);
            c.row_mut(i)[j] = activate(epilogue.activation, biased) + residual;
        }
    }
    Ok(())
}
