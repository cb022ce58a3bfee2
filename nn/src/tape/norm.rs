//! Layer normalisation and root-mean-square normalisation of rows.

use upbeat_kernels::{Buffer, Element, ShapeError};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::check;

pub(super) struct LayerNorm<E: Element> {
    x: Var,
    weight: Var,
    bias: Option<Var>,
    mean: Buffer<E::Wide>,
    rstd: Buffer<E::Wide>,
}

pub(super) struct RmsNorm<E: Element> {
    x: Var,
    weight: Var,
    rstd: Buffer<E::Wide>,
}

impl<E: Element> Tape<'_, E> {
    /// `(x - mean)/√(variance + epsilon) · weight + bias` of each row; `weight` and `bias` are `[cols]`.
    pub fn layer_norm(
        &mut self,
        x: Var,
        weight: Var,
        bias: Option<Var>,
        epsilon: f64,
    ) -> Result<Var, ShapeError> {
        let shape = self.shape(x);
        check("the length of a norm's weight", shape.cols(), self.shape(weight).len())?;
        let mut out = Buffer::unspecified(shape.len());
        let mut mean = Buffer::unspecified(shape.rows());
        let mut rstd = Buffer::unspecified(shape.rows());
        E::layer_norm_forward(
            self.value(x),
            self.value(weight),
            bias.map(|b| self.value(b)),
            epsilon,
            &mut out,
            &mut mean,
            &mut rstd,
        )?;
        let op = Op::LayerNorm(LayerNorm { x, weight, bias, mean, rstd });
        Ok(self.record(op, out, shape, [Some(x), Some(weight), bias], [x, weight]))
    }

    /// `x/√(mean(x²) + epsilon) · weight` of each row; `weight` is `[cols]`.
    pub fn rms_norm(&mut self, x: Var, weight: Var, epsilon: f64) -> Result<Var, ShapeError> {
        let shape = self.shape(x);
        check("the length of a norm's weight", shape.cols(), self.shape(weight).len())?;
        let mut out = Buffer::unspecified(shape.len());
        let mut rstd = Buffer::unspecified(shape.rows());
        E::rms_norm_forward(self.value(x), self.value(weight), epsilon, &mut out, &mut rstd)?;
        let op = Op::RmsNorm(RmsNorm { x, weight, rstd });
        Ok(self.record(op, out, shape, [Some(x), Some(weight)], [x, weight]))
    }
}

impl<E: Element> Step<E> for LayerNorm<E> {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        let Self { x, weight, bias, mean, rstd } = self;
        // Of their own, a row each: weight and bias may be one value, whose gradient cannot be lent twice.
        let mut d_weight = Buffer::zeroed(pass.value(weight).len());
        let mut d_bias = bias.map(|_| Buffer::zeroed(d_weight.len()));
        pass.write_or_drop(x, |pass, d_x, write| {
            let (x, weight) = (pass.value(x), pass.value(weight));
            let d_bias = d_bias.as_deref_mut();
            E::layer_norm_backward(&d_out, x, weight, &mean, &rstd, d_x, write, &mut d_weight, d_bias)
        })?;
        pass.accumulate_wide(weight, d_weight)?;
        match (bias, d_bias) {
            (Some(bias), Some(d_bias)) => pass.accumulate_wide(bias, d_bias),
            _ => Ok(()),
        }
    }
}

impl<E: Element> Step<E> for RmsNorm<E> {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        let Self { x, weight, rstd } = self;
        let mut d_weight = Buffer::zeroed(pass.value(weight).len());
        pass.write_or_drop(x, |pass, d_x, write| {
            let (x, weight) = (pass.value(x), pass.value(weight));
            E::rms_norm_backward(&d_out, x, weight, &rstd, d_x, write, &mut d_weight)
        })?;
        pass.accumulate_wide(weight, d_weight)
    }
}
