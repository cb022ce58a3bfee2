//! Attention over projections packed as `[batch, seq, 3, heads, dim]`, the contract of
//! [`Element`](crate::Element): views into them and nothing of its own.

use super::backward::{run as run_backward, Targets};
use super::forward::run as run_forward;
use super::mask::Mask;
use super::problem::{Attention, Problem};
use super::view::{Heads, HeadsMut};
use crate::contract;
use crate::element::AttentionShape;
use crate::error::{check, ShapeError};
use crate::grid::heads::{HeadTiles, Layout};

/// The packed tensor as one of `3·heads` heads, and its strides.
pub(crate) fn layout(shape: AttentionShape) -> Layout {
    let AttentionShape { batch, seq, heads, dim, .. } = shape;
    let row = 3 * heads * dim;
    Layout { shape: [batch, seq, 3 * heads, dim], strides: [seq * row, row, dim] }
}

/// The checked problem of a shape, for either precision.
pub(crate) fn problem<T: Copy>(shape: AttentionShape, qkv: &[T]) -> Result<Problem<'_, T>, ShapeError> {
    let AttentionShape { batch, seq, heads, dim, causal } = shape;
    let strides = layout(shape).strides;
    let part = |index: usize| {
        Heads::strided(qkv.get(index * heads * dim..).unwrap_or(&[]), [batch, seq, heads, dim], strides)
    };
    let mask = if causal { Mask::Causal } else { Mask::None };
    Problem::new(&Attention::new().mask(mask), part(0)?, part(1)?, part(2)?)
}

/// Attention, see [`Element::attention_forward`](crate::Element::attention_forward). Takes pooled memory as
/// [`Attention::forward`].
///
/// # Errors
/// When a length is not what `shape` says.
pub fn forward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    let out = HeadsMut::new(out, [shape.batch, shape.seq, shape.heads, shape.dim])?;
    run_forward(&problem(shape, qkv)?, out, lse);
    Ok(())
}

/// Gradient of [`forward`](super::forward()), see
/// [`Element::attention_backward`](crate::Element::attention_backward). `out` and `lse` are what the forward pass wrote.
/// Takes pooled memory as [`Attention::backward`].
///
/// # Errors
/// When a length is not what `shape` says.
pub fn backward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    d_out: &[f32],
    d_qkv: &mut [f32],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    check("the length of d_out", out.len(), d_out.len())?;
    check("the length of d_qkv", qkv.len(), d_qkv.len())?;
    let problem = problem(shape, qkv)?;
    let rows = [shape.batch, shape.seq, shape.heads, shape.dim];
    let (out, d_out) = (Heads::new(out, rows)?, Heads::new(d_out, rows)?);
    let tiles = HeadTiles::new(d_qkv, layout(shape));
    let targets = Targets { q: (&tiles, 0), k: (&tiles, shape.heads), v: (&tiles, 2 * shape.heads) };
    run_backward(&problem, out, lse, d_out, targets);
    Ok(())
}
