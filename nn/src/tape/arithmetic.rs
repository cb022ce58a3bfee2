//! Sums and products of values, element by element or with one row repeated.

use upbeat_kernels::{Buffer, Element, ShapeError, Write};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::check;

pub(super) struct Add {
    a: Var,
    b: Var,
}

pub(super) struct Mul {
    a: Var,
    b: Var,
}

pub(super) struct Scale {
    x: Var,
    factor: f64,
}

pub(super) struct AddBias {
    x: Var,
    bias: Var,
}

impl<E: Element> Tape<'_, E> {
    /// `a + b`, two values of one length; the result has the shape of `a`.
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var, ShapeError> {
        check("the length of a sum's right side", self.shape(a).len(), self.shape(b).len())?;
        let mut out = Buffer::unspecified(self.shape(a).len());
        E::add(self.value(a), self.value(b), &mut out)?;
        Ok(self.record(Op::Add(Add { a, b }), out, self.shape(a), [Some(a), Some(b)], []))
    }

    /// `a · b` element by element, two values of one length; the result has the shape of `a`.
    pub fn mul(&mut self, a: Var, b: Var) -> Result<Var, ShapeError> {
        check("the length of a product's right side", self.shape(a).len(), self.shape(b).len())?;
        let mut out = Buffer::unspecified(self.shape(a).len());
        E::mul(self.value(a), self.value(b), &mut out)?;
        Ok(self.record(Op::Mul(Mul { a, b }), out, self.shape(a), [Some(a), Some(b)], [a, b]))
    }

    /// `factor · x`.
    pub fn scale(&mut self, x: Var, factor: f64) -> Result<Var, ShapeError> {
        let mut out = Buffer::zeroed(self.shape(x).len());
        E::add_scaled(self.value(x), factor, &mut out)?;
        Ok(self.record(Op::Scale(Scale { x, factor }), out, self.shape(x), [Some(x)], []))
    }

    /// `x` with `bias` added to each stretch of its length: a bias to each row, or one sequence's position rows to
    /// each sequence. The length of `bias` divides that of `x`.
    pub fn add_bias(&mut self, x: Var, bias: Var) -> Result<Var, ShapeError> {
        let mut out = Buffer::unspecified(self.shape(x).len());
        E::add_bias(self.value(x), self.value(bias), &mut out)?;
        let op = Op::AddBias(AddBias { x, bias });
        Ok(self.record(op, out, self.shape(x), [Some(x), Some(bias)], []))
    }
}

impl<E: Element> Step<E> for Add {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        if pass.needs(self.a) && pass.needs(self.b) {
            pass.accumulate(self.a, d_out.clone())?;
            return pass.accumulate(self.b, d_out);
        }
        let only = if pass.needs(self.a) { self.a } else { self.b };
        pass.accumulate(only, d_out)
    }
}

impl<E: Element> Step<E> for Mul {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        for (to, other) in [(self.a, self.b), (self.b, self.a)] {
            pass.write(to, |pass, gradient, write| match write {
                Write::Overwrite => E::mul(&d_out, pass.value(other), gradient),
                Write::Add => {
                    let mut own = Buffer::unspecified(gradient.len());
                    E::mul(&d_out, pass.value(other), &mut own)?;
                    E::add_scaled(&own, 1.0, gradient)
                }
            })?;
        }
        Ok(())
    }
}

impl<E: Element> Step<E> for Scale {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.add(self.x, |_, d_x| E::add_scaled(&d_out, self.factor, d_x))
    }
}

impl<E: Element> Step<E> for AddBias {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.add_wide(self.bias, |_, d_bias| E::sum_rows(&d_out, d_bias))?;
        pass.accumulate(self.x, d_out)
    }
}
