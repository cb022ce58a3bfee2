//! GEMM beside the machine's limit and the crate `gemm`, in GFLOP/s, measured in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench gemm [-- FILTER]` measures; without `--bench` (as `cargo test --benches` runs
//! it) each product is computed once. Answers are checked against f64 on sampled elements either way.

use std::hint::black_box;
use std::time::Instant;
use upbeat::Runtime;
use upbeat_kernels::isa::dispatch;
use upbeat_kernels::simd::{Kernel, Simd};
use upbeat_kernels::{gemm::gemm, Buffer, Epilogue, Gemm, Isa, Mat, MatMut, Write};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 30;

/// `(m, n, k)`, whether A and B are stored transposed, and what it is.
type Case = ((usize, usize, usize), (bool, bool), &'static str);

/// The products of a GPT of width 384 over 2048 tokens (weights are stored `[out, in]`), then squares, then decoding.
const CASES: [Case; 23] = [
    ((2048, 1152, 384), (false, true), "qkv forward"),
    ((2048, 384, 384), (false, true), "projection forward"),
    ((2048, 1536, 384), (false, true), "up forward"),
    ((2048, 384, 1536), (false, true), "down forward"),
    ((2048, 65, 384), (false, true), "head forward"),
    ((2048, 384, 1152), (false, false), "qkv input gradient"),
    ((2048, 384, 384), (false, false), "projection input gradient"),
    ((2048, 384, 1536), (false, false), "up input gradient"),
    ((2048, 1536, 384), (false, false), "down input gradient"),
    ((2048, 384, 65), (false, false), "head input gradient"),
    ((1152, 384, 2048), (true, false), "qkv weight gradient"),
    ((384, 384, 2048), (true, false), "projection weight gradient"),
    ((1536, 384, 2048), (true, false), "up weight gradient"),
    ((384, 1536, 2048), (true, false), "down weight gradient"),
    ((65, 384, 2048), (true, false), "head weight gradient"),
    ((512, 512, 512), (false, false), "square"),
    ((1024, 1024, 1024), (false, false), "square"),
    ((1024, 1024, 1024), (false, true), "square"),
    ((2048, 2048, 2048), (false, false), "square"),
    ((1, 1536, 384), (false, true), "decode"),
    ((1, 1536, 384), (false, false), "decode"),
    ((8, 1536, 384), (false, true), "decode of 8"),
    ((8, 1536, 384), (false, false), "decode of 8"),
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
        let mut total = y;
        for sum in sums {
            total = simd.add(total, sum);
        }
        (simd.sum(total), (2 * CHAINS * S::LANES * self.rounds) as f64)
    }
}

/// Time that this thread spent on `f`, in seconds: other processes' turns do not count.
#[allow(unsafe_code)]
fn seconds(f: impl FnOnce()) -> f64 {
    fn now() -> f64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock exists on Unix and writes one `timespec`.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        assert!(failed == 0, "the thread's clock: {}", std::io::Error::last_os_error());
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
    let start = now();
    f();
    now() - start
}

fn numbers(len: usize, seed: u32) -> Buffer<f32> {
    let mut state = seed;
    let mut numbers = Buffer::unspecified(len);
    numbers.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 9) as f32 / (1 << 22) as f32 - 1.0
    });
    numbers
}

/// One product, ours and the peer's.
struct Product {
    shape: (usize, usize, usize),
    transpose: (bool, bool),
    a: Buffer<f32>,
    b: Buffer<f32>,
    c: Buffer<f32>,
    peer: Buffer<f32>,
}

impl Product {
    fn new((m, n, k): (usize, usize, usize), transpose: (bool, bool)) -> Self {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        Self { shape: (m, n, k), transpose, a, b, c: Buffer::zeroed(m * n), peer: Buffer::zeroed(m * n) }
    }

    fn ours(&mut self) {
        fn view(data: &[f32], rows: usize, cols: usize, transposed: bool) -> Mat<'_, f32> {
            let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
            Mat::new(data, rows, cols).expect("the matrix fits")
        }
        let ((m, n, k), (ta, tb)) = (self.shape, self.transpose);
        gemm(Gemm {
            a: view(&self.a, m, k, ta),
            transpose_a: ta,
            b: view(&self.b, k, n, tb),
            transpose_b: tb,
            c: MatMut::new(&mut self.c, m, n).expect("C fits"),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .expect("the shapes fit");
    }

    #[allow(unsafe_code)]
    fn peers(&mut self) {
        let ((m, n, k), (ta, tb)) = (self.shape, self.transpose);
        let strides = |rows: usize, cols: usize, t| if t { (rows as isize, 1) } else { (1, cols as isize) };
        let ((a_col, a_row), (b_col, b_row)) = (strides(m, k, ta), strides(k, n, tb));
        let (a, b, c) = (self.a.as_ptr(), self.b.as_ptr(), self.peer.as_mut_ptr());
        let alone = ::gemm::Parallelism::None;
        // SAFETY: the vectors hold the matrices that the dimensions and strides describe.
        unsafe {
            ::gemm::gemm(
                m, n, k, c, 1, n as isize, false, a, a_col, a_row, b, b_col, b_row, 0.0f32, 1.0f32, false,
                false, false, alone,
            )
        }
    }

    /// Compares sampled elements of both results with f64 sums.
    fn check(&self, what: &str) {
        let ((m, n, k), (ta, tb)) = (self.shape, self.transpose);
        for sample in 0..200 {
            let (i, j) = (sample * 7919 % m, sample * 104_729 % n);
            let terms = (0..k).map(|p| {
                let a = self.a[if ta { p * m + i } else { i * k + p }];
                let b = self.b[if tb { j * k + p } else { p * n + j }];
                f64::from(a) * f64::from(b)
            });
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
            let bound = 2.0 * k as f64 * 2f64.powi(-24) * size;
            for (whose, c) in [("ours", &self.c), ("the peer's", &self.peer)] {
                let error = (f64::from(c[i * n + j]) - sum).abs();
                assert!(error <= bound, "{what} {:?}: {whose} c[{i}, {j}] is off by {error:e}", self.shape);
            }
        }
    }
}

/// Best rates of a product in GFLOP/s.
#[derive(Default)]
struct Rates {
    peak: f64,
    ours: f64,
    peers: f64,
    pair: f64,
}

/// Measures in interleaved rounds: one worker and the peer by their threads' time, two workers by the clock.
fn measure(product: &mut Product, one: &Runtime, two: &Runtime) -> Rates {
    let (m, n, k) = product.shape;
    let flops = 2.0 * (m * n * k) as f64;
    // A round of some 3 ms: short enough that some rounds meet no other work, long enough for the clock.
    let repeats = (3e8 / flops).ceil() as usize;
    let rate = |time: f64| flops * repeats as f64 / time / 1e9;
    let mut best = Rates::default();
    for _ in 0..ROUNDS {
        let mut work = 0.0;
        let time = seconds(|| work = black_box(dispatch(Peak { rounds: 1_000_000 })).1);
        best.peak = best.peak.max(work / time / 1e9);
        let time = one.install(|_| seconds(|| (0..repeats).for_each(|_| product.ours())));
        best.ours = best.ours.max(rate(time));
        let time = seconds(|| (0..repeats).for_each(|_| product.peers()));
        best.peers = best.peers.max(rate(time));
        let time = two.install(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| product.ours());
            start.elapsed().as_secs_f64()
        });
        best.pair = best.pair.max(rate(time));
    }
    best
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = arguments.iter().any(|a| a == "--bench");
    let filter = arguments.iter().find(|a| !a.starts_with("--"));
    let workers = |n| Runtime::builder().workers(n).build().expect("a runtime starts");
    let (one, two) = (workers(1), workers(2));
    if measured {
        println!("level {}; GFLOP/s, best of {ROUNDS} rounds", Isa::active().name());
        println!(
            "{:28} {:>14} {:>6} {:>6} {:>6} {:>6} {:>5} {:>6} {:>5}",
            "", "m n k", "peak", "1T", "share", "gemm", "ratio", "2T", "speed"
        );
    }
    for (shape, transpose, what) in CASES {
        let layout = |t| if t { 'T' } else { 'N' };
        let name = format!("{}{} {what}", layout(transpose.0), layout(transpose.1));
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let mut product = Product::new(shape, transpose);
        one.install(|_| product.ours());
        product.peers();
        product.check(what);
        if !measured {
            continue;
        }
        let Rates { peak, ours, peers, pair } = measure(&mut product, &one, &two);
        let shape = format!("{} {} {}", shape.0, shape.1, shape.2);
        let (share, ratio, speed) = (100.0 * ours / peak, ours / peers, pair / ours);
        println!("{name:28} {shape:>14} {peak:6.1} {ours:6.1} {share:5.1}% {peers:6.1} {ratio:5.2} {pair:6.1} {speed:5.2}");
    }
}
