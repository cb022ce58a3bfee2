//! The backward pass: one task a head and a chunk of its keys, which recomputes probabilities from the forward pass'
//! log-sums and accumulates `dK`, `dV` and its share of `dQ`; then the shares are added in order.
//!
//! With `δᵢ = dOᵢ·Oᵢ`: `dVⱼ = Σᵢ Pᵢⱼ dOᵢ`, `dSᵢⱼ = Pᵢⱼ (dOᵢ·Vⱼ - δᵢ)`, `dQᵢ = Σⱼ dSᵢⱼ Kⱼ/√dim`,
//! `dKⱼ = Σᵢ dSᵢⱼ Qᵢ/√dim` (Dao, 2023). As in the forward pass, a query is a lane of a panel.

use super::softmax::{both, exp2, first_lanes, load, store};
use super::{factor, Head, Part};
use crate::contract;
use crate::element::AttentionShape;
use crate::error::{check, ShapeError};
use crate::grid::{Tile, Tiles};
use crate::isa;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::tile::{height, width, Left, Product, Right, Start};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};

/// Queries of a block, a multiple of every level's panel; the depth of the products that give `dK` and `dV`.
const QUERIES: usize = 64;
/// Elements from one key's probabilities to the next one's; not a power of two, so that they spread over cache sets.
const PITCH: usize = QUERIES + 16;
/// Keys of a block: a multiple of the register tile's rows and of every panel.
const KEYS: usize = 96;
/// About how many keys a task has. Each chunk takes memory for a `dQ` of its own.
const CHUNK: usize = 1024;

/// Gradient of [`forward`](super::forward()), see
/// [`Element::attention_backward`](crate::Element::attention_backward). `out` and `lse` are what the forward pass wrote.
///
/// Takes pooled memory of the size of `out` for each 1024 positions of `seq`, and five times a head's part of `out` for
/// each task in flight.
///
/// # Errors
/// When a length is not what `shape` says.
pub fn backward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    d_out: &[f32],
    d_qkv: &mut [f32],
) -> Result<(), ShapeError> {
    contract::attention(&shape, qkv.len(), out.len(), lse.len())?;
    check("the length of d_out", out.len(), d_out.len())?;
    check("the length of d_qkv", qkv.len(), d_qkv.len())?;
    if qkv.is_empty() {
        return Ok(());
    }
    let AttentionShape { batch, seq, heads, dim, .. } = shape;
    let size = seq.div_ceil(seq.div_ceil(CHUNK)).next_multiple_of(KEYS);
    let chunks = seq.div_ceil(size);
    let grid = Tiles::grouped(MatMut::new(d_qkv, batch * seq, 3 * heads * dim)?, seq, size, dim);
    // Whose share of whose part of `d_qkv`: `[batch, heads, chunks]`.
    let tile = |part: Part, index: usize| {
        let (sequence, head, chunk) = (index / chunks / heads, index / chunks % heads, index % chunks);
        grid.take(sequence * chunks + chunk, part as usize * heads + head)
    };
    let share = seq.next_multiple_of(QUERIES) * dim;
    let mut shares = Buffer::<f32>::scratch(batch * heads * chunks * share);
    upbeat::par::chunks_mut(&mut shares, share, |index, share| {
        let (sequence, head) = (index / chunks / heads, index / chunks % heads);
        isa::dispatch(Chunk {
            from: Head { qkv, shape, sequence, head },
            out,
            d_out,
            lse: &lse[(sequence * heads + head) * seq..][..seq],
            keys: index % chunks * size..seq.min((index % chunks + 1) * size),
            d_keys: tile(Part::Key, index),
            d_values: tile(Part::Value, index),
            d_queries: share,
        });
    });
    let shares = &shares;
    upbeat::par::for_each(0..batch * heads * chunks, |index| {
        isa::dispatch(AddShares {
            shape,
            first: index % chunks * size,
            chunk: size,
            shares: &shares[index / chunks * chunks * share..][..chunks * share],
            out: tile(Part::Query, index),
        });
    });
    Ok(())
}

/// One task of the first phase.
struct Chunk<'a> {
    from: Head<'a>,
    /// `[batch, seq, heads, dim]`
    out: &'a [f32],
    d_out: &'a [f32],
    /// `[seq]`, this head's.
    lse: &'a [f32],
    keys: std::ops::Range<usize>,
    /// `[keys, dim]`
    d_keys: Tile<'a, f32>,
    d_values: Tile<'a, f32>,
    /// Panels `[dim, width]` of all queries; written from the first block that sees a key of the chunk.
    d_queries: &'a mut [f32],
}

/// What a chunk needs of its queries, from position `first` on; queries past the end are zeros.
struct Queries<'a> {
    first: usize,
    count: usize,
    /// `Q` and `dO` with a query a lane: panels `[dim, width]`.
    q: &'a [f32],
    d_out: &'a [f32],
    /// `Q` and `dO` with a component a lane: for each panel's width of `dim`, `[count, width]`.
    q_rows: &'a [f32],
    d_out_rows: &'a [f32],
    /// `lse·log₂e`, `∞` for rows of zeros.
    lse: &'a [f32],
    delta: &'a [f32],
}

/// Probabilities and their gradients, `[KEYS, QUERIES]` with rows `PITCH` apart.
struct Pair<'a> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let AttentionShape { seq, dim, causal, .. } = self.from.shape;
        let width = width::<S>();
        let first = if causal { self.keys.start / QUERIES * QUERIES } else { 0 };
        let count = seq.next_multiple_of(QUERIES) - first;
        let padded = dim.next_multiple_of(width);
        let sizes = [
            count * dim,
            count * dim,
            count * padded,
            count * padded,
            count,
            count,
            KEYS * PITCH,
            KEYS * PITCH,
            KEYS * padded,
            KEYS * padded,
        ];
        let mut scratch = Buffer::<f32>::scratch(sizes.iter().sum());
        let mut left = &mut scratch[..];
        let [q, d_out, q_rows, d_out_rows, lse, delta, p, ds, d_keys, d_values] =
            sizes.map(|size| left.split_off_mut(..size).expect("the scratch holds the sum of sizes"));

        self.gather(simd, first, [q, d_out], [q_rows, d_out_rows]);
        self.row_terms(simd, first, lse, delta);
        let queries = Queries { first, count, q, d_out, q_rows, d_out_rows, lse, delta };
        self.d_queries[first * dim..].fill(0.0);
        let mut pair = Pair { p, ds };
        for key in self.keys.clone().step_by(KEYS) {
            let keys = KEYS.min(self.keys.end - key);
            d_keys.fill(0.0);
            d_values.fill(0.0);
            let start = if causal { key / QUERIES * QUERIES } else { 0 };
            for query in (start..seq).step_by(QUERIES) {
                let panels = QUERIES.min(seq - query).div_ceil(width);
                for panel in 0..panels {
                    let at = query + panel * width;
                    let seen = if causal { (at + width).saturating_sub(key).min(keys) } else { keys };
                    let part = &mut self.d_queries[at * dim..][..dim * width];
                    pair.panel(simd, &self.from, &queries, (key, keys, seen), (at, panel * width), part);
                }
                // A key's first panel is the one on its diagonal; earlier ones do not see it.
                let skip = |row: usize| {
                    if causal {
                        (key + row).saturating_sub(query) / width * width
                    } else {
                        0
                    }
                };
                for (p, rows, sums) in [
                    (&*pair.p, queries.d_out_rows, &mut *d_values),
                    (&*pair.ds, queries.q_rows, &mut *d_keys),
                ] {
                    let blocks = rows.chunks_exact(queries.count * width);
                    for (rows, sums) in blocks.zip(sums.chunks_exact_mut(KEYS * width)) {
                        let product = Product {
                            rows: keys,
                            depth: panels * width,
                            left: Left { data: p, row: PITCH, step: 1 },
                            right: Right { data: &rows[(query - first) * width..], stride: width },
                        };
                        product.run(simd, sums, width, skip, Start::Old);
                    }
                }
            }
            let row = key - self.keys.start;
            let scale = self.from.shape.scale() as f32;
            write_rows(simd, d_keys, KEYS, scale, &mut self.d_keys, row, keys);
            write_rows(simd, d_values, KEYS, 1.0, &mut self.d_values, row, keys);
        }
    }
}

impl Chunk<'_> {
    /// Copies queries and gradients of outputs from position `first` on, transposed and in rows.
    #[inline(always)]
    fn gather<S: Simd>(&self, simd: S, first: usize, turned: [&mut [f32]; 2], rows: [&mut [f32]; 2]) {
        let AttentionShape { seq, heads, dim, .. } = self.from.shape;
        let width = width::<S>();
        let d_out = &self.d_out[self.row_of_out(first)..];
        let sources = [(self.from.from(Part::Query, first), self.from.stride()), (d_out, heads * dim)];
        for (((from, stride), turned), rows) in sources.into_iter().zip(turned).zip(rows) {
            for (panel, to) in turned.chunks_exact_mut(dim * width).enumerate() {
                let at = panel * width;
                let count = width.min((seq - first).saturating_sub(at));
                if count < width {
                    to.fill(0.0);
                }
                transpose(simd, (count, dim), from.get(at * stride..).unwrap_or(&[]), stride, to, width);
            }
            let count = rows.len() / dim.next_multiple_of(width);
            for (block, to) in rows.chunks_exact_mut(count * width).enumerate() {
                let columns = width.min(dim - block * width);
                for (row, to) in to.chunks_exact_mut(width).enumerate() {
                    if row >= seq - first {
                        to.fill(0.0);
                        continue;
                    }
                    let from = &from[row * stride + block * width..][..columns];
                    let low = simd.load_partial(from);
                    let high = simd.load_partial(&from[S::LANES.min(columns)..]);
                    store(simd, [low, high], to);
                }
            }
        }
    }

    /// The log-sums in powers of two and `δ`, from position `first` on.
    #[inline(always)]
    fn row_terms<S: Simd>(&self, simd: S, first: usize, lse: &mut [f32], delta: &mut [f32]) {
        let AttentionShape { seq, heads, dim, .. } = self.from.shape;
        for (row, (lse, delta)) in lse.iter_mut().zip(delta).enumerate() {
            if first + row >= seq {
                (*lse, *delta) = (f32::INFINITY, 0.0);
                continue;
            }
            let sum = self.lse[first + row];
            *lse = if sum == f32::NEG_INFINITY { f32::INFINITY } else { sum * std::f32::consts::LOG2_E };
            let at = self.row_of_out(first) + row * heads * dim;
            let (out, d_out) = (&self.out[at..][..dim], &self.d_out[at..][..dim]);
            let mut dot = simd.splat(0.0);
            for (a, b) in out.chunks(S::LANES).zip(d_out.chunks(S::LANES)) {
                dot = simd.fma(simd.load_partial(a), simd.load_partial(b), dot);
            }
            *delta = simd.sum(dot);
        }
    }

    /// Where this head's vector of a position begins in `out` and `d_out`.
    #[inline(always)]
    fn row_of_out(&self, position: usize) -> usize {
        let AttentionShape { seq, heads, dim, .. } = self.from.shape;
        ((self.from.sequence * seq + position) * heads + self.from.head) * dim
    }
}

impl Pair<'_> {
    /// Recomputes one panel's columns of the pair, for the first `seen` of `keys` keys from `key` on and the queries
    /// from position `at`, column `column`; adds `Kᵀ·dSᵀ` to the panel's `d_queries`.
    #[inline(always)]
    fn panel<S: Simd>(
        &mut self,
        simd: S,
        from: &Head<'_>,
        queries: &Queries<'_>,
        (key, keys, seen): (usize, usize, usize),
        (at, column): (usize, usize),
        d_queries: &mut [f32],
    ) {
        let (width, dim, stride) = (width::<S>(), from.shape.dim, from.stride());
        if seen == 0 {
            return;
        }
        let zero = [simd.splat(0.0); 2];
        let (p, ds) = (&mut self.p[column..], &mut self.ds[column..]);
        let panel = (at - queries.first) * dim;
        let (ks, values) = (from.from(Part::Key, key), from.from(Part::Value, key));
        for (left, right, to) in [(ks, queries.q, &mut *p), (values, queries.d_out, &mut *ds)] {
            let product = Product {
                rows: seen,
                depth: dim,
                left: Left { data: left, row: stride, step: 1 },
                right: Right { data: &right[panel..][..dim * width], stride: width },
            };
            product.run(simd, to, PITCH, |_| 0, Start::Zero);
        }
        let lse = load(simd, &queries.lse[at - queries.first..]);
        let lse = both!(half => simd.sub(zero[half], lse[half]));
        let delta = load(simd, &queries.delta[at - queries.first..]);
        let factor = simd.splat(factor(dim));
        for (p, ds) in p.chunks_mut(PITCH).zip(ds.chunks_mut(PITCH)).take(seen) {
            let (logit, dp) = (load(simd, p), load(simd, ds));
            let power = both!(half => exp2(simd, simd.fma(logit[half], factor, lse[half])));
            let gradient = both!(half => simd.mul(power[half], simd.sub(dp[half], delta[half])));
            store(simd, power, p);
            store(simd, gradient, ds);
        }
        if from.shape.causal {
            for row in (at + 1).saturating_sub(key)..seen {
                for values in [&mut *p, &mut *ds] {
                    let values = &mut values[row * PITCH..][..width];
                    let kept = load(simd, values);
                    store(simd, first_lanes(simd, key + row - at, zero, kept), values);
                }
            }
            // A register tile that begins on the diagonal reads as many more rows as it has.
            for row in seen..keys.min(seen + height::<S>() - 1) {
                store(simd, zero, &mut p[row * PITCH..]);
                store(simd, zero, &mut ds[row * PITCH..]);
            }
        }
        let product = Product {
            rows: dim,
            depth: seen,
            left: Left { data: ks, row: 1, step: stride },
            right: Right { data: ds, stride: PITCH },
        };
        product.run(simd, d_queries, width, |_| 0, Start::Old);
    }
}

/// Writes `scale · sums` to rows `row..row + count` of `to`; `sums` holds `[pitch, width]` for each panel's width of
/// columns.
#[inline(always)]
fn write_rows<S: Simd>(
    simd: S,
    sums: &[f32],
    pitch: usize,
    scale: f32,
    to: &mut Tile<'_, f32>,
    row: usize,
    count: usize,
) {
    let width = width::<S>();
    let scale = simd.splat(scale);
    for i in 0..count {
        for (block, to) in to.row_mut(row + i).chunks_mut(width).enumerate() {
            let [low, high] = load(simd, &sums[(block * pitch + i) * width..]);
            let (first, second) = to.split_at_mut(S::LANES.min(to.len()));
            simd.store_partial(simd.mul(low, scale), first);
            simd.store_partial(simd.mul(high, scale), second);
        }
    }
}

/// One task of the second phase: the queries of a chunk, all shares.
struct AddShares<'a> {
    shape: AttentionShape,
    /// Position of the first query.
    first: usize,
    /// Keys of a chunk.
    chunk: usize,
    /// This head's shares, each as [`Chunk::d_queries`].
    shares: &'a [f32],
    /// `[queries, dim]`
    out: Tile<'a, f32>,
}

impl Kernel for AddShares<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let AttentionShape { seq, dim, causal, .. } = self.shape;
        let (width, share) = (width::<S>(), seq.next_multiple_of(QUERIES) * dim);
        let scale = simd.splat(self.shape.scale() as f32);
        let mut scratch = Buffer::<f32>::scratch(2 * dim * width);
        let (sums, turned) = scratch.split_at_mut(dim * width);
        for row in (0..self.out.rows()).step_by(width) {
            let at = self.first + row;
            // Of a chunk whose keys all come later nothing was written.
            let chunks = if causal { at / self.chunk + 1 } else { self.shares.len() / share };
            for (line, sums) in sums.chunks_exact_mut(width).enumerate() {
                let mut sum = [simd.splat(0.0); 2];
                for share in self.shares.chunks_exact(share).take(chunks) {
                    let part = load(simd, &share[at * dim + line * width..]);
                    sum = both!(half => simd.add(sum[half], part[half]));
                }
                store(simd, both!(half => simd.mul(sum[half], scale)), sums);
            }
            let count = width.min(self.out.rows() - row);
            transpose(simd, (dim, count), sums, width, turned, dim);
            for (i, from) in turned.chunks_exact(dim).take(count).enumerate() {
                self.out.row_mut(row + i).copy_from_slice(from);
            }
        }
    }
}
