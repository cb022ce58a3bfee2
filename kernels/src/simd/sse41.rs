//! SSE4.1: 4 lanes in 16 registers, for machines before AVX2. Multiply-add is not fused.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::simd::{Kernel, Simd};

    /// Proof that this machine runs SSE4.1.
    #[derive(Clone, Copy, Debug)]
    pub struct Sse41(());

    impl Sse41 {
        /// The token, when the CPU supports the level. Every operating system for x86-64 saves its registers.
        #[inline]
        pub fn detect() -> Option<Self> {
            is_x86_feature_detected!("sse4.1").then_some(Self(()))
        }

        /// Runs `kernel` compiled with this level's instructions.
        #[inline]
        pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "sse4.1")]
            fn compiled<K: Kernel>(level: Sse41, kernel: K) -> K::Output {
                kernel.run(level)
            }
            // SAFETY: the token exists only where detection found the feature.
            unsafe { compiled(self, kernel) }
        }
    }

    /// One intrinsic that needs nothing but the level's features.
    macro_rules! op {
        ($($call:tt)*) => {{
            // What is part of x86-64 itself is safe to call.
            #[allow(unused_unsafe)]
            // SAFETY: the token exists only where detection found the feature; no memory is touched.
            unsafe { $($call)* }
        }};
    }

    impl Simd for Sse41 {
        const LANES: usize = 4;
        const FUSED: bool = false;
        const REGISTERS: usize = 16;
        type F = __m128;
        type M = __m128;

        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm_add_ps(a, b))
        }
        #[inline(always)]
        fn sub(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm_sub_ps(a, b))
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm_mul_ps(a, b))
        }
        #[inline(always)]
        fn div(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm_div_ps(a, b))
        }
        #[inline(always)]
        fn max(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm_max_ps(a, b))
        }
        #[inline(always)]
        fn min(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm_min_ps(a, b))
        }
        #[inline(always)]
        fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            op!(_mm_add_ps(_mm_mul_ps(a, b), c))
        }
        #[inline(always)]
        fn sqrt(self, a: Self::F) -> Self::F {
            op!(_mm_sqrt_ps(a))
        }
        #[inline(always)]
        fn widen_pair(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let upper = _mm_castsi128_ps(_mm_set1_epi32(!0xFFFF));
                (_mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_castps_si128(a))), _mm_and_ps(a, upper))
            })
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            op!(_mm_set1_ps(x))
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> Self::F {
            let from = &from[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { _mm_loadu_ps(from.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, v: Self::F, to: &mut [f32]) {
            let to = &mut to[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { _mm_storeu_ps(to.as_mut_ptr(), v) }
        }
        #[inline(always)]
        unsafe fn load_ptr(self, from: *const f32) -> Self::F {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { _mm_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { _mm_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn stream_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers and for their alignment.
            unsafe { _mm_stream_ps(to, v) }
        }
        #[inline(always)]
        fn abs(self, a: Self::F) -> Self::F {
            op!(_mm_andnot_ps(_mm_set1_ps(-0.0), a))
        }
        #[inline(always)]
        fn round(self, a: Self::F) -> Self::F {
            op!(_mm_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
        }
        #[inline(always)]
        fn exp2_integral(self, a: Self::F) -> Self::F {
            op!({
                let biased = _mm_add_epi32(_mm_cvtps_epi32(a), _mm_set1_epi32(127));
                _mm_castsi128_ps(_mm_slli_epi32::<23>(biased))
            })
        }
        #[inline(always)]
        fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let bits = _mm_castps_si128(a);
                let kept = _mm_and_si128(bits, _mm_set1_epi32(0x807f_ffff_u32 as i32));
                let mantissa = _mm_castsi128_ps(_mm_or_si128(kept, _mm_set1_epi32(0x3f00_0000)));
                let biased = _mm_and_si128(_mm_srli_epi32::<23>(bits), _mm_set1_epi32(0xff));
                (mantissa, _mm_cvtepi32_ps(_mm_sub_epi32(biased, _mm_set1_epi32(126))))
            })
        }
        #[inline(always)]
        fn less(self, a: Self::F, b: Self::F) -> Self::M {
            op!(_mm_cmplt_ps(a, b))
        }
        #[inline(always)]
        fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F {
            op!(_mm_blendv_ps(no, yes, mask))
        }
        #[inline(always)]
        fn sum(self, a: Self::F) -> f32 {
            op!({
                let x = _mm_add_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
            })
        }
        #[inline(always)]
        fn max_lane(self, a: Self::F) -> f32 {
            op!({
                let x = _mm_max_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
            })
        }
        #[inline(always)]
        fn transpose(self, block: &mut [Self::F]) {
            let [a, b, c, d] = block else { panic!("a block has as many vectors as lanes") };
            op!({
                let (ab, ab_high) = (_mm_unpacklo_ps(*a, *b), _mm_unpackhi_ps(*a, *b));
                let (cd, cd_high) = (_mm_unpacklo_ps(*c, *d), _mm_unpackhi_ps(*c, *d));
                *a = _mm_movelh_ps(ab, cd);
                *b = _mm_movehl_ps(cd, ab);
                *c = _mm_movelh_ps(ab_high, cd_high);
                *d = _mm_movehl_ps(cd_high, ab_high);
            });
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Sse41;

#[cfg(not(target_arch = "x86_64"))]
super::absent_level!(Sse41);
