//! Rows of a table.

use super::{run, shapes};
use crate::{Indices, Number, Tensor, TensorError};

impl<T: Number> Tensor<T> {
    /// The rows of this table, `[entries, width]`, that `indices` name: `[indices.len(), width]`, in f32.
    ///
    /// # Errors
    /// A table of another rank; an index that is not below `entries`; operands on two devices.
    pub fn embedding(&self, indices: &Indices) -> Result<Tensor, TensorError> {
        let &[entries, width] = self.shape() else {
            return Err(shapes(
                "embedding",
                "a table [entries, width]",
                &[self.shape()],
                "reshape the table",
            ));
        };
        if let Some(index) = indices.most().map(|most| most as usize).filter(|&most| most >= entries) {
            return Err(TensorError::Index { operation: "embedding", index, len: entries });
        }
        let cpu = |out: &mut [f32]| T::embed_host(self.numbers.host(), width, indices.host(), out);
        let operands = [self.operand(), indices.operand()];
        run("embedding", &operands[0].place(), operands, vec![indices.len(), width], cpu, |commands, out| {
            T::embed(commands, self.numbers.block(), width, indices.block(), out)
        })
    }
}
