//! Attention of rows that lie strides apart; what computes it is in `flash.rs`.

use upbeat_kernels::ShapeError;

use super::flash::{AttentionLayout, WIDEST};
use super::product;
use crate::commands::Commands;
use crate::error::VulkanError;
use crate::memory::{Buffer, Float};

/// Attention of `heads` heads, `dim` wide, from numbers stored in f32 or f16: `out = softmax(scale · q·kᵀ)·v` for each sequence, query and head.
///
/// A row of queries is `heads · dim` numbers, one of keys or values `kv_heads · dim`; rows lie strides apart, so that parts of packed
/// projections and of caches are used where they are. Sequence `b` has its queries in rows `b · queries ..` and its keys in rows
/// `b · keys ..`.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a, T = f32> {
    /// Independent sequences.
    pub batch: usize,
    /// Queries of a sequence.
    pub queries: usize,
    /// Keys of a sequence.
    pub keys: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys, of which each serves `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    /// Width of a head: 256 at most.
    pub dim: usize,
    /// Whether query `i` sees only keys `0 ..= keys - queries + i`: the queries are the last of the keys.
    pub causal: bool,
    /// Queries, from the first of them on.
    pub q: &'a Buffer<T>,
    /// Numbers from one row of queries to the next.
    pub q_stride: usize,
    /// Keys.
    pub k: &'a Buffer<T>,
    /// Values.
    pub v: &'a Buffer<T>,
    /// Numbers from one row of keys to the next, and of values.
    pub kv_stride: usize,
}

/// That `rows` rows of `width` numbers, `stride` apart, are in `buffer`.
fn check_rows<T: Float>(
    what: &'static str,
    rows: usize,
    width: usize,
    stride: usize,
    buffer: &Buffer<T>,
) -> Result<(), VulkanError> {
    if stride < width {
        return Err(ShapeError::Stride { cols: width, stride }.into());
    }
    let needed = match rows.checked_sub(1) {
        Some(before) => product(what, &[before, stride])?.saturating_add(width),
        None => 0,
    };
    if needed > buffer.len() {
        return Err(ShapeError::Limit { what, most: buffer.len(), found: needed }.into());
    }
    Ok(())
}

impl Commands {
    /// Attention with `scale = 1/√dim` into `out: [batch, queries, heads, dim]`. A query that sees no key gives zeros.
    ///
    /// Each number is summed in an order that depends on the shape and the [tuning](crate::tuning) alone; few queries and many are summed in different ones.
    /// The largest number of a row is taken off before `exp`, so large scores do not overflow; NaN in a row stays in that row.
    ///
    /// # Errors
    /// Shapes that do not fit; heads wider than 256 or that do not divide; buffers of another device, or that overlap.
    pub fn attention<T: Float>(
        &mut self,
        attention: Attention<'_, T>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let Attention { batch, queries, keys, heads, kv_heads, dim, causal, q, q_stride, k, v, kv_stride } =
            attention;
        if dim > WIDEST {
            return Err(ShapeError::Limit { what: "the width of a head", most: WIDEST, found: dim }.into());
        }
        if heads.checked_rem(kv_heads).is_none_or(|rest| rest != 0) {
            return Err(ShapeError::Multiple { what: "heads", unit: kv_heads, found: heads }.into());
        }
        let (width, kv_width) =
            (product("a row of queries", &[heads, dim])?, product("a row of keys", &[kv_heads, dim])?);
        let rows = product("queries", &[batch, queries])?;
        let kv_rows = product("keys", &[batch, keys])?;
        Self::check("the length of out", product("out", &[rows, width])?, out.len())?;
        check_rows("numbers of the queries", rows, width, q_stride, q)?;
        check_rows("numbers of the keys", kv_rows, kv_width, kv_stride, k)?;
        check_rows("numbers of the values", kv_rows, kv_width, kv_stride, v)?;
        let sequences = |positions, stride| product("a sequence", &[positions, stride]);
        let kv = [sequences(keys, kv_stride)?, kv_stride, dim];
        let dense = AttentionLayout::dense(batch, queries, keys, heads, kv_heads, dim);
        let q_distances = [sequences(queries, q_stride)?, q_stride, dim];
        let layout = AttentionLayout { causal, q: q_distances, k: kv, v: kv, ..dense };
        self.attention_strided(&layout, q, k, v, out)
    }
}
