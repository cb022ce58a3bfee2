//! A table of rows, one a token or one a position.

use upbeat_kernels::{Element, ShapeError};

use super::{Linear, INITIAL_DEVIATION};
use crate::parameter::{Parameter, ParameterId, ParameterList};
use crate::tape::{Tape, Var};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Embedding {
    pub(crate) table: ParameterId,
    entries: usize,
    width: usize,
}

impl Embedding {
    pub(crate) fn new<E: Element>(
        list: &mut ParameterList<E>,
        name: &str,
        entries: usize,
        width: usize,
    ) -> Self {
        let table = list.normal(format!("{name}.weight"), entries, width, INITIAL_DEVIATION);
        Self { table, entries, width }
    }

    /// The linear map from a row of `width` to the entries' logits over the same table.
    pub(crate) fn tied_head(&self) -> Linear {
        Linear::tied(self.table, self.width, self.entries)
    }

    /// The rows of `ids`: `[ids.len(), width]`.
    pub(crate) fn forward<'a, E: Element>(
        &self,
        tape: &mut Tape<'a, E>,
        parameters: &'a [Parameter<E::Wide>],
        ids: &'a [u32],
    ) -> Result<Var, ShapeError> {
        let values = &parameters[self.table.0].values;
        let table = tape.parameter(self.table.0, values, &[self.entries, self.width])?;
        tape.embedding(table, ids)
    }

    /// Adds row `r % seq` of the table to row `r` of `x: [rows, width]`, `rows` a multiple of `seq`.
    pub(crate) fn add_positions<'a, E: Element>(
        &self,
        tape: &mut Tape<'a, E>,
        parameters: &'a [Parameter<E::Wide>],
        x: Var,
        seq: usize,
    ) -> Result<Var, ShapeError> {
        let values = &parameters[self.table.0].values;
        let first = tape.parameter(self.table.0, &values[..seq * self.width], &[seq * self.width])?;
        tape.add_bias(x, first)
    }

    /// Row `id` of the table.
    pub(crate) fn row<'a, E: Element>(
        &self,
        parameters: &'a [Parameter<E>],
        id: usize,
    ) -> Result<&'a [E], ShapeError> {
        if id >= self.entries {
            return Err(ShapeError::Index { what: "token", index: id, len: self.entries });
        }
        Ok(&parameters[self.table.0].values[id * self.width..][..self.width])
    }
}
