//! Rows of a table picked by token, and the sum of gradients back into it.

use crate::blocks::{add_to, rows, ELEMENTS};
use crate::contract;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::matrix::MatMut;
use crate::pool::Plain;

/// Columns of the table that one task of the backward pass owns: a few cache lines of each row.
const COLUMNS: usize = 64;

/// See [`Element::embedding_forward`](crate::Element::embedding_forward). Rows are copied, of whatever type they are.
pub fn embedding_forward<T: Plain>(
    table: &[T],
    width: usize,
    ids: &[u32],
    out: &mut [T],
) -> Result<(), ShapeError> {
    contract::embedding(table.len(), width, ids, out.len())?;
    let block = rows(width, ELEMENTS);
    upbeat::par::chunks_mut(out, (block * width).max(1), |i, out| {
        for (out, &id) in out.chunks_exact_mut(width).zip(&ids[i * block..]) {
            out.copy_from_slice(&table[id as usize * width..][..width]);
        }
    });
    Ok(())
}

/// See [`Element::embedding_backward`](crate::Element::embedding_backward).
///
/// Tasks own columns of the table, not tokens, so that each element is summed in the order of `ids` whoever runs.
pub fn embedding_backward(
    dy: &[f32],
    width: usize,
    ids: &[u32],
    d_table: &mut [f32],
) -> Result<(), ShapeError> {
    let vocabulary = contract::embedding(d_table.len(), width, ids, dy.len())?;
    if dy.is_empty() {
        return Ok(());
    }
    let columns = if dy.len() <= ELEMENTS { width } else { COLUMNS };
    let tiles = Tiles::new(MatMut::new(d_table, vocabulary, width)?, vocabulary, columns);
    upbeat::par::for_each(0..tiles.across(), |i| {
        let (mut tile, cols) = (tiles.take(0, i), tiles.cols_of(i));
        for (dy, &id) in dy.chunks_exact(width).zip(ids) {
            add_to(&dy[cols.clone()], tile.row_mut(id as usize));
        }
    });
    Ok(())
}
