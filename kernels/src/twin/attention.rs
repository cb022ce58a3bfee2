//! Attention in f64: every probability is `exp(logit - lse)`, every gradient its own sum over positions.
//!
//! Rows run in parallel; the backward pass recomputes what it needs for each row instead of sharing it.

use crate::contract;
use crate::element::AttentionShape;
use crate::error::ShapeError;
use crate::twin::log_sum_exp;

/// One of the three parts of packed projections.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

/// Packed projections and their shape.
#[derive(Clone, Copy)]
struct Packed<'a> {
    shape: AttentionShape,
    qkv: &'a [f64],
}

impl<'a> Packed<'a> {
    /// The `[dim]` vector of a part, a head, a position.
    fn at(&self, part: Part, batch: usize, head: usize, position: usize) -> &'a [f64] {
        let AttentionShape { seq, heads, dim, .. } = self.shape;
        vector(self.qkv, dim, ((batch * seq + position) * 3 + part as usize) * heads + head)
    }

    /// Keys that query `i` sees.
    fn seen(&self, i: usize) -> usize {
        if self.shape.causal {
            i + 1
        } else {
            self.shape.seq
        }
    }

    /// The first query that sees key `j`.
    fn first_seeing(&self, j: usize) -> usize {
        if self.shape.causal {
            j
        } else {
            0
        }
    }

    fn logit(&self, batch: usize, head: usize, i: usize, j: usize) -> f64 {
        self.shape.scale() * dot(self.at(Part::Query, batch, head, i), self.at(Part::Key, batch, head, j))
    }

    fn probability(&self, batch: usize, head: usize, i: usize, j: usize, lse: f64) -> f64 {
        probability(self.logit(batch, head, i, j), lse)
    }
}

/// The `index`-th vector of `dim` numbers.
fn vector(x: &[f64], dim: usize, index: usize) -> &[f64] {
    &x[index * dim..][..dim]
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(out: &mut [f64], factor: f64, x: &[f64]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

/// `exp(logit - lse)`; a row that sees nothing but `-∞` has zeros.
fn probability(logit: f64, lse: f64) -> f64 {
    if lse == f64::NEG_INFINITY {
        0.0
    } else {
        (logit - lse).exp()
    }
}

/// See [`Element::attention_forward`](crate::Element::attention_forward).
pub fn forward(
    shape: AttentionShape,
    qkv: &[f64],
    out: &mut [f64],
    lse: &mut [f64],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    let packed = Packed { shape, qkv };
    let AttentionShape { seq, heads, dim, .. } = shape;
    upbeat::par::chunks_mut(lse, 1, |index, lse| {
        let (batch, head, i) = (index / (heads * seq), index / seq % heads, index % seq);
        lse[0] = log_sum_exp(packed.seen(i), |j| packed.logit(batch, head, i, j));
    });
    let lse = &*lse;
    upbeat::par::chunks_mut(out, dim.max(1), |vector, out| {
        let (batch, i, head) = (vector / (seq * heads), vector / heads % seq, vector % heads);
        let lse = lse[(batch * heads + head) * seq + i];
        out.fill(0.0);
        for j in 0..packed.seen(i) {
            let p = packed.probability(batch, head, i, j, lse);
            add_scaled(out, p, packed.at(Part::Value, batch, head, j));
        }
    });
    Ok(())
}

/// See [`Element::attention_backward`](crate::Element::attention_backward).
///
/// With `P` the probabilities and `δᵢ = dOᵢ·Oᵢ`: `dVⱼ = Σᵢ Pᵢⱼ dOᵢ`, `dSᵢⱼ = Pᵢⱼ (dOᵢ·Vⱼ - δᵢ)`,
/// `dQᵢ = Σⱼ dSᵢⱼ Kⱼ/√dim`, `dKⱼ = Σᵢ dSᵢⱼ Qᵢ/√dim`.
pub fn backward(
    shape: AttentionShape,
    qkv: &[f64],
    out: &[f64],
    lse: &[f64],
    d_out: &[f64],
    d_qkv: &mut [f64],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    contract::same(out.len(), &[d_out.len()])?;
    contract::same(qkv.len(), &[d_qkv.len()])?;
    let packed = Packed { shape, qkv };
    let AttentionShape { seq, heads, dim, .. } = shape;
    let row = |x, batch, head, i| vector(x, dim, (batch * seq + i) * heads + head);
    // dSᵢⱼ/√dim and Pᵢⱼ
    let at = |batch: usize, head: usize, i: usize, j: usize| {
        let (out, d_out) = (row(out, batch, head, i), row(d_out, batch, head, i));
        let p = packed.probability(batch, head, i, j, lse[(batch * heads + head) * seq + i]);
        let ds = p * (dot(d_out, packed.at(Part::Value, batch, head, j)) - dot(d_out, out));
        (ds * shape.scale(), p)
    };
    upbeat::par::chunks_mut(d_qkv, dim.max(1), |vector, d| {
        let (position, part, head) = (vector / (3 * heads), vector / heads % 3, vector % heads);
        let (batch, t) = (position / seq, position % seq);
        d.fill(0.0);
        match part {
            0 => {
                for j in 0..packed.seen(t) {
                    add_scaled(d, at(batch, head, t, j).0, packed.at(Part::Key, batch, head, j));
                }
            }
            1 => {
                for i in packed.first_seeing(t)..seq {
                    add_scaled(d, at(batch, head, i, t).0, packed.at(Part::Query, batch, head, i));
                }
            }
            _ => {
                for i in packed.first_seeing(t)..seq {
                    add_scaled(d, at(batch, head, i, t).1, row(d_out, batch, head, i));
                }
            }
        }
    });
    Ok(())
}

/// See [`Element::attention_decode`](crate::Element::attention_decode).
pub fn decode(
    heads: usize,
    dim: usize,
    q: &[f64],
    keys: &[f64],
    values: &[f64],
    out: &mut [f64],
) -> Result<(), ShapeError> {
    let len = contract::decode(heads, dim, q.len(), keys.len(), values.len(), out.len())?;
    let scale = AttentionShape { batch: 1, seq: len, heads, dim, causal: false }.scale();
    upbeat::par::chunks_mut(out, dim.max(1), |head, out| {
        let logit = |j: usize| scale * dot(vector(q, dim, head), vector(keys, dim, j * heads + head));
        let lse = log_sum_exp(len, logit);
        out.fill(0.0);
        for j in 0..len {
            add_scaled(out, probability(logit(j), lse), vector(values, dim, j * heads + head));
        }
    });
    Ok(())
}
