//! Attention beside the machine's limit, in GFLOP/s, both measured in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench attention [-- FILTER]` measures; without `--bench` (as `cargo test --benches`
//! runs it) each pass is computed once on short sequences. Answers are checked against the f64 twin either way.
//! UPBEAT_WORKERS sets how many cores work. Counted are `4·seq²·dim` operations a head forward and `10·seq²·dim` backward, half of that when causal.

use std::hint::black_box;
use std::time::Instant;

use upbeat_kernels::isa::dispatch;
use upbeat_kernels::simd::{Kernel, Simd};
use upbeat_kernels::{attention, AttentionShape, Element, Isa};

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

/// Multiply-adds on registers alone: the most that a core can do.
struct Peak {
    rounds: usize,
}

impl Kernel for Peak {
    type Output = (f32, f64);
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f64) {
        const CHAINS: usize = 10; // More than latency times units, fewer than registers.
        let (x, y) = (simd.splat(black_box(0.999_999)), simd.splat(black_box(1e-6)));
        let mut sums = [y; CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = simd.fma(*sum, x, y);
            }
        }
        let total = sums.into_iter().fold(y, |total, sum| simd.add(total, sum));
        (simd.sum(total), (2 * CHAINS * S::LANES * self.rounds) as f64)
    }
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// GFLOP/s of multiply-adds.
fn peak() -> f64 {
    let mut flops = 0.0;
    let time = seconds(|| flops = black_box(dispatch(Peak { rounds: 1 << 20 })).1);
    flops / time / 1e9
}

fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 9) as f32 / (1 << 22) as f32 - 1.0
        })
        .collect()
}

/// Both passes of a shape.
struct Passes {
    shape: AttentionShape,
    qkv: Vec<f32>,
    d_out: Vec<f32>,
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

fn main() {
    let measure = std::env::args().any(|arg| arg == "--bench");
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for ((_, _, _, dim), causal, _) in CASES {
        let mut passes = Passes::new((1, 2, 200, dim), causal);
        passes.forward();
        passes.backward();
        passes.check();
    }
    if !measure {
        println!("{} answers agree with the f64 twin", CASES.len());
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
            forward = seconds(|| passes.forward()).min(forward);
            backward = seconds(|| passes.backward()).min(backward);
        }
        let [forward, backward] =
            [4.0 * dim as f64 * pairs / forward / 1e9, 10.0 * dim as f64 * pairs / backward / 1e9];
        println!(
            "{name:<55} peak {limit:6.1}  forward {forward:6.1} {:3.0} %  backward {backward:6.1} {:3.0} %",
            100.0 * forward / limit,
            100.0 * backward / limit,
        );
    }
}
