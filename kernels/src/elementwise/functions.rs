//! The element-wise functions, forward and backward: one pass over memory each, in fixed blocks that run in parallel.
//!
//! An operand is a slice as long as the output, or one number for all elements. With [`Write::Overwrite`] the output's
//! old content is never read; with [`Write::Add`] the result, rounded, is added to it. Outputs larger than the last-level
//! cache are written past the caches. What each function computes, with NaN and infinities, is said at its [`Op`].
//! Gradients take the gradient of the result first, then what they need of the forward pass.
//!
//! # Errors
//! [`ShapeError::Mismatch`] when an operand's length is not the output's; nothing is written then.
//!
//! ```
//! use upbeat_kernels::elementwise::functions::{add, gelu, leaky_relu_backward};
//! use upbeat_kernels::Write;
//!
//! let x = [-1.0, 0.0, 2.0];
//! let mut y = [0.0; 3];
//! add(&x, 1.0, &mut y, Write::Overwrite)?;
//! assert_eq!(y, [0.0, 1.0, 3.0]);
//! gelu(&x, &mut y, Write::Add)?;
//! leaky_relu_backward(1.0, &x, 0.25, &mut y, Write::Overwrite)?;
//! assert_eq!(y, [0.25, 0.25, 1.0]);
//! # Ok::<(), upbeat_kernels::ShapeError>(())
//! ```

use super::op::Op;
use super::pass::{Given, Instruction, Pass, Source, Target};
use super::step::run_of;
use crate::blocks;
use crate::element::Write;
use crate::error::{check, ShapeError};
use crate::pool::Buffer;
use crate::simd::each::Unit;
use crate::tuning::Caches;

/// What a function takes for each element.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// One number an element.
    Slice(&'a [f32]),
    /// The same number for all.
    Number(f32),
}

impl From<f32> for Operand<'_> {
    fn from(x: f32) -> Self {
        Operand::Number(x)
    }
}

impl<'a> From<&'a [f32]> for Operand<'a> {
    fn from(x: &'a [f32]) -> Self {
        Operand::Slice(x)
    }
}

impl<'a> From<&'a Vec<f32>> for Operand<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Operand::Slice(x)
    }
}

impl<'a> From<&'a Buffer<f32>> for Operand<'a> {
    fn from(x: &'a Buffer<f32>) -> Self {
        Operand::Slice(x)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Operand<'a> {
    fn from(x: &'a [f32; N]) -> Self {
        Operand::Slice(x)
    }
}

/// Elements that one task computes.
pub(crate) fn block(costly: bool) -> usize {
    if costly {
        blocks::COSTLY_ELEMENTS
    } else {
        blocks::ELEMENTS
    }
}

/// Whether outputs of so many elements are written past the caches: none of it would be found there again, and what
/// is there for others is left alone.
pub(crate) fn is_streamed(elements: usize, write: Write) -> bool {
    // What is added to is read, so it is in the caches anyway. Small outputs need not ask for the machine's caches.
    write == Write::Overwrite && elements >= 1 << 18 && elements >= Caches::get().shared / size_of::<f32>()
}

/// `out[i] = op(operands[0][i], …)`, or that added to `out[i]`.
///
/// # Errors
/// [`ShapeError::Mismatch`] when there are not [`Op::arity`] operands, or one's length is not the output's.
pub fn apply(op: Op, operands: &[Operand<'_>], out: &mut [f32], write: Write) -> Result<(), ShapeError> {
    check("the number of operands", op.arity(), operands.len())?;
    let mut inputs: [&[f32]; 3] = [&[]; 3];
    let mut constants = [Unit::splat(0.0); 3];
    let mut sources = [Source::None; 3];
    for (i, operand) in operands.iter().enumerate() {
        match *operand {
            Operand::Slice(x) => {
                check("the length of an operand", out.len(), x.len())?;
                inputs[i] = x;
                sources[i] = Source::Input(i);
            }
            Operand::Number(x) => {
                constants[i] = Unit::splat(x);
                sources[i] = Source::Constant(i);
            }
        }
    }
    let code = [Instruction::Apply { run: run_of(op), operands: sources, to: Target::Output(0) }];
    let (block, stream) = (block(op.is_costly()), is_streamed(out.len(), write));
    upbeat::par::chunks_mut(out, block, |i, out| {
        let outputs = &mut [out];
        let given = Given { inputs: &inputs, from: i * block, constants: &constants };
        Pass { code: &code, given, places: 0, outputs, write, stream }.run();
    });
    Ok(())
}

/// A function for each line: its name, its operands and its operation.
macro_rules! functions {
    ($($name:ident($($operand:ident),+) = $op:ident;)*) => { $(
        #[doc = concat!("Each element of `out` becomes [`Op::", stringify!($op), "`] of the operands', or that is added to it;")]
        /// errors as the [module](self) says.
        pub fn $name<'a>(
            $($operand: impl Into<Operand<'a>>,)+
            out: &mut [f32],
            write: Write,
        ) -> Result<(), ShapeError> {
            apply(Op::$op, &[$($operand.into()),+], out, write)
        }
    )* };
}

functions! {
    add(a, b) = Add;
    sub(a, b) = Sub;
    mul(a, b) = Mul;
    div(a, b) = Div;
    div_backward(dy, a, b) = DivGradient;
    fma(a, b, c) = Fma;
    min(a, b) = Min;
    min_backward(dy, a, b) = MinGradient;
    max(a, b) = Max;
    max_backward(dy, a, b) = MaxGradient;
    neg(a) = Neg;
    abs(a) = Abs;
    abs_backward(dy, a) = AbsGradient;
    square(a) = Square;
    square_backward(dy, a) = SquareGradient;
    sqrt(a) = Sqrt;
    sqrt_backward(dy, y) = SqrtGradient;
    reciprocal(a) = Reciprocal;
    rsqrt(a) = Rsqrt;
    less(a, b) = Less;
    less_equal(a, b) = LessEqual;
    greater(a, b) = Greater;
    greater_equal(a, b) = GreaterEqual;
    equal(a, b) = Equal;
    not_equal(a, b) = NotEqual;
    select(condition, yes, no) = Select;
    relu(x) = Relu;
    relu_backward(dy, x) = ReluGradient;
    leaky_relu(x, slope) = LeakyRelu;
    leaky_relu_backward(dy, x, slope) = LeakyReluGradient;
    exp(x) = Exp;
    exp_backward(dy, y) = Mul;
    log(x) = Log;
    log_backward(dy, x) = Div;
    erf(x) = Erf;
    erf_backward(dy, x) = ErfGradient;
    tanh(x) = Tanh;
    tanh_backward(dy, y) = TanhGradient;
    sigmoid(x) = Sigmoid;
    sigmoid_backward(dy, y) = SigmoidGradient;
    softplus(x) = Softplus;
    softplus_backward(dy, x) = SoftplusGradient;
    gelu(x) = Gelu;
    gelu_backward(dy, x) = GeluGradient;
    gelu_tanh(x) = GeluTanh;
    gelu_tanh_backward(dy, x) = GeluTanhGradient;
    silu(x) = Silu;
    silu_backward(dy, x) = SiluGradient;
    mish(x) = Mish;
    mish_backward(dy, x) = MishGradient;
    pow(x, exponent) = Pow;
    pow_backward(dy, x, exponent) = PowGradient;
    pow_exponent_backward(dy, x, exponent) = PowExponentGradient;
}
