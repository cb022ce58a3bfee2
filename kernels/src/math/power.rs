//! Powers `x^y`, through f64: an error of the logarithm is multiplied by `y·ln x`, so f32 alone would lose 7 bits.
//!
//! Lanes are plain f64 numbers in loops of fixed length, of which the compiler makes vectors at every level. What is
//! not a positive finite base and a finite exponent is left to `libm`.

use std::f64::consts::{LN_2, SQRT_2};

use crate::simd::{Simd, MOST_LANES};

/// `2^r = Σ c·rⁱ`, `cᵢ = ln(2)ⁱ/i!`: what is left out is below 2⁻³⁸ for `|r| ≤ 1/2`.
const EXP2: [f64; 10] = {
    let mut c = [1.0; 10];
    let mut i = 1;
    while i < 10 {
        c[i] = c[i - 1] * LN_2 / i as f64;
        i += 1;
    }
    c
};
/// Adding and subtracting it rounds to the nearest integer.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// `x^y` for finite `x > 0` and finite `y`; the argument of the power of 2 is off by less than 2⁻³⁰.
#[inline(always)]
fn positive(x: f32, y: f32) -> f32 {
    let bits = f64::from(x).to_bits();
    let m = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let e = f64::from((bits >> 52) as i32 - 1023);
    let (m, e) = if m > SQRT_2 { (0.5 * m, e + 1.0) } else { (m, e) };
    // log(m) = 2·artanh(s), s = (m - 1)/(m + 1), |s| ≤ 0.1716: the series' rest is below 2⁻⁴¹.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series =
        1.0 + z * (1.0 / 3.0 + z * (0.2 + z * (1.0 / 7.0 + z * (1.0 / 9.0 + z * (1.0 / 11.0 + z / 13.0)))));
    let log2 = e + s * series * (2.0 / LN_2);
    // Beyond these the result is infinite or 0.
    let t = (f64::from(y) * log2).clamp(-300.0, 300.0);
    let n = (t + ROUND) - ROUND;
    let r = t - n;
    let mut sum = EXP2[9];
    for i in (0..9).rev() {
        sum = sum * r + EXP2[i];
    }
    (sum * f64::from_bits(((n as i32 + 1023) as u64) << 52)) as f32
}

/// `x^y`, at most 1 ulp off. Special values are those of IEEE 754: `x^0` and `1^y` are 1 even for NaN, a negative base
/// gives NaN unless `y` is an integer.
#[inline(always)]
pub fn pow<S: Simd>(simd: S, x: S::F, y: S::F) -> S::F {
    let (mut base, mut exponent, mut out) = ([1.0; MOST_LANES], [1.0; MOST_LANES], [0.0; MOST_LANES]);
    simd.store(x, &mut base);
    simd.store(y, &mut exponent);
    let mut ordinary = true;
    for i in 0..S::LANES {
        out[i] = positive(base[i], exponent[i]);
        ordinary &= base[i] > 0.0 && base[i] < f32::INFINITY && exponent[i].abs() < f32::INFINITY;
    }
    if !ordinary {
        for i in 0..S::LANES {
            if !(base[i] > 0.0 && base[i] < f32::INFINITY && exponent[i].abs() < f32::INFINITY) {
                out[i] = libm::powf(base[i], exponent[i]);
            }
        }
    }
    simd.load(&out)
}
