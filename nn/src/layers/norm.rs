//! The normalisation before each part of a block: RMSNorm, or LayerNorm without bias.

use upbeat_kernels::{Buffer, Element, ShapeError};

use crate::model;
use crate::parameter::{Parameter, ParameterId, ParameterList};
use crate::tape::{Tape, Var};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: ParameterId,
    pub(crate) kind: model::Norm,
    pub(crate) epsilon: f64,
}

impl Norm {
    pub(crate) fn new<E: Element>(
        list: &mut ParameterList<E>,
        name: &str,
        width: usize,
        kind: model::Norm,
        epsilon: f64,
    ) -> Self {
        Self { weight: list.ones(format!("{name}.weight"), width), kind, epsilon }
    }

    pub(crate) fn forward<'a, E: Element>(
        &self,
        tape: &mut Tape<'a, E>,
        parameters: &'a [Parameter<E::Wide>],
        x: Var,
    ) -> Result<Var, ShapeError> {
        let values = &parameters[self.weight.0].values;
        let weight = tape.parameter(self.weight.0, values, &[values.len()])?;
        match self.kind {
            model::Norm::Rms => tape.rms_norm(x, weight, self.epsilon),
            model::Norm::Layer => tape.layer_norm(x, weight, None, self.epsilon),
        }
    }

    /// The norm of each row; statistics are taken from the pool.
    pub(crate) fn apply<E: Element>(
        &self,
        parameters: &[Parameter<E>],
        x: &[E],
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        let weight = &parameters[self.weight.0].values;
        let rows = x.len() / weight.len();
        let mut rstd = Buffer::unspecified(rows);
        match self.kind {
            model::Norm::Rms => E::rms_norm_forward(x, weight, self.epsilon, out, &mut rstd),
            model::Norm::Layer => {
                let mut mean = Buffer::unspecified(rows);
                E::layer_norm_forward(x, weight, None, self.epsilon, out, &mut mean, &mut rstd)
            }
        }
    }
}
