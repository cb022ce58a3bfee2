//! NEON of AArch64: 4 lanes in 32 registers, multiply-add fused. The tests run it under emulation (`.ci/neon`).

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::*;

    use crate::simd::{Kernel, Simd};

    /// Proof that this machine runs NEON.
    #[derive(Clone, Copy, Debug)]
    pub struct Neon(());

    impl Neon {
        /// The token, when the CPU supports the level: a few AArch64 cores for embedded use do not.
        #[inline]
        pub fn detect() -> Option<Self> {
            std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
        }

        /// Runs `kernel` compiled with this level's instructions.
        #[inline]
        pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "neon")]
            fn compiled<K: Kernel>(level: Neon, kernel: K) -> K::Output {
                kernel.run(level)
            }
            // SAFETY: the token exists only where detection found the feature.
            unsafe { compiled(self, kernel) }
        }
    }

    /// One intrinsic that needs nothing but the level's features.
    macro_rules! op {
        ($($call:tt)*) => {{
            // What needs no more than the target's own features is safe to call.
            #[allow(unused_unsafe)]
            // SAFETY: the token exists only where detection found the feature; no memory is touched.
            unsafe { $($call)* }
        }};
    }

    impl Simd for Neon {
        const LANES: usize = 4;
        const REGISTERS: usize = 32;
        type F = float32x4_t;
        type M = uint32x4_t;

        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            op!(vaddq_f32(a, b))
        }
        #[inline(always)]
        fn sub(self, a: Self::F, b: Self::F) -> Self::F {
            op!(vsubq_f32(a, b))
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            op!(vmulq_f32(a, b))
        }
        #[inline(always)]
        fn div(self, a: Self::F, b: Self::F) -> Self::F {
            op!(vdivq_f32(a, b))
        }
        #[inline(always)]
        fn max(self, a: Self::F, b: Self::F) -> Self::F {
            // `vmaxq_f32` is NaN when either is; ours is `b` then.
            op!(vbslq_f32(vcgtq_f32(a, b), a, b))
        }
        #[inline(always)]
        fn min(self, a: Self::F, b: Self::F) -> Self::F {
            op!(vbslq_f32(vcltq_f32(a, b), a, b))
        }
        #[inline(always)]
        fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            op!(vfmaq_f32(c, a, b))
        }
        #[inline(always)]
        fn sqrt(self, a: Self::F) -> Self::F {
            op!(vsqrtq_f32(a))
        }
        #[inline(always)]
        fn widen_pair(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let bits = vreinterpretq_u32_f32(a);
                let upper = vandq_u32(bits, vdupq_n_u32(!0xFFFF));
                (vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits)), vreinterpretq_f32_u32(upper))
            })
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            op!(vdupq_n_f32(x))
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> Self::F {
            let from = &from[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { vld1q_f32(from.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, v: Self::F, to: &mut [f32]) {
            let to = &mut to[..Self::LANES];
            // SAFETY: the slice holds LANES numbers.
            unsafe { vst1q_f32(to.as_mut_ptr(), v) }
        }
        #[inline(always)]
        unsafe fn load_ptr(self, from: *const f32) -> Self::F {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { vld1q_f32(from) }
        }
        #[inline(always)]
        unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
            // SAFETY: the caller vouches for LANES numbers.
            unsafe { vst1q_f32(to, v) }
        }
        #[inline(always)]
        fn abs(self, a: Self::F) -> Self::F {
            op!(vabsq_f32(a))
        }
        #[inline(always)]
        fn round(self, a: Self::F) -> Self::F {
            op!(vrndnq_f32(a))
        }
        #[inline(always)]
        fn exp2_integral(self, a: Self::F) -> Self::F {
            op!({
                let biased = vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
            })
        }
        #[inline(always)]
        fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
            op!({
                let bits = vreinterpretq_u32_f32(a);
                let kept = vandq_u32(bits, vdupq_n_u32(0x807f_ffff));
                let mantissa = vreinterpretq_f32_u32(vorrq_u32(kept, vdupq_n_u32(0x3f00_0000)));
                let biased = vandq_u32(vshrq_n_u32::<23>(bits), vdupq_n_u32(0xff));
                (mantissa, vsubq_f32(vcvtq_f32_u32(biased), vdupq_n_f32(126.0)))
            })
        }
        #[inline(always)]
        fn less(self, a: Self::F, b: Self::F) -> Self::M {
            op!(vcltq_f32(a, b))
        }
        #[inline(always)]
        fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F {
            op!(vbslq_f32(mask, yes, no))
        }
        #[inline(always)]
        fn sum(self, a: Self::F) -> f32 {
            op!({
                let halves = vadd_f32(vget_low_f32(a), vget_high_f32(a));
                vpadds_f32(halves)
            })
        }
        #[inline(always)]
        fn max_lane(self, a: Self::F) -> f32 {
            op!(vmaxvq_f32(a))
        }
        #[inline(always)]
        fn transpose(self, block: &mut [Self::F]) {
            let [a, b, c, d] = block else { panic!("a block has as many vectors as lanes") };
            op!({
                let (ab, ab_odd) = (vtrn1q_f32(*a, *b), vtrn2q_f32(*a, *b));
                let (cd, cd_odd) = (vtrn1q_f32(*c, *d), vtrn2q_f32(*c, *d));
                // Pairs of lanes move as one number of 64 bits.
                let low = |x, y| {
                    vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)))
                };
                let high = |x, y| {
                    vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)))
                };
                *a = low(ab, cd);
                *b = low(ab_odd, cd_odd);
                *c = high(ab, cd);
                *d = high(ab_odd, cd_odd);
            });
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use aarch64::Neon;

#[cfg(not(target_arch = "aarch64"))]
super::absent_level!(Neon);
