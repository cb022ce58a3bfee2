//! Decoding: one query position of each sequence against its key/value cache, one task a key and value head and a chunk
//! of the cache, for all sequences at once.
//!
//! The cache is read once for all query heads that share it, so memory sets the pace. Long caches are split into chunks
//! of fixed size, whose partial softmaxes are merged in order. Positions are taken one by one in order, so bits do not
//! depend on where pages lie, nor on the other sequences.

use super::problem::Items;
use super::softmax::exp2;
use super::view::{Heads, Rows};
use crate::contract;
use crate::error::{check, checked_len, ShapeError};
use crate::isa;
use crate::pool::Buffer;
use crate::simd::tile::{width, Left, Product, Right, Start};
use crate::simd::{Kernel, Simd};

/// Positions of a chunk.
const CHUNK: usize = 512;
/// Positions whose logits are computed before their values are added.
const BLOCK: usize = 64;

/// A key/value cache in pages of a fixed number of positions, with a table of pages for each sequence.
///
/// ```
/// use upbeat_kernels::attention::{Heads, PagedCache};
///
/// // 3 pages of 16 positions, 2 heads of width 8; two sequences of 20 and 5 positions share nothing.
/// let (keys, values) = (vec![0.5f32; 3 * 16 * 2 * 8], vec![0.25f32; 3 * 16 * 2 * 8]);
/// let cache = PagedCache {
///     keys: Heads::new(&keys, [3, 16, 2, 8])?,
///     values: Heads::new(&values, [3, 16, 2, 8])?,
///     pages: &[2, 0, 1, u32::MAX],
///     lengths: &[20, 5],
///     window: None,
///     scale: None,
/// };
/// let (q, mut out) = (vec![1.0f32; 2 * 4 * 8], vec![0.0; 2 * 4 * 8]);
/// cache.decode(4, &q, &mut out)?;
/// assert!(out.iter().all(|x| (x - 0.25).abs() < 1e-6));
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PagedCache<'a, T> {
    /// `[pages, positions of a page, kv_heads, dim]`
    pub keys: Heads<'a, T>,
    /// `[pages, positions of a page, kv_heads, dim]`
    pub values: Heads<'a, T>,
    /// `[sequences, most pages of a sequence]`: position `p` of a sequence is in the page at entry `p / positions`. Entries
    /// behind a sequence's last position are not looked at.
    pub pages: &'a [u32],
    /// Positions in the cache of each sequence; a sequence without any gives zeros.
    pub lengths: &'a [usize],
    /// How many of the last positions a query sees; all without it.
    pub window: Option<usize>,
    /// The factor on `q·k`, instead of `1/√dim`.
    pub scale: Option<f64>,
}

impl<'a, T> PagedCache<'a, T> {
    /// The contract, for both precisions: `q` and `out` are `[sequences, heads, dim]`.
    pub(crate) fn check(&self, heads: usize, q: usize, out: usize) -> Result<Caches<'a, '_, T>, ShapeError> {
        let [pages, positions, kv_heads, dim] = self.keys.shape();
        for (axis, what) in ["pages of values", "positions of a page", "heads of values", "width of values"]
            .into_iter()
            .enumerate()
        {
            check(what, self.keys.shape()[axis], self.values.shape()[axis])?;
        }
        if heads > 0 && (kv_heads == 0 || !heads.is_multiple_of(kv_heads)) {
            return Err(ShapeError::Multiple { what: "the query heads", unit: kv_heads, found: heads });
        }
        let sequences = self.lengths.len();
        let len = checked_len("q", &[sequences, heads, dim])?;
        check("the length of q", len, q)?;
        check("the length of attention's output", len, out)?;
        let most = contract::units("the length of the page table", self.pages.len(), sequences)?;
        for (sequence, &length) in self.lengths.iter().enumerate() {
            let used = if length == 0 { 0 } else { length.div_ceil(positions.max(1)) };
            if used > most || (positions == 0 && length > 0) {
                return Err(ShapeError::Index {
                    what: "position of a cache",
                    index: length,
                    len: most * positions,
                });
            }
            let table = &self.pages[sequence * most..][..used];
            if let Some(&page) = table.iter().find(|&&page| page as usize >= pages) {
                return Err(ShapeError::Index { what: "page", index: page as usize, len: pages });
            }
        }
        let scale = self.scale.unwrap_or(1.0 / (dim.max(1) as f64).sqrt());
        Ok(Caches { cache: self, heads, kv_heads, dim, most, scale })
    }
}

/// A checked cache.
pub(crate) struct Caches<'a, 'c, T> {
    cache: &'c PagedCache<'a, T>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
    /// Entries of a sequence's table.
    most: usize,
    pub(crate) scale: f64,
}

impl<'a, T> Caches<'a, '_, T> {
    /// The positions that a sequence's query sees.
    pub(crate) fn seen(&self, sequence: usize) -> std::ops::Range<usize> {
        let length = self.cache.lengths[sequence];
        self.cache.window.map_or(0, |window| length.saturating_sub(window))..length
    }

    /// Keys and values of a head from `position` on, and how many of them lie in one page.
    pub(crate) fn run(
        &self,
        sequence: usize,
        kv_head: usize,
        position: usize,
    ) -> (Rows<'a, T>, Rows<'a, T>, usize) {
        let positions = self.cache.keys.shape()[1];
        let page = self.cache.pages[sequence * self.most + position / positions] as usize;
        let at = position % positions;
        let keys = self.cache.keys.rows(page, at, kv_head);
        (keys, self.cache.values.rows(page, at, kv_head), positions - at)
    }
}

impl PagedCache<'_, f32> {
    /// One query position of each sequence against its cache: `q` and `out` are `[sequences, heads, dim]`, where the
    /// cache's heads divide `heads` and are shared by neighbours. A query sees all positions of its sequence's cache, or
    /// the last ones of a window.
    ///
    /// Takes pooled memory of about `8·sequences·heads·dim` bytes for each 512 positions, and `600·dim` bytes for each
    /// task in flight.
    ///
    /// # Errors
    /// When shapes do not fit each other, a cache is longer than its pages, or a page does not exist; then nothing was
    /// written.
    pub fn decode(&self, heads: usize, q: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
        let caches = self.check(heads, q.len(), out.len())?;
        run(&caches, self.lengths.len(), q, out);
        Ok(())
    }
}

/// One query position against a cache, see [`Element::attention_decode`](crate::Element::attention_decode). The number
/// of positions follows from the length of `keys`; an empty cache gives zeros.
///
/// # Errors
/// When a length is not `heads * dim`, or that of the cache no multiple of it.
pub fn decode(
    heads: usize,
    dim: usize,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let len = contract::decode(heads, dim, q.len(), keys.len(), values.len(), out.len())?;
    let shape = [1, len, heads, dim];
    let cache = PagedCache {
        keys: Heads::new(keys, shape)?,
        values: Heads::new(values, shape)?,
        pages: &[0],
        lengths: &[len],
        window: None,
        scale: None,
    };
    cache.decode(heads, q, out)
}

/// All sequences, heads and chunks as one loop, then the merges.
fn run(caches: &Caches<'_, '_, f32>, sequences: usize, q: &[f32], out: &mut [f32]) {
    let Caches { heads, kv_heads, dim, .. } = *caches;
    if out.is_empty() {
        return;
    }
    let (group, size) = (heads / kv_heads, dim + 2);
    // Chunks begin at multiples of their size, wherever a window begins.
    let chunks = |sequence: usize| {
        let seen = caches.seen(sequence);
        seen.start / CHUNK..seen.end.div_ceil(CHUNK).max(seen.start / CHUNK + 1)
    };
    let items = Items::new(sequences, |sequence| kv_heads * chunks(sequence).len());
    // `[sequences, kv_heads, chunks, group, dim + 2]`
    let mut partials = Buffer::<f32>::scratch(items.len() * group * size);
    upbeat::par::chunks_mut(&mut partials, group * size, |item, partials| {
        let (sequence, item) = items.find(item);
        let chunks = chunks(sequence);
        let (kv_head, chunk) = (item / chunks.len(), chunks.start + item % chunks.len());
        let seen = caches.seen(sequence);
        let queries = &q[(sequence * heads + kv_head * group) * dim..][..group * dim];
        let positions = seen.start.max(chunk * CHUNK)..seen.end.min((chunk + 1) * CHUNK);
        isa::dispatch(Decode { q: queries, dim, caches, of: (sequence, kv_head), positions, partials });
    });
    let partials = &partials;
    upbeat::par::chunks_mut(out, group * dim, |index, out| {
        let (sequence, kv_head) = (index / kv_heads, index % kv_heads);
        let count = chunks(sequence).len();
        let first = items.start(sequence) + kv_head * count;
        for (member, out) in out.chunks_exact_mut(dim).enumerate() {
            let partial = |chunk: usize| &partials[((first + chunk) * group + member) * size..][..size];
            merge(count, partial, out);
        }
    });
}

/// Merges a head's partial softmaxes, each `[sums of dim, exponent, total]`, in order.
fn merge<'a>(count: usize, partial: impl Fn(usize) -> &'a [f32], out: &mut [f32]) {
    let dim = out.len();
    let largest = (0..count).map(|chunk| partial(chunk)[dim]).fold(f32::NEG_INFINITY, f32::max);
    out.fill(0.0);
    let mut total = 0.0;
    for chunk in 0..count {
        let partial = partial(chunk);
        // A partial that saw nothing but `-∞` has only zeros.
        let weight = if partial[dim + 1] == 0.0 { 0.0 } else { (partial[dim] - largest).exp2() };
        total += weight * partial[dim + 1];
        for (out, sum) in out.iter_mut().zip(partial) {
            *out += weight * sum;
        }
    }
    if total != 0.0 {
        out.iter_mut().for_each(|out| *out /= total);
    }
}

/// The softmax of the query heads that share a key and value head, over a part of its cache.
struct Decode<'a, 'c> {
    /// `[group, dim]`
    q: &'a [f32],
    dim: usize,
    caches: &'a Caches<'c, 'c, f32>,
    /// Sequence, key and value head.
    of: (usize, usize),
    positions: std::ops::Range<usize>,
    /// `[group, sums of dim, exponent, total]`; all relative to `2^exponent`.
    partials: &'a mut [f32],
}

impl Kernel for Decode<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { q, dim, caches, of: (sequence, kv_head), positions, partials } = self;
        let (group, width) = (q.len() / dim, width::<S>());
        let whole = dim / width * width;
        let tail = if whole < dim { BLOCK * width } else { 0 };
        let sizes = [group * BLOCK, group * dim.next_multiple_of(width), group, group, tail];
        let mut scratch = Buffer::<f32>::scratch(sizes.iter().sum());
        let mut left = &mut scratch[..];
        let [powers, sums, exponents, totals, tail] =
            sizes.map(|size| left.split_off_mut(..size).expect("the scratch holds the sum of sizes"));
        let pitch = dim.next_multiple_of(width);
        sums.fill(0.0);
        exponents.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        let factor = (caches.scale * std::f64::consts::LOG2_E) as f32;
        let mut at = positions.start;
        while at < positions.end {
            // Blocks end at multiples of their size, so that a window's begin moves no other block.
            let end = positions.end.min((at / BLOCK + 1) * BLOCK);
            powers.fill(f32::NEG_INFINITY);
            let mut position = at;
            while position < end {
                let (keys, _, run) = caches.run(sequence, kv_head, position);
                let count = run.min(end - position);
                for (q, powers) in q.chunks_exact(dim).zip(powers.chunks_exact_mut(BLOCK)) {
                    dots(simd, q, keys, factor, &mut powers[position - at..][..count]);
                }
                position += count;
            }
            for (member, powers) in powers.chunks_exact_mut(BLOCK).enumerate() {
                let sums = &mut sums[member * pitch..][..pitch];
                soften(simd, powers, &mut exponents[member], &mut totals[member], sums);
            }
            let mut position = at;
            while position < end {
                let (_, values, run) = caches.run(sequence, kv_head, position);
                let count = run.min(end - position);
                let left = Left { data: &powers[position - at..], row: BLOCK, step: 1 };
                for column in (0..whole).step_by(width) {
                    let right = Right { data: &values.data[column..], stride: values.stride };
                    let product = Product { rows: group, depth: count, left, right };
                    product.run(simd, &mut sums[column..], pitch, |_| 0, Start::Old);
                }
                if whole < dim {
                    // The last columns are fewer than a panel has.
                    for (row, to) in tail.chunks_exact_mut(width).take(count).enumerate() {
                        let from = &values.row(row, dim)[whole..];
                        simd.store(simd.load_partial(from), to);
                        let from = from.get(S::LANES..).unwrap_or(&[]);
                        simd.store(simd.load_partial(from), &mut to[S::LANES..]);
                    }
                    let right = Right { data: &*tail, stride: width };
                    let product = Product { rows: group, depth: count, left, right };
                    product.run(simd, &mut sums[whole..], pitch, |_| 0, Start::Old);
                }
                position += count;
            }
            at = end;
        }
        for (member, partial) in partials.chunks_exact_mut(dim + 2).enumerate() {
            partial[..dim].copy_from_slice(&sums[member * pitch..][..dim]);
            partial[dim] = exponents[member];
            partial[dim + 1] = totals[member];
        }
    }
}

/// Turns exponents of a block into powers relative to the largest so far, and takes them into the total; sums over
/// earlier positions are brought to the new largest.
#[inline(always)]
fn soften<S: Simd>(simd: S, powers: &mut [f32], exponent: &mut f32, total: &mut f32, sums: &mut [f32]) {
    let largest = powers.iter().fold(*exponent, |most, power| most.max(*power));
    // Relative to the largest, or to 0 when there is nothing but `-∞`.
    let shift = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
    let rescale = exp2(simd, simd.splat(*exponent - shift));
    *exponent = largest;
    let mut sum = simd.splat(0.0);
    for part in powers.chunks_exact_mut(S::LANES) {
        let power = exp2(simd, simd.sub(simd.load(part), simd.splat(shift)));
        sum = simd.add(sum, power);
        simd.store(power, part);
    }
    *total = *total * lane(simd, rescale) + simd.sum(sum);
    for part in sums.chunks_exact_mut(S::LANES) {
        simd.store(simd.mul(simd.load(part), rescale), part);
    }
}

/// `factor · q·k` for as many keys as `to` has room: four at a time share the loads of `q`.
#[inline(always)]
fn dots<S: Simd>(simd: S, q: &[f32], keys: Rows<'_, f32>, factor: f32, to: &mut [f32]) {
    let dim = q.len();
    for (index, to) in to.chunks_mut(4).enumerate() {
        // Past the last key it is read again, and the sum not used.
        let mut rows = [q; 4];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = keys.row(4 * index + i.min(to.len() - 1), dim);
        }
        let mut sums = [simd.splat(0.0); 4];
        for (at, q) in q.chunks(S::LANES).enumerate() {
            let (at, q) = (at * S::LANES, simd.load_partial(q));
            for (sum, row) in sums.iter_mut().zip(&rows) {
                *sum = simd.fma(q, simd.load_partial(&row[at..dim.min(at + S::LANES)]), *sum);
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = factor * simd.sum(sum);
        }
    }
}

/// A lane of a vector whose lanes are equal.
#[inline(always)]
fn lane<S: Simd>(simd: S, v: S::F) -> f32 {
    let mut lane = [0.0];
    simd.store_partial(v, &mut lane);
    lane[0]
}
