//! Exact GELU, `x·Φ(x)`, and its derivative, accurate relative to the result in the negative tail as well.
//!
//! Both rest on `Φ(-a) = exp(-a²/2)·t(a)` for `a = |x|`, where `t(a) = erfcx(a/√2)/2` is smooth and is fitted by a
//! polynomial in `a/(a + K)` (a substitution like that of Shepherd and Laframboise, 1981). Nothing cancels:
//! `GELU(x) = max(x, 0) - a·Φ(-a)`, and the derivative at `x > 0` is 1 minus the one at `-x`.

use super::polynomial::{halved_polynomial, polynomial};
use crate::simd::Simd;

/// Scale of the substitution.
const K: f32 = 2.75;
/// Where the polynomial is centred: in the middle of what the tail uses, so that its terms do not cancel there.
const CENTER: f32 = 0.5;
/// `(a + K)·t(a)` in powers of `a/(a + K) - CENTER` on `0 ≤ a ≤ 14.6`, a weighted least-maximum fit: its error is
/// below 2⁻²⁴·⁵ of the value. GELU is 0 to within half of the smallest `f32` beyond. Of several `K` and centres, their
/// coefficients varied by some ulp, these gave the smallest error of the whole in `f32` with and without fused
/// multiplication: 3.7 and 3.9 ulp over all negative numbers.
const TAIL: [f32; 11] = [
    0.718_986_03,
    -0.948_708_24,
    0.729_337_75,
    -0.132_528_08,
    -0.263_126_3,
    0.102_754_2,
    0.160_266_15,
    -0.039_014_31,
    -0.116_702_68,
    -0.011_168_686,
    0.041_954_69,
];

/// `1/√(2π)`.
const INV_SQRT_2PI: f32 = 0.398_942_3;

/// `1.5·2¹⁵`: what is added to it and taken from it again has been rounded to a multiple of 2⁻⁸.
const TO_EIGHTH_BIT: f32 = 49_152.0;
/// `-log₂(e)/2`.
const HALF_LOG2_E: f32 = -0.5 * std::f32::consts::LOG2_E;
/// Twice the leading 10 bits of `ln 2`, and twice the rest.
const TWO_LN2: (f32, f32) = (2.0 * 0.693_359_4, 2.0 * -2.121_944_4e-4);
/// `(exp(-u/2) - 1 + u/2)/u²` on `|u| ≤ 0.8`: the fit that `exp` uses, in `u` in place of `-u/2`.
const EXP: [f32; 5] = [
    0.499_999_85 / 4.0,
    0.166_664_08 / -8.0,
    0.041_669_708 / 16.0,
    0.008_380_413 / -32.0,
    0.001_379_047 / 64.0,
];
/// 2⁻⁶⁴.
const SMALL: f32 = f32::from_bits((127 - 64) << 23);

/// `|x|` cut at 16, and what `Φ(-a)` is made of there.
struct Tail<S: Simd> {
    a: S::F,
    /// `a + K`.
    shifted: S::F,
    /// `a/(a + K)`.
    share: S::F,
    /// `(a + K)·t(a)`.
    fit: S::F,
    /// `exp(-a²/2) = (1 + tail)·2^exponent`.
    tail: S::F,
    exponent: S::F,
}

/// `a²` in two parts: the rounding of a² alone would cost 40 ulp at a = 13.
#[inline(always)]
fn squared<S: Simd>(simd: S, a: S::F) -> (S::F, S::F) {
    if S::FUSED {
        let square = simd.mul(a, a);
        return (square, simd.fma(a, a, simd.sub(simd.splat(0.0), square)));
    }
    // high² + (a - high)(a + high), where high has 12 bits, so that high² is exact.
    let high = simd.sub(simd.add(a, simd.splat(TO_EIGHTH_BIT)), simd.splat(TO_EIGHTH_BIT));
    (simd.mul(high, high), simd.mul(simd.sub(a, high), simd.add(a, high)))
}

#[inline(always)]
fn tail<S: Simd>(simd: S, x: S::F) -> Tail<S> {
    let a = simd.min(simd.splat(16.0), simd.abs(x));
    let (square, rest) = squared(simd, a);
    // exp(-a²/2) by u = a² + 2·exponent·ln 2, as `exp` does it by -u/2, which saves halving.
    let exponent = simd.round(simd.mul(square, simd.splat(HALF_LOG2_E)));
    let u = simd.fma(exponent, simd.splat(TWO_LN2.0), square);
    let u = simd.add(simd.fma(exponent, simd.splat(TWO_LN2.1), u), rest);
    let tail = simd.mul(u, simd.fma(u, halved_polynomial(simd, u, EXP), simd.splat(-0.5)));
    let shifted = simd.add(a, simd.splat(K));
    let share = simd.div(a, shifted);
    let fit = halved_polynomial(simd, simd.sub(share, simd.splat(CENTER)), TAIL);
    Tail { a, shifted, share, fit, tail, exponent }
}

/// `value·(1 + tail)·2^exponent`, rounded once where it is subnormal: 2⁶⁴ times as large it is normal.
#[inline(always)]
fn times_exp<S: Simd>(simd: S, value: S::F, tail: S::F, exponent: S::F) -> S::F {
    let product = simd.fma(value, tail, value);
    let power = simd.exp2_integral(simd.add(exponent, simd.splat(64.0)));
    simd.mul(simd.mul(product, power), simd.splat(SMALL))
}

/// Exact GELU, at most 4 ulp off over all of `f32`, the negative tail and subnormal results included.
/// `-∞` gives 0, `∞` gives `∞`, NaN gives NaN.
#[inline(always)]
pub fn gelu<S: Simd>(simd: S, x: S::F) -> S::F {
    let Tail { share, fit, tail, exponent, .. } = tail(simd, x);
    // a·t(a) is the share times the fit: an error in the share mostly cancels in their product.
    let below = times_exp(simd, simd.mul(share, fit), tail, exponent);
    simd.sub(simd.max(simd.splat(0.0), x), below)
}

/// The root of GELU' in two parts.
const ROOT: (f32, f32) = (-0.751_791_54, 1.211_445e-8);
/// `GELU'(x)/(x - root)` in powers of `x - root` within 1/4 of it, a weighted least-maximum fit: below 2⁻²⁵·⁴ of it.
const AROUND_ROOT: [f32; 7] =
    [0.431_494, 0.388_284_92, -0.018_199_61, -0.114_000_66, -0.014_772_663, 0.019_178_532, 0.004_497_459];

/// `GELU'(x) = Φ(x) + x·φ(x)`, at most 8 ulp off over all of `f32`; around its root at `x ≈ -0.7518`, where the terms
/// cancel, by a polynomial in the distance from it. `-∞` gives 0, `∞` gives 1, NaN gives NaN.
#[inline(always)]
pub fn gelu_derivative<S: Simd>(simd: S, x: S::F) -> S::F {
    let Tail { a, shifted, fit, tail, exponent, .. } = tail(simd, x);
    let slope = simd.fma(a, simd.splat(-INV_SQRT_2PI), simd.div(fit, shifted));
    let below = times_exp(simd, slope, tail, exponent);
    let distance = simd.sub(simd.sub(x, simd.splat(ROOT.0)), simd.splat(ROOT.1));
    let around = simd.mul(distance, polynomial(simd, distance, AROUND_ROOT));
    let below = simd.select(simd.less(simd.abs(distance), simd.splat(0.25)), around, below);
    simd.select(simd.less(x, simd.splat(0.0)), below, simd.sub(simd.splat(1.0), below))
}
