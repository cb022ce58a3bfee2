//! Attention by online softmax.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::ShapeError;

use super::{count, product, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Float};
use crate::pipeline::Kernel;

/// The widest head.
const WIDEST: usize = 2 * WORKGROUP as usize;

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

/// Queries up to which each is a workgroup's, as in decoding; more are taken in tiles, which read each key once for all of them.
const FEW_QUERIES: usize = 4;
/// Queries and keys of a tile of `shaders/attention_tiles.glsl`.
const TILE: (usize, usize) = (16, 32);

/// Shared memory of a tile of heads `dim` wide.
fn tile_bytes(dim: usize) -> usize {
    let (queries, keys) = TILE;
    size_of::<f32>() * ((queries + keys) * (dim + 1) + queries * (keys + 1) + 2 * WORKGROUP as usize)
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    queries: u32,
    keys: u32,
    heads: u32,
    group: u32,
    dim: u32,
    row_q: u32,
    row_kv: u32,
    row_out: u32,
    seq_q: u32,
    seq_kv: u32,
    seq_out: u32,
    scale: f32,
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
    /// Each number is summed in an order that depends on the shape alone; few queries and many are summed in different ones.
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
        let dimension = |dimension| count("a dimension of attention", dimension);
        let parameters = Parameters {
            queries: dimension(queries)?,
            keys: dimension(keys)?,
            heads: dimension(heads)?,
            group: dimension(heads / kv_heads)?,
            dim: dimension(dim)?,
            row_q: dimension(q_stride)?,
            row_kv: dimension(kv_stride)?,
            row_out: dimension(width)?,
            seq_q: dimension(product("a sequence", &[queries, q_stride])?)?,
            seq_kv: dimension(product("a sequence", &[keys, kv_stride])?)?,
            seq_out: dimension(product("a sequence", &[queries, width])?)?,
            scale: (1.0 / (dim.max(1) as f64).sqrt()) as f32,
        };
        let tiled = queries > FEW_QUERIES && tile_bytes(dim) <= self.device().limits().shared_bytes as usize;
        let kernel = match (tiled, T::HALF) {
            (true, false) => Kernel::AttentionTiles,
            (true, true) => Kernel::AttentionTilesF16,
            (false, false) => Kernel::Attention,
            (false, true) => Kernel::AttentionF16,
        };
        let query_groups =
            if tiled { parameters.queries.div_ceil(TILE.0 as u32) } else { parameters.queries };
        let width_constant = if tiled { &[parameters.dim][..] } else { &[] };
        self.dispatch(
            kernel,
            &[&[WORKGROUP, u32::from(causal)], width_constant].concat(),
            [query_groups, parameters.heads, dimension(batch)?],
            &[
                q.operand(Access::Read),
                k.operand(Access::Read),
                v.operand(Access::Read),
                out.operand(Access::Write),
            ],
            bytemuck::bytes_of(&parameters),
        )
    }
}
