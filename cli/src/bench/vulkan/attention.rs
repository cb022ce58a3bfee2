//! Attention: whole sequences, and one query against a cache, as generation has it.

use upbeat_kernels::attention::{Attention, Heads, HeadsMut};
use upbeat_kernels::twin;
use upbeat_vulkan::{f16, AttentionLayout, Device, VulkanError};

use super::case::{Beside, Case, Numbers, Sizes, Stored, Work};

/// Attention in f16 is to reach at least this share of PyTorch's in f16.
const F16_GOAL: f64 = 0.35;
/// `(batch, heads, length, width of a head)`; the first is quick on a CPU, too.
const SEQUENCES: [[usize; 4]; 6] = [
    [1, 8, 256, 64],
    [1, 16, 1024, 64],
    [1, 16, 1024, 128],
    [1, 16, 4096, 64],
    [1, 16, 4096, 128],
    [4, 16, 4096, 128],
];
/// The same, the length being the cache's.
const CACHES: [[usize; 4]; 3] = [[1, 8, 2048, 128], [1, 32, 4096, 128], [8, 32, 4096, 128]];

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    causal: bool,
}

impl Shape {
    fn layout(&self) -> AttentionLayout {
        let Self { batch, heads, queries, keys, dim, causal } = *self;
        AttentionLayout { causal, ..AttentionLayout::dense(batch, queries, keys, heads, heads, dim) }
    }

    /// Keys that query `i` sees.
    fn seen(&self, i: usize) -> usize {
        if self.causal {
            self.keys - self.queries + i + 1
        } else {
            self.keys
        }
    }

    /// Two products of as many rows as there are queries with the keys that each sees.
    fn operations(&self) -> f64 {
        let seen: usize = (0..self.queries).map(|i| self.seen(i)).sum();
        (4 * self.batch * self.heads * self.dim * seen) as f64
    }
}

fn attention<T: Stored>(device: &Device, shape: Shape) -> Result<Work, VulkanError> {
    let Shape { batch, heads, queries, keys, dim, .. } = shape;
    // Queries are large enough that some keys count for more than others.
    let of_q = Numbers { seed: 7, low: -4.0, high: 4.0 };
    let (of_k, of_v) = (Numbers::around_zero(8), Numbers::around_zero(9));
    let row = heads * dim;
    let q = of_q.upload::<T>(device, batch * queries * row)?;
    let (k, v) =
        (of_k.upload::<T>(device, batch * keys * row)?, of_v.upload::<T>(device, batch * keys * row)?);
    let out = device.buffer::<f32>(batch * queries * row)?;
    // A query with the keys that it sees, all its heads.
    let expected = move |query: usize| {
        let (sequence, seen) = (query / queries, shape.seen(query % queries));
        let of_sequence = sequence * keys * row..(sequence * keys + seen) * row;
        let q = of_q.wide::<T>(query * row..(query + 1) * row);
        let (k, v) = (of_k.wide::<T>(of_sequence.clone()), of_v.wide::<T>(of_sequence));
        let (mut out, mut lse) = (vec![0.0; row], vec![0.0; heads]);
        let fits = "the lengths follow from the shape";
        let of_seen = [1, seen, heads, dim];
        twin::attention::forward_views(
            &Attention::new(),
            Heads::new(&q, [1, 1, heads, dim]).expect(fits),
            Heads::new(&k, of_seen).expect(fits),
            Heads::new(&v, of_seen).expect(fits),
            HeadsMut::new(&mut out, [1, 1, heads, dim]).expect(fits),
            &mut lse,
        )
        .expect(fits);
        out
    };
    // Weights that are multiplied in f16 are rounded to it.
    let tolerance = if T::HALF { 4e-3 } else { 2e-5 };
    let layout = shape.layout();
    Ok(Work::new(vec![out.clone()], batch * queries, tolerance, expected, move |commands| {
        commands.attention_strided(&layout, &q, &k, &v, &out).map(|_| ())
    }))
}

fn sequences<T: Stored>(sizes: Sizes, goal: Option<f64>) -> impl Iterator<Item = Case> {
    let shapes = if sizes.small { &[[2, 2, 40, 16]][..] } else { &SEQUENCES };
    shapes.iter().flat_map(move |&[batch, heads, len, dim]| {
        [false, true].map(|causal| {
            let shape = Shape { batch, heads, queries: len, keys: len, dim, causal };
            let small = Shape { batch: 2, heads: 3, queries: 37, keys: 37, ..shape };
            let seen = if causal { " causal" } else { "" };
            let name = format!("attention {}: ({batch}, {heads}, {len}, {dim}){seen}", T::NAME);
            let operations = (shape.operations(), "GFLOP/s");
            Case::new(name, operations, Beside::Peer(goal), [shape, small], attention::<T>)
        })
    })
}

/// Caches are read once: a rate of bytes.
fn decoding<T: Stored>(sizes: Sizes) -> impl Iterator<Item = Case> {
    let shapes = if sizes.small { &[[2, 2, 40, 16]][..] } else { &CACHES };
    shapes.iter().map(move |&[batch, heads, keys, dim]| {
        let shape = Shape { batch, heads, queries: 1, keys, dim, causal: true };
        let small = Shape { batch: 2, heads: 3, keys: 70, ..shape };
        let name = format!("decode {}: ({batch}, {heads}, {keys}, {dim})", T::NAME);
        let moved = (2 * size_of::<T>() * batch * heads * keys * dim) as f64;
        Case::new(name, (moved, "GB/s"), Beside::Copies(None), [shape, small], attention::<T>)
    })
}

/// The rows; with `half`, also those in f16.
pub(super) fn cases(sizes: Sizes, half: bool) -> Vec<Case> {
    let mut cases: Vec<_> = sequences::<f32>(sizes, None).collect();
    if half {
        cases.extend(sequences::<f16>(sizes, Some(F16_GOAL)));
    }
    cases.extend(decoding::<f32>(sizes));
    if half {
        cases.extend(decoding::<f16>(sizes));
    }
    cases
}
