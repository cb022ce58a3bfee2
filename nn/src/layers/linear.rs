//! A linear map without bias, its weight `[outputs, inputs]` as in PyTorch.

use upbeat_kernels::{Activation, Element, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

use super::INITIAL_DEVIATION;
use crate::parameter::{Parameter, ParameterId, ParameterList};
use crate::tape::{Tape, Var};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: ParameterId,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub(crate) fn new<E: Element>(
        list: &mut ParameterList<E>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Self {
        let weight = list.normal(format!("{name}.weight"), outputs, inputs, INITIAL_DEVIATION);
        Self { weight, inputs, outputs }
    }

    /// The map that shares the table of an embedding: logits over its rows.
    pub(crate) fn tied(table: ParameterId, inputs: usize, outputs: usize) -> Self {
        Self { weight: table, inputs, outputs }
    }

    /// `x·Wᵀ + residual`, `[…, outputs]`.
    pub(crate) fn forward<'a, E: Element>(
        &self,
        tape: &mut Tape<'a, E>,
        parameters: &'a [Parameter<E::Wide>],
        x: Var,
        residual: Option<Var>,
    ) -> Result<Var, ShapeError> {
        let values = &parameters[self.weight.0].values;
        let weight = tape.parameter(self.weight.0, values, &[self.outputs, self.inputs])?;
        tape.linear(x, weight, None, residual)
    }

    /// Rows of `x: [rows, inputs]`.
    pub(crate) fn rows<E>(&self, x: &[E]) -> usize {
        x.len() / self.inputs
    }

    /// `act(x·Wᵀ) + residual` of rows: `x: [rows, inputs]`, the residual and `out: [rows, outputs]`. A row's bits do not depend on
    /// the other rows.
    pub(crate) fn apply<E: Element>(
        &self,
        parameters: &[Parameter<E>],
        x: &[E],
        activation: Activation,
        residual: Option<&[E]>,
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        let rows = self.rows(x);
        E::gemm(Gemm {
            a: Mat::new(x, rows, self.inputs)?,
            transpose_a: false,
            b: Mat::new(&parameters[self.weight.0].values, self.outputs, self.inputs)?,
            transpose_b: true,
            c: MatMut::new(out, rows, self.outputs)?,
            write: Write::Overwrite,
            epilogue: Epilogue {
                bias: None,
                activation,
                residual: residual.map(|r| Mat::new(r, rows, self.outputs)).transpose()?,
                ..Epilogue::default()
            },
        })
    }
}
