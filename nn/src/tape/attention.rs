//! Multi-head attention over packed projections, and rotary positions.

use upbeat_kernels::error::checked_len;
use upbeat_kernels::{AttentionShape, Buffer, Element, RopeShape, ShapeError, Write};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::check;

pub(super) struct Attention<E: Element> {
    qkv: Var,
    shape: AttentionShape,
    lse: Buffer<E::Wide>,
}

pub(super) struct Rope {
    x: Var,
    shape: RopeShape,
}

impl<E: Element> Tape<'_, E> {
    /// `softmax(Q·Kᵀ/√dim)·V` per head. `qkv` is `[…, 3·heads·dim]` with `batch · seq` rows, in each row the queries
    /// of all heads, then the keys, then the values; the result is `[…, heads·dim]`.
    pub fn attention(&mut self, qkv: Var, shape: AttentionShape) -> Result<Var, ShapeError> {
        let rows = checked_len("the rows of an attention", &[shape.batch, shape.seq])?;
        let width = checked_len("the width of an attention", &[shape.heads, shape.dim, 3])? / 3;
        check("the rows of packed projections", rows, self.shape(qkv).rows())?;
        check("the width of packed projections", 3 * width, self.shape(qkv).cols())?;
        let out_shape = self.shape(qkv).with_cols(width)?;
        let mut out = Buffer::unspecified(out_shape.len());
        let mut lse = Buffer::unspecified(checked_len("an attention's rows", &[rows, shape.heads])?);
        E::attention_forward(shape, self.value(qkv), &mut out, &mut lse)?;
        let op = Op::Attention(Attention { qkv, shape, lse });
        let var = self.record(op, out, out_shape, [Some(qkv)], [qkv]);
        self.save_output(var);
        Ok(var)
    }

    /// Turns the first `shape.rotate` heads of each row by the row's position, see
    /// [`rope_forward`](Element::rope_forward). `x` is `[…, heads·dim]`.
    pub fn rope(&mut self, x: Var, shape: RopeShape) -> Result<Var, ShapeError> {
        let width = checked_len("the width of rotary positions", &[shape.heads, shape.dim])?;
        check("the width of rotary positions", width, self.shape(x).cols())?;
        let mut out = Buffer::unspecified(self.shape(x).len());
        E::rope_forward(self.value(x), shape, &mut out)?;
        Ok(self.record(Op::Rope(Rope { x, shape }), out, self.shape(x), [Some(x)], []))
    }
}

impl<E: Element> Step<E> for Attention<E> {
    fn backward(self, pass: &mut Pass<'_, '_, E>, out: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        let Self { qkv, shape, lse } = self;
        pass.write(qkv, |pass, d_qkv, write| {
            let saved = pass.value(qkv);
            match write {
                Write::Overwrite => E::attention_backward(shape, saved, out, &lse, &d_out, d_qkv),
                Write::Add => {
                    let mut own = Buffer::unspecified(d_qkv.len());
                    E::attention_backward(shape, saved, out, &lse, &d_out, &mut own)?;
                    E::add_scaled(&own, 1.0, d_qkv)
                }
            }
        })
    }
}

impl<E: Element> Step<E> for Rope {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.write(self.x, |_, d_x, write| E::rope_backward(&d_out, self.shape, d_x, write))
    }
}
