//! AVX2 with FMA: 8 lanes in 16 registers.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::simd::{Kernel, Simd};

    /// Proof that this machine runs AVX2 and FMA.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2(());

    impl Avx2 {
        /// The token, when the CPU and the operating system support the level.
        #[inline]
        pub fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
        }

        /// Runs `kernel` compiled with this level's instructions.
        #[inline]
        pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx2,fma")]
            fn compiled<K: Kernel>(level: Avx2, kernel: K) -> K::Output {
                kernel.run(level)
            }
            // SAFETY: the token exists only where detection found these features.
            unsafe { compiled(self, kernel) }
        }
    }

    /// One intrinsic that needs nothing but the level's features.
    macro_rules! op {
        ($($call:tt)*) => {
            // SAFETY: the token exists only where detection found these features; no memory is touched.
            unsafe { $($call)* }
        };
    }

    /// `MASKS[8 - n..]` is a mask whose first `n` lanes are set.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    fn first(n: usize) -> __m256i {
        let from = &MASKS[8 - n.min(8)..][..8];
        // SAFETY: the slice holds 8 numbers.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    impl Simd for Avx2 {
        const LANES: usize = 8;
        const REGISTERS: usize = 16;
        type F = __m256;
        type M = __m256;

        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm256_add_ps(a, b))
        }
        #[inline(always)]
        fn sub(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm256_sub_ps(a, b))
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm256_mul_ps(a, b))
        }
        #[inline(always)]
        fn div(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm256_div_ps(a, b))
        }
        #[inline(always)]
        fn max(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm256_max_ps(a, b))
        }
        #[inline(always)]
        fn min(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm256_min_ps(a, b))
        }
        #[inline(always)]
        fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            op!(_mm256_fmadd_ps(a, b, c))
        }
        #[inline(always)]
        fn sqrt(self, a: Self::F) -> Self::F {
            op!(_mm256_sqrt_ps(a))
        }
        #[inline(always)]
        fn widen_pair(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let upper = _mm256_castsi256_ps(_mm256_set1_epi32(!0xFFFF));
                (
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(a))),
                    _mm256_and_ps(a, upper),
                )
            })
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            op!(_mm256_set1_ps(x))
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> Self::F {
            let from = &from[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { _mm256_loadu_ps(from.as_ptr()) }
        }
        #[inline(always)]
        fn load_partial(self, from: &[f32]) -> Self::F {
            if from.len() >= Self::LANES {
                return self.load(from);
            }
            // SAFETY: a masked load touches only the lanes that the mask sets, and those are in the slice.
            unsafe { _mm256_maskload_ps(from.as_ptr(), first(from.len())) }
        }
        #[inline(always)]
        fn store(self, v: Self::F, to: &mut [f32]) {
            let to = &mut to[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
        }
        #[inline(always)]
        fn store_partial(self, v: Self::F, to: &mut [f32]) {
            // Masked stores are slow on some machines even when the mask is full.
            if to.len() >= Self::LANES {
                return self.store(v, to);
            }
            // SAFETY: a masked store touches only the lanes that the mask sets, and those are in the slice.
            unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), first(to.len()), v) }
        }
        #[inline(always)]
        unsafe fn load_ptr(self, from: *const f32) -> Self::F {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { _mm256_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn stream_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers and for their alignment.
            unsafe { _mm256_stream_ps(to, v) }
        }
        #[inline(always)]
        fn abs(self, a: Self::F) -> Self::F {
            op!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a))
        }
        #[inline(always)]
        fn round(self, a: Self::F) -> Self::F {
            op!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
        }
        #[inline(always)]
        fn exp2_integral(self, a: Self::F) -> Self::F {
            op!({
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            })
        }
        #[inline(always)]
        fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let bits = _mm256_castps_si256(a);
                let kept = _mm256_and_si256(bits, _mm256_set1_epi32(0x807f_ffff_u32 as i32));
                let mantissa = _mm256_castsi256_ps(_mm256_or_si256(kept, _mm256_set1_epi32(0x3f00_0000)));
                let biased = _mm256_and_si256(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(0xff));
                (mantissa, _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(126))))
            })
        }
        #[inline(always)]
        fn less(self, a: Self::F, b: Self::F) -> Self::M {
            op!(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b))
        }
        #[inline(always)]
        fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F {
            op!(_mm256_blendv_ps(no, yes, mask))
        }
        #[inline(always)]
        fn sum(self, a: Self::F) -> f32 {
            op!({
                let x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
            })
        }
        #[inline(always)]
        fn transpose(self, block: &mut [Self::F]) {
            let [a, b, c, d, e, f, g, h] = block else { panic!("a block has as many vectors as lanes") };
            op!({
                // Pairs of rows, then quadruples within 128-bit halves, then the halves.
                let (ab, ab_high) = (_mm256_unpacklo_ps(*a, *b), _mm256_unpackhi_ps(*a, *b));
                let (cd, cd_high) = (_mm256_unpacklo_ps(*c, *d), _mm256_unpackhi_ps(*c, *d));
                let (ef, ef_high) = (_mm256_unpacklo_ps(*e, *f), _mm256_unpackhi_ps(*e, *f));
                let (gh, gh_high) = (_mm256_unpacklo_ps(*g, *h), _mm256_unpackhi_ps(*g, *h));
                let upper = [
                    _mm256_shuffle_ps::<0x44>(ab, cd),
                    _mm256_shuffle_ps::<0xee>(ab, cd),
                    _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                    _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
                ];
                let lower = [
                    _mm256_shuffle_ps::<0x44>(ef, gh),
                    _mm256_shuffle_ps::<0xee>(ef, gh),
                    _mm256_shuffle_ps::<0x44>(ef_high, gh_high),
                    _mm256_shuffle_ps::<0xee>(ef_high, gh_high),
                ];
                *a = _mm256_permute2f128_ps::<0x20>(upper[0], lower[0]);
                *b = _mm256_permute2f128_ps::<0x20>(upper[1], lower[1]);
                *c = _mm256_permute2f128_ps::<0x20>(upper[2], lower[2]);
                *d = _mm256_permute2f128_ps::<0x20>(upper[3], lower[3]);
                *e = _mm256_permute2f128_ps::<0x31>(upper[0], lower[0]);
                *f = _mm256_permute2f128_ps::<0x31>(upper[1], lower[1]);
                *g = _mm256_permute2f128_ps::<0x31>(upper[2], lower[2]);
                *h = _mm256_permute2f128_ps::<0x31>(upper[3], lower[3]);
            });
        }
        #[inline(always)]
        unsafe fn load_transposed(self, from: *const f32, stride: usize, rows: usize, block: &mut [Self::F]) {
            assert!((1..=8).contains(&rows), "a block has at least a row and at most a lane for each");
            let [a, b, c, d, e, f, g, h] = block else { panic!("a block has as many vectors as lanes") };
            // Rows `i` and `i + 4` side by side: halves are then in their place, and loads are cheaper than shuffles.
            let pair = |i: usize, column: usize| {
                let row = |i: usize| from.wrapping_add(i.min(rows - 1) * stride + column);
                // SAFETY: the caller vouches for 8 numbers of this row.
                let low = unsafe { _mm_loadu_ps(row(i)) };
                // SAFETY: as above.
                let high = unsafe { _mm_loadu_ps(row(i + 4)) };
                op!(_mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high))
            };
            op!({
                let rows = [pair(0, 0), pair(1, 0), pair(2, 0), pair(3, 0)];
                let (ab, ab_high) =
                    (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
                let (cd, cd_high) =
                    (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
                *a = _mm256_shuffle_ps::<0x44>(ab, cd);
                *b = _mm256_shuffle_ps::<0xee>(ab, cd);
                *c = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
                *d = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
                let rows = [pair(0, 4), pair(1, 4), pair(2, 4), pair(3, 4)];
                let (ab, ab_high) =
                    (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
                let (cd, cd_high) =
                    (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
                *e = _mm256_shuffle_ps::<0x44>(ab, cd);
                *f = _mm256_shuffle_ps::<0xee>(ab, cd);
                *g = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
                *h = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
            });
        }
        #[inline(always)]
        fn max_lane(self, a: Self::F) -> f32 {
            op!({
                let x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
            })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Avx2;

#[cfg(not(target_arch = "x86_64"))]
super::absent_level!(Avx2);
