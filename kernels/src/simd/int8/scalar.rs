//! One lane in plain Rust.

use super::Dots;
use crate::simd::Scalar;

/// The two numbers of a word.
#[inline(always)]
fn pair(word: u32) -> [i32; 2] {
    [i32::from(word as i16), i32::from((word >> 16) as i16)]
}

impl Dots for Scalar {
    const LANES: usize = 1;
    const STEP: usize = 2;
    const OFFSET: i32 = 0;
    type I = u32;

    #[inline(always)]
    fn zero(self) -> u32 {
        0
    }
    #[inline(always)]
    fn splat(self, word: u32) -> u32 {
        word
    }
    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> u32 {
        // SAFETY: the caller vouches for a word.
        unsafe { from.read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, v: u32, to: *mut i32) {
        // SAFETY: the caller vouches for a sum.
        unsafe { to.write_unaligned(v as i32) }
    }
    #[inline(always)]
    fn dot(self, sum: u32, a: u32, b: u32) -> u32 {
        let ([a, c], [b, d]) = (pair(a), pair(b));
        sum.wrapping_add((a * b + c * d) as u32)
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> u32 {
        // SAFETY: the caller vouches for two numbers.
        let numbers = unsafe { from.cast::<[i8; 2]>().read() };
        super::word(&numbers, 2)
    }
    #[inline(always)]
    fn dot_pairs(self, sum: u32, a: u32, b: u32) -> u32 {
        self.dot(sum, a, b)
    }
    #[inline(always)]
    fn sum(self, v: u32) -> i32 {
        v as i32
    }
}
