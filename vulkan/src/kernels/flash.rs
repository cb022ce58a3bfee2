//! Flash attention: a tile of queries a workgroup, or one query of few, as generation has it.

use bytemuck::{Pod, Zeroable};
use half::f16;
use upbeat_kernels::{AttentionShape, ShapeError};

use super::{called, count, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Float};
use crate::pipeline::Kernel;

/// The widest head.
pub(super) const WIDEST: usize = 256;
/// Most queries and keys of a sequence: SPIR-V takes indices as signed, and a tile counts beyond the last.
const MOST: usize = i32::MAX as usize;
/// Most queries of a head that are computed one by one: a tile has room for 8 or more.
const FEW: usize = 4;

/// Attention of `heads` heads of queries to `kv_heads` heads of keys and values, each the head of `heads / kv_heads` of the former.
///
/// `out = softmax(scale · q·kᵀ)·v` for each head. Where it is causal, a query sees the keys at its position and before, and the last
/// query is at the last key's position: with fewer queries than keys they continue a cache. A query that sees no key gets zeros.
///
/// The `dim` numbers of a vector lie side by side; sequences, positions and heads lie at any distance, told for each of the four buffers
/// as `[sequence, position, head]` in numbers.
///
/// ```
/// use upbeat_vulkan::AttentionLayout;
///
/// // One position of two sequences, the 100th, against a cache with room for 512, `[batch, 512, kv_heads, dim]`.
/// let (queries, keys, heads, kv_heads, dim) = (1, 100, 8, 2, 64);
/// let cache = [512 * kv_heads * dim, kv_heads * dim, dim];
/// let attention = AttentionLayout { k: cache, v: cache, ..AttentionLayout::dense(2, queries, keys, heads, kv_heads, dim) };
/// assert_eq!(attention.q, [8 * 64, 8 * 64, 64]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionLayout {
    /// Independent sequences.
    pub batch: usize,
    /// Queries of a sequence.
    pub queries: usize,
    /// Keys of a sequence.
    pub keys: usize,
    /// Heads of queries and of the output.
    pub heads: usize,
    /// Heads of keys and values, of which `heads` is a multiple.
    pub kv_heads: usize,
    /// Width of a head, 256 at most.
    pub dim: usize,
    /// Whether a query sees only keys at its position and before.
    pub causal: bool,
    /// The factor on `q·k`, instead of `1/√dim`.
    pub scale: Option<f32>,
    /// Distances of the queries.
    pub q: [usize; 3],
    /// Distances of the keys.
    pub k: [usize; 3],
    /// Distances of the values.
    pub v: [usize; 3],
    /// Distances of the output.
    pub out: [usize; 3],
}

impl AttentionLayout {
    /// Dense `q` and `out`, `[batch, queries, heads, dim]`, and `k` and `v`, `[batch, keys, kv_heads, dim]`, not causal.
    pub fn dense(
        batch: usize,
        queries: usize,
        keys: usize,
        heads: usize,
        kv_heads: usize,
        dim: usize,
    ) -> Self {
        // What does not fit saturates here, and is refused when it is recorded.
        let distances = |positions: usize, heads: usize| {
            let row = heads.saturating_mul(dim);
            [positions.saturating_mul(row), row, dim]
        };
        let (q, k) = (distances(queries, heads), distances(keys, kv_heads));
        let (causal, scale) = (false, None);
        Self { batch, queries, keys, heads, kv_heads, dim, causal, scale, q, k, v: k, out: q }
    }

    /// Projections packed as `[batch, seq, 3, heads, dim]`, of which `q`, `k` and `v` are slices that begin at `0`, `heads·dim` and
    /// `2·heads·dim`; the output is dense.
    pub fn packed(shape: AttentionShape) -> Self {
        let AttentionShape { batch, seq, heads, dim, causal } = shape;
        let row = heads.saturating_mul(dim).saturating_mul(3);
        let packed = [seq.saturating_mul(row), row, dim];
        let dense = Self::dense(batch, seq, seq, heads, heads, dim);
        Self { causal, q: packed, k: packed, v: packed, ..dense }
    }

    /// How long the buffers must be at least: `[q, k, v, out]`. 0 where there are no vectors.
    fn lengths(&self) -> Result<[usize; 4], ShapeError> {
        let length = |what, positions: usize, heads: usize, distances: [usize; 3]| {
            let shape = [self.batch, positions, heads];
            if shape.contains(&0) || self.dim == 0 {
                return Ok(0);
            }
            let last = shape.iter().zip(distances).try_fold(self.dim, |sum, (&n, distance)| {
                (n - 1).checked_mul(distance).and_then(|last| sum.checked_add(last))
            });
            let least = last.ok_or(ShapeError::Overflow { what })?;
            // SPIR-V takes indices as signed.
            if least > MOST {
                return Err(ShapeError::Limit { what, most: MOST, found: least });
            }
            Ok(least)
        };
        Ok([
            length("the queries", self.queries, self.heads, self.q)?,
            length("the keys", self.keys, self.kv_heads, self.k)?,
            length("the values", self.keys, self.kv_heads, self.v)?,
            length("the output", self.queries, self.heads, self.out)?,
        ])
    }

    /// That no two vectors of the output share a number: in order of distance, each is at least what lies within it.
    fn check_output(&self) -> Result<(), ShapeError> {
        let mut dimensions =
            [(self.out[0], self.batch), (self.out[1], self.queries), (self.out[2], self.heads)];
        dimensions.sort_unstable();
        if self.dim == 0 || dimensions.iter().any(|&(_, n)| n == 0) {
            return Ok(());
        }
        let mut extent = self.dim;
        for (distance, n) in dimensions.into_iter().filter(|&(_, n)| n > 1) {
            if distance < extent {
                return Err(ShapeError::Stride { cols: extent, stride: distance });
            }
            // Lengths were checked: it fits.
            extent += (n - 1) * distance;
        }
        Ok(())
    }

    pub(super) fn check(&self, lengths: [(&'static str, usize); 4]) -> Result<(), VulkanError> {
        if self.dim > WIDEST {
            return Err(ShapeError::Limit { what: "numbers of a head", most: WIDEST, found: self.dim }.into());
        }
        if self.kv_heads == 0 && self.heads > 0 {
            return Err(ShapeError::Zero { what: "the number of heads of keys" }.into());
        }
        if self.kv_heads > 0 && !self.heads.is_multiple_of(self.kv_heads) {
            let (unit, found) = (self.kv_heads, self.heads);
            return Err(ShapeError::Multiple { what: "the number of heads", unit, found }.into());
        }
        for (what, found) in [("queries", self.queries), ("keys", self.keys)] {
            if found > MOST {
                return Err(ShapeError::Limit { what, most: MOST, found }.into());
            }
        }
        for (least, (what, found)) in self.lengths()?.into_iter().zip(lengths) {
            if found < least {
                return Err(ShapeError::Mismatch { what, expected: least, found }.into());
            }
        }
        Ok(self.check_output()?)
    }

    /// Queries of an invocation where they come in tiles of 8 times as many: `most`, no more than there are, and that fit `shared_bytes`.
    pub(super) fn rows(&self, most: u32, shared_bytes: u32) -> u32 {
        // As declared in `shaders/flash_block.glsl`.
        let bytes = |rows: usize| {
            let queries = 8 * rows;
            16 * queries * self.dim.div_ceil(4) + 16 * 32 * 9 + 4 * queries * 33 + 4 * queries * 16
        };
        let fits = |rows: usize| bytes(rows) <= shared_bytes as usize && 8 * (rows / 2) < self.queries;
        [4, 2].into_iter().find(|&rows| rows <= most as usize && fits(rows)).unwrap_or(1) as u32
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    batch: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    shared_by: u32,
    dim: u32,
    causal: u32,
    scale: f32,
    q: [u32; 3],
    k: [u32; 3],
    v: [u32; 3],
    out: [u32; 3],
}

/// A distance, which is of no account where there is but one of what it lies between, and fits a buffer's length otherwise.
pub(super) fn distances(shape: [usize; 3], distances: [usize; 3]) -> [u32; 3] {
    std::array::from_fn(|i| if shape[i] > 1 { distances[i] as u32 } else { 0 })
}

impl Commands {
    /// Attention as `layout` says, of numbers stored in f32 or f16; arithmetic and output are f32. Buffers may be longer than needed, and `q`,
    /// `k` and `v` may share memory. What lies between the vectors of `out` is left as it is.
    ///
    /// Sums over keys are in an order that depends on the shape and the [tuning](crate::tuning) alone; few queries and many are summed in different ones.
    ///
    /// # Errors
    /// A head wider than 256; heads that are no multiple of `kv_heads`; a buffer that is too short; distances at which vectors of the output
    /// overlap; an output that overlaps what is read; buffers of another device.
    pub fn attention_strided<T: Float>(
        &mut self,
        layout: &AttentionLayout,
        q: &Buffer<T>,
        k: &Buffer<T>,
        v: &Buffer<T>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let kernels = if T::HALF {
            [Kernel::FlashTileF16, Kernel::FlashRowF16]
        } else {
            [Kernel::FlashTile, Kernel::FlashRow]
        };
        self.attend(layout, kernels, q, k, v, out)
    }

    /// [`attention_strided`](Self::attention_strided) of queries in f32 to a cache of keys and values stored as f16.
    ///
    /// # Errors
    /// As [`attention_strided`](Self::attention_strided).
    pub fn attention_mixed(
        &mut self,
        layout: &AttentionLayout,
        q: &Buffer<f32>,
        k: &Buffer<f16>,
        v: &Buffer<f16>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.attend(layout, [Kernel::FlashTileMixed, Kernel::FlashRowMixed], q, k, v, out)
    }

    fn attend<Q: Float, C: Float>(
        &mut self,
        layout: &AttentionLayout,
        [tiles, rows]: [Kernel; 2],
        q: &Buffer<Q>,
        k: &Buffer<C>,
        v: &Buffer<C>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        layout.check([
            ("the least length of q", q.len()),
            ("the least length of k", k.len()),
            ("the least length of v", v.len()),
            ("the least length of out", out.len()),
        ])?;
        let AttentionLayout { batch, queries, keys, heads, kv_heads, dim, causal, scale, .. } = *layout;
        let operands = [
            q.operand(Access::Read),
            k.operand(Access::Read),
            v.operand(Access::Read),
            out.operand(Access::Write),
        ];
        // Lengths fit buffers: where there are vectors, so do their numbers and distances.
        let (of_q, of_k) = ([batch, queries, heads], [batch, keys, kv_heads]);
        let parameters = Parameters {
            batch: count("the batch", batch)?,
            queries: queries as u32,
            keys: keys as u32,
            heads: count("the number of heads", heads)?,
            shared_by: (heads / kv_heads.max(1)) as u32,
            dim: dim as u32,
            causal: causal.into(),
            scale: scale.unwrap_or_else(|| (1.0 / (dim.max(1) as f64).sqrt()) as f32),
            q: distances(of_q, layout.q),
            k: distances(of_k, layout.k),
            v: distances(of_k, layout.v),
            out: distances(of_q, layout.out),
        };
        let strides = [parameters.q, parameters.k, parameters.v, parameters.out];
        let bytes = [size_of::<Q>(), size_of::<C>(), size_of::<C>(), size_of::<f32>()];
        let aligned = dim % 4 == 0
            && strides.as_flattened().iter().all(|distance| distance % 4 == 0)
            && operands.iter().zip(bytes).all(|(operand, bytes)| operand.is_aligned(4 * bytes as u64));
        let fours = dim.div_ceil(4) as u32;
        let tuning = self.device().tuning();
        let (kernel, invocations, constant, of_each) = if queries <= FEW {
            let groups = tuning.attention_groups();
            (rows, groups.invocations(), groups.lanes(dim), 1)
        } else {
            let rows = layout.rows(tuning.attention_rows(), self.device().limits().shared_bytes);
            (tiles, WORKGROUP, rows, 8 * rows as usize)
        };
        // Each is a vector of the output at least, or there are none.
        let items = if dim == 0 { 0 } else { batch * heads * queries.div_ceil(of_each) };
        let most = self.device().limits().groups[0] as usize;
        self.dispatch(
            kernel,
            &[invocations, aligned.into(), fours, constant],
            [items.min(most) as u32, 1, 1],
            &operands,
            bytemuck::bytes_of(&parameters),
        )
        .map_err(called("attention"))
    }
}
