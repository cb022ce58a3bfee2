//! Vectors as plain arrays: the scalar level (4 lanes), and AVX-512's width for tests (16 lanes).

use super::Simd;

/// `N` lanes in portable Rust. Multiply-add is not fused.
#[derive(Clone, Copy, Debug)]
pub struct Portable<const N: usize>;

#[inline(always)]
fn zip<const N: usize>(a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl<const N: usize> Portable<N> {
    /// Folds halves together: lane `i` with lane `i + N/2`, then quarters, the order the wide levels use.
    #[inline(always)]
    fn fold(mut a: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut half = N / 2;
        while half > 0 {
            for i in 0..half {
                a[i] = f(a[i], a[i + half]);
            }
            half /= 2;
        }
        a[0]
    }
}

impl<const N: usize> Simd for Portable<N> {
    const LANES: usize = N;
    const REGISTERS: usize = 16;
    type F = [f32; N];
    type M = [bool; N];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; N]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        std::array::from_fn(|i| from[..N][i])
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::F {
        std::array::from_fn(|i| from.get(i).copied().unwrap_or(0.0))
    }
    #[inline(always)]
    fn store(self, v: Self::F, to: &mut [f32]) {
        to[..N].copy_from_slice(&v);
    }
    #[inline(always)]
    fn store_partial(self, v: Self::F, to: &mut [f32]) {
        let n = to.len().min(N);
        to[..n].copy_from_slice(&v[..n]);
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F {
        // SAFETY: the caller vouches for N numbers; an array of f32 has the alignment of f32.
        unsafe { from.cast::<[f32; N]>().read() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
        // SAFETY: the caller vouches for N numbers; an array of f32 has the alignment of f32.
        unsafe { to.cast::<[f32; N]>().write(v) }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn exp2_integral(self, a: Self::F) -> Self::F {
        a.map(|a| f32::from_bits(((a as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
        let mantissa = a.map(|a| f32::from_bits(a.to_bits() & 0x807f_ffff | 0x3f00_0000));
        (mantissa, a.map(|a| ((a.to_bits() >> 23) & 0xff) as f32 - 126.0))
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        std::array::from_fn(|i| a[i] < b[i])
    }
    #[inline(always)]
    fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F {
        std::array::from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        Self::fold(a, |a, b| a + b)
    }
    #[inline(always)]
    fn max_lane(self, a: Self::F) -> f32 {
        Self::fold(a, |a, b| if a > b { a } else { b })
    }
}
