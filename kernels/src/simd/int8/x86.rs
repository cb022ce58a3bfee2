//! SSE4.1, AVX2, AVX-512BW and AVX-512 VNNI.
//!
//! Words of two numbers are multiplied by `pmaddwd`, whose only overflow (all four numbers -2¹⁵) numbers of 8 bits cannot
//! reach. VNNI's `vpdpbusd` takes four numbers of A without sign, so A is shifted by 128; it wraps and does not saturate.

use std::arch::x86_64::*;

use super::{DotKernel, Dots};
use crate::isa::Isa;
#[cfg(feature = "emulated512")]
use crate::simd::Emulated512;
use crate::simd::{Avx2, Avx512, Sse41};

/// One intrinsic that needs nothing but the level's features.
macro_rules! op {
    ($($call:tt)*) => {{
        // What is part of x86-64 itself is safe to call.
        #[allow(unused_unsafe)]
        // SAFETY: the token exists only where detection found these features; no memory is touched.
        unsafe { $($call)* }
    }};
}

/// Proof that this machine runs AVX-512F and BW and its vector neural network instructions.
#[derive(Clone, Copy)]
struct Vnni(());

impl Vnni {
    /// The token, when the CPU and the operating system support it.
    fn detect() -> Option<Self> {
        (Avx512::detect().is_some() && is_x86_feature_detected!("avx512vnni")).then_some(Self(()))
    }
}

#[target_feature(enable = "sse4.1")]
fn on_sse41<K: DotKernel>(level: Sse41, kernel: K) -> K::Output {
    kernel.run(level)
}

#[target_feature(enable = "avx2,fma")]
fn on_avx2<K: DotKernel>(level: Avx2, kernel: K) -> K::Output {
    kernel.run(level)
}

#[cfg(feature = "emulated512")]
#[target_feature(enable = "avx2,fma")]
fn on_pairs<K: DotKernel>(level: Emulated512, kernel: K) -> K::Output {
    kernel.run(level)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn on_avx512<K: DotKernel>(level: Avx512, kernel: K) -> K::Output {
    kernel.run(level)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn on_vnni<K: DotKernel>(level: Vnni, kernel: K) -> K::Output {
    kernel.run(level)
}

/// Runs `kernel` at a level that is active, so its token exists.
pub(super) fn run<K: DotKernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        Isa::Sse41 => {
            let level = Sse41::detect().expect("SSE4.1 was detected");
            // SAFETY: the token exists only where detection found the feature.
            unsafe { on_sse41(level, kernel) }
        }
        Isa::Avx2 => {
            let level = Avx2::detect().expect("AVX2 was detected");
            // SAFETY: the token exists only where detection found these features.
            unsafe { on_avx2(level, kernel) }
        }
        #[cfg(feature = "emulated512")]
        Isa::Emulated512 => {
            let level = Emulated512::detect().expect("AVX2 was detected");
            // SAFETY: the token exists only where detection found these features.
            unsafe { on_pairs(level, kernel) }
        }
        Isa::Avx512 => match Vnni::detect() {
            // SAFETY: the token exists only where detection found these features.
            Some(level) => unsafe { on_vnni(level, kernel) },
            None => {
                let level = Avx512::detect().expect("AVX-512 was detected");
                // SAFETY: the token exists only where detection found these features.
                unsafe { on_avx512(level, kernel) }
            }
        },
        isa => unreachable!("{isa:?} is not a level of x86-64's vectors"),
    }
}

impl Dots for Sse41 {
    const LANES: usize = 4;
    const STEP: usize = 2;
    const OFFSET: i32 = 0;
    type I = __m128i;

    #[inline(always)]
    fn zero(self) -> __m128i {
        op!(_mm_setzero_si128())
    }
    #[inline(always)]
    fn splat(self, word: u32) -> __m128i {
        op!(_mm_set1_epi32(word as i32))
    }
    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> __m128i {
        // SAFETY: the caller vouches for the words.
        unsafe { _mm_loadu_si128(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, v: __m128i, to: *mut i32) {
        // SAFETY: the caller vouches for the sums.
        unsafe { _mm_storeu_si128(to.cast(), v) }
    }
    #[inline(always)]
    fn dot(self, sum: __m128i, a: __m128i, b: __m128i) -> __m128i {
        op!(_mm_add_epi32(sum, _mm_madd_epi16(a, b)))
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> __m128i {
        // SAFETY: the caller vouches for 8 numbers.
        let numbers = unsafe { _mm_loadl_epi64(from.cast()) };
        op!(_mm_cvtepi8_epi16(numbers))
    }
    #[inline(always)]
    fn dot_pairs(self, sum: __m128i, a: __m128i, b: __m128i) -> __m128i {
        self.dot(sum, a, b)
    }
    #[inline(always)]
    fn sum(self, v: __m128i) -> i32 {
        op!({
            let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
            _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b10_11_00_01>(v)))
        })
    }
}

impl Dots for Avx2 {
    const LANES: usize = 8;
    const STEP: usize = 2;
    const OFFSET: i32 = 0;
    type I = __m256i;

    #[inline(always)]
    fn zero(self) -> __m256i {
        op!(_mm256_setzero_si256())
    }
    #[inline(always)]
    fn splat(self, word: u32) -> __m256i {
        op!(_mm256_set1_epi32(word as i32))
    }
    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> __m256i {
        // SAFETY: the caller vouches for the words.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, v: __m256i, to: *mut i32) {
        // SAFETY: the caller vouches for the sums.
        unsafe { _mm256_storeu_si256(to.cast(), v) }
    }
    #[inline(always)]
    fn dot(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi32(sum, _mm256_madd_epi16(a, b)))
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const i8) -> __m256i {
        // SAFETY: the caller vouches for 16 numbers.
        let numbers = unsafe { _mm_loadu_si128(from.cast()) };
        op!(_mm256_cvtepi8_epi16(numbers))
    }
    #[inline(always)]
    fn dot_pairs(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        self.dot(sum, a, b)
    }
    #[inline(always)]
    fn sum(self, v: __m256i) -> i32 {
        op!({
            let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
            _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b10_11_00_01>(v)))
        })
    }
}

/// The two levels of AVX-512, which differ in their products.
macro_rules! wide {
    ($level:ty, $step:literal, $offset:literal, $dot:expr, $pairs:expr) => {
        impl Dots for $level {
            const LANES: usize = 16;
            const STEP: usize = $step;
            const OFFSET: i32 = $offset;
            type I = __m512i;

            #[inline(always)]
            fn zero(self) -> __m512i {
                op!(_mm512_setzero_si512())
            }
            #[inline(always)]
            fn splat(self, word: u32) -> __m512i {
                op!(_mm512_set1_epi32(word as i32))
            }
            #[inline(always)]
            unsafe fn load(self, from: *const u32) -> __m512i {
                // SAFETY: the caller vouches for the words.
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn store(self, v: __m512i, to: *mut i32) {
                // SAFETY: the caller vouches for the sums.
                unsafe { _mm512_storeu_si512(to.cast(), v) }
            }
            #[inline(always)]
            fn dot(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
                op!($dot(sum, a, b))
            }
            #[inline(always)]
            unsafe fn load_pairs(self, from: *const i8) -> __m512i {
                // SAFETY: the caller vouches for 32 numbers.
                let numbers = unsafe { _mm256_loadu_si256(from.cast()) };
                op!(_mm512_cvtepi8_epi16(numbers))
            }
            #[inline(always)]
            fn dot_pairs(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
                op!($pairs(sum, a, b))
            }
            #[inline(always)]
            fn sum(self, v: __m512i) -> i32 {
                op!(_mm512_reduce_add_epi32(v))
            }
        }
    };
}

/// `sum + Σ a·b` over words of two numbers.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn two(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
}

wide!(Avx512, 2, 0, two, two);
wide!(Vnni, 4, 128, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32);
