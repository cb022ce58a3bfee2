//! Two vectors of a level as one of twice the lanes: operations of the second run while those of the first wait for each
//! other. Two of AVX2 have the lanes of AVX-512 and compute the same bits, so what is written for 16 lanes is tested on
//! machines without AVX-512 (`UPBEAT_ISA=emulated512`).

use super::Simd;
#[cfg(feature = "emulated512")]
use super::{Avx2, Kernel};

/// A level with twice the lanes of `S`.
#[derive(Clone, Copy, Debug)]
pub struct Double<S>(S);

impl<S: Simd> Double<S> {
    /// Pairs of a level's vectors: twice as many operations that do not wait for each other.
    #[inline(always)]
    pub(crate) fn of(simd: S) -> Self {
        Self(simd)
    }
}

#[cfg(feature = "emulated512")]
impl Double<Avx2> {
    /// AVX-512's lanes, where the machine runs AVX2.
    pub fn detect() -> Option<Self> {
        Avx2::detect().map(Self)
    }

    /// Runs `kernel` compiled with AVX2's instructions.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        self.0.run(Doubled(kernel))
    }
}

#[cfg(feature = "emulated512")]
impl<S: Copy> Double<S> {
    /// The level whose vectors are doubled.
    #[inline(always)]
    pub(super) fn half(self) -> S {
        self.0
    }
}

/// A kernel that is given twice the lanes.
#[cfg(feature = "emulated512")]
struct Doubled<K>(K);

#[cfg(feature = "emulated512")]
impl<K: Kernel> Kernel for Doubled<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> K::Output {
        self.0.run(Double(simd))
    }
}

/// `from` cut behind the lower half's lanes, or all of it and nothing.
#[inline(always)]
fn halves<S: Simd>(from: &[f32]) -> (&[f32], &[f32]) {
    from.split_at(from.len().min(S::LANES))
}

impl<S: Simd> Simd for Double<S> {
    const LANES: usize = 2 * S::LANES;
    const FUSED: bool = S::FUSED;
    // What AVX-512 has, so that kernels take its register tiles.
    const REGISTERS: usize = 32;
    type F = [S::F; 2];
    type M = [S::M; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [self.0.splat(x); 2]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        let (low, high) = halves::<S>(from);
        [self.0.load(low), self.0.load(high)]
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::F {
        let (low, high) = halves::<S>(from);
        [self.0.load_partial(low), self.0.load_partial(high)]
    }
    #[inline(always)]
    fn store(self, v: Self::F, to: &mut [f32]) {
        let (low, high) = to.split_at_mut(S::LANES);
        self.0.store(v[0], low);
        self.0.store(v[1], high);
    }
    #[inline(always)]
    fn store_partial(self, v: Self::F, to: &mut [f32]) {
        let (low, high) = to.split_at_mut(to.len().min(S::LANES));
        self.0.store_partial(v[0], low);
        self.0.store_partial(v[1], high);
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F {
        // SAFETY: the caller vouches for the lanes of both halves.
        let low = unsafe { self.0.load_ptr(from) };
        // SAFETY: as above.
        let high = unsafe { self.0.load_ptr(from.wrapping_add(S::LANES)) };
        [low, high]
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
        // SAFETY: the caller vouches for the lanes of both halves.
        unsafe { self.0.store_ptr(v[0], to) };
        // SAFETY: as above.
        unsafe { self.0.store_ptr(v[1], to.wrapping_add(S::LANES)) };
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, v: Self::F, to: *mut f32) {
        // SAFETY: the caller vouches for the lanes of both halves, and for an alignment of twice what each needs.
        unsafe { self.0.stream_ptr(v[0], to) };
        // SAFETY: as above.
        unsafe { self.0.stream_ptr(v[1], to.wrapping_add(S::LANES)) };
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.sub(a[0], b[0]), self.0.sub(a[1], b[1])]
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.mul(a[0], b[0]), self.0.mul(a[1], b[1])]
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.div(a[0], b[0]), self.0.div(a[1], b[1])]
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        [self.0.fma(a[0], b[0], c[0]), self.0.fma(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        [self.0.sqrt(a[0]), self.0.sqrt(a[1])]
    }
    #[inline(always)]
    fn widen_pair(self, a: Self::F) -> (Self::F, Self::F) {
        let (low, high) = (self.0.widen_pair(a[0]), self.0.widen_pair(a[1]));
        ([low.0, high.0], [low.1, high.1])
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.max(a[0], b[0]), self.0.max(a[1], b[1])]
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.min(a[0], b[0]), self.0.min(a[1], b[1])]
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        [self.0.abs(a[0]), self.0.abs(a[1])]
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        [self.0.round(a[0]), self.0.round(a[1])]
    }
    #[inline(always)]
    fn exp2_integral(self, a: Self::F) -> Self::F {
        [self.0.exp2_integral(a[0]), self.0.exp2_integral(a[1])]
    }
    #[inline(always)]
    fn exp2_or_zero(self, a: Self::F) -> Self::F {
        [self.0.exp2_or_zero(a[0]), self.0.exp2_or_zero(a[1])]
    }
    #[inline(always)]
    fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
        let (low, high) = (self.0.frexp(a[0]), self.0.frexp(a[1]));
        ([low.0, high.0], [low.1, high.1])
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        [self.0.less(a[0], b[0]), self.0.less(a[1], b[1])]
    }
    #[inline(always)]
    fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F {
        [self.0.select(mask[0], yes[0], no[0]), self.0.select(mask[1], yes[1], no[1])]
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        self.0.sum(self.0.add(a[0], a[1]))
    }
    #[inline(always)]
    fn max_lane(self, a: Self::F) -> f32 {
        self.0.max_lane(self.0.max(a[0], a[1]))
    }
}
