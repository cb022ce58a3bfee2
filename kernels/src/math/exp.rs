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
    let (n, r) = reduced(simd, x);
    scale(simd, factor(simd, r), n)
}

/// `e^x` for `x ≤ 88`, as [`exp`], but 0 below `-87.69`: results that are not normal, or hardly, are lost. A third of the cost is saved.
#[inline(always)]
pub(crate) fn exp_or_zero<S: Simd>(simd: S, x: S::F) -> S::F {
    let x = simd.max(simd.splat(-88.0), x);
    let (n, r) = reduced(simd, x);
    simd.mul(factor(simd, r), simd.exp2_or_zero(n))
}

/// `(n, r)` with `x = n·ln 2 + r`, `|r| < 0.4`, for `|x| < 170`.
#[inline(always)]
fn reduced<S: Simd>(simd: S, x: S::F) -> (S::F, S::F) {
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.fma(n, simd.splat(-LN2_HIGH), x);
    (n, simd.fma(n, simd.splat(-LN2_LOW), r))
}

/// `e^r`
#[inline(always)]
fn factor<S: Simd>(simd: S, r: S::F) -> S::F {
    let tail = simd.fma(simd.mul(r, r), polynomial(simd, r, EXP), r);
    simd.add(simd.splat(1.0), tail)
}

/// `(f, n)` with `e^(x + low) = f·2ⁿ`, `f` in `[0.66, 1.5]`, for `|x| < 170` and `|low| < 0.05`.
#[inline(always)]
pub(super) fn parts<S: Simd>(simd: S, x: S::F, low: S::F) -> (S::F, S::F) {
    let (n, r) = reduced(simd, x);
    (factor(simd, simd.add(r, low)), n)
}

/// `x·2ⁿ` for integral `|n| ≤ 250`, rounded once: the first factor keeps a normal `x` near 1 normal.
#[inline(always)]
pub(super) fn scale<S: Simd>(simd: S, x: S::F, n: S::F) -> S::F {
    let half = simd.round(simd.mul(n, simd.splat(0.5)));
    let x = simd.mul(x, simd.exp2_integral(half));
    simd.mul(x, simd.exp2_integral(simd.sub(n, half)))
}

#[cfg(test)]
mod tests {
    use super::{exp, exp_or_zero};
    use crate::isa::dispatch;
    use crate::simd::{Kernel, Simd};

    /// Both functions at a number.
    struct Both(f32);

    impl Kernel for Both {
        type Output = [f32; 2];
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [f32; 2] {
            let x = simd.splat(self.0);
            [exp(simd, x), exp_or_zero(simd, x)].map(|y| {
                let mut lanes = [0.0; crate::simd::MOST_LANES];
                simd.store(y, &mut lanes);
                lanes[0]
            })
        }
    }

    #[test]
    fn what_is_normal_is_the_exponential_and_what_is_not_is_zero() {
        for i in 0..200_000 {
            let x = 88.0 - i as f32 / 1024.0;
            let [exact, found] = dispatch(Both(x));
            if x > -87.3 {
                assert_eq!(found, exact, "at {x}");
            } else {
                assert!(found == 0.0 || (x > -87.7 && (found - exact).abs() <= f32::from_bits(2)), "at {x}");
            }
        }
        for x in [-87.7, -88.0, -104.0, -1e30, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(dispatch(Both(x))[1].to_bits(), 0, "at {x}");
        }
        assert!(dispatch(Both(f32::NAN))[1].is_nan());
        assert_eq!(dispatch(Both(-0.0))[1], 1.0);
    }
}
