//! The natural logarithm: `log(m·2ᵉ) = e·ln 2 + log(m)`, `m` in `[1/√2, √2)`.

use super::polynomial::polynomial;
use crate::simd::Simd;

/// The leading 10 bits of `ln 2`, so that their product with an exponent is exact, and the rest.
const LN2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// `(log(1 + f) - f + f²/2)/f³` on `1/√2 - 1 ≤ f ≤ √2 - 1`, a weighted least-maximum fit: its error is below 2⁻³⁰ of
/// `log(1 + f)`.
const LOG: [f32; 9] = [
    0.333_333_13,
    -0.250_000_1,
    0.200_021_19,
    -0.166_679_96,
    0.142_195_52,
    -0.124_055_89,
    0.118_881_62,
    -0.116_756_52,
    0.067_466_4,
];

/// `ln x`, at most 2 ulp off. 0 of either sign gives `-∞`, below 0 gives NaN, `∞` gives `∞`, NaN gives NaN.
#[inline(always)]
pub fn log<S: Simd>(simd: S, x: S::F) -> S::F {
    let splat = |x| simd.splat(x);
    // Subnormal numbers are made normal by an exact factor 2²³.
    let small = simd.less(x, splat(f32::MIN_POSITIVE));
    let normal = simd.select(small, simd.mul(x, splat(8_388_608.0)), x);
    let (m, e) = simd.frexp(normal);
    let e = simd.select(small, simd.sub(e, splat(23.0)), e);
    let lower = simd.less(m, splat(std::f32::consts::FRAC_1_SQRT_2));
    let f = simd.sub(simd.select(lower, simd.add(m, m), m), splat(1.0));
    let e = simd.select(lower, simd.sub(e, splat(1.0)), e);
    let result = sum(simd, f, e);
    let result = simd.select(simd.less(x, splat(f32::INFINITY)), result, x);
    let result = simd.select(simd.less(x, splat(0.0)), splat(f32::NAN), result);
    simd.select(simd.less(simd.abs(x), splat(f32::from_bits(1))), splat(f32::NEG_INFINITY), result)
}

/// `ln(1 + t)` for `0 ≤ t ≤ 1`, relative to the result also where `t` is tiny: `1 + t = (1 + f)·2ᵉ` with an `f` that is
/// exact, `t` itself below `√2 - 1` and `(t - 1)/2` above.
#[inline(always)]
pub(super) fn log1p_of_share<S: Simd>(simd: S, t: S::F) -> S::F {
    let splat = |x| simd.splat(x);
    let halved = simd.less(splat(std::f32::consts::SQRT_2 - 1.0), t);
    let f = simd.select(halved, simd.mul(simd.sub(t, splat(1.0)), splat(0.5)), t);
    let e = simd.select(halved, splat(1.0), splat(0.0));
    sum(simd, f, e)
}

/// `e·ln 2 + ln(1 + f)`.
#[inline(always)]
fn sum<S: Simd>(simd: S, f: S::F, e: S::F) -> S::F {
    let square = simd.mul(f, f);
    let tail = simd.mul(simd.mul(square, f), polynomial(simd, f, LOG));
    let tail = simd.fma(e, simd.splat(LN2.1), tail);
    let tail = simd.fma(square, simd.splat(-0.5), tail);
    simd.fma(e, simd.splat(LN2.0), simd.add(f, tail))
}
