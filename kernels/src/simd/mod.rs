//! Vectors of `f32`, one type a level, behind one trait: an algorithm is written once, generic over [`Simd`].
//!
//! A level is a token that only its check can create ([`Avx2::detect`]), so holding one proves that its instructions
//! may run. Code that uses vectors is a [`Kernel`]; the token's `run` compiles it with the level's instructions
//! enabled, which works only when everything in it is `#[inline(always)]`.

/// The type of a level that this architecture lacks, or that is not compiled in.
#[allow(unused_macros, unused_imports)]
macro_rules! absent_level {
    ($level:ident) => {
        /// A level that is absent here; no value of it exists.
        #[derive(Clone, Copy, Debug)]
        pub enum $level {}

        impl $level {
            /// Always `None` here.
            pub fn detect() -> Option<Self> {
                None
            }

            /// Cannot be called here: there is no value.
            pub fn run<K: crate::simd::Kernel>(self, _kernel: K) -> K::Output {
                match self {}
            }
        }
    };
}
use absent_level;

mod avx2;
mod avx512;
mod double;
pub(crate) mod each;
pub mod int8;
pub mod micro;
mod neon;
pub mod pack;
pub mod pairs;
mod scalar;
pub mod skinny;
pub(crate) mod skinny_bf16;
mod sse41;
pub(crate) mod stream;
pub(crate) mod tile;
pub(crate) mod transpose;
pub(crate) mod window;

pub use avx2::Avx2;
pub use avx512::Avx512;
pub use double::Double;
/// AVX-512's lanes as pairs of AVX2's, with the feature `emulated512`.
#[cfg(feature = "emulated512")]
pub type Emulated512 = Double<Avx2>;
#[cfg(not(feature = "emulated512"))]
absent_level!(Emulated512);

pub use neon::Neon;
pub use scalar::Scalar;
pub use sse41::Sse41;

/// Numbers of 4 bytes in a cache line.
pub(crate) const LINE: usize = 16;
/// The most lanes that a level has.
pub(crate) const MOST_LANES: usize = 16;

/// Code over vectors, compiled once a level.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// The code; mark the implementation `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// A level's vector operations on `LANES` numbers of type `f32`. Comparisons with NaN are false.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Numbers in a vector.
    const LANES: usize;
    /// Whether [`fma`](Self::fma) rounds once.
    const FUSED: bool = true;
    /// Vector registers that the level has.
    const REGISTERS: usize;
    /// A vector.
    type F: Copy;
    /// One bit a lane.
    type M: Copy;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// The first `LANES` of `from`; panics when it is shorter.
    fn load(self, from: &[f32]) -> Self::F;
    /// The first `LANES` of `from` or fewer, other lanes 0. Never reads past the slice.
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::F {
        if from.len() >= Self::LANES {
            return self.load(from);
        }
        let mut lanes = [0.0; MOST_LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }
    /// Stores all lanes; panics when `to` is shorter.
    fn store(self, v: Self::F, to: &mut [f32]);
    /// Stores as many lanes as `to` holds. Never writes past the slice.
    #[inline(always)]
    fn store_partial(self, v: Self::F, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(v, to);
        }
        let mut lanes = [0.0; MOST_LANES];
        self.store(v, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
    /// Reads `LANES` numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading `LANES` numbers.
    unsafe fn load_ptr(self, from: *const f32) -> Self::F;
    /// Writes `LANES` numbers.
    ///
    /// # Safety
    /// `to` must be valid for writing `LANES` numbers.
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32);
    /// Writes `LANES` numbers past the caches, where the level can.
    ///
    /// # Safety
    /// `to` must be valid for writing `LANES` numbers and a multiple of their size.
    #[inline(always)]
    unsafe fn stream_ptr(self, v: Self::F, to: *mut f32) {
        // SAFETY: the caller vouches for LANES numbers.
        unsafe { self.store_ptr(v, to) }
    }

    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`; fused where [`FUSED`](Self::FUSED) says so: on every level but the scalar one and SSE4.1.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `√a`
    fn sqrt(self, a: Self::F) -> Self::F;
    /// The numbers of type bf16 in the lower and in the upper 16 bits of each lane. A signalling NaN may stay one.
    fn widen_pair(self, a: Self::F) -> (Self::F, Self::F);
    /// The larger; `b` when either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` when either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `|a|`
    fn abs(self, a: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^a` for integral `a` in `-126..=127`.
    fn exp2_integral(self, a: Self::F) -> Self::F;
    /// The same for integral `a` in `-127..=127`, where `-127` gives 0.
    #[inline(always)]
    fn exp2_or_zero(self, a: Self::F) -> Self::F {
        // By integers, whose biased exponent is then 0. A level that scales has its own.
        self.exp2_integral(a)
    }
    /// `(m, e)` with `a = m·2^e`, `m` in `[0.5, 1)`, for normal positive `a`.
    fn frexp(self, a: Self::F) -> (Self::F, Self::F);
    /// `a < b`
    fn less(self, a: Self::F, b: Self::F) -> Self::M;
    /// `yes` where the mask is set, else `no`.
    fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F;
    /// Sum of the lanes, in a fixed tree.
    fn sum(self, a: Self::F) -> f32;
    /// Largest lane; unspecified when a lane is NaN.
    fn max_lane(self, a: Self::F) -> f32;
    /// Transposes a block of `LANES` vectors: lane `j` of vector `i` becomes lane `i` of vector `j`. Panics when
    /// `block` does not hold `LANES` vectors.
    #[inline(always)]
    fn transpose(self, block: &mut [Self::F]) {
        assert_eq!(block.len(), Self::LANES, "a block has as many vectors as lanes");
        transpose::through_memory(self, block);
    }
    /// Reads `LANES` numbers of each of `rows` rows that lie `stride` apart, transposed: lane `i` of vector `j` is number
    /// `j` of row `i`; lanes behind the last row repeat it. Panics when `block` does not hold `LANES` vectors, or when
    /// `rows` is not in `1..=LANES`.
    ///
    /// # Safety
    /// `from + i * stride` must be valid for reading `LANES` numbers for each `i < rows`.
    #[inline(always)]
    unsafe fn load_transposed(self, from: *const f32, stride: usize, rows: usize, block: &mut [Self::F]) {
        assert!((1..=Self::LANES).contains(&rows), "a block has at least a row and at most a lane for each");
        for (i, line) in block.iter_mut().enumerate() {
            // SAFETY: the caller vouches for this row.
            *line = unsafe { self.load_ptr(from.wrapping_add(i.min(rows - 1) * stride)) };
        }
        self.transpose(block);
    }
}

/// Asks for the cache line at `at`, which need not be mapped. Nothing happens where the hint does not exist.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: a prefetch faults at no address, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// [`prefetch`] for each line of `len` numbers from `at`, which is at the start of one or not.
#[inline(always)]
pub(crate) fn prefetch_lines(at: *const f32, len: usize) {
    for from in (0..len).step_by(LINE) {
        prefetch(at.wrapping_add(from));
    }
}

/// [`prefetch`] into the second-level cache, for what is read later than the first one would keep it.
#[inline(always)]
pub(crate) fn prefetch_later<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T1};
        // SAFETY: a prefetch faults at no address, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
