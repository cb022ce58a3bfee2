//! Element-wise functions, programs beside hand-written fused loops, and reductions, in GB/s of what must move; with a plain
//! copy in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench programs [-- FILTER]` measures; without `--bench` (as `cargo test --benches` runs
//! it) each runs once on a small shape. Answers are checked either way: programs against the hand-written loops bit for bit,
//! functions and reductions against f64. `--serve` lets a peer take turns: `benches/elementwise-pytorch.py` does. `UPBEAT_WORKERS` says how many workers run; the copy and the hand-written loops
//! run on one. Bytes are those that must move: each operand once.

use std::hint::black_box;
use std::time::Instant;

use upbeat_kernels::elementwise::functions::{add, exp, gelu, gelu_backward, mul, relu, silu, tanh};
use upbeat_kernels::elementwise::{Builder, Op, Program};
use upbeat_kernels::isa::dispatch;
use upbeat_kernels::math;
use upbeat_kernels::reduce;
use upbeat_kernels::simd::{Kernel, Simd};
use upbeat_kernels::twin::functions as twin;
use upbeat_kernels::{Buffer, Write};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 30;
/// Elements: in the first-level cache, in the second, in the last, in none.
const LENGTHS: [usize; 4] = [2048, 1 << 14, 1 << 20, 1 << 24];
const SET: Write = Write::Overwrite;

/// Four inputs and an output.
struct Slices {
    x: [Buffer<f32>; 4],
    out: Buffer<f32>,
}

impl Slices {
    fn new(len: usize) -> Self {
        let numbers = |seed: u32| {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 9) as f32 / (1 << 21) as f32 - 2.0
            };
            Buffer::copied(&(0..len).map(|_| next()).collect::<Vec<f32>>())
        };
        Self { x: [1, 2, 3, 4].map(numbers), out: Buffer::zeroed(len) }
    }
}

/// `GELU(a·b + c)`, as a kernel.
struct FusedGelu<'a>(&'a mut Slices);

impl Kernel for FusedGelu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Slices { x: [a, b, c, _], out } = self.0;
        let mut i = 0;
        while i + 2 * S::LANES <= out.len() {
            for _ in 0..2 {
                let product = simd.mul(simd.load(&a[i..]), simd.load(&b[i..]));
                let sum = simd.add(product, simd.load(&c[i..]));
                simd.store(math::gelu(simd, sum), &mut out[i..i + S::LANES]);
                i += S::LANES;
            }
        }
    }
}

/// `|max(a·b + c, d)·0.5 - a|`, six steps, as a kernel.
struct FusedChain<'a>(&'a mut Slices);

impl Kernel for FusedChain<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Slices { x: [a, b, c, d], out } = self.0;
        let n = out.len();
        let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            for _ in 0..4 {
                let x = simd.load(&a[i..i + S::LANES]);
                let sum =
                    simd.add(simd.mul(x, simd.load(&b[i..i + S::LANES])), simd.load(&c[i..i + S::LANES]));
                let largest = simd.max(sum, simd.load(&d[i..i + S::LANES]));
                let result = simd.abs(simd.sub(simd.mul(largest, simd.splat(0.5)), x));
                simd.store(result, &mut out[i..i + S::LANES]);
                i += S::LANES;
            }
        }
    }
}

/// The same in plain Rust.
#[inline(never)]
fn plain_chain(slices: &mut Slices) {
    let Slices { x, out } = slices;
    let [a, b, c, d] = &*x;
    let inputs = a.iter().zip(b.iter()).zip(c.iter()).zip(d.iter());
    for (out, (((a, b), c), d)) in out.iter_mut().zip(inputs) {
        let sum = a * b + c;
        let largest = if sum > *d { sum } else { *d };
        *out = (largest * 0.5 - a).abs();
    }
}

/// The chains as programs: GELU, six steps.
fn programs() -> [Program; 2] {
    let mut builder = Builder::default();
    let [a, b, c] = [(); 3].map(|()| builder.input());
    let step = |builder: &mut Builder, op: Op, x: &[_]| builder.step(op, x).expect("the step fits");
    let product = step(&mut builder, Op::Mul, &[a, b]);
    let sum = step(&mut builder, Op::Add, &[product, c]);
    let result = step(&mut builder, Op::Gelu, &[sum]);
    builder.output(result).expect("one output");
    let first = builder.build().expect("a program");
    let mut builder = Builder::default();
    let [a, b, c, d] = [(); 4].map(|()| builder.input());
    let half = builder.constant(0.5);
    let product = step(&mut builder, Op::Mul, &[a, b]);
    let sum = step(&mut builder, Op::Add, &[product, c]);
    let largest = step(&mut builder, Op::Max, &[sum, d]);
    let scaled = step(&mut builder, Op::Mul, &[largest, half]);
    let moved = step(&mut builder, Op::Sub, &[scaled, a]);
    let result = step(&mut builder, Op::Abs, &[moved]);
    builder.output(result).expect("one output");
    [first, builder.build().expect("a program")]
}

type Run<'a> = Box<dyn Fn(&mut Slices) + 'a>;

/// What is measured: its name, the numbers that it must move for an element, and the call.
struct Case<'a> {
    name: &'static str,
    traffic: f64,
    run: Run<'a>,
    /// What it computes of its inputs, where that is one operation.
    truth: Option<Op>,
}

fn case<'a>(name: &'static str, traffic: f64, truth: Option<Op>, run: Run<'a>) -> Case<'a> {
    Case { name, traffic, run, truth }
}

fn cases(programs: &[Program; 2]) -> Vec<Case<'_>> {
    let fits = "the slices have one length";
    let mut all = vec![
        case("copy", 2.0, None, Box::new(|s| black_box(&mut s.out).copy_from_slice(&s.x[0]))),
        case(
            "add",
            3.0,
            Some(Op::Add),
            Box::new(move |s| add(&s.x[0], &s.x[1], &mut s.out, SET).expect(fits)),
        ),
        case(
            "mul",
            3.0,
            Some(Op::Mul),
            Box::new(move |s| mul(&s.x[0], &s.x[1], &mut s.out, SET).expect(fits)),
        ),
        case("relu", 2.0, Some(Op::Relu), Box::new(move |s| relu(&s.x[0], &mut s.out, SET).expect(fits))),
        case("exp", 2.0, Some(Op::Exp), Box::new(move |s| exp(&s.x[0], &mut s.out, SET).expect(fits))),
        case("tanh", 2.0, Some(Op::Tanh), Box::new(move |s| tanh(&s.x[0], &mut s.out, SET).expect(fits))),
        case("gelu", 2.0, Some(Op::Gelu), Box::new(move |s| gelu(&s.x[0], &mut s.out, SET).expect(fits))),
        case("silu", 2.0, Some(Op::Silu), Box::new(move |s| silu(&s.x[0], &mut s.out, SET).expect(fits))),
        case(
            "gelu_backward",
            3.0,
            Some(Op::GeluGradient),
            Box::new(move |s| gelu_backward(&s.x[0], &s.x[1], &mut s.out, SET).expect(fits)),
        ),
        case("gelu(a*b+c) kernel", 4.0, None, Box::new(|s| dispatch(FusedGelu(s)))),
        case("6 steps kernel", 5.0, None, Box::new(|s| dispatch(FusedChain(s)))),
        case("6 steps plain Rust", 5.0, None, Box::new(plain_chain)),
        case("sum", 1.0, None, Box::new(|s| s.out[0] = reduce::sum(&s.x[0]) as f32)),
        case(
            "dot",
            2.0,
            None,
            Box::new(move |s| s.out[0] = reduce::dot(&s.x[0], &s.x[1]).expect(fits) as f32),
        ),
        case("max", 1.0, None, Box::new(|s| s.out[0] = reduce::max(&s.x[0]))),
        case(
            "argmax",
            1.0,
            None,
            Box::new(|s| s.out[0] = reduce::argmax(&s.x[0]).expect("not empty") as f32),
        ),
        case("norm_2", 1.0, None, Box::new(|s| s.out[0] = reduce::norm_2(&s.x[0]) as f32)),
        case("log_sum_exp", 1.0, None, Box::new(|s| s.out[0] = reduce::log_sum_exp(&s.x[0]) as f32)),
    ];
    all.push(case(
        "gelu(a*b+c) program",
        4.0,
        None,
        Box::new(move |s| {
            let [a, b, c, _] = &s.x;
            programs[0].run(&[a, b, c], &mut [&mut s.out], SET).expect(fits);
        }),
    ));
    all.push(case(
        "6 steps program",
        5.0,
        None,
        Box::new(move |s| {
            let [a, b, c, d] = &s.x;
            programs[1].run(&[a, b, c, d], &mut [&mut s.out], SET).expect(fits);
        }),
    ));
    all
}

/// Checks functions against f64, programs against the kernels, reductions against plain sums.
fn check(cases: &[Case<'_>]) {
    let result = |name: &str| {
        let mut slices = Slices::new(4096);
        let case = cases.iter().find(|case| case.name == name).expect("a case by that name");
        (case.run)(&mut slices);
        slices
    };
    for case in cases {
        if let Some(op) = case.truth {
            let Slices { x, out } = result(case.name);
            for i in 0..out.len() {
                let truth = twin::apply(op, &x.each_ref().map(|x| f64::from(x[i])));
                assert!(
                    (f64::from(out[i]) - truth).abs() <= 1e-6 * truth.abs().max(1.0),
                    "{} at {i}",
                    case.name
                );
            }
        }
    }
    assert_eq!(*result("gelu(a*b+c) program").out, *result("gelu(a*b+c) kernel").out);
    assert_eq!(*result("6 steps program").out, *result("6 steps kernel").out);
    assert_eq!(*result("6 steps program").out, *result("6 steps plain Rust").out);
    let x = Slices::new(4096).x;
    let wide = |i: usize| x[i].iter().map(|&x| f64::from(x));
    let close = |name: &str, truth: f64| {
        let found = f64::from(result(name).out[0]);
        assert!((found - truth).abs() <= 1e-4 * truth.abs().max(1.0), "{name}: {found}, not {truth}");
    };
    close("sum", wide(0).sum());
    close("dot", wide(0).zip(wide(1)).map(|(a, b)| a * b).sum());
    close("max", wide(0).fold(f64::MIN, f64::max));
    close("norm_2", wide(0).map(|x| x * x).sum::<f64>().sqrt());
    close("log_sum_exp", wide(0).map(f64::exp).sum::<f64>().ln());
    let at = result("argmax").out[0] as usize;
    assert_eq!(x[0].iter().copied().fold(f32::MIN, f32::max), x[0][at]);
}

/// Seconds of one call, of several where one is short.
fn seconds(run: &Run<'_>, slices: &mut Slices) -> f64 {
    let calls = (1 << 16) / slices.out.len().max(1) + 1;
    let start = Instant::now();
    for _ in 0..calls {
        run(black_box(slices));
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// Answers lines `LENGTH NAME` from standard input with the seconds of the best of three calls: a peer in another
/// process takes turns with us that way.
fn serve(cases: &[Case<'_>]) {
    let mut slices = Slices::new(0);
    for line in std::io::stdin().lines() {
        let line = line.expect("a line of text");
        let (len, name) = line.split_once(' ').expect("a length and a name");
        let len: usize = len.parse().expect("a length");
        if slices.out.len() != len {
            slices = Slices::new(len);
        }
        let case = cases.iter().find(|case| case.name == name).expect("a case by that name");
        let best = (0..3).map(|_| seconds(&case.run, &mut slices)).fold(f64::MAX, f64::min);
        println!("{best}");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let programs = programs();
    let cases = cases(&programs);
    check(&cases);
    if !arguments.iter().any(|a| a == "--bench" || a == "--serve") {
        println!("{} answers are right", cases.len());
        return;
    }
    if arguments.iter().any(|a| a == "--serve") {
        return serve(&cases);
    }
    let filter = arguments.iter().find(|a| !a.starts_with("--")).cloned().unwrap_or_default();
    println!("{} workers, {}", upbeat::current_num_workers(), upbeat_kernels::Isa::active().name());
    for len in LENGTHS {
        let mut slices = Slices::new(len);
        let mut best = vec![f64::MAX; cases.len()];
        for _ in 0..ROUNDS {
            for (best, case) in best.iter_mut().zip(&cases) {
                if case.name.contains(&filter) || case.name == "copy" {
                    *best = best.min(seconds(&case.run, &mut slices));
                }
            }
        }
        println!("{len} elements {:>18} {:>9} {:>6}", "us", "GB/s", "copy");
        let copy = 8.0 * len as f64 / best[0];
        for (best, case) in best.iter().zip(&cases).filter(|(best, _)| **best < f64::MAX) {
            let speed = case.traffic * 4.0 * len as f64 / best;
            println!("{:24} {:9.2} {:9.1} {:6.2}", case.name, best * 1e6, speed / 1e9, speed / copy);
        }
    }
}
