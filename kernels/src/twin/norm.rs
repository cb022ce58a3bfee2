//! LayerNorm and RMSNorm in f64.

use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::twin::put;

fn mean(n: usize, at: impl Fn(usize) -> f64) -> f64 {
    (0..n).map(at).sum::<f64>() / n as f64
}

/// See [`Element::layer_norm_forward`](crate::Element::layer_norm_forward).
#[allow(clippy::too_many_arguments)]
pub fn layer_norm_forward(
    x: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
    epsilon: f64,
    out: &mut [f64],
    means: &mut [f64],
    rstds: &mut [f64],
) -> Result<(), ShapeError> {
    contract::epsilon(epsilon);
    let cols = weight.len();
    let widths = [bias.map_or(cols, <[f64]>::len)];
    let rows = contract::norm(x.len(), cols, out.len(), &[means.len(), rstds.len()], &widths)?;
    for r in 0..rows {
        let (x, out) = (&x[r * cols..][..cols], &mut out[r * cols..][..cols]);
        let center = mean(cols, |c| x[c]);
        let rstd = 1.0 / (mean(cols, |c| (x[c] - center).powi(2)) + epsilon).sqrt();
        for c in 0..cols {
            out[c] = (x[c] - center) * rstd * weight[c] + bias.map_or(0.0, |bias| bias[c]);
        }
        (means[r], rstds[r]) = (center, rstd);
    }
    Ok(())
}

/// See [`Element::layer_norm_backward`](crate::Element::layer_norm_backward).
///
/// With `x̂ = (x - mean)·rstd` and `g = dy·weight`: `dx = rstd·(g - mean(g) - x̂·mean(g·x̂))`.
#[allow(clippy::too_many_arguments)]
pub fn layer_norm_backward(
    dy: &[f64],
    x: &[f64],
    weight: &[f64],
    means: &[f64],
    rstds: &[f64],
    dx: &mut [f64],
    write: Write,
    d_weight: &mut [f64],
    mut d_bias: Option<&mut [f64]>,
) -> Result<(), ShapeError> {
    let cols = weight.len();
    let widths = [d_weight.len(), d_bias.as_ref().map_or(cols, |d| d.len())];
    let rows = contract::norm(x.len(), cols, dx.len(), &[means.len(), rstds.len()], &widths)?;
    contract::same(x.len(), &[dy.len()])?;
    for r in 0..rows {
        let (x, dy, rstd) = (&x[r * cols..][..cols], &dy[r * cols..][..cols], rstds[r]);
        let normal = |c: usize| (x[c] - means[r]) * rstd;
        let mean_g = mean(cols, |c| dy[c] * weight[c]);
        let mean_gx = mean(cols, |c| dy[c] * weight[c] * normal(c));
        put(&mut dx[r * cols..][..cols], write, |c| {
            rstd * (dy[c] * weight[c] - mean_g - normal(c) * mean_gx)
        });
        for c in 0..cols {
            d_weight[c] += dy[c] * normal(c);
            if let Some(d_bias) = &mut d_bias {
                d_bias[c] += dy[c];
            }
        }
    }
    Ok(())
}

/// See [`Element::rms_norm_forward`](crate::Element::rms_norm_forward).
pub fn rms_norm_forward(
    x: &[f64],
    weight: &[f64],
    epsilon: f64,
    out: &mut [f64],
    rstds: &mut [f64],
) -> Result<(), ShapeError> {
    contract::epsilon(epsilon);
    let cols = weight.len();
    let rows = contract::norm(x.len(), cols, out.len(), &[rstds.len()], &[])?;
    for r in 0..rows {
        let (x, out) = (&x[r * cols..][..cols], &mut out[r * cols..][..cols]);
        let rstd = 1.0 / (mean(cols, |c| x[c] * x[c]) + epsilon).sqrt();
        for c in 0..cols {
            out[c] = x[c] * rstd * weight[c];
        }
        rstds[r] = rstd;
    }
    Ok(())
}

/// See [`Element::rms_norm_backward`](crate::Element::rms_norm_backward).
///
/// With `x̂ = x·rstd` and `g = dy·weight`: `dx = rstd·(g - x̂·mean(g·x̂))`.
pub fn rms_norm_backward(
    dy: &[f64],
    x: &[f64],
    weight: &[f64],
    rstds: &[f64],
    dx: &mut [f64],
    write: Write,
    d_weight: &mut [f64],
) -> Result<(), ShapeError> {
    let cols = weight.len();
    let rows = contract::norm(x.len(), cols, dx.len(), &[rstds.len()], &[d_weight.len()])?;
    contract::same(x.len(), &[dy.len()])?;
    for r in 0..rows {
        let (x, dy, rstd) = (&x[r * cols..][..cols], &dy[r * cols..][..cols], rstds[r]);
        let mean_gx = mean(cols, |c| dy[c] * weight[c] * x[c] * rstd);
        put(&mut dx[r * cols..][..cols], write, |c| rstd * (dy[c] * weight[c] - x[c] * rstd * mean_gx));
        for c in 0..cols {
            d_weight[c] += dy[c] * x[c] * rstd;
        }
    }
    Ok(())
}
