//! Element-wise activations, their gated form, and softmax.

use upbeat_kernels::{Buffer, Element, ShapeError};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::check;

pub(super) struct Softmax {
    x: Var,
    cols: usize,
}

pub(super) struct Gelu {
    x: Var,
}

pub(super) struct Silu {
    x: Var,
}

pub(super) struct SwiGlu {
    gate_up: Var,
    width: usize,
}

impl<E: Element> Tape<'_, E> {
    /// Softmax of each row.
    pub fn softmax(&mut self, x: Var) -> Result<Var, ShapeError> {
        let shape = self.shape(x);
        let mut out = Buffer::unspecified(shape.len());
        E::softmax_forward(self.value(x), shape.cols(), &mut out)?;
        let op = Op::Softmax(Softmax { x, cols: shape.cols() });
        let var = self.record(op, out, shape, [Some(x)], []);
        self.save_output(var);
        Ok(var)
    }

    /// Exact GELU, `x/2 · erfc(-x/√2)`, of each element.
    pub fn gelu(&mut self, x: Var) -> Result<Var, ShapeError> {
        let mut out = Buffer::unspecified(self.shape(x).len());
        E::gelu_forward(self.value(x), &mut out)?;
        Ok(self.record(Op::Gelu(Gelu { x }), out, self.shape(x), [Some(x)], [x]))
    }

    /// SiLU, `x / (1 + exp(-x))`, of each element.
    pub fn silu(&mut self, x: Var) -> Result<Var, ShapeError> {
        let mut out = Buffer::unspecified(self.shape(x).len());
        E::silu_forward(self.value(x), &mut out)?;
        Ok(self.record(Op::Silu(Silu { x }), out, self.shape(x), [Some(x)], [x]))
    }

    /// SwiGLU (Shazeer, 2020): `gate_up` is `[…, 2·width]`, in each row the gates, then the values they pass; the
    /// result, `SiLU(gate)·up`, is `[…, width]`.
    pub fn swiglu(&mut self, gate_up: Var) -> Result<Var, ShapeError> {
        let width = self.shape(gate_up).cols() / 2;
        check("the even width of SwiGLU's input", 2 * width, self.shape(gate_up).cols())?;
        let shape = self.shape(gate_up).with_cols(width)?;
        let mut out = Buffer::unspecified(shape.len());
        E::swiglu_forward(self.value(gate_up), width, &mut out)?;
        Ok(self.record(Op::SwiGlu(SwiGlu { gate_up, width }), out, shape, [Some(gate_up)], [gate_up]))
    }
}

impl<E: Element> Step<E> for Softmax {
    fn backward(self, pass: &mut Pass<'_, '_, E>, out: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.write(self.x, |_, d_x, write| E::softmax_backward(&d_out, out, self.cols, d_x, write))
    }
}

impl<E: Element> Step<E> for Gelu {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.write(self.x, |pass, d_x, write| E::gelu_backward(&d_out, pass.value(self.x), d_x, write))
    }
}

impl<E: Element> Step<E> for Silu {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.write(self.x, |pass, d_x, write| E::silu_backward(&d_out, pass.value(self.x), d_x, write))
    }
}

impl<E: Element> Step<E> for SwiGlu {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        let Self { gate_up, width } = self;
        pass.write(gate_up, |pass, d_x, write| {
            E::swiglu_backward(&d_out, pass.value(gate_up), width, d_x, write)
        })
    }
}
