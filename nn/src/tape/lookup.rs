//! Rows picked from a table by token ids.

use upbeat_kernels::error::checked_len;
use upbeat_kernels::{Buffer, Element, ShapeError};

use super::pass::{Pass, Step};
use super::{Op, Tape, Var};
use crate::tensor::{check, Shape};

pub(super) struct Embedding<'a> {
    table: Var,
    width: usize,
    ids: &'a [u32],
}

impl<'a, E: Element> Tape<'a, E> {
    /// Rows of `table: [vocabulary, width]` picked by `ids`: `[ids.len(), width]`.
    pub fn embedding(&mut self, table: Var, ids: &'a [u32]) -> Result<Var, ShapeError> {
        check("the dimensions of an embedding's table", 2, self.shape(table).dims().len())?;
        let width = self.shape(table).cols();
        let mut out = Buffer::unspecified(checked_len("embedded tokens", &[ids.len(), width])?);
        E::embedding_forward(self.value(table), width, ids, &mut out)?;
        let op = Op::Embedding(Embedding { table, width, ids });
        Ok(self.record(op, out, Shape::new(&[ids.len(), width])?, [Some(table)], []))
    }
}

impl<E: Element> Step<E> for Embedding<'_> {
    fn backward(self, pass: &mut Pass<'_, '_, E>, _: &[E], d_out: Buffer<E>) -> Result<(), ShapeError> {
        pass.add_wide(self.table, |_, d_table| E::embedding_backward(&d_out, self.width, self.ids, d_table))
    }
}
