//! The feed-forward part of a block: up to the hidden width, an activation, and down again with the residual.

use upbeat_kernels::{Activation, Buffer, Element, ShapeError};

use super::Linear;
use crate::model::{self, Config};
use crate::parameter::{Parameter, ParameterList};
use crate::tape::{Tape, Var};

#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedForward {
    /// To `hidden` for GELU, to `[gate | up]` of `2·hidden` for SwiGLU.
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    hidden: usize,
    kind: model::FeedForward,
}

impl FeedForward {
    pub(crate) fn new<E: Element>(list: &mut ParameterList<E>, name: &str, config: &Config) -> Self {
        let (width, hidden) = (config.width, config.hidden);
        let up = match config.feed_forward {
            model::FeedForward::SwiGlu => Linear::new(list, &format!("{name}.gate_up"), width, 2 * hidden),
            model::FeedForward::Gelu => Linear::new(list, &format!("{name}.up"), width, hidden),
        };
        let down = Linear::new(list, &format!("{name}.down"), hidden, width);
        Self { up, down, hidden, kind: config.feed_forward }
    }

    /// `residual + down(act(up(x)))`; `x` and the residual are `[rows, width]`.
    pub(crate) fn forward<'a, E: Element>(
        &self,
        tape: &mut Tape<'a, E>,
        parameters: &'a [Parameter<E::Wide>],
        x: Var,
        residual: Var,
    ) -> Result<Var, ShapeError> {
        let up = self.up.forward(tape, parameters, x, None)?;
        let hidden = match self.kind {
            model::FeedForward::SwiGlu => tape.swiglu(up)?,
            model::FeedForward::Gelu => tape.gelu(up)?,
        };
        tape.release(up);
        let out = self.down.forward(tape, parameters, hidden, Some(residual))?;
        tape.release(hidden);
        Ok(out)
    }

    /// The same without a tape, scratch taken from the pool.
    pub(crate) fn apply<E: Element>(
        &self,
        parameters: &[Parameter<E>],
        x: &[E],
        residual: &[E],
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        let rows = self.up.rows(x);
        let mut hidden = Buffer::unspecified(rows * self.hidden);
        match self.kind {
            model::FeedForward::SwiGlu => {
                let mut gate_up = Buffer::unspecified(rows * 2 * self.hidden);
                self.up.apply(parameters, x, Activation::Identity, None, &mut gate_up)?;
                E::swiglu_forward(&gate_up, self.hidden, &mut hidden)?;
            }
            model::FeedForward::Gelu => self.up.apply(parameters, x, Activation::Gelu, None, &mut hidden)?,
        }
        self.down.apply(parameters, &hidden, Activation::Identity, Some(residual), out)
    }
}
