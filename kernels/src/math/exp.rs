//! The exponential, whole or in two parts whose product is rounded only once.
//!
//! `exp(x) = 2ⁿ·exp(r)` with `n` the nearest integer to `x/ln 2` (Cody and Waite, 1980: `ln 2` in two parts, the
//! first short enough that its product with `n` is exact without a fused multiply).

use super::polynomial::polynomial;
use crate::simd::Simd;

/// The leading 10 bits of `ln 2`.
const LN2_HIGH: f32 = 0.693_359_4;
/// `ln 2 - LN2_HIGH`.
const LN2_LOW: f32 = -2.121_944_4e-4;
/// `(exp(r) - 1 - r)/r²` on `|r| ≤ 0.4`, a weighted least-maximum fit: its error is below 2⁻²⁶·⁸ of `exp(r)`.
const EXP: [f32; 5] = [0.499_999_85, 0.166_664_08, 0.041_669_708, 0.008_380_413, 0.001_379_047];

/// `e^x`, at most 1.1 ulp off (subnormal results included). Overflows to `∞` and underflows to 0; NaN gives NaN.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    // Outside these the result is 0 or infinite anyway. `min` and `max` keep a NaN in their second argument.
    let x = simd.max(simd.splat(-104.0), simd.min(simd.splat(89.0), x));
    let (factor, exponent) = parts(simd, x, simd.splat(0.0));
    scale(simd, factor, exponent)
}

/// `(f, n)` with `e^(x + low) = f·2ⁿ`, `f` in `[0.66, 1.5]`, for `|x| < 170` and `|low| < 0.05`.
#[inline(always)]
pub(super) fn parts<S: Simd>(simd: S, x: S::F, low: S::F) -> (S::F, S::F) {
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.fma(n, simd.splat(-LN2_HIGH), x);
    let r = simd.add(simd.fma(n, simd.splat(-LN2_LOW), r), low);
    let tail = simd.fma(simd.mul(r, r), polynomial(simd, r, EXP), r);
    (simd.add(simd.splat(1.0), tail), n)
}

/// `x·2ⁿ` for integral `|n| ≤ 250`, rounded once: the first factor keeps a normal `x` near 1 normal.
#[inline(always)]
pub(super) fn scale<S: Simd>(simd: S, x: S::F, n: S::F) -> S::F {
    let half = simd.round(simd.mul(n, simd.splat(0.5)));
    let x = simd.mul(x, simd.exp2_integral(half));
    simd.mul(x, simd.exp2_integral(simd.sub(n, half)))
}
