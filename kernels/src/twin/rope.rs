//! Rotary positions in f64 (Su et al., 2021), halves paired.

use crate::contract;
use crate::element::{RopeShape, Write};
use crate::error::ShapeError;
use crate::twin::put;

/// Element `i` of `x` turned by its position's angle, or back when `sign` is -1.
fn turned(x: &[f64], shape: &RopeShape, sign: f64, i: usize) -> f64 {
    let position = shape.first + i / (shape.heads * shape.dim) % shape.seq;
    turned_at(x, shape, sign, i, position)
}

/// The same for a row at `position`.
fn turned_at(x: &[f64], shape: &RopeShape, sign: f64, i: usize, position: usize) -> f64 {
    let RopeShape { heads, rotate, dim, base, .. } = *shape;
    let (head, c) = (i / dim % heads, i % dim);
    if head >= rotate {
        return x[i];
    }
    let half = dim / 2;
    let angle = sign * position as f64 * base.powf(-2.0 * (c % half) as f64 / dim as f64);
    if c < half {
        x[i] * angle.cos() - x[i + half] * angle.sin()
    } else {
        x[i] * angle.cos() + x[i - half] * angle.sin()
    }
}

/// See [`Element::rope_forward`](crate::Element::rope_forward).
pub fn rope_forward(x: &[f64], shape: RopeShape, out: &mut [f64]) -> Result<(), ShapeError> {
    contract::rope(x.len(), &shape, out.len())?;
    put(out, Write::Overwrite, |i| turned(x, &shape, 1.0, i));
    Ok(())
}

/// See [`Element::rope_backward`](crate::Element::rope_backward).
pub fn rope_backward(dy: &[f64], shape: RopeShape, dx: &mut [f64], write: Write) -> Result<(), ShapeError> {
    contract::rope(dy.len(), &shape, dx.len())?;
    put(dx, write, |i| turned(dy, &shape, -1.0, i));
    Ok(())
}

/// See [`DecodeElement::rope_at`](crate::DecodeElement::rope_at).
pub fn rope_at(x: &[f64], positions: &[usize], shape: RopeShape, out: &mut [f64]) -> Result<(), ShapeError> {
    contract::rope_at(x.len(), positions.len(), &shape, out.len())?;
    let width = shape.heads * shape.dim;
    put(out, Write::Overwrite, |i| turned_at(x, &shape, 1.0, i, positions[i / width]));
    Ok(())
}
