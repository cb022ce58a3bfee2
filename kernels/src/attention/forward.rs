//! The forward pass: one task a block of one head's queries, which keeps its queries and sums in cache and walks over the
//! keys they see.
//!
//! Everything is computed transposed, a query a lane: logits `K·Qᵀ` and outputs `Vᵀ·Pᵀ` have keys and values as left
//! factors; queries and outputs are transposed, once each. Keys come in blocks that begin at multiples of [`KEYS`], so a
//! row's bits do not depend on which other queries are computed, nor on where its sequence lies.

use std::ops::Range;

use super::problem::{check_shape, Attention, Head, Items, Problem};
use super::softmax::{adjust, both, first_lanes, inverse, load, log_sum, online, store, Factors};
use super::view::{Heads, HeadsMut, Rows};
use crate::error::ShapeError;
use crate::grid::heads::HeadTiles;
use crate::grid::Tile;
use crate::isa;
use crate::pool::Buffer;
use crate::simd::tile::{width, Left, Product, Right, Start};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};

/// Queries of a task, at most and at least: powers of two and multiples of every level's panel. Each task reads all keys and values that it
/// sees, from far away where heads lie side by side.
const MOST_QUERIES: usize = 512;
const LEAST_QUERIES: usize = 64;
/// Numbers of a task's queries; these and as many sums take half a second-level cache.
const MOST_NUMBERS: usize = 1 << 15;
/// Tasks for each worker that are enough for unequal ones to end together.
const TASKS: usize = 16;
/// Keys of a block: a multiple of the register tile's rows; the block's logits for a panel stay in the first cache.
const KEYS: usize = 96;

impl Attention<'_, f32> {
    /// `out = softmax(scale·Q·Kᵀ + bias)·V` of what each query sees.
    ///
    /// `q` and `out` are `[batch, queries, heads, dim]`, `k` and `v` `[batch, keys, kv_heads, dim]`, where `kv_heads`
    /// divides `heads`. `lse: [batch, heads, queries]` receives the log of each row's sum of exponentials, which the
    /// backward pass needs. A row that sees nothing gives zeros and `-∞`. Takes pooled memory of `1280·dim` bytes, or
    /// `768·dim` and 256 KiB where that is more, and 8 KiB (14 KiB with a bias) for each task in flight.
    ///
    /// # Errors
    /// When shapes, offsets or the bias do not fit each other; then nothing was written.
    ///
    /// ```
    /// use upbeat_kernels::attention::{Attention, Heads, HeadsMut, Mask};
    ///
    /// // Two sequences of 3 and 2 positions, four query heads on two key and value heads.
    /// let (q, kv) = (vec![0.1f32; 5 * 4 * 8], vec![0.2f32; 5 * 2 * 8]);
    /// let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; 5 * 4]);
    /// Attention::new().mask(Mask::Causal).sequences(&[0, 3, 5], &[0, 3, 5]).forward(
    ///     Heads::new(&q, [1, 5, 4, 8])?,
    ///     Heads::new(&kv, [1, 5, 2, 8])?,
    ///     Heads::new(&kv, [1, 5, 2, 8])?,
    ///     HeadsMut::new(&mut out, [1, 5, 4, 8])?,
    ///     &mut lse,
    /// )?;
    /// assert!(out.iter().all(|x| (x - 0.2).abs() < 1e-6));
    /// # Ok::<(), upbeat_kernels::ShapeError>(())
    /// ```
    pub fn forward(
        &self,
        q: Heads<'_, f32>,
        k: Heads<'_, f32>,
        v: Heads<'_, f32>,
        out: HeadsMut<'_, f32>,
        lse: &mut [f32],
    ) -> Result<(), ShapeError> {
        let problem = Problem::new(self, q, k, v)?;
        check_shape("output", q.shape(), out.shape())?;
        problem.check_lse(lse.len())?;
        run(&problem, out, lse);
        Ok(())
    }
}

/// The pass over a checked problem.
pub(super) fn run(problem: &Problem<'_, f32>, out: HeadsMut<'_, f32>, lse: &mut [f32]) {
    if lse.is_empty() {
        return;
    }
    let heads = problem.heads;
    let sums = HeadTiles::new(lse, problem.lse_layout());
    if problem.dim == 0 {
        upbeat::par::for_each(0..problem.sequences * heads, |index| {
            let (sequence, head) = (index / heads, index % heads);
            let (batch, queries) = problem.queries(sequence);
            of_no_width(&problem.head(sequence, head), sums.take(batch, head, queries).into_slice());
        });
        return;
    }
    let (out, layout) = out.into_parts();
    let outs = HeadTiles::new(out, layout);
    let size = queries_of_a_task(problem);
    let blocks =
        Items::new(problem.sequences, |sequence| heads * problem.queries(sequence).1.len().div_ceil(size));
    upbeat::par::for_each(0..blocks.len(), |item| {
        let (sequence, item) = blocks.find(item);
        let (batch, queries) = problem.queries(sequence);
        let blocks = queries.len().div_ceil(size);
        let (head, block) = (item / blocks, item % blocks);
        let part = block * size..queries.len().min((block + 1) * size);
        let rows = queries.start + part.start..queries.start + part.end;
        let from = problem.head(sequence, head);
        let seen = from.band.seen_by(part.clone());
        let runs = if seen.is_empty() { &[][..] } else { std::slice::from_ref(&seen) };
        isa::dispatch(Block {
            from,
            runs: Runs { of: &[runs], share: part.len() },
            queries: part,
            factors: Factors::new(from.scale, from.bias.is_some()),
            out: outs.take(batch, head, rows.clone()),
            lse: sums.take(batch, head, rows).into_slice(),
        });
    });
}

/// As many as leave enough tasks for all workers. No bit depends on it: a panel's queries go their own way.
pub(super) fn queries_of_a_task(problem: &Problem<'_, f32>) -> usize {
    let tasks = |size: usize| {
        let of = |sequence| problem.queries(sequence).1.len().div_ceil(size) * problem.heads;
        (0..problem.sequences).map(of).sum::<usize>()
    };
    let (mut size, wanted) = (MOST_QUERIES, TASKS * upbeat::current_num_workers());
    while size > LEAST_QUERIES && (size * problem.dim > MOST_NUMBERS || tasks(size) < wanted) {
        size /= 2;
    }
    size
}

/// Log-sums over keys of no width: every product is 0.
fn of_no_width(head: &Head<'_, f32>, lse: &mut [f32]) {
    for (i, lse) in lse.iter_mut().enumerate() {
        let seen = head.band.seen(i);
        let bias = |j: usize| head.bias.map_or(0.0, |bias| f64::from(bias.row(i, j + 1)[j]));
        *lse = crate::twin::log_sum_exp(seen.len(), |n| bias(seen.start + n)) as f32;
    }
}

/// Which keys the queries of a task are computed with.
#[derive(Clone, Copy)]
pub(super) struct Runs<'a> {
    /// For each `share` queries, from the task's first on: runs of keys in ascending order, apart from each other, none empty.
    pub(super) of: &'a [&'a [Range<usize>]],
    /// A multiple of every level's panel, unless it is all queries.
    pub(super) share: usize,
}

impl<'a> Runs<'a> {
    /// In the first block of [`KEYS`] that has a key from `key` on for any of the queries: from the first of them to the last.
    fn next(&self, key: usize) -> Range<usize> {
        let firsts = self.of.iter().filter_map(|runs| within(runs, key..usize::MAX).next());
        let Some(first) = firsts.map(|run| run.start).min() else { return 0..0 };
        let block = first..(first / KEYS + 1) * KEYS;
        let ends = self.of.iter().flat_map(|runs| within(runs, block.clone())).map(|run| run.end);
        first..ends.max().unwrap_or(first)
    }

    /// Parts of `keys` that the `query`-th query of the task is computed with.
    fn parts(&self, query: usize, keys: Range<usize>) -> impl Iterator<Item = Range<usize>> + 'a {
        within(self.of[query / self.share], keys)
    }
}

/// The parts of `runs` that lie in `keys`.
fn within(runs: &[Range<usize>], keys: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let first = runs.partition_point(|run| run.end <= keys.start);
    let parts = runs[first..].iter().map(move |run| run.start.max(keys.start)..run.end.min(keys.end));
    parts.take_while(|part| !part.is_empty())
}

/// One task: the queries of one block against those keys of `runs` that they see. A block of keys and values is copied once for all that
/// are computed with it.
pub(super) struct Block<'a> {
    pub(super) from: Head<'a, f32>,
    pub(super) queries: Range<usize>,
    pub(super) runs: Runs<'a>,
    pub(super) factors: Factors,
    /// `[queries, dim]`
    pub(super) out: Tile<'a, f32>,
    /// `[queries]`
    pub(super) lse: &'a mut [f32],
}

/// A panel's queries `[dim, width]`, its sums `[dim, width]`, and the softmax's state `[width]`.
struct Panel<'a> {
    /// The first query, and one past the last.
    first: usize,
    end: usize,
    queries: &'a [f32],
    sums: &'a mut [f32],
    max: &'a mut [f32],
    total: &'a mut [f32],
}

/// A block's keys and values, from key `first` on.
#[derive(Clone, Copy)]
struct Keys<'a> {
    first: usize,
    keys: Rows<'a, f32>,
    values: Rows<'a, f32>,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let dim = self.from.dim;
        let (width, first, count) = (width::<S>(), self.queries.start, self.queries.len());
        let panels = count.div_ceil(width);
        let size = dim * width;
        // Rows far apart share cache sets and need a page each; from two panels on it pays to copy them once.
        let copied = |rows: Rows<'_, f32>| if panels > 1 && rows.stride > dim { KEYS * dim } else { 0 };
        let copies = [copied(self.from.k), copied(self.from.v)];
        let biases = if self.from.bias.is_some() { KEYS * width } else { 0 };
        let sizes = [
            panels * size,
            panels * size,
            panels * width,
            panels * width,
            KEYS * width,
            biases,
            copies[0],
            copies[1],
        ];
        let mut scratch = Buffer::<f32>::scratch(sizes.iter().sum());
        let mut left = &mut scratch[..];
        let [queries, sums, max, total, logits, biases, keys, values] =
            sizes.map(|size| left.split_off_mut(..size).expect("the scratch holds the sum of sizes"));
        let mut block = self.runs.next(0);
        for (panel, to) in queries.chunks_exact_mut(size).enumerate() {
            self.ask(&block, (panel, panels), copies);
            let at = first + panel * width;
            let next = at + width..self.queries.end.min(at + 2 * width);
            self.from.q.from(next.start).ask(0..next.len(), dim);
            let rows = width.min(self.queries.end - at);
            if rows < width {
                to.fill(0.0);
            }
            let from = self.from.q.from(at);
            transpose(simd, (rows, dim), from.data, from.stride, to, width);
        }
        sums.fill(0.0);
        max.fill(f32::NEG_INFINITY);
        total.fill(0.0);

        while !block.is_empty() {
            let rows = (block.len(), dim);
            let keys = self.from.k.from(block.start).copied(simd, rows, keys);
            let values = self.from.v.from(block.start).copied(simd, rows, values);
            let next = self.runs.next(block.end.next_multiple_of(KEYS));
            for panel in 0..panels {
                self.ask(&next, (panel, panels), copies);
                let at = first + panel * width;
                let runs = self.runs.parts(panel * width, block.clone());
                let mut panel = Panel {
                    first: at,
                    end: self.queries.end.min(at + width),
                    queries: &queries[panel * size..][..size],
                    sums: &mut sums[panel * size..][..size],
                    max: &mut max[panel * width..][..width],
                    total: &mut total[panel * width..][..width],
                };
                for run in runs {
                    let skipped = run.start - block.start;
                    let part =
                        Keys { first: run.start, keys: keys.from(skipped), values: values.from(skipped) };
                    panel.step(simd, &self.from, self.factors, (part, run.len()), logits, biases);
                }
            }
            block = next;
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
            log_sum(simd, &max[at..][..width], total, self.factors.power, &mut self.lse[at..at + rows]);
        }
    }
}

impl Block<'_> {
    /// Asks for one of `parts` parts of a block of keys and values, where they will be copied: each row lies in a page of its own, where no
    /// prefetcher follows, and what is computed meanwhile hides the wait.
    #[inline(always)]
    fn ask(&self, block: &Range<usize>, (part, parts): (usize, usize), copies: [usize; 2]) {
        let count = block.len();
        for (rows, copied) in [self.from.k, self.from.v].into_iter().zip(copies) {
            if copied > 0 && count > 0 {
                rows.from(block.start).ask(part * count / parts..(part + 1) * count / parts, self.from.dim);
            }
        }
    }
}

impl Panel<'_> {
    /// Adds what the panel's queries see of a block of `count` keys.
    #[inline(always)]
    fn step<S: Simd>(
        &mut self,
        simd: S,
        from: &Head<'_, f32>,
        factors: Factors,
        (block, count): (Keys<'_>, usize),
        logits: &mut [f32],
        biases: &mut [f32],
    ) {
        let (width, dim) = (width::<S>(), from.dim);
        let seen = from.band.seen_by(self.first..self.end);
        let key = seen.start.max(block.first);
        let end = seen.end.min(block.first + count);
        if key >= end {
            return;
        }
        let keys = end - key;
        let (ks, values) = (block.keys.from(key - block.first), block.values.from(key - block.first));
        let logits = &mut logits[..keys * width];
        let product = Product {
            rows: keys,
            depth: dim,
            left: Left { data: ks.data, row: ks.stride, step: 1 },
            right: Right { data: self.queries, stride: width },
        };
        product.run(simd, logits, width, |_| 0, Start::Zero);
        let bias = from.bias.map(|bias| Rows { data: &bias.from(self.first).data[key..], ..bias });
        adjust(simd, factors, logits, width, bias, (keys, self.end - self.first), biases);
        // The rows that not every query of the panel sees lie at the two ends.
        let plain = from.band.seen_by_all(self.first..self.first + width);
        let low = plain.start.clamp(key, end) - key;
        let high = plain.end.clamp(key + low, end) - key;
        for row in (0..low).chain(high..keys) {
            let lanes = from.band.lanes(self.first, width, key + row);
            let logits = &mut logits[row * width..][..width];
            let hidden = [simd.splat(f32::NEG_INFINITY); 2];
            let seen = load(simd, logits);
            let kept = first_lanes(simd, lanes.end, seen, hidden);
            store(simd, first_lanes(simd, lanes.start, hidden, kept), logits);
        }
        let rescale = online(simd, logits, self.max, self.total, factors.power);
        // A hidden key has probability 0, but 0·∞ would not be 0.
        let mut finite = true;
        for row in (0..low).chain(high..keys) {
            finite &= is_finite(simd, values.row(row, dim));
        }
        if finite {
            self.add(simd, values, &logits[..keys * width], Start::Scaled(rescale));
            return;
        }
        self.add(simd, values, &[], Start::Scaled(rescale));
        for row in 0..keys {
            if row == low && high > low {
                self.add(simd, values.from(low), &logits[low * width..high * width], Start::Old);
            }
            if (low..high).contains(&row) {
                continue;
            }
            let powers = load(simd, &logits[row * width..]);
            let lanes = from.band.lanes(self.first, width, key + row);
            for (value, sums) in values.row(row, dim).iter().zip(self.sums.chunks_exact_mut(width)) {
                let sum = load(simd, sums);
                let added = both!(half => simd.fma(simd.splat(*value), powers[half], sum[half]));
                let kept = first_lanes(simd, lanes.end, added, sum);
                store(simd, first_lanes(simd, lanes.start, sum, kept), sums);
            }
        }
    }

    /// `sums ← start + valuesᵀ·powers` for as many keys as there are powers.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, values: Rows<'_, f32>, powers: &[f32], start: Start<S::F>) {
        let width = width::<S>();
        let product = Product {
            rows: self.sums.len() / width,
            depth: powers.len() / width,
            left: Left { data: values.data, row: 1, step: values.stride },
            right: Right { data: powers, stride: width },
        };
        product.run(simd, self.sums, width, |_| 0, start);
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
