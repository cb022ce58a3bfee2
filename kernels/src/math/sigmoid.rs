//! The logistic function `σ(x) = 1/(1 + exp(-x))`, SiLU `x·σ(x)` and its derivative.
//!
//! All three are computed from `σ(-a)` for `a = |x|`, which neither overflows nor cancels:
//! `SiLU(x) = max(x, 0) - a·σ(-a)`, and SiLU' at `x > 0` is 1 minus the one at `-x`.

use super::exp::{parts, scale};
use crate::simd::Simd;

/// For `a = min(|x|, 110)`: `(a, f, n, 1/(1 + exp(-a)))` with `exp(-a) = f·2ⁿ`.
#[inline(always)]
fn tail<S: Simd>(simd: S, x: S::F) -> (S::F, S::F, S::F, S::F) {
    let a = simd.min(simd.splat(110.0), simd.abs(x));
    let (factor, exponent) = parts(simd, simd.sub(simd.splat(0.0), a), simd.splat(0.0));
    let e = scale(simd, factor, exponent);
    (a, factor, exponent, simd.div(simd.splat(1.0), simd.add(simd.splat(1.0), e)))
}

/// The logistic function, at most 3 ulp off. `-∞` gives 0, `∞` gives 1, NaN gives NaN.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, x: S::F) -> S::F {
    let (_, factor, exponent, upper) = tail(simd, x);
    let lower = scale(simd, simd.mul(factor, upper), exponent);
    // The upper side is taken first, so that a NaN (not less than 0) keeps to it.
    simd.select(simd.less(x, simd.splat(0.0)), lower, upper)
}

/// SiLU, at most 4 ulp off over all of `f32`. `-∞` gives 0, `∞` gives `∞`, NaN gives NaN.
#[inline(always)]
pub fn silu<S: Simd>(simd: S, x: S::F) -> S::F {
    let (a, factor, exponent, upper) = tail(simd, x);
    let below = scale(simd, simd.mul(simd.mul(a, factor), upper), exponent);
    simd.sub(simd.max(simd.splat(0.0), x), below)
}

/// `SiLU'(x) = σ(x)·(1 + x·σ(-x))`, off by at most 4 ulp of the result or 2⁻²³, whichever is larger: around its root
/// at `x ≈ -1.2785` its terms cancel. `-∞` gives 0, `∞` gives 1, NaN gives NaN.
#[inline(always)]
pub fn silu_derivative<S: Simd>(simd: S, x: S::F) -> S::F {
    let (a, factor, exponent, upper) = tail(simd, x);
    // σ(-a)·(1 - a·σ(a))
    let slope = simd.sub(simd.splat(1.0), simd.mul(a, upper));
    let below = scale(simd, simd.mul(simd.mul(factor, upper), slope), exponent);
    simd.select(simd.less(x, simd.splat(0.0)), below, simd.sub(simd.splat(1.0), below))
}
