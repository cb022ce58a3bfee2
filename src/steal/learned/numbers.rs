//! Logarithms, exponentials and normal deviates of which every host makes the same bits.
//!
//! A choice that depended on the system's mathematical library could not be replayed elsewhere. Additions and multiplications alone; a few
//! nanoseconds each, exact to about 10⁻⁶.

use crate::steal::Generator;

/// ln x, for a positive finite number.
pub fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // x = m · 2^e with m in [0.75, 1.5): there the series below converges fastest on both sides.
    let e = (bits.wrapping_sub(0x3f40_0000) as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((e << 23) as u32));
    // ln m = 2 artanh((m - 1) / (m + 1)).
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = 1.0 + s2 * (1.0 / 3.0 + s2 * (1.0 / 5.0 + s2 * (1.0 / 7.0 + s2 / 9.0)));
    e as f32 * std::f32::consts::LN_2 + 2.0 * s * series
}

/// e^x; 0 and infinity beyond what an f32 holds.
pub fn exp(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let scaled = (x * std::f32::consts::LOG2_E).clamp(-150.0, 150.0);
    let whole = scaled.round();
    let f = (scaled - whole) * std::f32::consts::LN_2;
    let series =
        1.0 + f * (1.0 + f / 2.0 * (1.0 + f / 3.0 * (1.0 + f / 4.0 * (1.0 + f / 5.0 * (1.0 + f / 6.0)))));
    // In two halves, for 2^whole alone may be more than an f32 holds.
    let half = whole as i32 / 2;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    series * power(half) * power(whole as i32 - half)
}

/// A normal deviate of mean 0 and deviation 1, within ±6: twelve uniform ones added up (Irwin and Hall), whose tails are thinner beyond 3.
pub(super) fn deviate(generator: &mut Generator) -> f32 {
    let mut sum = 0;
    for _ in 0..3 {
        let bits = generator.next_u64();
        sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    }
    // Each of the twelve is half a step below its mean.
    (sum as f32 + 6.0) / 65_536.0 - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_and_exponentials_are_those_of_the_library() {
        let mut x = f32::MIN_POSITIVE;
        while x < f32::MAX / 1.1 {
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) - exact).abs() <= 2e-6 * exact.abs().max(1.0), "ln {x}");
            x *= 1.093;
        }
        for step in -8600..8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1e-5, "e^{x}: {} for {exact}", exp(x));
        }
        assert_eq!((exp(-1e9), exp(f32::INFINITY)), (0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn deviates_are_normal() {
        let mut generator = Generator::new(5);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(deviate(&mut generator))).collect();
        let moment = |power| draws.iter().map(|x: &f64| x.powi(power)).sum::<f64>() / draws.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02 && moment(3).abs() < 0.03);
        // Twelve uniform ones: 3 - 6 / 5 / 12.
        assert!((moment(4) - 2.9).abs() < 0.06, "{}", moment(4));
    }
}
