//! GEMM beside the machine's limit and the crate `gemm`, in GFLOP/s, measured in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench gemm [-- FILTER]` measures; without `--bench` (as `cargo test --benches` runs
//! it) each product is computed once. Answers are checked against f64 on sampled elements either way.

mod common;

use common::{arguments, multiply_adds, numbers, read, runtimes, thread_seconds, wall_seconds};
use upbeat::Runtime;
use upbeat_kernels::gemm::{gemm, gemm_packed, GemmPacked, PackedB};
use upbeat_kernels::twin::activation::gelu;
use upbeat_kernels::{Activation, Buffer, Epilogue, Gemm, Isa, Mat, MatMut, Write};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 30;

/// What is measured of a product.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// As it is called once.
    Plain,
    /// With bias and exact GELU, `x·Wᵀ + b`; the peer computes the product alone, so its ratio is what the epilogue costs.
    Gelu,
    /// B packed before.
    Packed,
}

/// `(m, n, k)`, whether A and B are stored transposed, what of it, and what it is.
type Case = ((usize, usize, usize), (bool, bool), How, &'static str);

/// The products of a GPT of width 384 over 2048 tokens (weights are stored `[out, in]`), then squares, decoding, few rows and
/// linear layers.
fn cases() -> Vec<Case> {
    let (nt, nn, tn) = ((false, true), (false, false), (true, false));
    let plain = |shape, transpose, what| (shape, transpose, How::Plain, what);
    let mut cases = vec![
        plain((2048, 1152, 384), nt, "qkv forward"),
        plain((2048, 384, 384), nt, "projection forward"),
        plain((2048, 1536, 384), nt, "up forward"),
        plain((2048, 384, 1536), nt, "down forward"),
        plain((2048, 65, 384), nt, "head forward"),
        plain((2048, 384, 1152), nn, "qkv input gradient"),
        plain((2048, 384, 384), nn, "projection input gradient"),
        plain((2048, 384, 1536), nn, "up input gradient"),
        plain((2048, 1536, 384), nn, "down input gradient"),
        plain((2048, 384, 65), nn, "head input gradient"),
        plain((1152, 384, 2048), tn, "qkv weight gradient"),
        plain((384, 384, 2048), tn, "projection weight gradient"),
        plain((1536, 384, 2048), tn, "up weight gradient"),
        plain((384, 1536, 2048), tn, "down weight gradient"),
        plain((65, 384, 2048), tn, "head weight gradient"),
        plain((512, 512, 512), nn, "square"),
        plain((1024, 1024, 1024), nn, "square"),
        plain((1024, 1024, 1024), nt, "square"),
        plain((2048, 2048, 2048), nn, "square"),
        ((512, 512, 512), nn, How::Packed, "packed square"),
        ((1024, 1024, 1024), nn, How::Packed, "packed square"),
        ((2048, 2048, 2048), nn, How::Packed, "packed square"),
        plain((1, 1536, 384), nt, "decode"),
        plain((1, 1536, 384), nn, "decode"),
        plain((8, 1536, 384), nt, "decode of 8"),
        plain((8, 1536, 384), nn, "decode of 8"),
    ];
    for m in [1, 2, 4, 8, 32] {
        cases.push(plain((m, 4096, 4096), nt, "skinny"));
        cases.push(plain((m, 4096, 4096), nn, "skinny"));
        cases.push(((m, 4096, 4096), nt, How::Packed, "packed skinny"));
    }
    for shape in [(128, 768, 512), (256, 1024, 768), (512, 2048, 1024)] {
        cases.push((shape, nt, How::Gelu, "linear and GELU"));
    }
    cases
}

/// One product, ours and the peer's.
struct Product {
    shape: (usize, usize, usize),
    transpose: (bool, bool),
    how: How,
    packed: PackedB,
    bias: Buffer<f32>,
    a: Buffer<f32>,
    b: Buffer<f32>,
    c: Buffer<f32>,
    peer: Buffer<f32>,
}

impl Product {
    fn new((m, n, k): (usize, usize, usize), transpose: (bool, bool), how: How) -> Self {
        let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
        let (c, peer) = (Buffer::zeroed(m * n), Buffer::zeroed(m * n));
        let (rows, cols) = if transpose.1 { (n, k) } else { (k, n) };
        let packed = PackedB::new(Mat::new(&b, rows, cols).expect("B fits"), transpose.1).expect("B fits");
        Self { shape: (m, n, k), transpose, how, packed, bias, a, b, c, peer }
    }

    fn ours(&mut self) {
        fn view(data: &[f32], rows: usize, cols: usize, transposed: bool) -> Mat<'_, f32> {
            let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
            Mat::new(data, rows, cols).expect("the matrix fits")
        }
        let ((m, n, k), (transpose_a, transpose_b)) = (self.shape, self.transpose);
        let (a, b) = (view(&self.a, m, k, transpose_a), view(&self.b, k, n, transpose_b));
        let (c, write) = (MatMut::new(&mut self.c, m, n).expect("C fits"), Write::Overwrite);
        let epilogue = match self.how {
            How::Gelu => {
                Epilogue { bias: Some(&self.bias), activation: Activation::Gelu, ..Epilogue::default() }
            }
            _ => Epilogue::default(),
        };
        let done = match self.how {
            How::Packed => gemm_packed(GemmPacked { a, transpose_a, b: &self.packed, c, write, epilogue }),
            _ => gemm(Gemm { a, transpose_a, b, transpose_b, c, write, epilogue }),
        };
        done.expect("the shapes fit");
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
            let bound = 2.0 * (k + 4) as f64 * 2f64.powi(-24) * (size + 1.0);
            let ours = match self.how {
                How::Gelu => gelu(sum + f64::from(self.bias[j])),
                _ => sum,
            };
            for (whose, c, sum) in [("ours", &self.c, ours), ("the peer's", &self.peer, sum)] {
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
    /// B's bytes read a second by a core that does nothing else, in GB/s.
    read: f64,
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
        let time = thread_seconds(|| work = multiply_adds(1_000_000));
        best.peak = best.peak.max(work / time / 1e9);
        let reads = (1usize << 23).div_ceil(product.b.len());
        let time = thread_seconds(|| {
            (0..reads).for_each(|_| {
                read(&product.b);
            })
        });
        best.read = best.read.max((size_of_val(&product.b[..]) * reads) as f64 / time / 1e9);
        let time = one.install(|_| thread_seconds(|| (0..repeats).for_each(|_| product.ours())));
        best.ours = best.ours.max(rate(time));
        let time = thread_seconds(|| (0..repeats).for_each(|_| product.peers()));
        best.peers = best.peers.max(rate(time));
        let time = two.install(|_| wall_seconds(|| (0..repeats).for_each(|_| product.ours())));
        best.pair = best.pair.max(rate(time));
    }
    best
}

fn main() {
    let (measured, filter) = arguments();
    let [one, two] = runtimes();
    if measured {
        println!("level {}; GFLOP/s, best of {ROUNDS} rounds", Isa::active().name());
        println!(
            "{:28} {:>14} {:>6} {:>6} {:>6} {:>6} {:>5} {:>6} {:>5} {:>5} {:>5}",
            "", "m n k", "peak", "1T", "share", "gemm", "ratio", "2T", "speed", "B", "read"
        );
    }
    for (shape, transpose, how, what) in cases() {
        let layout = |t| if t { 'T' } else { 'N' };
        let name = format!("{}{} {what}", layout(transpose.0), layout(transpose.1));
        if !name.contains(&filter) {
            continue;
        }
        let mut product = Product::new(shape, transpose, how);
        one.install(|_| product.ours());
        product.peers();
        product.check(what);
        if !measured {
            continue;
        }
        let Rates { peak, ours, peers, pair, read } = measure(&mut product, &one, &two);
        // Where a product reads B once and does little else, that is its limit.
        let bytes = 2.0 / shape.0 as f64 * ours;
        let shape = format!("{} {} {}", shape.0, shape.1, shape.2);
        let (share, ratio, speed) = (100.0 * ours / peak, ours / peers, pair / ours);
        println!("{name:28} {shape:>14} {peak:6.1} {ours:6.1} {share:5.1}% {peers:6.1} {ratio:5.2} {pair:6.1} {speed:5.2} {bytes:5.1} {read:5.1}");
    }
}
