//! The hyperbolic tangent, and GELU's approximation by it.

use super::exp::{exp, parts, scale};
use super::polynomial::polynomial;
use crate::simd::Simd;

/// `(tanh(x)/x - 1)/x²` in powers of `x²` on `|x| ≤ 0.625`, a weighted least-maximum fit: below 2⁻²⁶·⁸ of `tanh`.
const NEAR: [f32; 5] = [-0.333_332_8, 0.133_314_42, -0.053_739_71, 0.020_639_079, -0.005_704_978_5];

/// `tanh x`, at most 2 ulp off. `±∞` gives `±1`, NaN gives NaN; the sign of a zero is kept.
#[inline(always)]
pub fn tanh<S: Simd>(simd: S, x: S::F) -> S::F {
    let square = simd.mul(x, x);
    let near = simd.fma(simd.mul(x, square), polynomial(simd, square, NEAR), x);
    let a = simd.min(simd.splat(10.0), simd.abs(x));
    let e = exp(simd, simd.add(a, a));
    let far = simd.div(simd.splat(2.0), simd.add(e, simd.splat(1.0)));
    let far = simd.sub(simd.splat(1.0), far);
    let far = simd.select(simd.less(x, simd.splat(0.0)), simd.sub(simd.splat(0.0), far), far);
    simd.select(simd.less(simd.abs(x), simd.splat(0.625)), near, far)
}

/// `2·√(2/π)`.
const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
/// The weight of the cube in the argument.
const CUBE: f32 = 0.044_715;

/// What both are made of, for `a = min(|x|, 11)` and `u = √(2/π)·(a + 0.044715·a³)`.
struct Tail<S: Simd> {
    a: S::F,
    /// `a²`.
    square: S::F,
    /// `exp(-2u) = factor·2^exponent`.
    factor: S::F,
    exponent: S::F,
    /// `1/(1 + exp(-2u))`.
    upper: S::F,
}

#[inline(always)]
fn tail<S: Simd>(simd: S, x: S::F) -> Tail<S> {
    let a = simd.min(simd.splat(11.0), simd.abs(x));
    let square = simd.mul(a, a);
    let slope = simd.fma(square, simd.splat(CUBE), simd.splat(1.0));
    let twice = simd.mul(simd.mul(a, simd.splat(-TWICE_SQRT_2_OVER_PI)), slope);
    let (factor, exponent) = parts(simd, twice, simd.splat(0.0));
    let e = scale(simd, factor, exponent);
    let upper = simd.div(simd.splat(1.0), simd.add(simd.splat(1.0), e));
    Tail { a, square, factor, exponent, upper }
}

/// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))` (Hendrycks and Gimpel, 2016), off by at most 4 ulp of the result or
/// 2⁻²³, whichever is larger; it is computed as `x·σ(2u)` and does not cancel in the negative tail. `-∞` gives 0, `∞`
/// gives `∞`, NaN gives NaN.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(simd: S, x: S::F) -> S::F {
    let Tail { a, factor, exponent, upper, .. } = tail(simd, x);
    let below = scale(simd, simd.mul(simd.mul(a, factor), upper), exponent);
    simd.sub(simd.max(simd.splat(0.0), x), below)
}

/// The derivative of [`gelu_tanh`], off by at most 8 ulp of the result or 2⁻²², whichever is larger. `-∞` gives 0, `∞`
/// gives 1, NaN gives NaN.
#[inline(always)]
pub fn gelu_tanh_derivative<S: Simd>(simd: S, x: S::F) -> S::F {
    let Tail { a, square, factor, exponent, upper } = tail(simd, x);
    // σ(-2u)·(1 - a·σ(2u)·2u'), 2u' = 2√(2/π)·(1 + 3·0.044715·a²)
    let slope = simd.fma(square, simd.splat(3.0 * CUBE), simd.splat(1.0));
    let slope = simd.mul(simd.mul(a, simd.splat(TWICE_SQRT_2_OVER_PI)), slope);
    let slope = simd.sub(simd.splat(1.0), simd.mul(slope, upper));
    let below = scale(simd, simd.mul(simd.mul(factor, upper), slope), exponent);
    simd.select(simd.less(x, simd.splat(0.0)), below, simd.sub(simd.splat(1.0), below))
}
