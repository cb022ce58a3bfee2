//! GELU, SiLU, SwiGLU and their derivatives in f64, each written as its formula.
//!
//! The limits are kept at infinity, where a literal `x·0` would give NaN: `f(-∞) = 0` and `f(∞) = ∞`.

use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::twin::{fill, put};

/// `1/√(2π)`.
const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// Exact GELU, `x/2 · erfc(-x/√2)` (Hendrycks and Gimpel, 2016); `erfc` does not cancel in the negative tail.
pub fn gelu(x: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        return 0.0;
    }
    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// `GELU'(x) = Φ(x) + x·φ(x)`.
pub fn gelu_derivative(x: f64) -> f64 {
    let cumulative = 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
    let density = INV_SQRT_2PI * (-0.5 * x * x).exp();
    // Where the density has vanished its product with x has too, an infinite x included.
    cumulative + if density == 0.0 { 0.0 } else { x * density }
}

/// The logistic function, without overflow on either side.
pub fn sigmoid(x: f64) -> f64 {
    if x < 0.0 {
        x.exp() / (1.0 + x.exp())
    } else {
        1.0 / (1.0 + (-x).exp())
    }
}

/// `x·σ(x)`.
pub fn silu(x: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        return 0.0;
    }
    x * sigmoid(x)
}

/// `SiLU'(x) = σ(x)·(1 + x·σ(-x))`.
pub fn silu_derivative(x: f64) -> f64 {
    if x.is_infinite() {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    sigmoid(x) * (1.0 + x * sigmoid(-x))
}

/// `out = f(x)`.
pub fn forward(f: fn(f64) -> f64, x: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
    contract::same(out.len(), &[x.len()])?;
    fill(out, |i| f(x[i]));
    Ok(())
}

/// `dx = dy · derivative(x)`.
pub fn backward(
    derivative: fn(f64) -> f64,
    dy: &[f64],
    x: &[f64],
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    contract::same(dx.len(), &[dy.len(), x.len()])?;
    put(dx, write, |i| dy[i] * derivative(x[i]));
    Ok(())
}

/// See [`Element::swiglu_forward`](crate::Element::swiglu_forward).
pub fn swiglu_forward(gate_up: &[f64], width: usize, out: &mut [f64]) -> Result<(), ShapeError> {
    contract::swiglu(gate_up.len(), width, out.len())?;
    fill(out, |i| {
        let row = &gate_up[i / width * 2 * width..];
        silu(row[i % width]) * row[width + i % width]
    });
    Ok(())
}

/// See [`Element::swiglu_backward`](crate::Element::swiglu_backward).
pub fn swiglu_backward(
    dy: &[f64],
    gate_up: &[f64],
    width: usize,
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    contract::swiglu(gate_up.len(), width, dy.len())?;
    contract::same(gate_up.len(), &[dx.len()])?;
    put(dx, write, |i| {
        let (row, col) = (i / (2 * width), i % (2 * width));
        let (values, dy) = (&gate_up[row * 2 * width..], dy[row * width + col % width]);
        let (gate, up) = (values[col % width], values[width + col % width]);
        if col < width {
            dy * up * silu_derivative(gate)
        } else {
            dy * silu(gate)
        }
    });
    Ok(())
}
