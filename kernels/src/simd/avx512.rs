//! AVX-512F: 16 lanes in 32 registers.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::simd::{Kernel, Simd};

    /// Proof that this machine runs AVX-512F, BW, DQ, VL, AVX2 and FMA.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx512(());

    impl Avx512 {
        /// The token, when the CPU and the operating system support the level.
        #[inline]
        pub fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma"))
            .then_some(Self(()))
        }

        /// Runs `kernel` compiled with this level's instructions.
        #[inline]
        pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn compiled<K: Kernel>(level: Avx512, kernel: K) -> K::Output {
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

    #[inline(always)]
    fn first(n: usize) -> __mmask16 {
        ((1u32 << n.min(16)) - 1) as __mmask16
    }

    /// Each 128-bit lane of the four vectors, a matrix of 4 by 4, transposed.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn turned_lanes([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        let (ab, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab, cd),
            _mm512_shuffle_ps::<0xee>(ab, cd),
            _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }

    impl Simd for Avx512 {
        const LANES: usize = 16;
        const REGISTERS: usize = 32;
        type F = __m512;
        type M = __mmask16;

        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm512_add_ps(a, b))
        }
        #[inline(always)]
        fn sub(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm512_sub_ps(a, b))
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm512_mul_ps(a, b))
        }
        #[inline(always)]
        fn div(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm512_div_ps(a, b))
        }
        #[inline(always)]
        fn max(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm512_max_ps(a, b))
        }
        #[inline(always)]
        fn min(self, a: Self::F, b: Self::F) -> Self::F {
            op!(_mm512_min_ps(a, b))
        }
        #[inline(always)]
        fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            op!(_mm512_fmadd_ps(a, b, c))
        }
        #[inline(always)]
        fn sqrt(self, a: Self::F) -> Self::F {
            op!(_mm512_sqrt_ps(a))
        }
        #[inline(always)]
        fn widen_pair(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let bits = _mm512_castps_si512(a);
                let upper = _mm512_and_si512(bits, _mm512_set1_epi32(!0xFFFF));
                (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(upper))
            })
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            op!(_mm512_set1_ps(x))
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> Self::F {
            let from = &from[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        }
        #[inline(always)]
        fn load_partial(self, from: &[f32]) -> Self::F {
            // SAFETY: a masked load touches only the lanes that the mask sets, and those are in the slice.
            unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, v: Self::F, to: &mut [f32]) {
            let to = &mut to[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
        }
        #[inline(always)]
        fn store_partial(self, v: Self::F, to: &mut [f32]) {
            // SAFETY: a masked store touches only the lanes that the mask sets, and those are in the slice.
            unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), v) }
        }
        #[inline(always)]
        unsafe fn load_ptr(self, from: *const f32) -> Self::F {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { _mm512_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn stream_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers and for their alignment.
            unsafe { _mm512_stream_ps(to, v) }
        }
        #[inline(always)]
        fn abs(self, a: Self::F) -> Self::F {
            op!(_mm512_abs_ps(a))
        }
        #[inline(always)]
        fn round(self, a: Self::F) -> Self::F {
            op!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
        }
        #[inline(always)]
        fn exp2_integral(self, a: Self::F) -> Self::F {
            op!(_mm512_scalef_ps(_mm512_set1_ps(1.0), a))
        }
        #[inline(always)]
        fn exp2_or_zero(self, a: Self::F) -> Self::F {
            op!({
                let biased = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
            })
        }
        #[inline(always)]
        fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let mantissa = _mm512_getmant_ps::<{ _MM_MANT_NORM_P5_1 }, { _MM_MANT_SIGN_SRC }>(a);
                (mantissa, _mm512_add_ps(_mm512_getexp_ps(a), _mm512_set1_ps(1.0)))
            })
        }
        #[inline(always)]
        fn less(self, a: Self::F, b: Self::F) -> Self::M {
            op!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
        }
        #[inline(always)]
        fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F {
            op!(_mm512_mask_blend_ps(mask, no, yes))
        }
        #[inline(always)]
        fn sum(self, a: Self::F) -> f32 {
            op!({
                let high = _mm512_castps_pd(a);
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(high));
                let x = _mm256_add_ps(_mm512_castps512_ps256(a), high);
                let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
            })
        }
        #[inline(always)]
        fn transpose(self, block: &mut [Self::F]) {
            let block: &mut [Self::F; 16] = block.try_into().expect("a block has as many vectors as lanes");
            op!({
                for rows in block.as_chunks_mut::<4>().0 {
                    *rows = turned_lanes(*rows);
                }
                // Lane `l` of vector `4g + j` now holds rows `4g..4g + 4` of column `4l + j`: lanes and groups change places.
                for j in 0..4 {
                    let [a, b, c, d] = [block[j], block[4 + j], block[8 + j], block[12 + j]];
                    let (ab, ab_high) =
                        (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                    let (cd, cd_high) =
                        (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                    block[j] = _mm512_shuffle_f32x4::<0x88>(ab, cd);
                    block[4 + j] = _mm512_shuffle_f32x4::<0xdd>(ab, cd);
                    block[8 + j] = _mm512_shuffle_f32x4::<0x88>(ab_high, cd_high);
                    block[12 + j] = _mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high);
                }
            });
        }
        #[inline(always)]
        unsafe fn load_transposed(self, from: *const f32, stride: usize, rows: usize, block: &mut [Self::F]) {
            assert!((1..=16).contains(&rows), "a block has at least a row and at most a lane for each");
            let block: &mut [Self::F; 16] = block.try_into().expect("a block has as many vectors as lanes");
            for (g, columns) in block.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                // Rows `i`, `i + 4`, `i + 8`, `i + 12` side by side: lanes are then in their place, and loads are cheaper than
                // shuffles.
                let four = |i: usize| {
                    let row = |i: usize| from.wrapping_add(i.min(rows - 1) * stride + 4 * g);
                    // SAFETY: the caller vouches for 16 numbers of this row.
                    let a = unsafe { _mm_loadu_ps(row(i)) };
                    // SAFETY: as above.
                    let b = unsafe { _mm_loadu_ps(row(i + 4)) };
                    // SAFETY: as above.
                    let c = unsafe { _mm_loadu_ps(row(i + 8)) };
                    // SAFETY: as above.
                    let d = unsafe { _mm_loadu_ps(row(i + 12)) };
                    op!({
                        let v = _mm512_insertf32x4::<1>(_mm512_castps128_ps512(a), b);
                        _mm512_insertf32x4::<3>(_mm512_insertf32x4::<2>(v, c), d)
                    })
                };
                *columns = op!(turned_lanes([four(0), four(1), four(2), four(3)]));
            }
        }
        #[inline(always)]
        fn max_lane(self, a: Self::F) -> f32 {
            op!({
                let high = _mm512_castps_pd(a);
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(high));
                let x = _mm256_max_ps(_mm512_castps512_ps256(a), high);
                let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
            })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Avx512;

#[cfg(not(target_arch = "x86_64"))]
super::absent_level!(Avx512);
