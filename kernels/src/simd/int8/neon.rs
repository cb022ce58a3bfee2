//! NEON of AArch64: products of two numbers of 16 bits in 32, neighbours added.

use std::arch::aarch64::*;

use super::{DotKernel, Dots};
use crate::isa::Isa;
use crate::simd::Neon;

/// One intrinsic that needs nothing but the level's features.
macro_rules! op {
    ($($call:tt)*) => {{
        // What needs no more than the target's own features is safe to call.
        #[allow(unused_unsafe)]
        // SAFETY: the token exists only where detection found the feature; no memory is touched.
        unsafe { $($call)* }
    }};
}

#[target_feature(enable = "neon")]
fn on_neon<K: DotKernel>(level: Neon, kernel: K) -> K::Output {
    kernel.run(level)
}

/// Runs `kernel` at a level that is active, so its token exists.
pub(super) fn run<K: DotKernel>(isa: Isa, kernel: K) -> K::Output {
    assert!(isa == Isa::Neon, "{isa:?} is not a level of AArch64");
    let level = Neon::detect().expect("NEON was detected");
    // SAFETY: the token exists only where detection found the feature.
    unsafe { on_neon(level, kernel) }
}

impl Dots for Neon {
    const LANES: usize = 4;
    const STEP: usize = 2;
    const OFFSET: i32 = 0;
    type I = int32x4_t;

    #[inline(always)]
    fn zero(self) -> int32x4_t {
        op!(vdupq_n_s32(0))
    }
    #[inline(always)]
    fn splat(self, word: u32) -> int32x4_t {
        op!(vdupq_n_s32(word as i32))
    }
    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> int32x4_t {
        // SAFETY: the caller vouches for the words.
        unsafe { vld1q_s32(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, v: int32x4_t, to: *mut i32) {
        // SAFETY: the caller vouches for the sums.
        unsafe { vst1q_s32(to, v) }
    }
    #[inline(always)]
    fn dot(self, sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        op!({
            let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
            let (low, high) = (vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
            vaddq_s32(sum, vpaddq_s32(low, high))
        })
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> int32x4_t {
        // SAFETY: the caller vouches for 8 numbers.
        let numbers = unsafe { vld1_s8(from) };
        op!(vreinterpretq_s32_s16(vmovl_s8(numbers)))
    }
    #[inline(always)]
    fn dot_pairs(self, sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        self.dot(sum, a, b)
    }
    #[inline(always)]
    fn sum(self, v: int32x4_t) -> i32 {
        op!(vaddvq_s32(v))
    }
}
