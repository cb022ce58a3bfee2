//! Attention beside the machine's limit, in GFLOP/s, both measured in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench attention [-- FILTER]` measures; without `--bench` (as `cargo test --benches`
//! runs it) each pass is computed once on short sequences. Answers are checked against the f64 twin either way.
//! UPBEAT_WORKERS sets how many cores work. Counted are `4·seq²·dim` operations a head forward and `10·seq²·dim` backward, half of that when causal;
//! with a window the pairs that are seen. Decoding against a paged cache is measured in bytes of the cache, beside reading them once.

mod common;

use std::hint::black_box;

use common::{multiply_adds, numbers, read, wall_seconds};
use upbeat_kernels::attention::{Attention, Gradients, Heads, HeadsMut, Mask, PagedCache, Saved};
use upbeat_kernels::{attention, AttentionShape, Buffer, Element, Isa};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 7;
/// Allowed error of an element, relative to the largest one: a few roundings of `dim` terms.
const TOLERANCE: f64 = 2e-5;

/// `(batch, heads, seq, dim)`, causal, and what it is.
type Case = ((usize, usize, usize, usize), bool, &'static str);

const CASES: [Case; 7] = [
    ((8, 6, 256, 64), true, "training step"),
    ((8, 6, 256, 64), false, "training step"),
    ((1, 2, 2048, 64), true, "one of (8, 12, 2048, 64)"),
    ((1, 2, 2048, 64), false, "one of (8, 12, 2048, 64)"),
    ((1, 1, 4096, 64), true, "one of (1, 8, 4096, 64)"),
    ((1, 1, 4096, 64), false, "one of (1, 8, 4096, 64)"),
    ((1, 4, 1024, 128), true, "a part of (1, 32, 1024, 128)"),
];

/// GFLOP/s of multiply-adds.
fn peak() -> f64 {
    let mut flops = 0.0;
    let time = wall_seconds(|| flops = multiply_adds(1 << 20));
    flops / time / 1e9
}

/// Both passes of a shape.
struct Passes {
    shape: AttentionShape,
    qkv: Buffer<f32>,
    d_out: Buffer<f32>,
    out: Vec<f32>,
    lse: Vec<f32>,
    d_qkv: Vec<f32>,
}

impl Passes {
    fn new((batch, heads, seq, dim): (usize, usize, usize, usize), causal: bool) -> Self {
        let shape = AttentionShape { batch, seq, heads, dim, causal };
        let row = batch * seq * heads * dim;
        let (qkv, d_out) = (numbers(3 * row, 1), numbers(row, 2));
        let lse = vec![0.0; batch * heads * seq];
        Self { shape, qkv, d_out, out: vec![0.0; row], lse, d_qkv: vec![0.0; 3 * row] }
    }

    fn forward(&mut self) {
        attention::forward(self.shape, &self.qkv, &mut self.out, &mut self.lse).expect("the shapes fit");
    }

    fn backward(&mut self) {
        let Self { shape, qkv, out, lse, d_out, d_qkv } = self;
        attention::backward(*shape, qkv, out, lse, d_out, d_qkv).expect("the shapes fit");
    }

    /// Compares with the twin.
    fn check(&self) {
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let mut out = vec![0.0; self.out.len()];
        let mut lse = vec![0.0; self.lse.len()];
        let mut d_qkv = vec![0.0; self.d_qkv.len()];
        let qkv = wide(&self.qkv);
        f64::attention_forward(self.shape, &qkv, &mut out, &mut lse).expect("the shapes fit");
        let d_out = wide(&self.d_out);
        f64::attention_backward(self.shape, &qkv, &out, &lse, &d_out, &mut d_qkv).expect("the shapes fit");
        for (what, found, expected) in
            [("out", &self.out, &out), ("lse", &self.lse, &lse), ("d_qkv", &self.d_qkv, &d_qkv)]
        {
            let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= TOLERANCE * largest, "{what}[{i}] of {:?} is off by {error:e}", self.shape);
            }
        }
    }
}

/// Grouped heads in views of their own: `(queries and keys, heads, kv_heads, dim)`, the mask, and pairs seen a head.
type Grouped = ((usize, usize, usize, usize), Mask, f64);

const GROUPED: [Grouped; 3] = [
    ((2048, 8, 2, 64), Mask::None, 2048.0 * 2048.0),
    ((2048, 8, 2, 64), Mask::Causal, 2048.0 * 2048.0 / 2.0),
    // The first 255 queries see fewer.
    ((2048, 8, 2, 64), Mask::Window { left: 255, right: 0 }, 2048.0 * 256.0 - 255.0 * 256.0 / 2.0),
];

/// Both passes over views.
struct Views {
    of: (usize, usize, usize, usize),
    mask: Mask,
    /// Queries, keys, values, outputs, log-sums, and the gradients of the first three.
    data: [Buffer<f32>; 8],
}

impl Views {
    fn new(of: (usize, usize, usize, usize), mask: Mask) -> Self {
        let (seq, heads, kv_heads, dim) = of;
        let (q, kv) = (seq * heads * dim, seq * kv_heads * dim);
        let zeros = Buffer::zeroed;
        let [a, b, c] = [numbers(q, 1), numbers(kv, 2), numbers(kv, 3)];
        Self { of, mask, data: [a, b, c, zeros(q), zeros(seq * heads), zeros(q), zeros(kv), zeros(kv)] }
    }

    fn run(&mut self, backward: bool) {
        let (seq, heads, kv_heads, dim) = self.of;
        let (q_shape, kv_shape) = ([1, seq, heads, dim], [1, seq, kv_heads, dim]);
        let attention = Attention::new().mask(self.mask);
        let [q, k, v, out, lse, d_q, d_k, d_v] = &mut self.data;
        let view = |x, shape| Heads::new(x, shape).expect("the view fits");
        let target = |x, shape| HeadsMut::new(x, shape).expect("the view fits");
        let (q, k, v) = (view(q, q_shape), view(k, kv_shape), view(v, kv_shape));
        if !backward {
            attention.forward(q, k, v, target(out, q_shape), lse).expect("the shapes fit");
            return;
        }
        let saved = Saved { q, k, v, out: view(out, q_shape), lse };
        let gradients =
            Gradients { q: target(d_q, q_shape), k: target(d_k, kv_shape), v: target(d_v, kv_shape) };
        attention.backward(saved, q, gradients).expect("the shapes fit");
    }

    /// Compares the output of the first query, the last one and one between with their formula.
    fn check(&self) {
        let (seq, heads, kv_heads, dim) = self.of;
        let [q, k, v, out, ..] = &self.data;
        for (i, head) in [(0, 0), (seq / 2, heads / 2), (seq - 1, heads - 1)] {
            let first = match self.mask {
                Mask::Window { left, .. } => i.saturating_sub(left),
                _ => 0,
            };
            let last = if self.mask == Mask::None { seq } else { i + 1 };
            let vector = |x: &[f32], heads: usize, position: usize, head: usize| -> Vec<f64> {
                x[(position * heads + head) * dim..][..dim].iter().map(|x| f64::from(*x)).collect()
            };
            let (q, kv_head) = (vector(q, heads, i, head), head * kv_heads / heads);
            let (mut total, mut sums) = (0.0, vec![0.0; dim]);
            for j in first..last {
                let dot: f64 = vector(k, kv_heads, j, kv_head).iter().zip(&q).map(|(k, q)| k * q).sum();
                let power = (dot / (dim as f64).sqrt()).exp();
                total += power;
                sums.iter_mut().zip(vector(v, kv_heads, j, kv_head)).for_each(|(sum, v)| *sum += power * v);
            }
            for (found, sum) in vector(out, heads, i, head).into_iter().zip(sums) {
                assert!((found - sum / total).abs() <= TOLERANCE, "row {i} of head {head}: {:?}", self.of);
            }
        }
    }
}

/// `(sequences, positions, heads, kv_heads, dim)` against pages of 16 positions.
const DECODES: [(usize, usize, usize, usize, usize); 3] =
    [(8, 4096, 8, 8, 128), (8, 4096, 32, 8, 128), (32, 1024, 32, 8, 128)];

/// A paged cache and queries.
struct Decode {
    of: (usize, usize, usize, usize, usize),
    keys: Buffer<f32>,
    values: Buffer<f32>,
    table: Vec<u32>,
    lengths: Vec<usize>,
    q: Buffer<f32>,
    out: Vec<f32>,
}

/// Positions of a page.
const PAGE: usize = 16;

impl Decode {
    fn new(of: (usize, usize, usize, usize, usize)) -> Self {
        let (sequences, positions, heads, kv_heads, dim) = of;
        let pages = sequences * positions / PAGE;
        let cache = pages * PAGE * kv_heads * dim;
        // Neighbouring positions lie in pages far apart: 7 is prime to the power of two of pages.
        let table = (0..pages).map(|page| (page * 7 % pages) as u32).collect();
        Self {
            of,
            keys: numbers(cache, 1),
            values: numbers(cache, 2),
            table,
            lengths: vec![positions; sequences],
            q: numbers(sequences * heads * dim, 3),
            out: vec![0.0; sequences * heads * dim],
        }
    }

    fn run(&mut self) {
        let (_, _, heads, kv_heads, dim) = self.of;
        let shape = [self.table.len(), PAGE, kv_heads, dim];
        let cache = PagedCache {
            keys: Heads::new(&self.keys, shape).expect("the view fits"),
            values: Heads::new(&self.values, shape).expect("the view fits"),
            pages: &self.table,
            lengths: &self.lengths,
            window: None,
            scale: None,
        };
        cache.decode(heads, &self.q, &mut self.out).expect("the shapes fit");
    }

    /// Reads the cache once; a sum of it.
    fn read(&self) -> f32 {
        const CHUNK: usize = 1 << 16;
        let mut sums = vec![0.0; self.keys.len().div_ceil(CHUNK)];
        upbeat::par::chunks_mut(&mut sums, 1, |index, sum| {
            let at = index * CHUNK..self.keys.len().min((index + 1) * CHUNK);
            sum[0] = read(&self.keys[at.clone()]) + read(&self.values[at]);
        });
        sums.iter().sum()
    }

    /// Compares one head of one sequence with its formula.
    fn check(&self) {
        let (sequences, positions, heads, kv_heads, dim) = self.of;
        let (sequence, head) = (sequences - 1, heads - 1);
        let row = |x: &[f32], position: usize| -> Vec<f64> {
            let page = self.table[(sequence * positions + position) / PAGE] as usize;
            let at = ((page * PAGE + position % PAGE) * kv_heads + head * kv_heads / heads) * dim;
            x[at..][..dim].iter().map(|x| f64::from(*x)).collect()
        };
        let q = &self.q[(sequence * heads + head) * dim..][..dim];
        let (mut total, mut sums) = (0.0, vec![0.0; dim]);
        for position in 0..positions {
            let dot: f64 = row(&self.keys, position).iter().zip(q).map(|(k, q)| k * f64::from(*q)).sum();
            let power = (dot / (dim as f64).sqrt()).exp();
            total += power;
            sums.iter_mut().zip(row(&self.values, position)).for_each(|(sum, v)| *sum += power * v);
        }
        let found = &self.out[(sequence * heads + head) * dim..][..dim];
        for (found, sum) in found.iter().zip(sums) {
            assert!((f64::from(*found) - sum / total).abs() <= TOLERANCE, "decoding {:?}", self.of);
        }
    }
}

fn measure_views(workers: usize, wanted: impl Fn(&str) -> bool) {
    for (of, mask, pairs) in GROUPED {
        let name = format!("{of:?} grouped {mask:?}");
        if !wanted(&name) {
            continue;
        }
        let mut views = Views::new(of, mask);
        let (mut times, mut limit) = ([f64::INFINITY; 2], 0.0);
        for _ in 0..ROUNDS {
            limit = (peak() * workers as f64).max(limit);
            times = [false, true]
                .map(|backward| wall_seconds(|| views.run(backward)).min(times[usize::from(backward)]));
        }
        views.check();
        let flops = pairs * (of.1 * of.3) as f64;
        let [forward, backward] = [4.0 * flops / times[0] / 1e9, 10.0 * flops / times[1] / 1e9];
        println!(
            "{name:<55} peak {limit:6.1}  forward {forward:6.1} {:3.0} %  backward {backward:6.1} {:3.0} %",
            100.0 * forward / limit,
            100.0 * backward / limit,
        );
    }
    for of in DECODES {
        let name = format!("{of:?} decode, pages of {PAGE}");
        if !wanted(&name) {
            continue;
        }
        let mut decode = Decode::new(of);
        let (mut read, mut time) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            read = wall_seconds(|| _ = black_box(decode.read())).min(read);
            time = wall_seconds(|| decode.run()).min(time);
        }
        decode.check();
        let bytes = 8.0 * decode.keys.len() as f64 / 1e9;
        println!(
            "{name:<55} read {:5.1} GB/s  decode {:5.1} GB/s {:3.0} %",
            bytes / read,
            bytes / time,
            100.0 * read / time
        );
    }
}

fn main() {
    let measure = std::env::args().any(|arg| arg == "--bench");
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for ((_, _, _, dim), causal, _) in CASES {
        let mut passes = Passes::new((1, 2, 200, dim), causal);
        passes.forward();
        passes.backward();
        passes.check();
    }
    for (index, (_, mask, _)) in GROUPED.into_iter().enumerate() {
        let mut views = Views::new((300, 4, 2, 16 * (index + 1)), mask);
        views.run(false);
        views.run(true);
        views.check();
    }
    let mut decode = Decode::new((2, 64, 4, 2, 24));
    decode.run();
    decode.check();
    if !measure {
        println!("{} answers agree with f64", CASES.len() + GROUPED.len() + 1);
        return;
    }
    let workers = upbeat::current_num_workers();
    println!(
        "{}, {workers} workers; best of {ROUNDS} rounds; GFLOP/s and share of {workers} times one core's peak",
        Isa::active().name()
    );
    for (size, causal, what) in CASES {
        let name = format!("{size:?} {} {what}", if causal { "causal" } else { "full" });
        if !filter.iter().all(|part| name.contains(part.as_str())) {
            continue;
        }
        let mut passes = Passes::new(size, causal);
        let (batch, heads, seq, dim) = size;
        let pairs = (batch * heads * seq * seq) as f64 / if causal { 2.0 } else { 1.0 };
        let (mut forward, mut backward, mut limit) = (f64::INFINITY, f64::INFINITY, 0.0);
        for _ in 0..ROUNDS {
            limit = (peak() * workers as f64).max(limit);
            forward = wall_seconds(|| passes.forward()).min(forward);
            backward = wall_seconds(|| passes.backward()).min(backward);
        }
        let [forward, backward] =
            [4.0 * dim as f64 * pairs / forward / 1e9, 10.0 * dim as f64 * pairs / backward / 1e9];
        println!(
            "{name:<55} peak {limit:6.1}  forward {forward:6.1} {:3.0} %  backward {backward:6.1} {:3.0} %",
            100.0 * forward / limit,
            100.0 * backward / limit,
        );
    }
    measure_views(workers, |name| filter.iter().all(|part| name.contains(part.as_str())));
}
