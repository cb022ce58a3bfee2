//! Decoding: one query position against a key/value cache, one task a head and a chunk of the cache.
//!
//! The cache is read once, so memory sets the pace; long caches are split into chunks of fixed size, whose partial
//! softmaxes are merged in order.

use super::factor;
use super::softmax::exp2;
use crate::contract;
use crate::error::ShapeError;
use crate::isa;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};

/// Positions of a chunk.
const CHUNK: usize = 512;
/// Positions whose logits are computed before their values are added.
const BLOCK: usize = 64;

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
    let row = heads * dim;
    if row == 0 {
        return Ok(());
    }
    let chunks = len.div_ceil(CHUNK);
    if chunks <= 1 {
        upbeat::par::chunks_mut(out, dim, |head, out| {
            let mut partial = Buffer::<f32>::scratch(dim + 2);
            let cache = Cache { row, from: head * dim, keys, values };
            isa::dispatch(Decode { q: &q[head * dim..][..dim], cache, partial: &mut partial });
            merge(&partial, out);
        });
        return Ok(());
    }
    let mut partials = Buffer::<f32>::scratch(heads * chunks * (dim + 2));
    upbeat::par::chunks_mut(&mut partials, dim + 2, |index, partial| {
        let (head, first) = (index / chunks, index % chunks * CHUNK);
        let positions = first * row..len.min(first + CHUNK) * row;
        let (keys, values) = (&keys[positions.clone()], &values[positions]);
        let cache = Cache { row, from: head * dim, keys, values };
        isa::dispatch(Decode { q: &q[head * dim..][..dim], cache, partial });
    });
    for (out, partials) in out.chunks_exact_mut(dim).zip(partials.chunks_exact(chunks * (dim + 2))) {
        merge(partials, out);
    }
    Ok(())
}

/// Merges a head's partial softmaxes, each `[sums of dim, exponent, total]`, in order.
fn merge(partials: &[f32], out: &mut [f32]) {
    let size = out.len() + 2;
    let largest =
        partials.chunks_exact(size).map(|partial| partial[size - 2]).fold(f32::NEG_INFINITY, f32::max);
    out.fill(0.0);
    let mut total = 0.0;
    for partial in partials.chunks_exact(size) {
        // A partial that saw nothing but `-∞` has only zeros.
        let weight = if partial[size - 1] == 0.0 { 0.0 } else { (partial[size - 2] - largest).exp2() };
        total += weight * partial[size - 1];
        for (out, sum) in out.iter_mut().zip(partial) {
            *out += weight * sum;
        }
    }
    if total != 0.0 {
        out.iter_mut().for_each(|out| *out /= total);
    }
}

/// One head's vectors in a part of the cache: positions lie `row` apart, the head begins at `from`.
struct Cache<'a> {
    row: usize,
    from: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

/// The softmax of one head over a part of the cache.
struct Decode<'a> {
    q: &'a [f32],
    cache: Cache<'a>,
    /// `[sums of dim, exponent, total]`; all relative to `2^exponent`.
    partial: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { q, cache, partial } = self;
        let dim = q.len();
        let (sums, state) = partial.split_at_mut(dim);
        sums.fill(0.0);
        let (mut exponent, mut total) = (f32::NEG_INFINITY, 0.0);
        let factor = factor(dim);
        let blocks = cache.keys.chunks(BLOCK * cache.row).zip(cache.values.chunks(BLOCK * cache.row));
        for (keys, values) in blocks {
            let mut powers = [f32::NEG_INFINITY; BLOCK];
            let mut largest = exponent;
            for (power, key) in powers.iter_mut().zip(keys.chunks_exact(cache.row)) {
                *power = factor * dot(simd, q, &key[cache.from..][..dim]);
                largest = largest.max(*power);
            }
            // Relative to the largest, or to 0 when there is nothing but `-∞`.
            let shift = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
            let rescale = lane(simd, exp2(simd, simd.splat(exponent - shift)));
            exponent = largest;
            let mut sum = simd.splat(0.0);
            for part in powers.chunks_exact_mut(S::LANES) {
                let power = exp2(simd, simd.sub(simd.load(part), simd.splat(shift)));
                sum = simd.add(sum, power);
                simd.store(power, part);
            }
            total = total * rescale + simd.sum(sum);
            let values = &values[cache.from..];
            for (part, to) in sums.chunks_mut(S::LANES).enumerate() {
                let at = part * S::LANES;
                let mut sum = simd.mul(simd.load_partial(to), simd.splat(rescale));
                for (value, power) in values.chunks(cache.row).zip(&powers) {
                    sum = simd.fma(simd.load_partial(&value[at..][..to.len()]), simd.splat(*power), sum);
                }
                simd.store_partial(sum, to);
            }
        }
        state.copy_from_slice(&[exponent, total]);
    }
}

/// `a · b`.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = simd.splat(0.0);
    for (a, b) in a.chunks(S::LANES).zip(b.chunks(S::LANES)) {
        sum = simd.fma(simd.load_partial(a), simd.load_partial(b), sum);
    }
    simd.sum(sum)
}

/// A lane of a vector whose lanes are equal.
#[inline(always)]
fn lane<S: Simd>(simd: S, v: S::F) -> f32 {
    let mut lane = [0.0];
    simd.store_partial(v, &mut lane);
    lane[0]
}
