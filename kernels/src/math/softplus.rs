//! Softplus `log(1 + exp(x))` and Mish `x·tanh(softplus(x))` (Misra, 2019), from `t = exp(-|x|)`, which never overflows.
//!
//! With `e = exp(x)`, `tanh(softplus(x)) = (e² + 2e)/(e² + 2e + 2)`: a ratio of positive terms, in which nothing
//! cancels; for `x > 0` both are divided by `e²`.

use super::exp::{parts, scale};
use super::log::log1p_of_share;
use crate::simd::Simd;

/// For `a = min(|x|, 120)`: `(a, f, n, t)` with `t = exp(-a) = f·2ⁿ`.
#[inline(always)]
fn tail<S: Simd>(simd: S, x: S::F) -> (S::F, S::F, S::F, S::F) {
    let a = simd.min(simd.splat(120.0), simd.abs(x));
    let (factor, exponent) = parts(simd, simd.sub(simd.splat(0.0), a), simd.splat(0.0));
    (a, factor, exponent, scale(simd, factor, exponent))
}

/// `log(1 + exp(x))`, at most 4 ulp off over all of `f32`. `-∞` gives 0, `∞` gives `∞`, NaN gives NaN.
#[inline(always)]
pub fn softplus<S: Simd>(simd: S, x: S::F) -> S::F {
    let (_, _, _, t) = tail(simd, x);
    simd.add(simd.max(simd.splat(0.0), x), log1p_of_share(simd, t))
}

/// `x·tanh(log(1 + exp(x)))`, at most 5 ulp off over all of `f32`. `-∞` gives 0, `∞` gives `∞`, NaN gives NaN.
#[inline(always)]
pub fn mish<S: Simd>(simd: S, x: S::F) -> S::F {
    let (a, factor, exponent, t) = tail(simd, x);
    let (one, two) = (simd.splat(1.0), simd.splat(2.0));
    let negative = simd.less(x, simd.splat(0.0));
    // Below 0: -a·t·(t + 2)/(t·(t + 2) + 2), scaled last, so that a subnormal result is rounded once.
    let grown = simd.add(t, two);
    let ratio = simd.div(simd.select(negative, grown, simd.fma(two, t, one)), {
        let below = simd.fma(t, grown, two);
        simd.select(negative, below, simd.fma(simd.mul(two, t), simd.add(t, one), one))
    });
    let below = scale(simd, simd.mul(simd.mul(simd.sub(simd.splat(0.0), a), factor), ratio), exponent);
    simd.select(negative, below, simd.mul(x, ratio))
}

/// The derivative of [`mish`], off by at most 8 ulp of the result or 2⁻²², whichever is larger: around its root at
/// `x ≈ -1.1924` its terms cancel. `-∞` gives 0, `∞` gives 1, NaN gives NaN.
#[inline(always)]
pub fn mish_derivative<S: Simd>(simd: S, x: S::F) -> S::F {
    let (a, factor, exponent, t) = tail(simd, x);
    let (one, two, four) = (simd.splat(1.0), simd.splat(2.0), simd.splat(4.0));
    let once = simd.add(t, one);
    // Below 0: t·((t + 2)/D - 4a·(1 + t)/D²), D = t·(t + 2) + 2.
    let inverse = simd.div(one, simd.fma(t, simd.add(t, two), two));
    let pull = simd.mul(simd.mul(simd.mul(four, a), once), inverse);
    let below = simd.mul(simd.sub(simd.add(t, two), pull), inverse);
    let below = scale(simd, simd.mul(factor, below), exponent);
    // Above: (1 + 2t)/D + 4a·t²·(1 + t)/D², D = 1 + 2t·(1 + t).
    let inverse = simd.div(one, simd.fma(simd.mul(two, t), once, one));
    let push = simd.mul(simd.mul(simd.mul(simd.mul(four, a), t), simd.mul(t, once)), inverse);
    let above = simd.mul(simd.add(simd.fma(two, t, one), push), inverse);
    simd.select(simd.less(x, simd.splat(0.0)), below, above)
}
