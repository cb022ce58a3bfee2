//! GELU, SiLU and SwiGLU over tensors, forward and backward; their functions are [`crate::math`]'s.

mod swiglu;

pub use swiglu::{swiglu_backward, swiglu_forward};

use crate::blocks::COSTLY_ELEMENTS;
use crate::element::Write;
use crate::elementwise::map;
use crate::error::ShapeError;
use crate::lanes::Lanewise;
use crate::math;
use crate::simd::Simd;

/// Names a function of one vector, and its product with a gradient where it is a derivative.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident([$($x:ident),+], $simd:ident) = $value:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $name;

        impl Lanewise<{ [$(stringify!($x)),+].len() }> for $name {
            const UNROLL: usize = 2;
            #[inline(always)]
            fn apply<S: Simd>(
                self,
                $simd: S,
                [$($x),+]: [S::F; { [$(stringify!($x)),+].len() }],
            ) -> S::F {
                $value
            }
        }
    )* };
}

operations! {
    Gelu([x], simd) = math::gelu(simd, x);
    Silu([x], simd) = math::silu(simd, x);
    GeluGradient([dy, x], simd) = simd.mul(dy, math::gelu_derivative(simd, x));
    SiluGradient([dy, x], simd) = simd.mul(dy, math::silu_derivative(simd, x));
}

/// See [`Element::gelu_forward`](crate::Element::gelu_forward); errors as [`math::gelu`].
pub fn gelu_forward(x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    map([x], out, Write::Overwrite, COSTLY_ELEMENTS, Gelu)
}

/// See [`Element::gelu_backward`](crate::Element::gelu_backward).
pub fn gelu_backward(dy: &[f32], x: &[f32], dx: &mut [f32], write: Write) -> Result<(), ShapeError> {
    map([dy, x], dx, write, COSTLY_ELEMENTS, GeluGradient)
}

/// See [`Element::silu_forward`](crate::Element::silu_forward); errors as [`math::silu`].
pub fn silu_forward(x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    map([x], out, Write::Overwrite, COSTLY_ELEMENTS, Silu)
}

/// See [`Element::silu_backward`](crate::Element::silu_backward).
pub fn silu_backward(dy: &[f32], x: &[f32], dx: &mut [f32], write: Write) -> Result<(), ShapeError> {
    map([dy, x], dx, write, COSTLY_ELEMENTS, SiluGradient)
}
