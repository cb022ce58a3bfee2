//! The mean cross-entropy of logits.

use upbeat_kernels::{Buffer, Element, ShapeError};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::Shape;

pub(super) struct CrossEntropy<'a, E: Element> {
    logits: Var,
    classes: usize,
    targets: &'a [u32],
    lse: Buffer<E::Wide>,
}

impl<'a, E: Element> Tape<'a, E> {
    /// Mean cross-entropy in nats of `logits: [targets.len(), classes]` against the class of each row, as a value on
    /// the tape and in full precision.
    pub fn cross_entropy(&mut self, logits: Var, targets: &'a [u32]) -> Result<(Var, f64), ShapeError> {
        let classes = self.shape(logits).cols();
        let mut lse = Buffer::unspecified(targets.len());
        let loss = E::cross_entropy_forward(self.value(logits), classes, targets, &mut lse)?;
        let mut value = Buffer::unspecified(1);
        value[0] = E::from_f64(loss);
        let op = Op::CrossEntropy(CrossEntropy { logits, classes, targets, lse });
        Ok((self.record(op, value, Shape::SCALAR, [Some(logits)], [logits]), loss))
    }
}

impl<E: Element> Step<E> for CrossEntropy<'_, E> {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        let Self { logits, classes, targets, lse } = self;
        let scale = d_out[0].to_f64() / targets.len().max(1) as f64;
        pass.write(logits, |pass, d_logits, write| {
            E::cross_entropy_backward(pass.value(logits), classes, targets, &lse, scale, d_logits, write)
        })
    }
}
