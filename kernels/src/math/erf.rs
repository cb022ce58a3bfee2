//! The error function and the Gaussian `exp(-x²)` of its derivative.
//!
//! Near 0 an odd polynomial; beyond, `erf(a) = 1 - exp(-R(a))` with a polynomial for `R = -log erfc`, which needs few
//! correct digits because `erfc` is small there.

use super::exp::{exp, parts, scale};
use super::polynomial::polynomial;
use crate::simd::Simd;

/// Where the second form takes over.
const SPLIT: f32 = 0.92;
/// `erf(x)/x - 1` in powers of `x²` on `|x| ≤ 0.93`, a weighted least-maximum fit: below 2⁻²⁵·⁹ of `erf`.
const NEAR: [f32; 7] =
    [0.128_379_17, -0.376_126_32, 0.112_836_875, -0.026_858_94, 0.005_199_906_4, -8.130_011e-4, 8.316_769e-5];
/// `-log erfc(a)` on `0.91 ≤ a ≤ 3.95`, fitted with the weight `erfc/erf`: below 2⁻²⁷·⁶ of `erf`. It is 1 to within
/// half an ulp beyond.
const FAR: [f32; 8] = [
    -1.719_745_8e-4,
    1.129_501_8,
    0.633_373_44,
    0.108_250_81,
    -0.025_100_44,
    0.004_163_834_3,
    -4.329_672_7e-4,
    2.096_546_5e-5,
];

/// `erf x`, at most 2 ulp off. `±∞` gives `±1`, NaN gives NaN; the sign of a zero is kept.
#[inline(always)]
pub fn erf<S: Simd>(simd: S, x: S::F) -> S::F {
    let near = simd.fma(x, polynomial(simd, simd.mul(x, x), NEAR), x);
    let a = simd.min(simd.splat(4.0), simd.abs(x));
    let fit = polynomial(simd, a, FAR);
    let far = simd.sub(simd.splat(1.0), exp(simd, simd.sub(simd.splat(0.0), fit)));
    let negative = simd.less(x, simd.splat(0.0));
    let far = simd.select(negative, simd.sub(simd.splat(0.0), far), far);
    simd.select(simd.less(simd.abs(x), simd.splat(SPLIT)), near, far)
}

/// `erf'(x) = 2/√π·exp(-x²)`, at most 4 ulp off over all of `f32`. `±∞` gives 0, NaN gives NaN.
#[inline(always)]
pub fn erf_derivative<S: Simd>(simd: S, x: S::F) -> S::F {
    let a = simd.min(simd.splat(12.0), simd.abs(x));
    // a² in two parts (Veltkamp's split): the rounding of a² alone would cost 50 ulp at a = 10.
    let c = simd.mul(a, simd.splat(4097.0));
    let high = simd.sub(c, simd.sub(c, a));
    let square = simd.mul(high, simd.sub(simd.splat(0.0), high));
    let rest = simd.mul(simd.sub(high, a), simd.add(a, high));
    let (factor, exponent) = parts(simd, square, rest);
    scale(simd, simd.mul(factor, simd.splat(std::f32::consts::FRAC_2_SQRT_PI)), exponent)
}
