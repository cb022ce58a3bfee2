//! The memory-bound kernels beside a plain copy of the same number of bytes, in GB/s, measured in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench elementwise [-- FILTER]` measures; without `--bench` (as `cargo test --benches`
//! runs it) each kernel runs once. Answers are checked against the f64 twin either way. The copy runs on one thread:
//! set `UPBEAT_WORKERS=1` to compare like with like. Bytes are those that must move: each operand once.

mod common;

use common::{arguments, wall_seconds};
use upbeat_kernels::{AdamW, Element, RopeShape, ShapeError, Write};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 40;
/// `[rows, cols]`: activations of the training step of a small GPT, and what no cache holds.
const SHAPES: [(usize, usize); 3] = [(2048, 384), (2048, 1536), (16_384, 1024)];

/// Operands of every kernel, and room for its results.
struct Operands<E> {
    rows: usize,
    cols: usize,
    a: Vec<E>,
    b: Vec<E>,
    weight: Vec<E>,
    ids: Vec<u32>,
    out: Vec<E>,
    first: Vec<E>,
    second: Vec<E>,
    row_a: Vec<E>,
    row_b: Vec<E>,
    sums: Vec<E>,
}

impl<E: Element<Wide = E>> Operands<E> {
    fn new(rows: usize, cols: usize) -> Self {
        let numbers = |len: usize, seed: u32| -> Vec<E> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                E::from_f64(f64::from(state >> 9) / f64::from(1 << 21) - 2.0)
            };
            (0..len).map(|_| next()).collect()
        };
        let n = rows * cols;
        Self {
            rows,
            cols,
            a: numbers(n, 1),
            b: numbers(n, 2),
            weight: numbers(cols, 3),
            ids: (0..rows).map(|r| (r * 31 % cols.min(rows)) as u32).collect(),
            out: numbers(n, 4),
            first: numbers(n, 5),
            second: vec![E::from_f64(0.25); n],
            row_a: vec![E::from_f64(0.5); rows],
            row_b: vec![E::from_f64(0.75); rows],
            sums: vec![E::default(); cols],
        }
    }
}

/// A kernel over [`Operands`], with the numbers that it must move for each element of a row.
struct Case {
    name: &'static str,
    traffic: f64,
    fast: fn(&mut Operands<f32>) -> Result<(), ShapeError>,
    twin: fn(&mut Operands<f64>) -> Result<(), ShapeError>,
}

/// The same call in both precisions.
macro_rules! cases {
    ($($name:ident, $traffic:expr, |$o:ident| $call:expr;)*) => {{
        $(fn $name<E: Element<Wide = E>>($o: &mut Operands<E>) -> Result<(), ShapeError> {
            $call
        })*
        vec![$(Case {
            name: stringify!($name),
            traffic: $traffic,
            fast: $name::<f32>,
            twin: $name::<f64>,
        }),*]
    }};
}

fn rope_shape<E>(o: &Operands<E>) -> RopeShape {
    RopeShape { seq: 256, first: 0, heads: o.cols / 64, rotate: o.cols / 64, dim: 64, base: 1e4 }
}

const STEP: AdamW = AdamW {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.1,
    step: 10,
    gradient_scale: 0.5,
};

fn all_cases() -> Vec<Case> {
    const SET: Write = Write::Overwrite;
    cases! {
        add, 3.0, |o| E::add(&o.a, &o.b, &mut o.out);
        mul, 3.0, |o| E::mul(&o.a, &o.b, &mut o.out);
        add_scaled, 3.0, |o| E::add_scaled(&o.a, 1e-3, &mut o.out);
        add_bias, 2.0, |o| E::add_bias(&o.a, &o.weight, &mut o.out);
        sum_rows, 1.0, |o| E::sum_rows(&o.a, &mut o.sums);
        gelu_forward, 2.0, |o| E::gelu_forward(&o.a, &mut o.out);
        gelu_backward, 3.0, |o| E::gelu_backward(&o.b, &o.a, &mut o.out, SET);
        silu_forward, 2.0, |o| E::silu_forward(&o.a, &mut o.out);
        swiglu_forward, 1.5, |o| {
            let half = o.out.len() / 2;
            E::swiglu_forward(&o.a, o.cols / 2, &mut o.out[..half])
        };
        swiglu_backward, 2.5, |o| {
            E::swiglu_backward(&o.b[..o.a.len() / 2], &o.a, o.cols / 2, &mut o.out, SET)
        };
        layer_norm_forward, 2.0, |o| {
            E::layer_norm_forward(&o.a, &o.weight, None, 1e-5, &mut o.out, &mut o.row_a, &mut o.row_b)
        };
        layer_norm_backward, 3.0, |o| {
            let (mean, rstd) = (&o.row_a, &o.row_b);
            E::layer_norm_backward(&o.b, &o.a, &o.weight, mean, rstd, &mut o.out, SET, &mut o.sums, None)
        };
        rms_norm_forward, 2.0, |o| E::rms_norm_forward(&o.a, &o.weight, 1e-5, &mut o.out, &mut o.row_a);
        rms_norm_backward, 3.0, |o| {
            E::rms_norm_backward(&o.b, &o.a, &o.weight, &o.row_a, &mut o.out, SET, &mut o.sums)
        };
        softmax_forward, 2.0, |o| E::softmax_forward(&o.a, o.cols, &mut o.out);
        softmax_backward, 3.0, |o| E::softmax_backward(&o.b, &o.a, o.cols, &mut o.out, SET);
        cross_entropy_forward, 1.0, |o| {
            E::cross_entropy_forward(&o.a, o.cols, &o.ids, &mut o.row_a).map(drop)
        };
        cross_entropy_backward, 2.0, |o| {
            E::cross_entropy_backward(&o.a, o.cols, &o.ids, &o.row_b, 0.5, &mut o.out, SET)
        };
        rope_forward, 2.0, |o| E::rope_forward(&o.a, rope_shape(o), &mut o.out);
        embedding_forward, 2.0, |o| {
            let table = o.cols * o.cols.min(o.rows);
            E::embedding_forward(&o.a[..table], o.cols, &o.ids, &mut o.out)
        };
        embedding_backward, 2.0, |o| {
            let table = o.cols * o.cols.min(o.rows);
            E::embedding_backward(&o.a, o.cols, &o.ids, &mut o.first[..table])
        };
        adamw_step, 7.0, |o| E::adamw_step(&STEP, &mut o.out, &o.b, &mut o.first, &mut o.second);
    }
}

/// Compares what a kernel left with what its twin left, on a small shape.
fn check(case: &Case) {
    let (mut fast, mut twin) = (Operands::<f32>::new(96, 128), Operands::<f64>::new(96, 128));
    (case.fast)(&mut fast).expect("the shapes fit");
    (case.twin)(&mut twin).expect("the shapes fit");
    let both = [
        (&fast.out, &twin.out),
        (&fast.first, &twin.first),
        (&fast.second, &twin.second),
        (&fast.row_a, &twin.row_a),
        (&fast.row_b, &twin.row_b),
        (&fast.sums, &twin.sums),
    ];
    for (fast, twin) in both {
        let scale = twin.iter().fold(0.0f64, |a, x| a.max(x.abs()));
        for (&fast, &twin) in fast.iter().zip(twin) {
            let error = (f64::from(fast) - twin).abs();
            assert!(error <= 1e-5 * scale, "{}: {fast} where the twin has {twin}", case.name);
        }
    }
}

fn main() {
    let (measure, filter) = arguments();
    let cases: Vec<Case> = all_cases().into_iter().filter(|case| case.name.contains(&filter)).collect();
    cases.iter().for_each(check);
    if !measure {
        println!("{} kernels agree with their twins", cases.len());
        return;
    }
    println!("{} workers, {}", upbeat::current_num_workers(), upbeat_kernels::Isa::active().name());
    for (rows, cols) in SHAPES {
        let mut operands = Operands::<f32>::new(rows, cols);
        println!("{:24} {:>12} {:>10} {:>10} {:>6}", "", "shape", "GB/s", "copy GB/s", "ratio");
        for case in &cases {
            let bytes = case.traffic * (4 * rows * cols) as f64;
            let from = vec![1u8; bytes as usize / 2];
            let mut to = from.clone();
            let (mut ours, mut copy) = (f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                ours = ours.min(wall_seconds(|| (case.fast)(&mut operands).expect("the shapes fit")));
                copy = copy.min(wall_seconds(|| std::hint::black_box(&mut to).copy_from_slice(&from)));
            }
            let shape = format!("{rows}x{cols}");
            let [ours, copy] = [ours, copy].map(|s| bytes / s / 1e9);
            println!("{:24} {shape:>12} {ours:10.1} {copy:10.1} {:6.2}", case.name, ours / copy);
        }
    }
}
