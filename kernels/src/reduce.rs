//! Reductions of a slice, or of each row of a matrix, to one number: sums, means, extremes, norms, the logarithm of a
//! sum of exponentials, dot products.
//!
//! The tree is fixed by the length alone: 1,024 elements are folded into the lanes of four vectors and their sum is added
//! in f64 to that of the 32,768 elements of a block; blocks are joined in halves. So the bits are the same for any number of
//! workers, and those of a row are the ones of the same slice alone. Between instruction sets they differ by rounding.
//!
//! A sum, a mean, a dot product or a 1-norm is off by at most `2⁻²⁴·(1024/(4·lanes) + 8)` of the sum of magnitudes; sums
//! of 1,024 elements beyond `f32::MAX` overflow. A 2-norm is computed in f64. NaN anywhere gives NaN, extremes and
//! `argmax` included (the first NaN's place). Nothing at all has the sum 0, the mean NaN, the largest element `-∞`, the
//! smallest `∞`.
//!
//! ```
//! use upbeat_kernels::reduce;
//!
//! let x = [3.0, -4.0, 1.0, 2.0];
//! assert_eq!((reduce::sum(&x), reduce::mean(&x), reduce::max(&x)), (2.0, 0.5, 3.0));
//! assert_eq!((reduce::norm_2(&x[..2]), reduce::argmax(&x)), (5.0, Some(0)));
//! let mut sums = [0.0; 2];
//! reduce::rows::sum(&x, 2, &mut sums)?;
//! assert_eq!(sums, [-1.0, 3.0]);
//! # Ok::<(), upbeat_kernels::ShapeError>(())
//! ```

pub mod rows;

use crate::blocks::ELEMENTS;
use crate::contract;
use crate::elementwise::sum_of_squares;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::lanes::{fold, Dot, Fold, Sum};
use crate::simd::{Kernel, Simd};
use crate::softmax::SumOfExp;

/// Elements that are summed in f32.
const PIECE: usize = 1024;

/// `Σ |x|`
#[derive(Clone, Copy)]
struct Magnitudes;

impl Fold<1> for Magnitudes {
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        simd.add(sum, simd.abs(x))
    }
}

/// The largest, NaN once there was one. The smallest is the largest of `-x`.
#[derive(Clone, Copy)]
struct Extreme {
    /// What elements are multiplied by: 1 or -1.
    sign: f32,
    /// Whether only magnitudes count.
    magnitudes: bool,
}

impl Fold<1> for Extreme {
    fn padding(self) -> [f32; 1] {
        // Of no weight: a magnitude of 0, an infinity of the sign that loses.
        [if self.magnitudes { 0.0 } else { -self.sign * f32::INFINITY }]
    }
    fn start(self) -> f32 {
        if self.magnitudes {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        let x = if self.magnitudes { simd.abs(x) } else { simd.mul(x, simd.splat(self.sign)) };
        self.join(simd, sum, x)
    }
    #[inline(always)]
    fn join<S: Simd>(self, simd: S, a: S::F, b: S::F) -> S::F {
        // The maximum is its second operand when either is NaN, so only a NaN in the first one needs care.
        let finite = simd.min(simd.splat(f32::MAX), simd.abs(a));
        simd.select(simd.less(finite, simd.splat(f32::INFINITY)), simd.max(a, b), a)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    LogSumExp,
    Norm1,
    NormMax,
}

/// What a part of the elements comes to: a sum or an extreme, and for [`Reduction::LogSumExp`] a sum of exponentials
/// with what was subtracted from the exponents.
#[derive(Clone, Copy, Debug)]
struct Part {
    value: f64,
    shift: f64,
}

impl Reduction {
    /// What no elements come to.
    fn nothing(self) -> Part {
        let value = match self {
            Reduction::Max => f64::NEG_INFINITY,
            Reduction::Min => f64::INFINITY,
            _ => 0.0,
        };
        Part { value, shift: 0.0 }
    }

    /// What elements come to, in one piece of code for a block.
    #[inline(always)]
    fn part<S: Simd>(self, simd: S, x: &[f32]) -> Part {
        let plain = |value: f64| Part { value, shift: 0.0 };
        match self {
            Reduction::Sum | Reduction::Mean => plain(pieces(simd, [x], Sum)),
            Reduction::Norm1 => plain(pieces(simd, [x], Magnitudes)),
            Reduction::Max => plain(extreme(simd, x, 1.0, false)),
            Reduction::Min => plain(-extreme(simd, x, -1.0, false)),
            Reduction::NormMax => plain(extreme(simd, x, 1.0, true)),
            Reduction::LogSumExp => {
                let largest = extreme(simd, x, 1.0, false);
                if largest.is_finite() {
                    Part { value: pieces(simd, [x], SumOfExp(largest as f32)), shift: largest }
                } else {
                    let value = if largest == f64::NEG_INFINITY { 0.0 } else { 1.0 };
                    Part { value, shift: if value == 0.0 { 0.0 } else { largest } }
                }
            }
        }
    }

    /// What two parts come to.
    fn join(self, a: Part, b: Part) -> Part {
        // An extreme is the first operand unless the second is beyond it or NaN.
        let pick = |second: bool| if second { b } else { a };
        match self {
            Reduction::Max | Reduction::NormMax => pick(b.value > a.value || b.value.is_nan()),
            Reduction::Min => pick(b.value < a.value || b.value.is_nan()),
            Reduction::LogSumExp if a.value == 0.0 => b,
            Reduction::LogSumExp if b.value == 0.0 => a,
            Reduction::LogSumExp => {
                // A NaN is in the shift, and `max` would drop it.
                let shift = if a.shift.is_nan() { a.shift } else { b.shift.max(a.shift) };
                let shift = if b.shift.is_nan() { b.shift } else { shift };
                let scaled = |part: Part| match part.shift == shift {
                    true => part.value,
                    false => part.value * (part.shift - shift).exp(),
                };
                Part { value: scaled(a) + scaled(b), shift }
            }
            _ => Part { value: a.value + b.value, shift: 0.0 },
        }
    }

    /// The result of `len` elements.
    fn finish(self, part: Part, len: usize) -> f64 {
        match self {
            Reduction::Mean => part.value / len as f64,
            Reduction::LogSumExp => part.shift + part.value.ln(),
            _ => part.value,
        }
    }

    /// The result of all of `x`: blocks in parallel, joined in halves.
    fn of(self, x: &[f32]) -> f64 {
        let part = upbeat::par::map_reduce(
            0..x.len().div_ceil(ELEMENTS),
            |i| dispatch(Block { reduction: self, x: block(x, i) }),
            |a, b| self.join(a, b),
            || self.nothing(),
        );
        self.finish(part, x.len())
    }
}

/// Block `i` of `x`.
fn block(x: &[f32], i: usize) -> &[f32] {
    &x[i * ELEMENTS..x.len().min((i + 1) * ELEMENTS)]
}

/// A block of one slice.
struct Block<'a> {
    reduction: Reduction,
    x: &'a [f32],
}

impl Kernel for Block<'_> {
    type Output = Part;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Part {
        self.reduction.part(simd, self.x)
    }
}

/// The sum over pieces of what `op` makes of each.
#[inline(always)]
fn pieces<S: Simd, const N: usize, O: Fold<N>>(simd: S, x: [&[f32]; N], op: O) -> f64 {
    let len = x[0].len();
    let (mut sum, mut from) = (0.0, 0);
    while from < len {
        let to = len.min(from + PIECE);
        let mut piece = x;
        for k in 0..N {
            piece[k] = &x[k][from..to];
        }
        sum += f64::from(simd.sum(fold(simd, piece, op)));
        from = to;
    }
    sum
}

/// The largest of the elements times `sign`, or of their magnitudes; NaN when one is.
#[inline(always)]
fn extreme<S: Simd>(simd: S, x: &[f32], sign: f32, magnitudes: bool) -> f64 {
    let mut lanes = [0.0; 16];
    simd.store(fold(simd, [x], Extreme { sign, magnitudes }), &mut lanes);
    let mut largest = lanes[0];
    for &lane in &lanes[1..S::LANES] {
        if lane > largest || lane.is_nan() {
            largest = lane;
        }
    }
    f64::from(largest)
}

/// `Σ x`.
pub fn sum(x: &[f32]) -> f64 {
    Reduction::Sum.of(x)
}

/// `Σ x / n`; NaN for an empty slice.
pub fn mean(x: &[f32]) -> f64 {
    Reduction::Mean.of(x)
}

/// The largest element; `-∞` for an empty slice. Which of two zeros is not specified.
pub fn max(x: &[f32]) -> f32 {
    Reduction::Max.of(x) as f32
}

/// The smallest element; `∞` for an empty slice. Which of two zeros is not specified.
pub fn min(x: &[f32]) -> f32 {
    Reduction::Min.of(x) as f32
}

/// `log Σ exp(x)`, without overflow; `-∞` for an empty slice and for one of nothing but `-∞`, `∞` where an element is.
pub fn log_sum_exp(x: &[f32]) -> f64 {
    Reduction::LogSumExp.of(x)
}

/// `Σ |x|`.
pub fn norm_1(x: &[f32]) -> f64 {
    Reduction::Norm1.of(x)
}

/// `√(Σ x²)`, in f64: nothing overflows, nothing vanishes.
pub fn norm_2(x: &[f32]) -> f64 {
    sum_of_squares(x).sqrt()
}

/// The largest magnitude; 0 for an empty slice.
pub fn norm_max(x: &[f32]) -> f32 {
    Reduction::NormMax.of(x) as f32
}

/// The place of the first element that is largest, or of the first NaN; `None` for an empty slice.
pub fn argmax(x: &[f32]) -> Option<usize> {
    let (largest, in_block) = upbeat::par::map_reduce(
        0..x.len().div_ceil(ELEMENTS),
        |i| (dispatch(Block { reduction: Reduction::Max, x: block(x, i) }).value, i),
        |a, b| if b.0 > a.0 || (b.0.is_nan() && !a.0.is_nan()) { b } else { a },
        || (f64::NEG_INFINITY, usize::MAX),
    );
    if in_block == usize::MAX {
        return None;
    }
    dispatch(Place { x: block(x, in_block), value: largest as f32 }).map(|at| in_block * ELEMENTS + at)
}

/// The first place of a number.
struct Place<'a> {
    x: &'a [f32],
    /// What is looked for; NaN stands for any.
    value: f32,
}

impl Kernel for Place<'_> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> Option<usize> {
        /// Elements that are compared before the comparisons are looked at, so that they are made by vectors.
        const STRIDE: usize = 64;
        let is = |x: f32| (x == self.value) | (x.is_nan() & self.value.is_nan());
        let mut from = 0;
        let (strides, _) = self.x.as_chunks::<STRIDE>();
        for stride in strides {
            let mut any = false;
            for &x in stride {
                any |= is(x);
            }
            if any {
                break;
            }
            from += STRIDE;
        }
        self.x[from..].iter().position(|&x| is(x)).map(|at| from + at)
    }
}

/// A block of a dot product.
struct Products<'a>([&'a [f32]; 2]);

impl Kernel for Products<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        pieces(simd, self.0, Dot)
    }
}

/// `Σ a·b`.
///
/// # Errors
/// [`ShapeError::Mismatch`] when the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> Result<f64, ShapeError> {
    contract::same(a.len(), &[b.len()])?;
    Ok(upbeat::par::map_reduce(
        0..a.len().div_ceil(ELEMENTS),
        |i| dispatch(Products([block(a, i), block(b, i)])),
        |a, b| a + b,
        || 0.0,
    ))
}
