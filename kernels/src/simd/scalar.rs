//! One lane in plain Rust: the level that every processor runs, Miri too. Multiply-add is not fused, as that would be a call on
//! processors without the instruction.

use super::Simd;

/// One lane in portable Rust.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Simd for Scalar {
    const LANES: usize = 1;
    const FUSED: bool = false;
    const REGISTERS: usize = 16;
    type F = f32;
    type M = bool;

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> f32 {
        from[0]
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> f32 {
        from.first().copied().unwrap_or(0.0)
    }
    #[inline(always)]
    fn store(self, v: f32, to: &mut [f32]) {
        to[0] = v;
    }
    #[inline(always)]
    fn store_partial(self, v: f32, to: &mut [f32]) {
        if let Some(to) = to.first_mut() {
            *to = v;
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> f32 {
        // SAFETY: the caller vouches for a number.
        unsafe { from.read() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: f32, to: *mut f32) {
        // SAFETY: the caller vouches for a number.
        unsafe { to.write(v) }
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }
    #[inline(always)]
    fn widen_pair(self, a: f32) -> (f32, f32) {
        (f32::from_bits(a.to_bits() << 16), f32::from_bits(a.to_bits() & !0xFFFF))
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b {
            a
        } else {
            b
        }
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b {
            a
        } else {
            b
        }
    }
    #[inline(always)]
    fn abs(self, a: f32) -> f32 {
        a.abs()
    }
    #[inline(always)]
    fn round(self, a: f32) -> f32 {
        a.round_ties_even()
    }
    #[inline(always)]
    fn exp2_integral(self, a: f32) -> f32 {
        f32::from_bits(((a as i32 + 127) as u32) << 23)
    }
    #[inline(always)]
    fn frexp(self, a: f32) -> (f32, f32) {
        let bits = a.to_bits();
        (f32::from_bits(bits & 0x807f_ffff | 0x3f00_0000), ((bits >> 23) & 0xff) as f32 - 126.0)
    }
    #[inline(always)]
    fn less(self, a: f32, b: f32) -> bool {
        a < b
    }
    #[inline(always)]
    fn select(self, mask: bool, yes: f32, no: f32) -> f32 {
        if mask {
            yes
        } else {
            no
        }
    }
    #[inline(always)]
    fn sum(self, a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn max_lane(self, a: f32) -> f32 {
        a
    }
}
