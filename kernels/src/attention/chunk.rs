//! One task of the backward pass: one query head against a chunk of keys; and the sum of what chunks give to `dQ`.
//!
//! Queries and gradients of outputs are copied twice, transposed and in rows, since products sum over their components
//! and over their positions. Who runs which chunk is decided in `backward.rs`, where the formulas are.

use std::ops::Range;

use super::mask::Band;
use super::problem::Head;
use super::softmax::{adjust, both, exp2, first_lanes, load, store, Factors};
use super::view::Rows;
use crate::grid::Tile;
use crate::isa;
use crate::pool::Buffer;
use crate::simd::tile::{height, width, Left, Product, Right, Start};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};

/// Queries of a block, a multiple of every level's panel; the depth of the products that give `dK` and `dV`.
pub(super) const QUERIES: usize = 64;
/// Elements from one key's probabilities to the next one's; not a power of two, so that they spread over cache sets.
const PITCH: usize = QUERIES + 16;
/// Keys of a block: a multiple of the register tile's rows and of every panel.
pub(super) const KEYS: usize = 96;

/// One query head against a chunk of keys.
pub(super) struct Chunk<'c, 't, 'a> {
    pub(super) from: Head<'a, f32>,
    pub(super) out: Rows<'a, f32>,
    pub(super) d_out: Rows<'a, f32>,
    /// `[queries]`, this head's.
    pub(super) lse: &'a [f32],
    pub(super) keys: Range<usize>,
    /// Whether `d_keys` and `d_values` are overwritten and not added to.
    pub(super) first: bool,
    /// `[keys, dim]`
    pub(super) d_keys: &'c mut Tile<'t, f32>,
    pub(super) d_values: &'c mut Tile<'t, f32>,
    /// Panels `[dim, width]` of all queries, of which those in blocks that see a key of the chunk are written; or, where
    /// this is the only chunk, the gradients themselves.
    pub(super) d_queries: Result<&'c mut [f32], Tile<'t, f32>>,
}

/// What a chunk needs of its queries, from query `first` on; queries past the end are zeros.
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

/// Probabilities and their gradients, `[KEYS, QUERIES]` with rows `PITCH` apart, and room for a panel's biases.
struct Pair<'a> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
    biases: &'a mut [f32],
    factors: Factors,
}

impl Kernel for Chunk<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Head { band, dim, scale, .. } = self.from;
        let width = width::<S>();
        let all = band.queries;
        let seeing = band.seeing(self.keys.clone());
        let first = seeing.start / QUERIES * QUERIES;
        let count = seeing.end.next_multiple_of(QUERIES).max(first) - first;
        let padded = dim.next_multiple_of(width);
        let own = if self.d_queries.is_err() { all.next_multiple_of(QUERIES) * dim } else { 0 };
        let biases = if self.from.bias.is_some() { KEYS * width } else { 0 };
        // Keys or values far apart share cache sets and need a page each; copied, they are read faster many times.
        let copies = [self.from.k, self.from.v].map(|rows| if rows.stride > dim { KEYS * dim } else { 0 });
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
            biases,
            own,
            copies[0],
            copies[1],
        ];
        let mut scratch = Buffer::<f32>::scratch(sizes.iter().sum());
        let mut left = &mut scratch[..];
        let [q, d_out, q_rows, d_out_rows, lse, delta, p, ds, d_keys, d_values, biases, own, k_copy, v_copy] =
            sizes.map(|size| left.split_off_mut(..size).expect("the scratch holds the sum of sizes"));

        self.gather(simd, first, [q, d_out], [q_rows, d_out_rows]);
        self.row_terms(simd, first, lse, delta);
        let queries = Queries { first, count, q, d_out, q_rows, d_out_rows, lse, delta };
        let (d_queries, target) = match self.d_queries {
            Ok(share) => (share, None),
            Err(tile) => (own, Some(tile)),
        };
        d_queries[first * dim..(first + count) * dim].fill(0.0);
        let factors = Factors::new(scale, self.from.bias.is_some());
        let mut pair = Pair { p, ds, biases, factors };
        for key in self.keys.clone().step_by(KEYS) {
            let keys = KEYS.min(self.keys.end - key);
            d_keys.fill(0.0);
            d_values.fill(0.0);
            let block = Keys {
                at: key,
                count: keys,
                keys: self.from.k.from(key).copied(simd, (keys, dim), k_copy),
                values: self.from.v.from(key).copied(simd, (keys, dim), v_copy),
            };
            let seeing = band.seeing(key..key + keys);
            for query in (seeing.start / QUERIES * QUERIES..seeing.end).step_by(QUERIES) {
                // The panels of the block that have a query which sees a key of the block.
                let from = seeing.start.max(query) / width * width;
                let end = seeing.end.min(query + QUERIES);
                for at in (from..end).step_by(width) {
                    let part = &mut d_queries[at * dim..][..dim * width];
                    pair.panel(simd, &self.from, &queries, &block, (at, at - query), part);
                }
                // The panels before the first one that sees a row's key see none of the rows that follow.
                let skip = |row: usize| {
                    band.seeing(key + row..key + row + 1).start.saturating_sub(from) / width * width
                };
                for (p, rows, sums) in [
                    (&*pair.p, queries.d_out_rows, &mut *d_values),
                    (&*pair.ds, queries.q_rows, &mut *d_keys),
                ] {
                    let blocks = rows.chunks_exact(queries.count * width);
                    for (rows, sums) in blocks.zip(sums.chunks_exact_mut(KEYS * width)) {
                        let product = Product {
                            rows: keys,
                            depth: (end - from).next_multiple_of(width),
                            left: Left { data: &p[from - query..], row: PITCH, step: 1 },
                            right: Right { data: &rows[(from - first) * width..], stride: width },
                        };
                        product.run(simd, sums, width, skip, Start::Old);
                    }
                }
            }
            let row = key - self.keys.start;
            write_rows(simd, d_keys, scale as f32, self.d_keys, (row, keys), self.first);
            write_rows(simd, d_values, 1.0, self.d_values, (row, keys), self.first);
        }
        if let Some(target) = target {
            let whole = Shares { scale, band, first: 0, shares: d_queries, size: band.keys.max(1), step: 0 };
            whole.add(simd, target);
        }
    }
}

impl Chunk<'_, '_, '_> {
    /// Copies queries and gradients of outputs from query `first` on, transposed and in rows.
    #[inline(always)]
    fn gather<S: Simd>(&self, simd: S, first: usize, turned: [&mut [f32]; 2], rows: [&mut [f32]; 2]) {
        let (dim, width) = (self.from.dim, width::<S>());
        let left = self.from.band.queries.saturating_sub(first);
        let sources = [self.from.q.from(first), self.d_out.from(first)];
        for ((from, turned), rows) in sources.into_iter().zip(turned).zip(rows) {
            for (panel, to) in turned.chunks_exact_mut(dim * width).enumerate() {
                let at = panel * width;
                let count = width.min(left.saturating_sub(at));
                if count < width {
                    to.fill(0.0);
                }
                let from = from.from(at);
                transpose(simd, (count, dim), from.data, from.stride, to, width);
            }
            let count = rows.len() / dim.next_multiple_of(width);
            for (block, to) in rows.chunks_exact_mut((count * width).max(1)).enumerate() {
                let columns = width.min(dim - block * width);
                for (row, to) in to.chunks_exact_mut(width).enumerate() {
                    if row >= left {
                        to.fill(0.0);
                        continue;
                    }
                    let from = &from.row(row, dim)[block * width..][..columns];
                    let low = simd.load_partial(from);
                    let high = simd.load_partial(&from[S::LANES.min(columns)..]);
                    store(simd, [low, high], to);
                }
            }
        }
    }

    /// The log-sums in powers of two and `δ`, from query `first` on.
    #[inline(always)]
    fn row_terms<S: Simd>(&self, simd: S, first: usize, lse: &mut [f32], delta: &mut [f32]) {
        let dim = self.from.dim;
        for (row, (lse, delta)) in lse.iter_mut().zip(delta).enumerate() {
            let Some(&sum) = self.lse.get(first + row) else {
                (*lse, *delta) = (f32::INFINITY, 0.0);
                continue;
            };
            *lse = if sum == f32::NEG_INFINITY { f32::INFINITY } else { sum * std::f32::consts::LOG2_E };
            let (out, d_out) = (self.out.row(first + row, dim), self.d_out.row(first + row, dim));
            let mut dot = simd.splat(0.0);
            for (a, b) in out.chunks(S::LANES).zip(d_out.chunks(S::LANES)) {
                dot = simd.fma(simd.load_partial(a), simd.load_partial(b), dot);
            }
            *delta = simd.sum(dot);
        }
    }
}

/// A block of `count` keys and values from key `at` on.
struct Keys<'a> {
    at: usize,
    count: usize,
    keys: Rows<'a, f32>,
    values: Rows<'a, f32>,
}

impl Pair<'_> {
    /// Recomputes one panel's columns of the pair, for the keys of a block that its queries see: those from query `at` on,
    /// column `column`; adds `Kᵀ·dSᵀ` to the panel's `d_queries`. Rows that a product reads beside them become zeros.
    #[inline(always)]
    fn panel<S: Simd>(
        &mut self,
        simd: S,
        from: &Head<'_, f32>,
        queries: &Queries<'_>,
        block: &Keys<'_>,
        (at, column): (usize, usize),
        d_queries: &mut [f32],
    ) {
        let (width, dim) = (width::<S>(), from.dim);
        let lanes = at..from.band.queries.min(at + width);
        let seen = from.band.seen_by(lanes.clone());
        let low = seen.start.clamp(block.at, block.at + block.count) - block.at;
        let high = seen.end.clamp(block.at + low, block.at + block.count) - block.at;
        let zero = [simd.splat(0.0); 2];
        let (p, ds) = (&mut self.p[column..], &mut self.ds[column..]);
        // A register tile that begins in the rows seen reads as many more as it has; one that begins before, all.
        for row in (0..low).chain(high..block.count.min(high + height::<S>() - 1)) {
            store(simd, zero, &mut p[row * PITCH..]);
            store(simd, zero, &mut ds[row * PITCH..]);
        }
        if low == high {
            return;
        }
        let rows = high - low;
        let (p, ds) = (&mut p[low * PITCH..], &mut ds[low * PITCH..]);
        let panel = (at - queries.first) * dim;
        let (ks, values) = (block.keys.from(low), block.values.from(low));
        for (left, right, to) in [(ks, queries.q, &mut *p), (values, queries.d_out, &mut *ds)] {
            let product = Product {
                rows,
                depth: dim,
                left: Left { data: left.data, row: left.stride, step: 1 },
                right: Right { data: &right[panel..][..dim * width], stride: width },
            };
            product.run(simd, to, PITCH, |_| 0, Start::Zero);
        }
        let first = block.at + low;
        let bias = from.bias.map(|bias| Rows { data: &bias.from(at).data[first..], ..bias });
        adjust(simd, self.factors, p, PITCH, bias, (rows, lanes.len()), self.biases);
        let lse = load(simd, &queries.lse[at - queries.first..]);
        let lse = both!(half => simd.sub(zero[half], lse[half]));
        let delta = load(simd, &queries.delta[at - queries.first..]);
        let factor = simd.splat(self.factors.power);
        for (p, ds) in p.chunks_mut(PITCH).zip(ds.chunks_mut(PITCH)).take(rows) {
            let (logit, dp) = (load(simd, p), load(simd, ds));
            let power = both!(half => exp2(simd, simd.fma(logit[half], factor, lse[half])));
            let gradient = both!(half => simd.mul(power[half], simd.sub(dp[half], delta[half])));
            store(simd, power, p);
            store(simd, gradient, ds);
        }
        let plain = from.band.seen_by_all(at..at + width);
        let from_plain = plain.start.clamp(first, first + rows) - first;
        let to_plain = plain.end.clamp(first + from_plain, first + rows) - first;
        for row in (0..from_plain).chain(to_plain..rows) {
            let lanes = from.band.lanes(at, width, first + row);
            for values in [&mut *p, &mut *ds] {
                let values = &mut values[row * PITCH..][..width];
                let kept = first_lanes(simd, lanes.end, load(simd, values), zero);
                store(simd, first_lanes(simd, lanes.start, zero, kept), values);
            }
        }
        let product = Product {
            rows: dim,
            depth: rows,
            left: Left { data: ks.data, row: 1, step: ks.stride },
            right: Right { data: ds, stride: PITCH },
        };
        product.run(simd, d_queries, width, |_| 0, Start::Old);
    }
}

/// Writes `scale · sums` to rows `row..row + count` of `to`, or adds it; `sums` holds `[KEYS, width]` for each panel's
/// width of columns.
#[inline(always)]
fn write_rows<S: Simd>(
    simd: S,
    sums: &[f32],
    scale: f32,
    to: &mut Tile<'_, f32>,
    (row, count): (usize, usize),
    overwrite: bool,
) {
    let width = width::<S>();
    let scale = simd.splat(scale);
    for i in 0..count {
        for (block, to) in to.row_mut(row + i).chunks_mut(width).enumerate() {
            let sum = load(simd, &sums[(block * KEYS + i) * width..]);
            let (first, second) = to.split_at_mut(S::LANES.min(to.len()));
            for (sum, to) in [(sum[0], first), (sum[1], second)] {
                let mut value = simd.mul(sum, scale);
                if !overwrite {
                    value = simd.add(simd.load_partial(to), value);
                }
                simd.store_partial(value, to);
            }
        }
    }
}

/// Writes `scale` times the sum of what chunks of `size` keys have for `queries`; the chunks' panels begin in `shares`,
/// `step` apart.
pub(super) fn add_shares(
    scale: f64,
    band: Band,
    queries: Range<usize>,
    shares: &[f32],
    (size, step): (usize, usize),
    to: Tile<'_, f32>,
) {
    isa::dispatch((Shares { scale, band, first: queries.start, shares, size, step }, to));
}

/// What chunks have for the queries of a head.
struct Shares<'a> {
    scale: f64,
    band: Band,
    /// The first query that is asked for, at a panel's begin.
    first: usize,
    /// As [`Chunk::d_queries`], `step` from one chunk to the next.
    shares: &'a [f32],
    /// Keys of a chunk.
    size: usize,
    step: usize,
}

impl Kernel for (Shares<'_>, Tile<'_, f32>) {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.add(simd, self.1);
    }
}

impl Shares<'_> {
    /// Sums for as many queries as `to` has rows, `[queries, dim]`.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, mut to: Tile<'_, f32>) {
        let (width, dim, all) = (width::<S>(), to.cols(), to.rows());
        let scale = simd.splat(self.scale as f32);
        let mut scratch = Buffer::<f32>::scratch(2 * dim * width);
        let (sums, turned) = scratch.split_at_mut(dim * width);
        for row in (0..all).step_by(width) {
            let (at, count) = (self.first + row, width.min(all - row));
            // Of a chunk that none of the panel's queries sees, nothing was written.
            let seen = self.band.seen_by(at..at + count);
            let chunks =
                if seen.is_empty() { 0..0 } else { seen.start / self.size..seen.end.div_ceil(self.size) };
            for (line, sums) in sums.chunks_exact_mut(width).enumerate() {
                let mut sum = [simd.splat(0.0); 2];
                for chunk in chunks.clone() {
                    let part = load(simd, &self.shares[chunk * self.step + at * dim + line * width..]);
                    sum = both!(half => simd.add(sum[half], part[half]));
                }
                store(simd, both!(half => simd.mul(sum[half], scale)), sums);
            }
            transpose(simd, (dim, count), sums, width, turned, dim);
            for (i, from) in turned.chunks_exact(dim).take(count).enumerate() {
                to.row_mut(row + i).copy_from_slice(from);
            }
        }
    }
}
