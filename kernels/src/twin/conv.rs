//! Two-dimensional convolution in f64: one loop over everything that meets, for the result and for each gradient.

use crate::contract;
use crate::conv::{Conv2d, ConvEpilogue, LearnedNorm};
use crate::element::Write;
use crate::error::{check, ShapeError};

/// Calls `f(output, weight, input)` with the indices of every product, in the order of output, channel and tap.
fn products(shape: &Conv2d, mut f: impl FnMut(usize, usize, usize)) -> Result<(), ShapeError> {
    let Conv2d { batch, channels_in, channels_out, groups, height, width, kernel, .. } = *shape;
    let (rows, cols) = (shape.out_height()?, shape.out_width()?);
    let (inputs, outputs) = (channels_in / groups, channels_out / groups);
    // The input's coordinate, unless it is padding.
    let at = |window: usize, tap: usize, stride: usize, dilation: usize, padding: usize, len: usize| {
        (window * stride + tap * dilation).checked_sub(padding).filter(|&at| at < len)
    };
    for n in 0..batch {
        for o in 0..channels_out {
            for (y, x) in (0..rows).flat_map(|y| (0..cols).map(move |x| (y, x))) {
                let output = ((n * channels_out + o) * rows + y) * cols + x;
                for c in 0..inputs {
                    let channel = n * channels_in + o / outputs * inputs + c;
                    for (r, s) in (0..kernel.0).flat_map(|r| (0..kernel.1).map(move |s| (r, s))) {
                        let row = at(y, r, shape.stride.0, shape.dilation.0, shape.padding.0, height);
                        let col = at(x, s, shape.stride.1, shape.dilation.1, shape.padding.1, width);
                        if let Some((row, col)) = row.zip(col) {
                            let weight = ((o * inputs + c) * kernel.0 + r) * kernel.1 + s;
                            f(output, weight, (channel * height + row) * width + col);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// See [`conv::forward`](crate::conv::forward).
pub fn forward(
    shape: &Conv2d,
    x: &[f64],
    weight: &[f64],
    epilogue: &ConvEpilogue<'_, f64>,
    out: &mut [f64],
) -> Result<(), ShapeError> {
    let sizes = shape.check(x.len(), weight.len(), out.len())?;
    epilogue.check(shape.channels_out, out.len())?;
    out.fill(0.0);
    products(shape, |output, w, input| out[output] += weight[w] * x[input])?;
    let plane = sizes.out_height * sizes.out_width;
    for (i, out) in out.iter_mut().enumerate() {
        *out += epilogue.bias.map_or(0.0, |bias| bias[i / plane % shape.channels_out]);
        *out += epilogue.residual.map_or(0.0, |residual| residual[i]);
        if epilogue.relu && *out < 0.0 {
            *out = 0.0;
        }
    }
    Ok(())
}

/// See [`conv::backward_input`](crate::conv::backward_input).
pub fn backward_input(
    shape: &Conv2d,
    dy: &[f64],
    weight: &[f64],
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    shape.check(dx.len(), weight.len(), dy.len())?;
    if write == Write::Overwrite {
        dx.fill(0.0);
    }
    products(shape, |output, w, input| dx[input] += weight[w] * dy[output])
}

/// See [`conv::backward_weight`](crate::conv::backward_weight).
pub fn backward_weight(
    shape: &Conv2d,
    dy: &[f64],
    x: &[f64],
    d_weight: &mut [f64],
) -> Result<(), ShapeError> {
    shape.check(x.len(), d_weight.len(), dy.len())?;
    products(shape, |output, w, input| d_weight[w] += dy[output] * x[input])
}

/// See [`conv::backward_bias`](crate::conv::backward_bias).
pub fn backward_bias(shape: &Conv2d, dy: &[f64], d_bias: &mut [f64]) -> Result<(), ShapeError> {
    let sizes = shape.sizes()?;
    check("the length of the output", shape.output_len()?, dy.len())?;
    check("the length of the bias", shape.channels_out, d_bias.len())?;
    for (i, dy) in dy.iter().enumerate() {
        d_bias[i / (sizes.out_height * sizes.out_width) % shape.channels_out] += dy;
    }
    Ok(())
}

/// See [`conv::fold_batch_norm`](crate::conv::fold_batch_norm).
pub fn fold_batch_norm(
    norm: &LearnedNorm<'_, f64>,
    weight: &mut [f64],
    bias: &mut [f64],
) -> Result<(), ShapeError> {
    norm.check(bias.len())?;
    let each = contract::units("the length of the weights", weight.len(), bias.len())?;
    for (channel, bias) in bias.iter_mut().enumerate() {
        let factor = norm.weight[channel] / (norm.variance[channel] + norm.epsilon).sqrt();
        weight[channel * each..][..each].iter_mut().for_each(|weight| *weight *= factor);
        *bias = (*bias - norm.mean[channel]) * factor + norm.bias[channel];
    }
    Ok(())
}
