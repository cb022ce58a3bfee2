//! GELU, SiLU and SwiGLU over tensors, forward and backward; their functions are [`crate::math`]'s.

mod swiglu;

pub use swiglu::{swiglu_backward, swiglu_forward};

use crate::element::Write;
use crate::elementwise::functions;
use crate::error::ShapeError;

/// See [`Element::gelu_forward`](crate::Element::gelu_forward); errors as [`math::gelu`](crate::math::gelu).
pub fn gelu_forward(x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    functions::gelu(x, out, Write::Overwrite)
}

/// See [`Element::gelu_backward`](crate::Element::gelu_backward).
pub fn gelu_backward(dy: &[f32], x: &[f32], dx: &mut [f32], write: Write) -> Result<(), ShapeError> {
    functions::gelu_backward(dy, x, dx, write)
}

/// See [`Element::silu_forward`](crate::Element::silu_forward); errors as [`math::silu`](crate::math::silu).
pub fn silu_forward(x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    functions::silu(x, out, Write::Overwrite)
}

/// See [`Element::silu_backward`](crate::Element::silu_backward).
pub fn silu_backward(dy: &[f32], x: &[f32], dx: &mut [f32], write: Write) -> Result<(), ShapeError> {
    functions::silu_backward(dy, x, dx, write)
}
