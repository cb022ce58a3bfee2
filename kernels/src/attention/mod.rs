//! Causal and full multi-head attention in f32: forward, backward, and decoding against a key/value cache.
//!
//! Flash style (Dao et al., 2022): blocks of queries meet blocks of keys, the softmax is taken online, only the log of
//! each row's sum is kept, and the backward pass recomputes the probabilities. Keys that no query of a panel (as many
//! queries as two vectors have lanes) sees are skipped. Shapes and formulas: [`Element`](crate::Element).
//!
//! Logits of `-∞` have probability 0; a row of nothing else gives zeros and a sum of `-∞`. A row with a NaN or `+∞`
//! logit is NaN. In the forward pass nothing a row does not see can change it, not even a NaN; in the backward pass a
//! NaN or infinity reaches every gradient of its head.

mod backward;
mod decode;
mod forward;
mod softmax;

pub use backward::backward;
pub use decode::decode;
pub use forward::forward;

use crate::element::AttentionShape;

/// What a head's part of the packed projections is.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

/// One head of one sequence in projections packed as `[batch, seq, 3, heads, dim]`.
#[derive(Clone, Copy)]
struct Head<'a> {
    qkv: &'a [f32],
    shape: AttentionShape,
    sequence: usize,
    head: usize,
}

impl<'a> Head<'a> {
    /// Elements from one position to the next.
    fn stride(&self) -> usize {
        3 * self.shape.heads * self.shape.dim
    }

    /// Everything from the vector of `position` on.
    fn from(&self, part: Part, position: usize) -> &'a [f32] {
        let row = (self.sequence * self.shape.seq + position) * self.stride();
        &self.qkv[row + (part as usize * self.shape.heads + self.head) * self.shape.dim..]
    }
}

/// The factor on raw products that makes the softmax a sum of powers of two.
fn factor(dim: usize) -> f32 {
    let shape = AttentionShape { batch: 0, seq: 0, heads: 0, dim, causal: false };
    (shape.scale() * std::f64::consts::LOG2_E) as f32
}
