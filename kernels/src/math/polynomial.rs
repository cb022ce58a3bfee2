//! Evaluation of polynomials whose coefficients are constants.

use crate::simd::Simd;

/// `c[0] + c[1]·x + c[2]·x² + …` by Horner's rule.
#[inline(always)]
pub(super) fn polynomial<S: Simd, const N: usize>(simd: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = simd.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = simd.fma(sum, x, simd.splat(c[i]));
    }
    sum
}
