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

/// The same, even and odd powers apart: a multiplication more, and half the way from `x` to the result.
#[inline(always)]
pub(super) fn halved_polynomial<S: Simd, const N: usize>(simd: S, x: S::F, c: [f32; N]) -> S::F {
    let square = simd.mul(x, x);
    let (mut last, mut other) = (simd.splat(c[N - 1]), simd.splat(c[N - 2]));
    for i in (0..N - 2).rev() {
        if (N - 1 - i).is_multiple_of(2) {
            last = simd.fma(last, square, simd.splat(c[i]));
        } else {
            other = simd.fma(other, square, simd.splat(c[i]));
        }
    }
    let (even, odd) = if N % 2 == 1 { (last, other) } else { (other, last) };
    simd.fma(odd, x, even)
}
