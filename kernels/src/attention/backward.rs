//! The backward pass: one task a key and value head and a chunk of its keys, which recomputes probabilities from the
//! forward pass' log-sums and accumulates `dK`, `dV` and its share of `dQ`; then the shares are added in order.
//!
//! With `δᵢ = dOᵢ·Oᵢ`: `dVⱼ = Σᵢ Pᵢⱼ dOᵢ`, `dSᵢⱼ = Pᵢⱼ (dOᵢ·Vⱼ - δᵢ)`, `dQᵢ = scale·Σⱼ dSᵢⱼ Kⱼ`,
//! `dKⱼ = scale·Σᵢ dSᵢⱼ Qᵢ` (Dao, 2023), summed over the query heads of a group in order. As in the forward pass, a
//! query is a lane of a panel. What one block of keys does is in `chunk.rs`.

use super::chunk::{add_shares, Chunk, KEYS, QUERIES};
use super::problem::{check_shape, Attention, Items, Problem};
use super::view::{Heads, HeadsMut};
use crate::error::ShapeError;
use crate::grid::heads::{HeadTiles, Layout};
use crate::isa;
use crate::pool::Buffer;

/// About how many keys a task has. Each chunk takes memory for a `dQ` of its own.
const CHUNK: usize = 1024;
/// Queries of a task that adds shares; a multiple of every panel.
const SHARED: usize = 256;

/// What the forward pass read and wrote.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T> {
    /// `[batch, queries, heads, dim]`
    pub q: Heads<'a, T>,
    /// `[batch, keys, kv_heads, dim]`
    pub k: Heads<'a, T>,
    /// `[batch, keys, kv_heads, dim]`
    pub v: Heads<'a, T>,
    /// `[batch, queries, heads, dim]`
    pub out: Heads<'a, T>,
    /// `[batch, heads, queries]`
    pub lse: &'a [T],
}

/// Where the backward pass writes; old content is ignored.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// `[batch, queries, heads, dim]`
    pub q: HeadsMut<'a, T>,
    /// `[batch, keys, kv_heads, dim]`
    pub k: HeadsMut<'a, T>,
    /// `[batch, keys, kv_heads, dim]`
    pub v: HeadsMut<'a, T>,
}

impl Attention<'_, f32> {
    /// Gradient of [`forward`](Self::forward) for queries, keys and values, given the output's, `d_out:
    /// [batch, queries, heads, dim]`. A row that saw nothing has no gradient. The bias has none: it is a constant.
    ///
    /// Takes pooled memory of the size of `out` for each 1024 keys of a longer sequence, and five times a head's part of
    /// `out` for each task in flight.
    ///
    /// # Errors
    /// When shapes, offsets or the bias do not fit each other; then nothing was written.
    ///
    /// ```
    /// use upbeat_kernels::attention::{Attention, Gradients, Heads, HeadsMut, Saved};
    ///
    /// let (x, shape) = (vec![0.5f32; 2 * 3 * 4], [1, 3, 2, 4]);
    /// let (mut out, mut lse) = (vec![0.0; 24], vec![0.0; 6]);
    /// let heads = Heads::new(&x, shape)?;
    /// Attention::new().forward(heads, heads, heads, HeadsMut::new(&mut out, shape)?, &mut lse)?;
    /// let saved = Saved { q: heads, k: heads, v: heads, out: Heads::new(&out, shape)?, lse: &lse };
    /// let (mut d_q, mut d_k, mut d_v) = (vec![0.0; 24], vec![0.0; 24], vec![0.0; 24]);
    /// let gradients = Gradients {
    ///     q: HeadsMut::new(&mut d_q, shape)?,
    ///     k: HeadsMut::new(&mut d_k, shape)?,
    ///     v: HeadsMut::new(&mut d_v, shape)?,
    /// };
    /// Attention::new().backward(saved, Heads::new(&[1.0; 24], shape)?, gradients)?;
    /// // Equal values: moving weight between them changes nothing, and each gets what all rows give it.
    /// assert!(d_q.iter().all(|d| d.abs() < 1e-6) && d_v.iter().all(|d| (d - 1.0).abs() < 1e-6));
    /// # Ok::<(), upbeat_kernels::ShapeError>(())
    /// ```
    pub fn backward(
        &self,
        saved: Saved<'_, f32>,
        d_out: Heads<'_, f32>,
        gradients: Gradients<'_, f32>,
    ) -> Result<(), ShapeError> {
        let problem = check_backward(self, &saved, &d_out, &gradients)?;
        let [q, k, v] = [gradients.q, gradients.k, gradients.v].map(|gradient| {
            let (data, layout) = gradient.into_parts();
            HeadTiles::new(data, layout)
        });
        let targets = Targets { q: (&q, 0), k: (&k, 0), v: (&v, 0) };
        run(&problem, saved.out, saved.lse, d_out, targets);
        Ok(())
    }
}

/// The contract of the backward pass, for both precisions.
pub(crate) fn check_backward<'a, T: Copy>(
    attention: &Attention<'a, T>,
    saved: &Saved<'a, T>,
    d_out: &Heads<'a, T>,
    gradients: &Gradients<'_, T>,
) -> Result<Problem<'a, T>, ShapeError> {
    let problem = Problem::new(attention, saved.q, saved.k, saved.v)?;
    check_shape("output", saved.q.shape(), saved.out.shape())?;
    problem.check_lse(saved.lse.len())?;
    check_shape("gradient", saved.q.shape(), d_out.shape())?;
    check_shape("gradient", saved.q.shape(), gradients.q.shape())?;
    check_shape("gradient", saved.k.shape(), gradients.k.shape())?;
    check_shape("gradient", saved.v.shape(), gradients.v.shape())?;
    Ok(problem)
}

/// Where gradients go: rows of a tensor of heads, and the number that head 0 has there.
#[derive(Clone, Copy)]
pub(super) struct Targets<'t, 'a> {
    pub(super) q: (&'t HeadTiles<'a, f32>, usize),
    pub(super) k: (&'t HeadTiles<'a, f32>, usize),
    pub(super) v: (&'t HeadTiles<'a, f32>, usize),
}

/// The pass over a checked problem.
pub(super) fn run(
    problem: &Problem<'_, f32>,
    out: Heads<'_, f32>,
    lse: &[f32],
    d_out: Heads<'_, f32>,
    targets: Targets<'_, '_>,
) {
    let [_, positions, heads, dim] = problem.q.shape();
    if dim == 0 || problem.q.is_empty() && problem.k.is_empty() {
        return;
    }
    let (kv_heads, group) = (problem.kv_heads, problem.group());
    // Keys of a chunk and chunks of a sequence; queries without keys have a chunk that is empty.
    let cut = |sequence: usize| {
        let keys = problem.keys(sequence).1.len();
        let chunks = keys.div_ceil(CHUNK).max(1);
        let size = keys.div_ceil(chunks).next_multiple_of(KEYS).max(KEYS);
        (size, keys.div_ceil(size).max(1))
    };
    let share = |sequence: usize| problem.queries(sequence).1.len().next_multiple_of(QUERIES);
    let chunks = Items::new(problem.sequences, |sequence| kv_heads * cut(sequence).1);
    // Shares of `dQ` in rows: `[kv_heads, chunks, group, share]` for each sequence that has several chunks.
    let rows = Items::new(problem.sequences, |sequence| match cut(sequence).1 {
        1 => 0,
        chunks => kv_heads * chunks * group * share(sequence),
    });
    let mut shares = Buffer::<f32>::scratch(rows.len() * dim);
    let tiles = HeadTiles::new(&mut shares, Layout { shape: [1, rows.len(), 1, dim], strides: [0, dim, 0] });
    upbeat::par::for_each(0..chunks.len(), |item| {
        let (sequence, item) = chunks.find(item);
        let (size, count) = cut(sequence);
        let (kv_head, chunk) = (item / count, item % count);
        let (batch, keys) = problem.keys(sequence);
        let part = chunk * size..keys.len().min((chunk + 1) * size);
        let positions_of_part = keys.start + part.start..keys.start + part.end;
        let mut d_keys = targets.k.0.take(batch, targets.k.1 + kv_head, positions_of_part.clone());
        let mut d_values = targets.v.0.take(batch, targets.v.1 + kv_head, positions_of_part);
        if group == 0 {
            // No query head reads this one.
            for row in 0..d_keys.rows() {
                d_keys.row_mut(row).fill(0.0);
                d_values.row_mut(row).fill(0.0);
            }
            return;
        }
        let length = group * share(sequence);
        let shares = match count {
            1 => &mut [],
            _ => {
                let at = rows.start(sequence) + item * length;
                tiles.take(0, 0, at..at + length).into_slice()
            }
        };
        let mut shares = shares.chunks_exact_mut((length / group * dim).max(1));
        for member in 0..group {
            let head = kv_head * group + member;
            let (batch, queries) = problem.queries(sequence);
            let sums = (batch * heads + head) * positions + queries.start;
            isa::dispatch(Chunk {
                from: problem.head(sequence, head),
                out: out.rows(batch, queries.start, head),
                d_out: d_out.rows(batch, queries.start, head),
                lse: &lse[sums..][..queries.len()],
                keys: part.clone(),
                first: member == 0,
                d_keys: &mut d_keys,
                d_values: &mut d_values,
                d_queries: match shares.next() {
                    Some(share) => Ok(share),
                    None => Err(targets.q.0.take(batch, targets.q.1 + head, queries)),
                },
            });
        }
    });
    let blocks = Items::new(problem.sequences, |sequence| match cut(sequence).1 {
        1 => 0,
        _ => problem.heads * problem.queries(sequence).1.len().div_ceil(SHARED),
    });
    let shares = &shares;
    upbeat::par::for_each(0..blocks.len(), |item| {
        let (sequence, item) = blocks.find(item);
        let (batch, queries) = problem.queries(sequence);
        let count = queries.len().div_ceil(SHARED);
        let (head, block) = (item / count, item % count);
        let part = block * SHARED..queries.len().min((block + 1) * SHARED);
        let (size, chunks) = cut(sequence);
        let step = group * share(sequence) * dim;
        let at =
            rows.start(sequence) * dim + head / group * chunks * step + head % group * share(sequence) * dim;
        let to =
            targets.q.0.take(batch, targets.q.1 + head, queries.start + part.start..queries.start + part.end);
        add_shares(problem.scale, problem.band(sequence), part, &shares[at..], (size, step), to);
    });
}
