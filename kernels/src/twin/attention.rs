//! Attention in f64: every probability is `exp(logit - lse)`, every gradient its own sum over positions.
//!
//! Rows run in parallel; the backward pass recomputes what it needs for each row instead of sharing it. Shapes, errors
//! and formulas are those of [`crate::attention`].

use crate::attention::{
    self, Attention, Gradients, Head, Heads, HeadsMut, Items, PagedCache, Problem, Saved,
};
use crate::contract;
use crate::element::AttentionShape;
use crate::error::ShapeError;
use crate::grid::heads::HeadTiles;
use crate::twin::log_sum_exp;

impl Head<'_, f64> {
    /// `scale·qᵢ·kⱼ + bias`
    fn logit(&self, i: usize, j: usize) -> f64 {
        let bias = self.bias.map_or(0.0, |bias| bias.row(i, j + 1)[j]);
        self.scale * dot(self.q.row(i, self.dim), self.k.row(j, self.dim)) + bias
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

/// The twin of [`Attention::forward`].
///
/// # Errors
/// As there.
pub fn forward_views(
    attention: &Attention<'_, f64>,
    q: Heads<'_, f64>,
    k: Heads<'_, f64>,
    v: Heads<'_, f64>,
    out: HeadsMut<'_, f64>,
    lse: &mut [f64],
) -> Result<(), ShapeError> {
    let problem = Problem::new(attention, q, k, v)?;
    attention::check_shape("output", q.shape(), out.shape())?;
    problem.check_lse(lse.len())?;
    run_forward(&problem, out, lse);
    Ok(())
}

/// The twin of [`Attention::backward`].
///
/// # Errors
/// As there.
pub fn backward_views(
    attention: &Attention<'_, f64>,
    saved: Saved<'_, f64>,
    d_out: Heads<'_, f64>,
    gradients: Gradients<'_, f64>,
) -> Result<(), ShapeError> {
    let problem = attention::check_backward(attention, &saved, &d_out, &gradients)?;
    let [q, k, v] = [gradients.q, gradients.k, gradients.v].map(|gradient| {
        let (data, layout) = gradient.into_parts();
        HeadTiles::new(data, layout)
    });
    run_backward(&problem, saved.out, saved.lse, d_out, [(&q, 0), (&k, 0), (&v, 0)]);
    Ok(())
}

fn run_forward(problem: &Problem<'_, f64>, out: HeadsMut<'_, f64>, lse: &mut [f64]) {
    if lse.is_empty() {
        return;
    }
    let sums = HeadTiles::new(lse, problem.lse_layout());
    let (out, layout) = out.into_parts();
    let outs = HeadTiles::new(out, layout);
    for_each_row(
        problem.sequences,
        problem.heads,
        |s| problem.queries(s),
        |sequence, head, i, (batch, at)| {
            let from = problem.head(sequence, head);
            let lse = &mut sums.take(batch, head, at..at + 1).into_slice()[0];
            let mut out = outs.take(batch, head, at..at + 1);
            let seen = from.band.seen(i);
            *lse = log_sum_exp(seen.len(), |n| from.logit(i, seen.start + n));
            out.row_mut(0).fill(0.0);
            for j in seen {
                add_scaled(out.row_mut(0), probability(from.logit(i, j), *lse), from.v.row(j, from.dim));
            }
        },
    );
}

/// Calls `f(sequence, head, row, (batch, position))` for every row of every head.
fn for_each_row(
    sequences: usize,
    heads: usize,
    rows: impl Fn(usize) -> (usize, std::ops::Range<usize>) + Sync,
    f: impl Fn(usize, usize, usize, (usize, usize)) + Sync,
) {
    let items = Items::new(sequences, |sequence| heads * rows(sequence).1.len());
    upbeat::par::for_each(0..items.len(), |item| {
        let (sequence, item) = items.find(item);
        let (batch, rows) = rows(sequence);
        let (head, row) = (item / rows.len(), item % rows.len());
        f(sequence, head, row, (batch, rows.start + row));
    });
}

/// Gradients to tensors of heads, each with the number that head 0 has there.
fn run_backward(
    problem: &Problem<'_, f64>,
    out: Heads<'_, f64>,
    lse: &[f64],
    d_out: Heads<'_, f64>,
    [d_q, d_k, d_v]: [(&HeadTiles<'_, f64>, usize); 3],
) {
    let [_, positions, heads, dim] = problem.q.shape();
    if problem.q.is_empty() && problem.k.is_empty() {
        return;
    }
    // scale·dSᵢⱼ and Pᵢⱼ
    let at = |sequence: usize, head: usize, i: usize, j: usize| {
        let (batch, queries) = problem.queries(sequence);
        let from = problem.head(sequence, head);
        let p = probability(from.logit(i, j), lse[(batch * heads + head) * positions + queries.start + i]);
        let d = d_out.rows(batch, queries.start + i, head).row(0, dim);
        let ds =
            p * (dot(d, from.v.row(j, dim)) - dot(d, out.rows(batch, queries.start + i, head).row(0, dim)));
        (from.scale * ds, p)
    };
    for_each_row(
        problem.sequences,
        heads,
        |s| problem.queries(s),
        |sequence, head, i, (batch, position)| {
            let from = problem.head(sequence, head);
            let mut d = d_q.0.take(batch, d_q.1 + head, position..position + 1);
            d.row_mut(0).fill(0.0);
            for j in from.band.seen(i) {
                add_scaled(d.row_mut(0), at(sequence, head, i, j).0, from.k.row(j, dim));
            }
        },
    );
    for_each_row(
        problem.sequences,
        problem.kv_heads,
        |s| problem.keys(s),
        |sequence, kv_head, j, (batch, position)| {
            let mut d_k = d_k.0.take(batch, d_k.1 + kv_head, position..position + 1);
            let mut d_v = d_v.0.take(batch, d_v.1 + kv_head, position..position + 1);
            d_k.row_mut(0).fill(0.0);
            d_v.row_mut(0).fill(0.0);
            for head in kv_head * problem.group()..(kv_head + 1) * problem.group() {
                let from = problem.head(sequence, head);
                let queries = problem.queries(sequence).1;
                for i in from.band.seeing(j..j + 1) {
                    let (ds, p) = at(sequence, head, i, j);
                    add_scaled(d_k.row_mut(0), ds, from.q.row(i, dim));
                    add_scaled(d_v.row_mut(0), p, d_out.rows(batch, queries.start + i, head).row(0, dim));
                }
            }
        },
    );
}

/// See [`Element::attention_forward`](crate::Element::attention_forward).
pub fn forward(
    shape: AttentionShape,
    qkv: &[f64],
    out: &mut [f64],
    lse: &mut [f64],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    let out = HeadsMut::new(out, [shape.batch, shape.seq, shape.heads, shape.dim])?;
    run_forward(&attention::packed_problem(shape, qkv)?, out, lse);
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
    let problem = attention::packed_problem(shape, qkv)?;
    let rows = [shape.batch, shape.seq, shape.heads, shape.dim];
    let tiles = HeadTiles::new(d_qkv, attention::packed_layout(shape));
    let targets = [0, 1, 2].map(|part| (&tiles, part * shape.heads));
    run_backward(&problem, Heads::new(out, rows)?, lse, Heads::new(d_out, rows)?, targets);
    Ok(())
}

impl PagedCache<'_, f64> {
    /// The twin of the pass in f32.
    ///
    /// # Errors
    /// As there.
    pub fn decode(&self, heads: usize, q: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
        let caches = self.check(heads, q.len(), out.len())?;
        let dim = caches.dim;
        upbeat::par::chunks_mut(out, dim.max(1), |index, out| {
            let (sequence, head) = (index / heads, index % heads);
            let kv_head = head / (heads / caches.kv_heads);
            let seen = caches.seen(sequence);
            let logit = |j: usize| {
                let (keys, _, _) = caches.run(sequence, kv_head, j);
                caches.scale * dot(vector(q, dim, index), keys.row(0, dim))
            };
            let lse = log_sum_exp(seen.len(), |n| logit(seen.start + n));
            out.fill(0.0);
            for j in seen {
                let (_, values, _) = caches.run(sequence, kv_head, j);
                add_scaled(out, probability(logit(j), lse), values.row(0, dim));
            }
        });
        Ok(())
    }
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
    let shape = [1, len, heads, dim];
    let (keys, values) = (Heads::new(keys, shape)?, Heads::new(values, shape)?);
    PagedCache { keys, values, pages: &[0], lengths: &[len], window: None, scale: None }.decode(heads, q, out)
}
