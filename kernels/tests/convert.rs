//! Promises of the conversions between f32 and its 16-bit stores: every stored number survives the way up and back,
//! rounding is that of the crate `half` (to nearest, ties to even) over all exponents, ties, NaN and infinities, at
//! every level, for slices of any length that end at a guarded page.

mod common;

use common::{Numbers, PageEnd};
use upbeat_kernels::convert::{narrow, widen, Storage};
use upbeat_kernels::{bf16, f16, ShapeError};

/// The scalar conversions that ours must agree with, and the bits of a stored number.
trait Reference: Storage {
    fn rounded(x: f32) -> Self;
    fn exact(self) -> f32;
    fn of(bits: u16) -> Self;
    fn bits(self) -> u16;
}

macro_rules! reference {
    ($($t:ty),*) => { $(impl Reference for $t {
        fn rounded(x: f32) -> Self { <$t>::from_f32(x) }
        fn exact(self) -> f32 { <$t>::to_f32(self) }
        fn of(bits: u16) -> Self { <$t>::from_bits(bits) }
        fn bits(self) -> u16 { self.to_bits() }
    })* };
}
reference!(bf16, f16);

fn narrowed<T: Reference>(x: &[f32]) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    narrow(x, &mut out).unwrap();
    out
}

fn widened<T: Reference>(x: &[T]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    widen(x, &mut out).unwrap();
    out
}

fn check_all_stored<T: Reference>() {
    let all: Vec<T> = (0..=u16::MAX).map(T::of).collect();
    let wide = widened(&all);
    let back: Vec<T> = narrowed(&wide);
    let mut nans = 0;
    for ((stored, wide), back) in all.iter().zip(&wide).zip(back) {
        if stored.exact().is_nan() {
            nans += 1;
            assert!(wide.is_nan() && back.exact().is_nan(), "{} {:#06x}", T::NAME, stored.bits());
            assert_eq!(wide.to_bits() >> 22 & 1, 1, "{} {:#06x} is quiet", T::NAME, stored.bits());
            assert_eq!(back.bits() >> 15, stored.bits() >> 15, "the sign of {:#06x}", stored.bits());
        } else {
            assert_eq!(wide.to_bits(), stored.exact().to_bits(), "{} {:#06x}", T::NAME, stored.bits());
            assert_eq!(back.bits(), stored.bits(), "{} {:#06x}", T::NAME, stored.bits());
        }
    }
    assert!(nans > 200, "the NaNs were among them");
}

#[test]
fn every_stored_number_survives() {
    check_all_stored::<bf16>();
    check_all_stored::<f16>();
}

/// Every exponent with random mantissas, and around each stored number the numbers half way to the next and beside it.
fn cases(drop: u32, numbers: &mut Numbers) -> Vec<f32> {
    let mut bits: Vec<u32> = Vec::new();
    for exponent in 0..=255u32 {
        for _ in 0..300 {
            let random = numbers.bits() as u32;
            bits.push((random & 0x807F_FFFF) | exponent << 23);
            let tie = (random & !((1 << drop) - 1) & 0x807F_FFFF) | exponent << 23 | 1 << (drop - 1);
            bits.extend([tie, tie.wrapping_sub(1), tie.wrapping_add(1)]);
        }
    }
    for special in [f32::NAN, f32::INFINITY, 0.0, f32::MAX, f32::MIN_POSITIVE, 65504.0, 65519.996, 65520.0] {
        bits.extend([special.to_bits(), (-special).to_bits()]);
    }
    // Signalling NaNs, and payloads that rounding would carry away.
    bits.extend([
        0x7F80_0001,
        0xFF80_0001,
        0x7FFF_FFFF,
        0xFFFF_FFFF,
        1,
        0x8000_0001,
        0x3300_0000,
        0x3300_0001,
    ]);
    bits.into_iter().map(f32::from_bits).collect()
}

fn check_rounding<T: Reference>(drop: &[u32]) {
    let mut numbers = Numbers::new(31);
    for &drop in drop {
        let x = cases(drop, &mut numbers);
        for (x, found) in x.iter().zip(narrowed::<T>(&x)) {
            let truth = T::rounded(*x);
            let quiet_nan = found.exact().is_nan() && found.bits() >> 15 == truth.bits() >> 15;
            let same = if x.is_nan() { quiet_nan } else { found.bits() == truth.bits() };
            assert!(
                same,
                "{} of {:#010x}: {:#06x}, not {:#06x}",
                T::NAME,
                x.to_bits(),
                found.bits(),
                truth.bits()
            );
        }
    }
}

#[test]
fn rounding_is_to_nearest_even() {
    check_rounding::<bf16>(&[16]);
    // A subnormal f16 drops up to eleven bits more.
    check_rounding::<f16>(&[13, 14, 15, 17, 20, 22]);
    let ties = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0];
    assert_eq!(narrowed::<bf16>(&ties)[..], [bf16::ONE, bf16::from_f32(1.015625)]);
    assert_eq!(narrowed::<f16>(&[65519.996, 65520.0])[..], [f16::MAX, f16::INFINITY]);
}

fn check_lengths<T: Reference>() {
    let mut numbers = Numbers::new(32);
    for len in (0..67).chain([255, 4097, 32_768, 32_769, 70_001]) {
        let x = numbers.vector(len);
        let guarded = PageEnd::copied(&x);
        let mut stored = PageEnd::copied(&vec![T::of(0x7FFF); len]);
        narrow(&guarded, &mut stored).unwrap();
        let mut wide = PageEnd::copied(&vec![f32::NAN; len]);
        widen(&stored, &mut wide).unwrap();
        for i in 0..len {
            assert_eq!(stored[i].bits(), T::rounded(x[i]).bits(), "{} {i} of {len}", T::NAME);
            assert_eq!(wide[i], T::rounded(x[i]).exact(), "{} {i} of {len}", T::NAME);
        }
    }
}

#[test]
fn any_length_up_to_a_page_end() {
    check_lengths::<bf16>();
    check_lengths::<f16>();
}

#[test]
fn lengths_must_agree() {
    let mut stored = [bf16::ONE; 3];
    assert!(matches!(
        narrow(&[0.0; 4], &mut stored),
        Err(ShapeError::Mismatch { expected: 4, found: 3, .. })
    ));
    assert_eq!(stored, [bf16::ONE; 3]);
    let mut wide = [1.0; 3];
    assert!(matches!(
        widen(&[f16::ZERO; 2], &mut wide),
        Err(ShapeError::Mismatch { expected: 3, found: 2, .. })
    ));
    assert_eq!(wide, [1.0; 3]);
}

#[test]
fn at_every_level() {
    common::at_every_level();
}
