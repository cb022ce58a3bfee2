//! BatchNorm in f64.

use crate::contract;
use crate::conv::LearnedNorm;
use crate::element::Write;
use crate::error::ShapeError;
use crate::norm::{running_moved, BatchNorm};
use crate::twin::put;

/// The mean of `f` over the elements of a channel.
fn mean(shape: &BatchNorm, channel: usize, f: impl Fn(usize) -> f64) -> f64 {
    let BatchNorm { batch, channels, plane } = *shape;
    let elements =
        (0..batch).flat_map(|image| (0..plane).map(move |i| (image * channels + channel) * plane + i));
    elements.map(f).sum::<f64>() / shape.count() as f64
}

/// See [`norm::batch_norm_forward`](crate::norm::batch_norm_forward).
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_forward(
    shape: &BatchNorm,
    x: &[f64],
    weight: &[f64],
    bias: &[f64],
    epsilon: f64,
    momentum: f64,
    running_mean: &mut [f64],
    running_variance: &mut [f64],
    out: &mut [f64],
    means: &mut [f64],
    rstds: &mut [f64],
) -> Result<(), ShapeError> {
    contract::epsilon(epsilon);
    let channels =
        [weight.len(), bias.len(), running_mean.len(), running_variance.len(), means.len(), rstds.len()];
    shape.check(&[x.len(), out.len()], &channels)?;
    let count = shape.count() as f64;
    if count == 0.0 {
        means.fill(0.0);
        rstds.fill(1.0 / epsilon.sqrt());
        return Ok(());
    }
    for channel in 0..shape.channels {
        let center = mean(shape, channel, |i| x[i]);
        let variance = mean(shape, channel, |i| (x[i] - center).powi(2));
        means[channel] = center;
        rstds[channel] = 1.0 / (variance + epsilon).sqrt();
        let unbiased = variance * count / (count - 1.0).max(1.0);
        running_mean[channel] = running_moved(running_mean[channel], momentum, center);
        running_variance[channel] = running_moved(running_variance[channel], momentum, unbiased);
    }
    put(out, Write::Overwrite, |i| {
        let c = i / shape.plane % shape.channels;
        (x[i] - means[c]) * rstds[c] * weight[c] + bias[c]
    });
    Ok(())
}

/// See [`norm::batch_norm_eval`](crate::norm::batch_norm_eval).
pub fn batch_norm_eval(
    shape: &BatchNorm,
    x: &[f64],
    norm: &LearnedNorm<'_, f64>,
    out: &mut [f64],
) -> Result<(), ShapeError> {
    norm.check(shape.channels)?;
    shape.check(&[x.len(), out.len()], &[])?;
    put(out, Write::Overwrite, |i| {
        let c = i / shape.plane % shape.channels;
        (x[i] - norm.mean[c]) / (norm.variance[c] + norm.epsilon).sqrt() * norm.weight[c] + norm.bias[c]
    });
    Ok(())
}

/// See [`norm::batch_norm_backward`](crate::norm::batch_norm_backward).
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward(
    shape: &BatchNorm,
    dy: &[f64],
    x: &[f64],
    weight: &[f64],
    means: &[f64],
    rstds: &[f64],
    dx: &mut [f64],
    write: Write,
    d_weight: &mut [f64],
    d_bias: &mut [f64],
) -> Result<(), ShapeError> {
    let channels = [weight.len(), means.len(), rstds.len(), d_weight.len(), d_bias.len()];
    shape.check(&[dx.len(), x.len()], &channels)?;
    crate::contract::same(x.len(), &[dy.len()])?;
    let count = shape.count() as f64;
    if count == 0.0 {
        return Ok(());
    }
    let normal = |i: usize, c: usize| (x[i] - means[c]) * rstds[c];
    let sums = |c: usize| (mean(shape, c, |i| dy[i]), mean(shape, c, |i| dy[i] * normal(i, c)));
    let sums: Vec<(f64, f64)> = (0..shape.channels).map(sums).collect();
    put(dx, write, |i| {
        let c = i / shape.plane % shape.channels;
        rstds[c] * weight[c] * (dy[i] - sums[c].0 - normal(i, c) * sums[c].1)
    });
    for (c, sums) in sums.iter().enumerate() {
        d_bias[c] += sums.0 * count;
        d_weight[c] += sums.1 * count;
    }
    Ok(())
}
