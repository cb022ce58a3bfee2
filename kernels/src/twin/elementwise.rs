//! Sums, products, table look-ups and the AdamW step in f64.

use crate::contract;
use crate::element::{AdamW, Write};
use crate::error::ShapeError;
use crate::twin::{fill, put};

/// See [`Element::add`](crate::Element::add).
pub fn add(a: &[f64], b: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
    contract::same(out.len(), &[a.len(), b.len()])?;
    fill(out, |i| a[i] + b[i]);
    Ok(())
}

/// See [`Element::mul`](crate::Element::mul).
pub fn mul(a: &[f64], b: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
    contract::same(out.len(), &[a.len(), b.len()])?;
    fill(out, |i| a[i] * b[i]);
    Ok(())
}

/// See [`Element::add_scaled`](crate::Element::add_scaled).
pub fn add_scaled(a: &[f64], factor: f64, out: &mut [f64]) -> Result<(), ShapeError> {
    contract::same(out.len(), &[a.len()])?;
    put(out, Write::Add, |i| factor * a[i]);
    Ok(())
}

/// See [`Element::add_bias`](crate::Element::add_bias).
pub fn add_bias(x: &[f64], bias: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
    contract::rows(x.len(), bias.len(), out.len())?;
    fill(out, |i| x[i] + bias[i % bias.len()]);
    Ok(())
}

/// See [`Element::sum_rows`](crate::Element::sum_rows). The rows are summed first, in order, then added.
pub fn sum_rows(x: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
    let cols = out.len();
    let rows = contract::units("the length of x", x.len(), cols)?;
    put(out, Write::Add, |c| (0..rows).map(|r| x[r * cols + c]).sum());
    Ok(())
}

/// See [`Element::sum_of_squares`](crate::Element::sum_of_squares).
pub fn sum_of_squares(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// See [`Element::embedding_forward`](crate::Element::embedding_forward).
pub fn embedding_forward(
    table: &[f64],
    width: usize,
    ids: &[u32],
    out: &mut [f64],
) -> Result<(), ShapeError> {
    contract::embedding(table.len(), width, ids, out.len())?;
    for (r, &id) in ids.iter().enumerate() {
        out[r * width..][..width].copy_from_slice(&table[id as usize * width..][..width]);
    }
    Ok(())
}

/// See [`Element::embedding_backward`](crate::Element::embedding_backward).
pub fn embedding_backward(
    dy: &[f64],
    width: usize,
    ids: &[u32],
    d_table: &mut [f64],
) -> Result<(), ShapeError> {
    contract::embedding(d_table.len(), width, ids, dy.len())?;
    for (r, &id) in ids.iter().enumerate() {
        put(&mut d_table[id as usize * width..][..width], Write::Add, |c| dy[r * width + c]);
    }
    Ok(())
}

/// See [`Element::adamw_step`](crate::Element::adamw_step) (Loshchilov and Hutter, 2019, algorithm 2):
/// `p ← p·(1 - lr·decay) - lr · m̂ / (√v̂ + ε)`, with `m̂ = m/(1 - β₁ᵗ)` and `v̂ = v/(1 - β₂ᵗ)`.
pub fn adamw_step(
    step: &AdamW,
    parameter: &mut [f64],
    gradient: &[f64],
    first: &mut [f64],
    second: &mut [f64],
) -> Result<(), ShapeError> {
    contract::same(parameter.len(), &[gradient.len(), first.len(), second.len()])?;
    let [correction1, correction2] = step.bias_corrections();
    for i in 0..parameter.len() {
        let g = gradient[i] * step.gradient_scale;
        first[i] = step.beta1 * first[i] + (1.0 - step.beta1) * g;
        second[i] = step.beta2 * second[i] + (1.0 - step.beta2) * g * g;
        let update = first[i] / correction1 / ((second[i] / correction2).sqrt() + step.epsilon);
        parameter[i] -= step.learning_rate * (step.weight_decay * parameter[i] + update);
    }
    Ok(())
}
