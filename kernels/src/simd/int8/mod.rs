//! Vectors of small integers: sums of products of 8-bit numbers in 32 bits, exact at every level.
//!
//! Numbers travel in words of 32 bits: two of 16 bits, or four of 8 bits where the level multiplies those ([`Dots::STEP`]).
//! One word is one column's (or row's) next numbers along `k`, so a panel of words has the layout of a panel of `f32`, and
//! `tile` is the GEMM micro-kernel over them. `rows` multiplies a few rows with numbers as they are stored. Scales and
//! the order of the `f32` arithmetic are `gemm`'s business.
//!
//! No instruction here saturates. Products of two numbers of 8 bits are at most 2¹⁴, two of them at most 2¹⁵, which 32 bits
//! hold; sums wrap, and are right whenever the true sum fits (`gemm` checks that).

#[cfg(all(target_arch = "x86_64", feature = "emulated512"))]
mod emulated;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod rows;
mod scalar;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::Scalar;
use crate::isa::Isa;

/// Code over integer vectors, compiled once a level.
pub trait DotKernel {
    /// What it returns.
    type Output;
    /// The code; mark the implementation `#[inline(always)]`.
    fn run<D: Dots>(self, dots: D) -> Self::Output;
}

/// A level's sums of products: `LANES` of 32 bits.
pub trait Dots: Copy + Send + Sync + 'static {
    /// Sums in a vector, as many as the level has lanes of `f32`.
    const LANES: usize;
    /// Numbers along `k` in a word of a panel.
    const STEP: usize;
    /// What is added to each number of A in a panel, as some instructions want it unsigned: `OFFSET·Σb` is to be subtracted
    /// from a sum.
    const OFFSET: i32;
    /// A vector.
    type I: Copy;

    /// All lanes 0.
    fn zero(self) -> Self::I;
    /// All lanes `word`.
    fn splat(self, word: u32) -> Self::I;
    /// Reads `LANES` words.
    ///
    /// # Safety
    /// `from` must be valid for reading `LANES` words; it need not be aligned.
    unsafe fn load(self, from: *const u32) -> Self::I;
    /// Writes `LANES` sums.
    ///
    /// # Safety
    /// `to` must be valid for writing `LANES` sums; it need not be aligned.
    unsafe fn store(self, v: Self::I, to: *mut i32);
    /// `sum + Σ a·b` over the `STEP` numbers of each word of a panel.
    fn dot(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Reads `2·LANES` numbers of 8 bits, widened to 16.
    ///
    /// # Safety
    /// `from` must be valid for reading them.
    unsafe fn load_pairs(self, from: *const i8) -> Self::I;
    /// `sum + Σ a·b` over words of two numbers of 16 bits that were numbers of 8.
    fn dot_pairs(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Sum of the lanes.
    fn sum(self, v: Self::I) -> i32;
}

/// The word of a panel of B that holds `numbers`, at most `STEP` of them; what is missing is 0.
pub(crate) fn word(numbers: &[i8], step: usize) -> u32 {
    let bits = 32 / step;
    let mask = u32::MAX >> (32 - bits);
    numbers.iter().enumerate().fold(0, |word, (i, &x)| word | ((i32::from(x) as u32 & mask) << (i * bits)))
}

/// Runs `kernel` with the integer vectors of the active level.
pub fn dispatch<K: DotKernel>(kernel: K) -> K::Output {
    match Isa::active() {
        Isa::Scalar => kernel.run(Scalar),
        #[cfg(target_arch = "x86_64")]
        isa => x86::run(isa, kernel),
        #[cfg(target_arch = "aarch64")]
        isa => neon::run(isa, kernel),
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        isa => unreachable!("{isa:?} is not supported by this machine"),
    }
}

/// `STEP` and `OFFSET` of the active level.
pub(crate) struct Layout;

impl DotKernel for Layout {
    type Output = (usize, i32);
    #[inline(always)]
    fn run<D: Dots>(self, _dots: D) -> (usize, i32) {
        (D::STEP, D::OFFSET)
    }
}
