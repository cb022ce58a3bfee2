//! What the machine can do at most, measured: multiply-adds on registers, in floating point and of integers, and bytes copied or read beyond every cache.
//!
//! Each is measured on all workers of a runtime at once, in the same rounds as the kernels that it bounds.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

use upbeat::Runtime;
use upbeat_kernels::isa::dispatch;
use upbeat_kernels::simd::int8::{self, DotKernel, Dots};
use upbeat_kernels::simd::pairs::Unit;
use upbeat_kernels::simd::{Kernel, Simd};
use upbeat_kernels::Buffer;

/// Independent sums: two units times a latency of 4 or 5 cycles need 10, and they must fit 16 registers.
const SUMS: usize = 12;
/// Turns of a measurement of arithmetic, about 2 ms.
const TURNS: usize = 400_000;
/// Numbers that a worker copies or reads: with both its buffers more than any last-level cache share.
const NUMBERS: usize = 8 << 20;

/// What bounds a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Multiply-adds: GFLOP/s.
    Arithmetic,
    /// Multiply-adds of numbers in bf16: GFLOP/s. Those of f32 where no unit multiplies them.
    Bf16,
    /// Multiply-adds of 8-bit integers: Gop/s.
    Integers,
    /// Reading and writing memory, half each: GB/s of both.
    Copy,
    /// Reading memory: GB/s.
    Read,
}

impl Bound {
    /// The unit of its rates.
    pub fn unit(self) -> &'static str {
        match self {
            Bound::Arithmetic | Bound::Bf16 => "GFLOP/s",
            Bound::Integers => "Gop/s",
            Bound::Copy | Bound::Read => "GB/s",
        }
    }
}

/// Runs multiply-adds whose operands are in registers.
struct MultiplyAdds {
    factor: f32,
    addend: f32,
}

impl Kernel for MultiplyAdds {
    /// Sum of all sums, and operations done.
    type Output = (f32, f64);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f64) {
        let (factor, addend) = (simd.splat(self.factor), simd.splat(self.addend));
        let mut sums = [simd.splat(0.0); SUMS];
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = simd.fma(*sum, factor, addend);
            }
        }
        let total = sums.into_iter().fold(simd.splat(0.0), |a, b| simd.add(a, b));
        (simd.sum(total), (2 * TURNS * SUMS * S::LANES) as f64)
    }
}

/// The operations of one call, done.
fn arithmetic() -> f64 {
    let (sum, operations) = dispatch(MultiplyAdds { factor: black_box(0.5), addend: black_box(1.0) });
    // Each sum tends to addend / (1 - factor) = 2: the arithmetic happened.
    let sums = operations / (2 * TURNS) as f64;
    assert!((f64::from(sum) / sums - 2.0).abs() < 1e-3, "the sums are wrong: {sum}");
    operations
}

/// Runs sums of products of integers whose operands are in registers.
struct SumsOfProducts {
    /// Nothing that the compiler knows, and 0.
    factor: u32,
}

impl DotKernel for SumsOfProducts {
    /// Sum of all sums, the lanes of all vectors, and operations done.
    type Output = (i32, usize, f64);

    #[inline(always)]
    fn run<D: Dots>(self, dots: D) -> Self::Output {
        let (one, factor) = (dots.splat(1), dots.splat(self.factor));
        let mut sums = [one; SUMS];
        for _ in 0..TURNS {
            for sum in &mut sums {
                // A sum is a factor too, or the products could be computed once for all turns.
                *sum = dots.dot(*sum, *sum, factor);
            }
        }
        let total = sums.into_iter().map(|sum| dots.sum(sum)).sum();
        (total, SUMS * D::LANES, (2 * TURNS * SUMS * D::LANES * D::STEP) as f64)
    }
}

/// The operations of one call on integers, done.
fn integers() -> f64 {
    let (sum, lanes, operations) = int8::dispatch(SumsOfProducts { factor: black_box(0) });
    assert_eq!(sum, lanes as i32, "nothing is added to sums of 1");
    operations
}

/// Sums a slice in eight vectors at a time, which is as fast as it can be read.
struct Reading<'a>(&'a [f32]);

impl Kernel for Reading<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 8];
        for from in self.0.chunks_exact(8 * S::LANES) {
            for (sum, from) in sums.iter_mut().zip(from.chunks_exact(S::LANES)) {
                *sum = simd.add(*sum, simd.load(from));
            }
        }
        simd.sum(sums.into_iter().fold(simd.splat(0.0), |a, b| simd.add(a, b)))
    }
}

/// A worker's buffers.
struct Memory {
    from: Buffer<f32>,
    to: Buffer<f32>,
}

/// The limits of a runtime's workers together.
pub struct Limits {
    memory: Vec<Mutex<Option<Memory>>>,
}

impl Limits {
    /// For a runtime of `workers`. Takes memory when bandwidth is first asked for.
    pub fn new(workers: usize) -> Self {
        Self { memory: (0..workers).map(|_| Mutex::new(None)).collect() }
    }

    /// One measurement, in 10⁹ of the bound's unit a second: what all workers did until the last one had finished.
    pub fn measure(&self, runtime: &Runtime, bound: Bound) -> f64 {
        let start = Instant::now();
        let took = runtime.broadcast(|worker| {
            let begun = Instant::now();
            let done = match bound {
                Bound::Arithmetic => arithmetic(),
                Bound::Bf16 => Unit::active().map_or_else(arithmetic, Unit::exert),
                Bound::Integers => integers(),
                Bound::Copy | Bound::Read => self.move_bytes(worker.index(), bound),
            };
            (begun, Instant::now(), done)
        });
        let begun = took.iter().map(|(begun, ..)| *begun).min().unwrap_or(start);
        let ended = took.iter().map(|(_, ended, _)| *ended).max().unwrap_or(start);
        let done: f64 = took.iter().map(|(.., done)| done).sum();
        done / ended.duration_since(begun).as_secs_f64() / 1e9
    }

    fn move_bytes(&self, worker: usize, bound: Bound) -> f64 {
        let mut memory = self.memory[worker].lock().expect("no measurement panics");
        // Touched first by the worker that will use it.
        let Memory { from, to } = memory.get_or_insert_with(|| {
            let mut from = Buffer::unspecified(NUMBERS);
            from.fill(1.0);
            Memory { from, to: Buffer::zeroed(NUMBERS) }
        });
        if bound == Bound::Copy {
            to.copy_from_slice(black_box(from));
            black_box(to);
            return (8 * NUMBERS) as f64;
        }
        let sum = dispatch(Reading(from));
        assert!(sum > 0.0, "the numbers are ones");
        (4 * NUMBERS) as f64
    }
}
