//! One operation on the accumulator of a [`Pass`](super::pass::Pass): each [`Op`] as operations on vectors.
//!
//! Cheap operations are written out for the eight vectors. Costly ones take the vectors one
//! after another through memory, or their code would be there eight times.

use super::op::Op;
use super::pass::{Code, MOST_TILE};
use crate::math;
use crate::simd::Simd;

/// Vectors in the accumulator: with two operands and constants they fit the 16 registers of AVX2.
pub(crate) const VECTORS: usize = 8;

/// What passes from one instruction to the next.
pub(crate) type Accumulator<S> = [<S as Simd>::F; VECTORS];

/// The operation of `code` on every vector of `acc`, with tiles `y` and `z` as further operands.
#[inline(always)]
pub(crate) fn apply<S: Simd>(
    simd: S,
    code: Code,
    acc: Accumulator<S>,
    y: &[f32],
    z: &[f32],
) -> Accumulator<S> {
    let (y, z) = (&y[..VECTORS * S::LANES], &z[..VECTORS * S::LANES]);
    /// `$value` for each vector `$a` of the accumulator and the vectors of `y` and `z` beside it.
    macro_rules! cheap {
        (|$a:ident| $value:expr) => { cheap!(@ [0 1 2 3 4 5 6 7] $a, unused_y, unused_z, $value, []) };
        (|$a:ident, $y:ident| $value:expr) => { cheap!(@ [0 1 2 3 4 5 6 7] $a, $y, unused_z, $value, [y]) };
        (|$a:ident, $y:ident, $z:ident| $value:expr) => { cheap!(@ [0 1 2 3 4 5 6 7] $a, $y, $z, $value, [y z]) };
        (@ [$($i:literal)*] $a:ident, $y:ident, $z:ident, $value:expr, $loads:tt) => {
            [$({
                let $a = acc[$i];
                cheap!(@load $i, $y, $z, $loads);
                $value
            }),*]
        };
        (@load $i:literal, $y:ident, $z:ident, []) => {};
        (@load $i:literal, $y:ident, $z:ident, [y]) => {
            let $y = simd.load(&y[$i * S::LANES..]);
        };
        (@load $i:literal, $y:ident, $z:ident, [y z]) => {
            let $y = simd.load(&y[$i * S::LANES..]);
            let $z = simd.load(&z[$i * S::LANES..]);
        };
    }
    /// The same, through memory.
    macro_rules! costly {
        (|$a:ident| $value:expr) => { costly!(|$a, _y, _z| $value) };
        (|$a:ident, $y:ident| $value:expr) => { costly!(|$a, $y, _z| $value) };
        (|$a:ident, $y:ident, $z:ident| $value:expr) => {{
            let mut through = [0.0f32; MOST_TILE];
            // Written out as the accumulator is: an index that varies would move it to memory for all operations.
            spill(simd, acc, &mut through);
            for i in 0..VECTORS {
                let at = i * S::LANES;
                let $a = simd.load(&through[at..at + S::LANES]);
                let $y = simd.load(&y[at..at + S::LANES]);
                let $z = simd.load(&z[at..at + S::LANES]);
                simd.store($value, &mut through[at..at + S::LANES]);
            }
            refill(simd, &through)
        }};
    }
    let zero = simd.splat(0.0);
    let one = simd.splat(1.0);
    let op = match code {
        Code::SubFrom => return cheap!(|a, y| simd.sub(y, a)),
        Code::DivInto => return cheap!(|a, y| simd.div(y, a)),
        Code::FmaInto => return cheap!(|a, y, z| simd.fma(y, z, a)),
        Code::Op(op) => op,
    };
    match op {
        Op::Add => cheap!(|a, y| simd.add(a, y)),
        Op::Sub => cheap!(|a, y| simd.sub(a, y)),
        Op::Mul => cheap!(|a, y| simd.mul(a, y)),
        Op::Div => cheap!(|a, y| simd.div(a, y)),
        Op::Fma => cheap!(|a, y, z| simd.fma(a, y, z)),
        // The vectors' own give the second operand when either is NaN.
        Op::Min => cheap!(|a, y| simd.select(is_number(simd, a), simd.min(a, y), a)),
        Op::Max => cheap!(|a, y| simd.select(is_number(simd, a), simd.max(a, y), a)),
        Op::Neg => cheap!(|a| simd.mul(a, simd.splat(-1.0))),
        Op::Abs => cheap!(|a| simd.abs(a)),
        Op::Square => cheap!(|a| simd.mul(a, a)),
        Op::Sqrt => cheap!(|a| simd.sqrt(a)),
        Op::Reciprocal => cheap!(|a| simd.div(one, a)),
        Op::Rsqrt => cheap!(|a| simd.div(one, simd.sqrt(a))),
        Op::Less => cheap!(|a, y| simd.select(simd.less(a, y), one, zero)),
        Op::Greater => cheap!(|a, y| simd.select(simd.less(y, a), one, zero)),
        Op::LessEqual => cheap!(|a, y| {
            let ordered = ordered(simd, a, y);
            simd.select(simd.less(y, a), zero, ordered)
        }),
        Op::GreaterEqual => cheap!(|a, y| {
            let ordered = ordered(simd, a, y);
            simd.select(simd.less(a, y), zero, ordered)
        }),
        Op::Equal => cheap!(|a, y| equal(simd, a, y)),
        Op::NotEqual => cheap!(|a, y| simd.sub(one, equal(simd, a, y))),
        Op::Select => cheap!(|a, y, z| simd.select(simd.less(zero, simd.abs(a)), y, z)),
        Op::Relu => cheap!(|a| simd.select(simd.less(a, zero), zero, a)),
        Op::LeakyRelu => cheap!(|a, y| simd.select(simd.less(a, zero), simd.mul(a, y), a)),
        Op::MinGradient => cheap!(|a, y, z| simd.mul(a, share(simd, y, z))),
        Op::MaxGradient => cheap!(|a, y, z| simd.mul(a, share(simd, z, y))),
        Op::DivGradient => cheap!(|a, y, z| {
            let ratio = simd.mul(a, simd.div(y, z));
            simd.sub(zero, simd.div(ratio, z))
        }),
        Op::AbsGradient => cheap!(|a, y| {
            let below = simd.select(simd.less(y, zero), simd.sub(zero, a), zero);
            simd.select(simd.less(zero, y), a, below)
        }),
        Op::SquareGradient => cheap!(|a, y| simd.mul(simd.add(a, a), y)),
        Op::SqrtGradient => cheap!(|a, y| simd.div(a, simd.add(y, y))),
        Op::ReluGradient => cheap!(|a, y| simd.select(simd.less(zero, y), a, zero)),
        Op::LeakyReluGradient => cheap!(|a, y, z| simd.select(simd.less(zero, y), a, simd.mul(a, z))),
        Op::SigmoidGradient => cheap!(|a, y| simd.mul(simd.mul(a, y), simd.sub(one, y))),
        Op::TanhGradient => cheap!(|a, y| simd.mul(a, simd.sub(one, simd.mul(y, y)))),
        Op::Exp => costly!(|a| math::exp(simd, a)),
        Op::Log => costly!(|a| math::log(simd, a)),
        Op::Erf => costly!(|a| math::erf(simd, a)),
        Op::Tanh => costly!(|a| math::tanh(simd, a)),
        Op::Sigmoid => costly!(|a| math::sigmoid(simd, a)),
        Op::Softplus => costly!(|a| math::softplus(simd, a)),
        Op::Gelu => costly!(|a| math::gelu(simd, a)),
        Op::GeluTanh => costly!(|a| math::gelu_tanh(simd, a)),
        Op::Silu => costly!(|a| math::silu(simd, a)),
        Op::Mish => costly!(|a| math::mish(simd, a)),
        Op::Pow => costly!(|a, y| math::pow(simd, a, y)),
        Op::ErfGradient => costly!(|a, y| simd.mul(a, math::erf_derivative(simd, y))),
        Op::SoftplusGradient => costly!(|a, y| simd.mul(a, math::sigmoid(simd, y))),
        Op::GeluGradient => costly!(|a, y| simd.mul(a, math::gelu_derivative(simd, y))),
        Op::GeluTanhGradient => costly!(|a, y| simd.mul(a, math::gelu_tanh_derivative(simd, y))),
        Op::SiluGradient => costly!(|a, y| simd.mul(a, math::silu_derivative(simd, y))),
        Op::MishGradient => costly!(|a, y| simd.mul(a, math::mish_derivative(simd, y))),
        Op::PowGradient => costly!(|a, y, z| {
            let slope = simd.mul(z, math::pow(simd, y, simd.sub(z, one)));
            let moved = simd.less(zero, simd.abs(z));
            simd.mul(a, simd.select(moved, slope, simd.select(is_number(simd, z), zero, z)))
        }),
        Op::PowExponentGradient => costly!(|a, y, z| {
            let slope = simd.mul(math::pow(simd, y, z), math::log(simd, y));
            // 0^z·log 0 is 0·∞: the limit is 0.
            let nothing = simd.select(simd.less(z, zero), slope, simd.mul(z, zero));
            simd.mul(a, simd.select(simd.less(zero, simd.abs(y)), slope, nothing))
        }),
    }
}

/// Whether a lane is not NaN.
#[inline(always)]
fn is_number<S: Simd>(simd: S, a: S::F) -> S::M {
    // The minimum is its second operand when that is NaN, and finite otherwise.
    simd.less(simd.min(simd.splat(f32::MAX), simd.abs(a)), simd.splat(f32::INFINITY))
}

/// 1 where neither lane is NaN, else 0.
#[inline(always)]
fn ordered<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let second = simd.select(is_number(simd, b), one, zero);
    simd.select(is_number(simd, a), second, zero)
}

/// 1 where lanes are equal, else 0.
#[inline(always)]
fn equal<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
    let zero = simd.splat(0.0);
    let not_less = simd.select(simd.less(a, b), zero, ordered(simd, a, b));
    simd.select(simd.less(b, a), zero, not_less)
}

/// 1 where `a < b`, 1/2 where they are equal, else 0.
#[inline(always)]
fn share<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
    let half = simd.mul(simd.splat(0.5), equal(simd, a, b));
    simd.select(simd.less(a, b), simd.splat(1.0), half)
}

/// Writes the accumulator to memory.
#[inline(always)]
pub(crate) fn spill<S: Simd>(simd: S, acc: Accumulator<S>, to: &mut [f32]) {
    let to = &mut to[..VECTORS * S::LANES];
    simd.store(acc[0], to);
    simd.store(acc[1], &mut to[S::LANES..]);
    simd.store(acc[2], &mut to[2 * S::LANES..]);
    simd.store(acc[3], &mut to[3 * S::LANES..]);
    simd.store(acc[4], &mut to[4 * S::LANES..]);
    simd.store(acc[5], &mut to[5 * S::LANES..]);
    simd.store(acc[6], &mut to[6 * S::LANES..]);
    simd.store(acc[7], &mut to[7 * S::LANES..]);
}

/// Reads the accumulator from memory.
#[inline(always)]
pub(crate) fn refill<S: Simd>(simd: S, from: &[f32]) -> Accumulator<S> {
    let from = &from[..VECTORS * S::LANES];
    [
        simd.load(from),
        simd.load(&from[S::LANES..]),
        simd.load(&from[2 * S::LANES..]),
        simd.load(&from[3 * S::LANES..]),
        simd.load(&from[4 * S::LANES..]),
        simd.load(&from[5 * S::LANES..]),
        simd.load(&from[6 * S::LANES..]),
        simd.load(&from[7 * S::LANES..]),
    ]
}
