//! The element-wise operations by name, with what their operands mean. How they are computed is `pass`'s business; the
//! formulas in f64 are [`twin::functions`](crate::twin::functions).

/// Names the operations and how many operands each takes.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: $arity:literal;)*) => {
        /// An operation on numbers, lane by lane. Arithmetic is IEEE 754's, rounded once unless an error is stated.
        ///
        /// A comparison gives 1 or 0; with NaN it gives 0, [`Op::NotEqual`] 1. NaN in an operand otherwise gives NaN,
        /// but for [`Op::Select`], [`Op::LeakyRelu`], [`Op::Pow`] and the gradients that choose (of a minimum, a maximum, a
        /// magnitude, ReLU and its leaky form), which say so.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Op { $($(#[$doc])* $name,)* }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];

            /// Operands it takes.
            pub const fn arity(self) -> usize {
                match self { $(Op::$name => $arity,)* }
            }
        }
    };
}

operations! {
    /// `a + b`
    Add: 2;
    /// `a - b`
    Sub: 2;
    /// `a · b`
    Mul: 2;
    /// `a / b`
    Div: 2;
    /// `a·b + c`, rounded once where the instruction set has it, twice at the portable level and with SSE4.1.
    Fma: 3;
    /// The smaller; NaN when either is. Of zeros of both signs, `b`.
    Min: 2;
    /// The larger; NaN when either is. Of zeros of both signs, `b`.
    Max: 2;
    /// `-a`
    Neg: 1;
    /// `|a|`
    Abs: 1;
    /// `a²`
    Square: 1;
    /// `√a`; NaN below 0.
    Sqrt: 1;
    /// `1/a`
    Reciprocal: 1;
    /// `1/√a`, rounded twice.
    Rsqrt: 1;
    /// `a < b`
    Less: 2;
    /// `a ≤ b`
    LessEqual: 2;
    /// `a > b`
    Greater: 2;
    /// `a ≥ b`
    GreaterEqual: 2;
    /// `a = b`
    Equal: 2;
    /// `a ≠ b`
    NotEqual: 2;
    /// `b` where `a` is neither 0 nor NaN, else `c`.
    Select: 3;
    /// `a` where it is not below 0, else 0.
    Relu: 1;
    /// `a` where it is not below 0, else `a·b` (`b` is the slope).
    LeakyRelu: 2;
    /// [`math::exp`](crate::math::exp)
    Exp: 1;
    /// [`math::log`](crate::math::log)
    Log: 1;
    /// [`math::erf`](crate::math::erf)
    Erf: 1;
    /// [`math::tanh`](crate::math::tanh)
    Tanh: 1;
    /// [`math::sigmoid`](crate::math::sigmoid)
    Sigmoid: 1;
    /// [`math::softplus`](crate::math::softplus)
    Softplus: 1;
    /// [`math::gelu`](crate::math::gelu)
    Gelu: 1;
    /// [`math::gelu_tanh`](crate::math::gelu_tanh)
    GeluTanh: 1;
    /// [`math::silu`](crate::math::silu)
    Silu: 1;
    /// [`math::mish`](crate::math::mish)
    Mish: 1;
    /// [`math::pow`](crate::math::pow)
    Pow: 2;
    /// `a` where `b ≤ c`, half of it where they are equal, else 0: the gradient of `min(b, c)` to `b`. 0 with NaN.
    MinGradient: 3;
    /// `a` where `b ≥ c`, half of it where they are equal, else 0: the gradient of `max(b, c)` to `b`. 0 with NaN.
    MaxGradient: 3;
    /// `-a·b/c²`, as `a·(b/c)/(-c)`: the gradient of `b/c` to `c`.
    DivGradient: 3;
    /// `a` where `b > 0`, `-a` where `b < 0`, else 0: the gradient of `|b|`.
    AbsGradient: 2;
    /// `2·a·b`: the gradient of `b²`.
    SquareGradient: 2;
    /// `a/(2·b)`: the gradient of a root whose result is `b`.
    SqrtGradient: 2;
    /// `a` where `b > 0`, else 0: the gradient of ReLU at `b`, or where its result is `b`.
    ReluGradient: 2;
    /// `a` where `b > 0`, else `a·c`: the gradient of [`Op::LeakyRelu`] at `b` with slope `c`.
    LeakyReluGradient: 3;
    /// `a·b·(1 - b)`: the gradient of a logistic function whose result is `b`.
    SigmoidGradient: 2;
    /// `a·(1 - b²)`: the gradient of a tanh whose result is `b`.
    TanhGradient: 2;
    /// `a·erf'(b)`
    ErfGradient: 2;
    /// `a·σ(b)`: the gradient of softplus at `b`.
    SoftplusGradient: 2;
    /// `a·GELU'(b)`
    GeluGradient: 2;
    /// The same by tanh.
    GeluTanhGradient: 2;
    /// `a·SiLU'(b)`
    SiluGradient: 2;
    /// `a·Mish'(b)`
    MishGradient: 2;
    /// `a·c·b^(c-1)`: the gradient of `b^c` to `b`. 0 where `c` is 0.
    PowGradient: 3;
    /// `a·b^c·log b`: the gradient of `b^c` to `c`. 0 where `b` is 0 and `c` is not below 0.
    PowExponentGradient: 3;
}

impl Op {
    /// Whether an element costs tens of instructions.
    pub(crate) fn is_costly(self) -> bool {
        use Op::*;
        matches!(
            self,
            Exp | Log
                | Erf
                | Tanh
                | Sigmoid
                | Softplus
                | Gelu
                | GeluTanh
                | Silu
                | Mish
                | Pow
                | ErfGradient
                | SoftplusGradient
                | GeluGradient
                | GeluTanhGradient
                | SiluGradient
                | MishGradient
                | PowGradient
                | PowExponentGradient
        )
    }
}
