//! Attention of heads.

use upbeat_kernels::attention::{Attention, Heads, HeadsMut};
use upbeat_kernels::{Buffer, ShapeError};
use upbeat_vulkan::AttentionLayout;

use super::{run, shapes};
use crate::{Tensor, TensorError};

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// All of its sequence.
    #[default]
    None,
    /// Those at its position and before. The last query is at the last key's position, as when a prompt continues a cache.
    Causal,
}

/// The CPU's name of a mask.
pub(super) fn on_host(causal: bool) -> upbeat_kernels::attention::Mask {
    if causal {
        upbeat_kernels::attention::Mask::Causal
    } else {
        upbeat_kernels::attention::Mask::None
    }
}

/// Heads of each of the three, as they lie in their tensors: `[sequence, position, head]` distances.
struct Problem {
    layout: AttentionLayout,
    /// Where queries, keys and values begin.
    starts: [usize; 3],
}

impl Problem {
    fn on_host(&self, [q, k, v]: [&[f32]; 3], out: &mut [f32]) -> Result<(), ShapeError> {
        let AttentionLayout { batch, queries, keys, heads, kv_heads, dim, causal, .. } = self.layout;
        let mask = on_host(causal);
        let (q_shape, kv_shape) = ([batch, queries, heads, dim], [batch, keys, kv_heads, dim]);
        // Where there are no keys, none begin.
        let from = |x: &'_ [f32], start: usize| start.min(x.len());
        let [q_start, k_start, v_start] = self.starts;
        let mut sums = Buffer::scratch(batch * heads * queries);
        Attention::new().mask(mask).forward(
            Heads::strided(&q[from(q, q_start)..], q_shape, self.layout.q)?,
            Heads::strided(&k[from(k, k_start)..], kv_shape, self.layout.k)?,
            Heads::strided(&v[from(v, v_start)..], kv_shape, self.layout.v)?,
            HeadsMut::new(out, q_shape)?,
            &mut sums,
        )
    }
}

/// Whose heads lie side by side: queries `[batch, queries, heads, dim]`, and keys and values `[batch, keys, kv_heads, dim]`.
pub(super) fn layout_of(
    operation: &'static str,
    [q, k, v]: [&Tensor; 3],
    mask: Mask,
) -> Result<AttentionLayout, TensorError> {
    let wrong = || {
        let takes =
            "queries [batch, queries, heads, dim], and keys and values [batch, keys, kv_heads, dim], where \
                     kv_heads divides heads";
        let advice = "keys and values must have one shape, and the queries' batch and dim";
        shapes(operation, takes, &[q.shape(), k.shape(), v.shape()], advice)
    };
    let (&[batch, queries, heads, dim], &[k_batch, keys, kv_heads, k_dim]) = (q.shape(), k.shape()) else {
        return Err(wrong());
    };
    let shared = heads.checked_rem(kv_heads).map_or(heads == 0, |rest| rest == 0);
    if [batch, dim] != [k_batch, k_dim] || k.shape() != v.shape() || !shared {
        return Err(wrong());
    }
    let dense = AttentionLayout::dense(batch, queries, keys, heads, kv_heads, dim);
    Ok(AttentionLayout { causal: mask == Mask::Causal, ..dense })
}

impl Tensor {
    /// `softmax(q·kᵀ/√dim)·v` for each query and head; `self` are the queries. A query that sees no key gives zeros.
    ///
    /// `self` and the result are `[batch, queries, heads, dim]`; `keys` and `values` are `[batch, keys, kv_heads, dim]`, where `kv_heads`
    /// divides `heads`: so many neighbours share one.
    ///
    /// # Errors
    /// Shapes that do not fit; on Vulkan devices, heads wider than 256; operands on two devices.
    pub fn attention(&self, keys: &Self, values: &Self, mask: Mask) -> Result<Self, TensorError> {
        let layout = layout_of("attention", [self, keys, values], mask)?;
        self.attend(keys, values, &Problem { layout, starts: [0; 3] }, self.shape().to_vec())
    }

    /// [`attention`](Self::attention) of one tensor to itself: `[batch, seq, heads + 2 · kv_heads, dim]`, queries, keys and values side by
    /// side, as one linear layer makes them. Nothing is copied. Gives `[batch, seq, heads, dim]`.
    ///
    /// # Errors
    /// Heads that do not fit; on Vulkan devices, heads wider than 256.
    pub fn self_attention(&self, kv_heads: usize, mask: Mask) -> Result<Self, TensorError> {
        let takes = "[batch, seq, heads + 2 · kv_heads, dim], where kv_heads divides heads, and kv_heads";
        let wrong = || {
            let advice = "reshape what a linear layer gives to all heads side by side";
            shapes("self_attention", takes, &[self.shape(), &[kv_heads]], advice)
        };
        let &[batch, seq, all, dim] = self.shape() else { return Err(wrong()) };
        let heads = kv_heads.checked_mul(2).and_then(|kv| all.checked_sub(kv)).ok_or_else(wrong)?;
        if heads.checked_rem(kv_heads).map_or(heads > 0, |rest| rest > 0) {
            return Err(wrong());
        }
        let row = all * dim;
        let packed = [seq * row, row, dim];
        let dense = AttentionLayout::dense(batch, seq, seq, heads, kv_heads, dim);
        let layout =
            AttentionLayout { causal: mask == Mask::Causal, q: packed, k: packed, v: packed, ..dense };
        let starts = [0, heads * dim, (heads + kv_heads) * dim];
        self.attend(self, self, &Problem { layout, starts }, vec![batch, seq, heads, dim])
    }

    fn attend(
        &self,
        keys: &Self,
        values: &Self,
        problem: &Problem,
        shape: Vec<usize>,
    ) -> Result<Self, TensorError> {
        let cpu = |out: &mut [f32]| problem.on_host([self.host(), keys.host(), values.host()], out);
        let operands = [self.operand(), keys.operand(), values.operand()];
        run("attention", &operands[0].place(), operands, shape, cpu, |commands, out| {
            let [q, k, v] = [self, keys, values].map(Self::block);
            let parts = [(q, problem.starts[0]), (k, problem.starts[1]), (v, problem.starts[2])];
            let [q, k, v] = parts.map(|(block, start)| block.slice(start.min(block.len())..block.len()));
            commands.attention_strided(&problem.layout, &q, &k, &v, out).map(drop)
        })
    }
}
