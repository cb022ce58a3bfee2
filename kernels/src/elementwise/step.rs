//! Each [`Op`] as an operation on vectors, a type for each, and the loop that runs it.
//!
//! A type for each keeps the functions small: one that matches on the operation inside its loop keeps nothing in
//! registers. What the operations mean is said at [`Op`]; the loop itself is `simd::each`'s.

use super::op::Op;
use super::sweep::{run, Run};
use crate::math;
use crate::simd::each::Step;
use crate::simd::Simd;

/// Types that compute the operations of the same name, and the loop of each.
macro_rules! steps {
    (cheap { $($cheap:ident($($with:tt)*) = $value:expr;)* } costly { $($costly:ident($($given:tt)*) = $result:expr;)* }) => {
        $(steps!(@step $cheap, false, ($($with)*) $value);)*
        $(steps!(@step $costly, true, ($($given)*) $result);)*

        /// The loop of an operation.
        pub(crate) fn run_of(op: Op) -> Run {
            match op {
                $(Op::$cheap => run::<$cheap>,)*
                $(Op::$costly => run::<$costly>,)*
            }
        }
    };
    (@step $name:ident, $costly:literal, ($simd:ident, $($x:ident),+) $value:expr) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Step for $name {
            const ARITY: usize = Op::$name.arity();
            const COSTLY: bool = $costly;
            #[inline(always)]
            fn apply<S: Simd>($simd: S, x: [S::F; 3]) -> S::F {
                let [$($x,)+ ..] = x;
                $value
            }
        }
    };
}

steps! {
    cheap {
        Add(simd, a, b) = simd.add(a, b);
        Sub(simd, a, b) = simd.sub(a, b);
        Mul(simd, a, b) = simd.mul(a, b);
        Div(simd, a, b) = simd.div(a, b);
        Fma(simd, a, b, c) = simd.fma(a, b, c);
        // The vectors' own give the second operand when either is NaN.
        Min(simd, a, b) = simd.select(is_number(simd, a), simd.min(a, b), a);
        Max(simd, a, b) = simd.select(is_number(simd, a), simd.max(a, b), a);
        Neg(simd, a) = simd.mul(a, simd.splat(-1.0));
        Abs(simd, a) = simd.abs(a);
        Square(simd, a) = simd.mul(a, a);
        Sqrt(simd, a) = simd.sqrt(a);
        Reciprocal(simd, a) = simd.div(simd.splat(1.0), a);
        Rsqrt(simd, a) = simd.div(simd.splat(1.0), simd.sqrt(a));
        Less(simd, a, b) = simd.select(simd.less(a, b), simd.splat(1.0), simd.splat(0.0));
        Greater(simd, a, b) = simd.select(simd.less(b, a), simd.splat(1.0), simd.splat(0.0));
        LessEqual(simd, a, b) = {
            let ordered = ordered(simd, a, b);
            simd.select(simd.less(b, a), simd.splat(0.0), ordered)
        };
        GreaterEqual(simd, a, b) = {
            let ordered = ordered(simd, a, b);
            simd.select(simd.less(a, b), simd.splat(0.0), ordered)
        };
        Equal(simd, a, b) = equal(simd, a, b);
        NotEqual(simd, a, b) = simd.sub(simd.splat(1.0), equal(simd, a, b));
        Select(simd, a, b, c) = simd.select(simd.less(simd.splat(0.0), simd.abs(a)), b, c);
        Relu(simd, a) = simd.select(simd.less(a, simd.splat(0.0)), simd.splat(0.0), a);
        LeakyRelu(simd, a, b) = simd.select(simd.less(a, simd.splat(0.0)), simd.mul(a, b), a);
        MinGradient(simd, a, b, c) = share(simd, a, b, c);
        MaxGradient(simd, a, b, c) = share(simd, a, c, b);
        DivGradient(simd, a, b, c) = {
            let ratio = simd.mul(a, simd.div(b, c));
            simd.sub(simd.splat(0.0), simd.div(ratio, c))
        };
        AbsGradient(simd, a, b) = {
            let below = simd.select(simd.less(b, simd.splat(0.0)), simd.sub(simd.splat(0.0), a), simd.splat(0.0));
            simd.select(simd.less(simd.splat(0.0), b), a, below)
        };
        SquareGradient(simd, a, b) = simd.mul(simd.add(a, a), b);
        SqrtGradient(simd, a, b) = simd.div(a, simd.add(b, b));
        ReluGradient(simd, a, b) = simd.select(simd.less(simd.splat(0.0), b), a, simd.splat(0.0));
        LeakyReluGradient(simd, a, b, c) = simd.select(simd.less(simd.splat(0.0), b), a, simd.mul(a, c));
        SigmoidGradient(simd, a, b) = simd.mul(simd.mul(a, b), simd.sub(simd.splat(1.0), b));
        TanhGradient(simd, a, b) = simd.mul(a, simd.sub(simd.splat(1.0), simd.mul(b, b)));
    }
    costly {
        Exp(simd, a) = math::exp(simd, a);
        Log(simd, a) = math::log(simd, a);
        Erf(simd, a) = math::erf(simd, a);
        Tanh(simd, a) = math::tanh(simd, a);
        Sigmoid(simd, a) = math::sigmoid(simd, a);
        Softplus(simd, a) = math::softplus(simd, a);
        Gelu(simd, a) = math::gelu(simd, a);
        GeluTanh(simd, a) = math::gelu_tanh(simd, a);
        Silu(simd, a) = math::silu(simd, a);
        Mish(simd, a) = math::mish(simd, a);
        Pow(simd, a, b) = math::pow(simd, a, b);
        ErfGradient(simd, a, b) = simd.mul(a, math::erf_derivative(simd, b));
        SoftplusGradient(simd, a, b) = simd.mul(a, math::sigmoid(simd, b));
        GeluGradient(simd, a, b) = simd.mul(a, math::gelu_derivative(simd, b));
        GeluTanhGradient(simd, a, b) = simd.mul(a, math::gelu_tanh_derivative(simd, b));
        SiluGradient(simd, a, b) = simd.mul(a, math::silu_derivative(simd, b));
        MishGradient(simd, a, b) = simd.mul(a, math::mish_derivative(simd, b));
        PowGradient(simd, a, b, c) = {
            let slope = simd.mul(c, math::pow(simd, b, simd.sub(c, simd.splat(1.0))));
            let moved = simd.less(simd.splat(0.0), simd.abs(c));
            simd.mul(a, simd.select(moved, slope, simd.select(is_number(simd, c), simd.splat(0.0), c)))
        };
        PowExponentGradient(simd, a, b, c) = {
            let slope = simd.mul(math::pow(simd, b, c), math::log(simd, b));
            // 0^c·log 0 is 0·∞: the limit is 0.
            let nothing = simd.select(simd.less(c, simd.splat(0.0)), slope, simd.mul(c, simd.splat(0.0)));
            simd.mul(a, simd.select(simd.less(simd.splat(0.0), simd.abs(b)), slope, nothing))
        };
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

/// `x` where `a < b`, half of it where they are equal, else 0, an infinite `x` included.
#[inline(always)]
fn share<S: Simd>(simd: S, x: S::F, a: S::F, b: S::F) -> S::F {
    let zero = simd.splat(0.0);
    let half = simd.mul(simd.splat(0.5), x);
    let half = simd.select(simd.less(zero, equal(simd, a, b)), half, zero);
    simd.select(simd.less(a, b), x, half)
}
