//! Products of 8-bit integers with scales, and of factors stored as bf16, beside f32's, the machine's limit for them, and the rate at which it reads B.
//!
//! `cargo bench -p upbeat-kernels --bench lowgemm [-- FILTER]` measures; without `--bench` (as `cargo test --benches` runs
//! it) each product is computed once. Answers are checked on sampled elements either way.

mod common;

use common::{arguments, multiply_adds, numbers, read, runtimes, thread_seconds, wall_seconds};
use upbeat::Runtime;
use upbeat_kernels::gemm::quantized::{quantize_rows, Quantized};
use upbeat_kernels::gemm::{gemm, gemm_int8, gemm_stored, GemmInt8, GemmStored};
use upbeat_kernels::{bf16, Buffer, Epilogue, Gemm, Isa, Mat, MatMut, Write};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 20;
/// Integer multiply-adds for each of f32 that a core can do: `pmaddwd` takes twice the numbers of a fused multiply-add and
/// runs as often. VNNI would take four times as many.
const INTEGERS: f64 = 2.0;

/// What the factors hold.
#[derive(Clone, Copy)]
enum Numbers {
    /// f32, for comparison.
    F32,
    /// bf16, widened while it is packed.
    Bf16,
    /// 8-bit integers, with a scale a row, or B with one for each group of columns.
    Int8(Option<usize>),
}

/// `(m, n, k)`, what of it, and what it is.
fn cases() -> Vec<((usize, usize, usize), Numbers, &'static str)> {
    let mut cases = Vec::new();
    for size in [512, 1024, 2048] {
        cases.push(((size, size, size), Numbers::F32, "square f32"));
        cases.push(((size, size, size), Numbers::Bf16, "square bf16"));
        cases.push(((size, size, size), Numbers::Int8(None), "square int8"));
        cases.push(((size, size, size), Numbers::Int8(Some(128)), "square int8 by 128"));
        cases.push(((size, size, size), Numbers::Int8(Some(32)), "square int8 by 32"));
    }
    for m in [1, 2, 4, 8] {
        cases.push(((m, 4096, 4096), Numbers::F32, "decode f32"));
        cases.push(((m, 4096, 4096), Numbers::Bf16, "decode bf16"));
        cases.push(((m, 4096, 4096), Numbers::Int8(None), "decode int8"));
        cases.push(((m, 4096, 4096), Numbers::Int8(Some(128)), "decode int8 by 128"));
        cases.push(((m, 4096, 4096), Numbers::Int8(Some(32)), "decode int8 by 32"));
    }
    cases
}

/// A factor as f32, rounded and quantised.
struct Factor {
    numbers: Buffer<f32>,
    rounded: Vec<bf16>,
    values: Vec<i8>,
    scales: Vec<f32>,
    rows: usize,
    cols: usize,
    group: Option<usize>,
}

impl Factor {
    fn new(rows: usize, cols: usize, group: Option<usize>, seed: u32) -> Self {
        let numbers = numbers(rows * cols, seed);
        let groups = group.map_or(1, |group| cols.div_ceil(group));
        let (mut values, mut scales) = (vec![0; rows * cols], vec![0.0; rows * groups]);
        let view = Mat::new(&numbers, rows, cols).expect("the matrix fits");
        quantize_rows(view, group, &mut values, &mut scales).expect("the numbers are finite");
        let rounded = numbers.iter().map(|&x| bf16::from_f32(x)).collect();
        Self { numbers, rounded, values, scales, rows, cols, group }
    }

    fn f32(&self) -> Mat<'_, f32> {
        Mat::new(&self.numbers, self.rows, self.cols).expect("the matrix fits")
    }

    fn bf16(&self) -> Mat<'_, bf16> {
        Mat::new(&self.rounded, self.rows, self.cols).expect("the matrix fits")
    }

    fn int8(&self) -> Quantized<'_> {
        let values = Mat::new(&self.values, self.rows, self.cols).expect("the matrix fits");
        Quantized::new(values, &self.scales, self.group).expect("the scales fit")
    }

    /// Number `(i, j)` as it is multiplied.
    fn get(&self, i: usize, j: usize, what: Numbers) -> f64 {
        let at = i * self.cols + j;
        match what {
            Numbers::F32 => f64::from(self.numbers[at]),
            Numbers::Bf16 => self.rounded[at].to_f64(),
            Numbers::Int8(_) => {
                let q = self.int8();
                f64::from(self.values[at]) * f64::from(self.scales[i * q.groups() + j / q.group()])
            }
        }
    }
}

struct Product {
    shape: (usize, usize, usize),
    what: Numbers,
    a: Factor,
    b: Factor,
    c: Buffer<f32>,
}

impl Product {
    fn new((m, n, k): (usize, usize, usize), what: Numbers) -> Self {
        let group = if let Numbers::Int8(group) = what { group } else { None };
        let (a, b) = (Factor::new(m, k, None, 1), Factor::new(n, k, group, 2));
        Self { shape: (m, n, k), what, a, b, c: Buffer::zeroed(m * n) }
    }

    fn run(&mut self) {
        let (m, n, _) = self.shape;
        let c = MatMut::new(&mut self.c, m, n).expect("C fits");
        let epilogue = Epilogue::default();
        let done = match self.what {
            Numbers::F32 => gemm(Gemm {
                a: self.a.f32(),
                transpose_a: false,
                b: self.b.f32(),
                transpose_b: true,
                c,
                write: Write::Overwrite,
                epilogue,
            }),
            Numbers::Bf16 => gemm_stored(GemmStored {
                a: self.a.bf16().into(),
                transpose_a: false,
                b: self.b.bf16().into(),
                transpose_b: true,
                c,
                write: Write::Overwrite,
                epilogue,
            }),
            Numbers::Int8(_) => gemm_int8(GemmInt8 { a: self.a.int8(), b: self.b.int8(), c, epilogue }),
        };
        done.expect("the shapes fit");
    }

    /// Compares sampled elements with f64 sums.
    fn check(&self, name: &str) {
        let (m, n, k) = self.shape;
        for sample in 0..100 {
            let (i, j) = (sample * 7919 % m, sample * 104_729 % n);
            let terms = (0..k).map(|p| self.a.get(i, p, self.what) * self.b.get(j, p, self.what));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x: f64| (sum + x, size + x.abs()));
            let error = (f64::from(self.c[i * n + j]) - sum).abs();
            let bound = 2.0 * (k + 4) as f64 * 2f64.powi(-24) * (size + 1.0);
            assert!(error <= bound, "{name} {:?}: c[{i}, {j}] is off by {error:e}", self.shape);
        }
    }

    /// Bytes of B.
    fn bytes(&self) -> usize {
        match self.what {
            Numbers::F32 => size_of_val(&self.b.numbers[..]),
            Numbers::Bf16 => size_of_val(&self.b.rounded[..]),
            Numbers::Int8(_) => self.b.values.len() + size_of_val(&self.b.scales[..]),
        }
    }
}

/// Best rates, in Gop/s and GB/s.
#[derive(Default)]
struct Rates {
    peak: f64,
    one: f64,
    two: f64,
    read: f64,
}

/// Measures in interleaved rounds: one worker by its thread's time, two by the clock.
fn measure(product: &mut Product, one: &Runtime, two: &Runtime) -> Rates {
    let (m, n, k) = product.shape;
    let ops = 2.0 * (m * n * k) as f64;
    let repeats = (3e8 / ops).ceil() as usize;
    let rate = |time: f64| ops * repeats as f64 / time / 1e9;
    let beside = numbers(product.bytes() / 4, 3);
    let mut best = Rates::default();
    for _ in 0..ROUNDS {
        let mut work = 0.0;
        let time = thread_seconds(|| work = multiply_adds(1_000_000));
        best.peak = best.peak.max(work / time / 1e9);
        let reads = (1usize << 23).div_ceil(beside.len());
        let time = thread_seconds(|| {
            (0..reads).for_each(|_| {
                read(&beside);
            })
        });
        best.read = best.read.max((size_of_val(&beside[..]) * reads) as f64 / time / 1e9);
        let time = one.install(|_| thread_seconds(|| (0..repeats).for_each(|_| product.run())));
        best.one = best.one.max(rate(time));
        let time = two.install(|_| wall_seconds(|| (0..repeats).for_each(|_| product.run())));
        best.two = best.two.max(rate(time));
    }
    best
}

fn main() {
    let (measured, filter) = arguments();
    let [one, two] = runtimes();
    if measured {
        println!("level {}; Gop/s and GB/s, best of {ROUNDS} rounds", Isa::active().name());
        println!(
            "{:20} {:>14} {:>6} {:>6} {:>6} {:>6} {:>5} {:>5} {:>6}",
            "", "m n k", "limit", "1T", "share", "2T", "speed", "B", "read"
        );
    }
    for (shape, what, name) in cases() {
        if !name.contains(&filter) {
            continue;
        }
        let mut product = Product::new(shape, what);
        one.install(|_| product.run());
        product.check(name);
        if !measured {
            continue;
        }
        let rates = measure(&mut product, &one, &two);
        let limit = rates.peak * if matches!(what, Numbers::Int8(_)) { INTEGERS } else { 1.0 };
        let (m, n, k) = shape;
        // The rate at which one worker's product reads B.
        let bytes = rates.one * product.bytes() as f64 / (2.0 * (m * n * k) as f64);
        let (share, speed) = (100.0 * rates.one / limit, rates.two / rates.one);
        println!(
            "{name:20} {:>14} {limit:6.1} {:6.1} {share:5.1}% {:6.1} {speed:5.2} {bytes:5.1} {:6.1}",
            format!("{m} {n} {k}"),
            rates.one,
            rates.two,
            rates.read
        );
    }
}
