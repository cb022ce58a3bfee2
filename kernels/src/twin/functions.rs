//! The element-wise functions in f64, each written as its formula: what [`Op`] stands for.
//!
//! The limits are kept at infinity, where a literal `x·0` or `∞/∞` would give NaN.

use crate::elementwise::Op;
use crate::twin::activation::{gelu, gelu_derivative, sigmoid, silu, silu_derivative};

/// `√(2/π)`.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// `erf'(x) = 2/√π·exp(-x²)`.
pub fn erf_derivative(x: f64) -> f64 {
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

/// `log(1 + exp(x))`, without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

/// Mish (Misra, 2019), `x·tanh(softplus(x))`.
pub fn mish(x: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        return 0.0;
    }
    x * softplus(x).tanh()
}

/// `Mish'(x) = tanh(s) + x·σ(x)·(1 - tanh(s)²)`, `s = softplus(x)`.
pub fn mish_derivative(x: f64) -> f64 {
    if x.is_infinite() {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (tanh, cosh) = (softplus(x).tanh(), softplus(x).cosh());
    tanh + if cosh.is_infinite() { 0.0 } else { x * sigmoid(x) / (cosh * cosh) }
}

/// The argument `2√(2/π)·(x + 0.044715·x³)` of the logistic function in [`gelu_tanh`].
fn twice_inner(x: f64) -> f64 {
    2.0 * SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)
}

/// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))` (Hendrycks and Gimpel, 2016) as `x·σ(2u)`, which does not cancel.
pub fn gelu_tanh(x: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        return 0.0;
    }
    x * sigmoid(twice_inner(x))
}

/// The derivative of [`gelu_tanh`], `σ(2u)·(1 + x·σ(-2u)·2u')`.
pub fn gelu_tanh_derivative(x: f64) -> f64 {
    let twice = twice_inner(x);
    let (upper, lower) = (sigmoid(twice), sigmoid(-twice));
    // Where one of them has vanished the product has too, an infinite x included.
    if upper == 0.0 || lower == 0.0 {
        return upper;
    }
    upper * (1.0 + x * lower * 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044_715 * x * x))
}

/// `op` of `x`, of which it takes its first [`Op::arity`].
///
/// # Panics
/// When there are fewer.
pub fn apply(op: Op, x: &[f64]) -> f64 {
    let a = x[0];
    let [b, c] = [1, 2].map(|i| if i < op.arity() { x[i] } else { 0.0 });
    let number = |truth: bool| f64::from(u8::from(truth));
    let share = |below: f64, above: f64| match below.partial_cmp(&above) {
        Some(std::cmp::Ordering::Less) => a,
        Some(std::cmp::Ordering::Equal) => 0.5 * a,
        _ => 0.0,
    };
    match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::Fma => a * b + c,
        Op::Min | Op::Max if a.is_nan() || b.is_nan() => f64::NAN,
        Op::Min => a.min(b),
        Op::Max => a.max(b),
        Op::Neg => -a,
        Op::Abs => a.abs(),
        Op::Square => a * a,
        Op::Sqrt => a.sqrt(),
        Op::Reciprocal => 1.0 / a,
        Op::Rsqrt => 1.0 / a.sqrt(),
        Op::Less => number(a < b),
        Op::LessEqual => number(a <= b),
        Op::Greater => number(a > b),
        Op::GreaterEqual => number(a >= b),
        Op::Equal => number(a == b),
        Op::NotEqual => number(a != b),
        Op::Select if a == 0.0 || a.is_nan() => c,
        Op::Select => b,
        Op::Relu if a < 0.0 => 0.0,
        Op::Relu => a,
        Op::LeakyRelu if a < 0.0 => a * b,
        Op::LeakyRelu => a,
        Op::Exp => a.exp(),
        Op::Log => a.ln(),
        Op::Erf => libm::erf(a),
        Op::Tanh => a.tanh(),
        Op::Sigmoid => sigmoid(a),
        Op::Softplus => softplus(a),
        Op::Gelu => gelu(a),
        Op::GeluTanh => gelu_tanh(a),
        Op::Silu => silu(a),
        Op::Mish => mish(a),
        Op::Pow => libm::pow(a, b),
        Op::MinGradient => share(b, c),
        Op::MaxGradient => share(c, b),
        Op::DivGradient => -a * b / (c * c),
        Op::AbsGradient if b > 0.0 => a,
        Op::AbsGradient if b < 0.0 => -a,
        Op::AbsGradient => 0.0,
        Op::SquareGradient => 2.0 * a * b,
        Op::SqrtGradient => a / (2.0 * b),
        Op::ReluGradient if b > 0.0 => a,
        Op::ReluGradient => 0.0,
        Op::LeakyReluGradient if b > 0.0 => a,
        Op::LeakyReluGradient => a * c,
        Op::SigmoidGradient => a * b * (1.0 - b),
        Op::TanhGradient => a * (1.0 - b * b),
        Op::ErfGradient => a * erf_derivative(b),
        Op::SoftplusGradient => a * sigmoid(b),
        Op::GeluGradient => a * gelu_derivative(b),
        Op::GeluTanhGradient => a * gelu_tanh_derivative(b),
        Op::SiluGradient => a * silu_derivative(b),
        Op::MishGradient => a * mish_derivative(b),
        Op::PowGradient if c == 0.0 => a * 0.0,
        Op::PowGradient => a * c * libm::pow(b, c - 1.0),
        Op::PowExponentGradient if b == 0.0 && c >= 0.0 => a * 0.0,
        Op::PowExponentGradient => a * libm::pow(b, c) * b.ln(),
    }
}
