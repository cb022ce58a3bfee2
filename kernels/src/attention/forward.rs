//! The forward pass: one task a block of queries, which keeps its queries and sums in cache and walks over the keys.
//!
//! Everything is computed transposed, a query a lane: logits `K·Qᵀ` and outputs `Vᵀ·Pᵀ` have keys and values as left
//! factors, read where they are, and only queries and outputs are transposed, once each.

use super::softmax::{both, first_lanes, inverse, load, log_sum, online, store};
use super::{factor, Head, Part};
use crate::contract;
use crate::element::AttentionShape;
use crate::error::ShapeError;
use crate::grid::{Tile, Tiles};
use crate::isa;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::tile::{width, Left, Product, Right, Start};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};

/// Queries of a task: a multiple of every level's panel. More would read the keys less often, fewer balance better.
const QUERIES: usize = 64;
/// Keys of a block: a multiple of the register tile's rows; the block's logits for a panel stay in the first cache.
const KEYS: usize = 96;

/// Attention, see [`Element::attention_forward`](crate::Element::attention_forward). Takes pooled memory of about
/// `512·dim` bytes and 8 KiB for each task in flight.
///
/// # Errors
/// When a length is not what `shape` says.
pub fn forward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    let AttentionShape { batch, seq, heads, dim, causal } = shape;
    if dim == 0 {
        for (index, lse) in lse.iter_mut().enumerate() {
            let seen = if causal { index % seq + 1 } else { seq };
            *lse = (seen as f32).ln();
        }
        return Ok(());
    }
    if out.is_empty() {
        return Ok(());
    }
    let blocks = seq.div_ceil(QUERIES);
    let outs = Tiles::grouped(MatMut::new(out, batch * seq, heads * dim)?, seq, QUERIES, dim);
    let sums = Tiles::new(MatMut::new(lse, batch * heads, seq)?, 1, QUERIES);
    upbeat::par::for_each(0..batch * heads * blocks, |task| {
        let (row, block) = (task / blocks, task % blocks);
        let (sequence, head) = (row / heads, row % heads);
        isa::dispatch(Block {
            from: Head { qkv, shape, sequence, head },
            queries: block * QUERIES..seq.min((block + 1) * QUERIES),
            out: outs.take(sequence * blocks + block, head),
            lse: sums.take(row, block).into_slice(),
        });
    });
    Ok(())
}

/// One task: the queries of one block against all keys they see.
struct Block<'a> {
    from: Head<'a>,
    queries: std::ops::Range<usize>,
    /// `[queries, dim]`
    out: Tile<'a, f32>,
    /// `[queries]`
    lse: &'a mut [f32],
}

/// A panel's queries `[dim, width]`, its sums `[dim, width]`, and the softmax's state `[width]`.
struct Panel<'a> {
    /// Position of the first query.
    first: usize,
    queries: &'a [f32],
    sums: &'a mut [f32],
    max: &'a mut [f32],
    total: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let AttentionShape { seq, dim, causal, .. } = self.from.shape;
        let (width, first, count) = (width::<S>(), self.queries.start, self.queries.len());
        let panels = count.div_ceil(width);
        let size = dim * width;
        let mut scratch = Buffer::<f32>::scratch(panels * (2 * size + 2 * width) + KEYS * width);
        let (queries, rest) = scratch.split_at_mut(panels * size);
        let (sums, rest) = rest.split_at_mut(panels * size);
        let (max, rest) = rest.split_at_mut(panels * width);
        let (total, logits) = rest.split_at_mut(panels * width);
        for (panel, to) in queries.chunks_exact_mut(size).enumerate() {
            let at = first + panel * width;
            let rows = width.min(self.queries.end - at);
            if rows < width {
                to.fill(0.0);
            }
            transpose(simd, (rows, dim), self.from.from(Part::Query, at), self.from.stride(), to, width);
        }
        sums.fill(0.0);
        max.fill(f32::NEG_INFINITY);
        total.fill(0.0);

        let end = if causal { self.queries.end } else { seq };
        for key in (0..end).step_by(KEYS) {
            for panel in 0..panels {
                let mut panel = Panel {
                    first: first + panel * width,
                    queries: &queries[panel * size..][..size],
                    sums: &mut sums[panel * size..][..size],
                    max: &mut max[panel * width..][..width],
                    total: &mut total[panel * width..][..width],
                };
                let seen = if causal { seq.min(panel.first + width) } else { seq };
                let keys = KEYS.min(seen.saturating_sub(key));
                if keys > 0 {
                    panel.step(simd, &self.from, key, &mut logits[..keys * width]);
                }
            }
        }

        for panel in 0..panels {
            let at = panel * width;
            let rows = width.min(count - at);
            let total = &total[at..][..width];
            let sums = &mut sums[panel * size..][..size];
            let factors = inverse(simd, total);
            for row in sums.chunks_exact_mut(width) {
                let sum = load(simd, row);
                store(simd, both!(half => simd.mul(sum[half], factors[half])), row);
            }
            // The queries have been used: their memory takes the outputs in rows.
            let turned = &mut queries[..size];
            transpose(simd, (dim, rows), sums, width, turned, dim);
            for (row, from) in turned.chunks_exact(dim).take(rows).enumerate() {
                self.out.row_mut(at + row).copy_from_slice(from);
            }
            log_sum(simd, &max[at..][..width], total, factor(dim), &mut self.lse[at..at + rows]);
        }
    }
}

impl Panel<'_> {
    /// Adds the block of keys from `key` on, as many as `logits` has rows; the last ones may lie on the diagonal.
    #[inline(always)]
    fn step<S: Simd>(&mut self, simd: S, from: &Head<'_>, key: usize, logits: &mut [f32]) {
        let (width, dim, stride) = (width::<S>(), from.shape.dim, from.stride());
        let keys = logits.len() / width;
        let (ks, values) = (from.from(Part::Key, key), from.from(Part::Value, key));
        let product = Product {
            rows: keys,
            depth: dim,
            left: Left { data: ks, row: stride, step: 1 },
            right: Right { data: self.queries, stride: width },
        };
        product.run(simd, logits, width, |_| 0, Start::Zero);
        // Key `first + n` is seen by the panel's queries from the n-th on.
        let mut diagonal = keys;
        if from.shape.causal && key + keys > self.first + 1 {
            diagonal = (self.first + 1).saturating_sub(key);
            for row in diagonal..keys {
                let logits = &mut logits[row * width..][..width];
                let hidden = [simd.splat(f32::NEG_INFINITY); 2];
                let seen = load(simd, logits);
                store(simd, first_lanes(simd, key + row - self.first, hidden, seen), logits);
            }
        }
        let rescale = online(simd, logits, self.max, self.total, factor(dim));
        // A hidden key has probability 0, but 0·∞ would not be 0.
        let mut finite = true;
        for row in diagonal..keys {
            finite &= is_finite(simd, &values[row * stride..][..dim]);
        }
        let plain = if finite { keys } else { diagonal };
        let product = Product {
            rows: dim,
            depth: plain,
            left: Left { data: values, row: 1, step: stride },
            right: Right { data: logits, stride: width },
        };
        product.run(simd, self.sums, width, |_| 0, Start::Scaled(rescale));
        for row in plain..keys {
            let powers = load(simd, &logits[row * width..]);
            let hidden = key + row - self.first;
            for (value, sums) in values[row * stride..][..dim].iter().zip(self.sums.chunks_exact_mut(width)) {
                let sum = load(simd, sums);
                let added = both!(half => simd.fma(simd.splat(*value), powers[half], sum[half]));
                store(simd, first_lanes(simd, hidden, sum, added), sums);
            }
        }
    }
}

/// Whether every number is finite.
#[inline(always)]
fn is_finite<S: Simd>(simd: S, x: &[f32]) -> bool {
    // 0·x is 0 for finite x and NaN for others, and NaN stays.
    let zero = simd.splat(0.0);
    let mut sum = zero;
    for x in x.chunks(S::LANES) {
        sum = simd.fma(simd.load_partial(x), zero, sum);
    }
    simd.sum(sum) == 0.0
}
