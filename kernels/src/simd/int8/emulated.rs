//! AVX-512 VNNI's words and steps on pairs of AVX2's vectors: tests that layout where VNNI is absent.

use std::arch::x86_64::*;

use super::Dots;
use crate::simd::Emulated512;

/// One intrinsic that needs nothing but the level's features.
macro_rules! op {
    ($($call:tt)*) => {
        // SAFETY: the token exists only where detection found these features; no memory is touched.
        unsafe { $($call)* }
    };
}

/// What VNNI does to words of four numbers, by AVX2: A without sign, B with it.
#[inline(always)]
fn four(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    op!({
        let (even, odd) = (_mm256_and_si256(a, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(a));
        let low = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
        let products =
            _mm256_add_epi32(_mm256_madd_epi16(even, low), _mm256_madd_epi16(odd, _mm256_srai_epi16::<8>(b)));
        _mm256_add_epi32(sum, products)
    })
}

impl Dots for Emulated512 {
    const LANES: usize = 16;
    const STEP: usize = 4;
    const OFFSET: i32 = 128;
    type I = [__m256i; 2];

    #[inline(always)]
    fn zero(self) -> Self::I {
        [self.half().zero(); 2]
    }
    #[inline(always)]
    fn splat(self, word: u32) -> Self::I {
        [self.half().splat(word); 2]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> Self::I {
        // SAFETY: the caller vouches for the words of both halves.
        let low = unsafe { self.half().load(from) };
        // SAFETY: as above.
        let high = unsafe { self.half().load(from.wrapping_add(8)) };
        [low, high]
    }
    #[inline(always)]
    unsafe fn store(self, v: Self::I, to: *mut i32) {
        // SAFETY: the caller vouches for the sums of both halves.
        unsafe { self.half().store(v[0], to) };
        // SAFETY: as above.
        unsafe { self.half().store(v[1], to.wrapping_add(8)) };
    }
    #[inline(always)]
    fn dot(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        [four(sum[0], a[0], b[0]), four(sum[1], a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> Self::I {
        // SAFETY: the caller vouches for the numbers of both halves.
        let low = unsafe { self.half().load_pairs(from) };
        // SAFETY: as above.
        let high = unsafe { self.half().load_pairs(from.wrapping_add(16)) };
        [low, high]
    }
    #[inline(always)]
    fn dot_pairs(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        [self.half().dot(sum[0], a[0], b[0]), self.half().dot(sum[1], a[1], b[1])]
    }
    #[inline(always)]
    fn sum(self, v: Self::I) -> i32 {
        self.half().sum(v[0]).wrapping_add(self.half().sum(v[1]))
    }
}
