//! The peak of f32 arithmetic, measured: fused multiply-adds on independent registers, on every worker at once.

use std::hint::black_box;
use std::time::Instant;

use upbeat_kernels::isa::dispatch;
use upbeat_kernels::simd::{Kernel, Simd};

/// Independent sums: two units times a latency of 4 or 5 cycles need 10, and they must fit 16 registers.
const SUMS: usize = 12;
/// Rounds of [`SUMS`] multiply-adds in a measurement; some milliseconds.
const ROUNDS: usize = 1_500_000;
const MEASUREMENTS: usize = 12;

/// Runs multiply-adds whose operands are in registers.
struct MultiplyAdd {
    factor: f32,
    addend: f32,
}

impl Kernel for MultiplyAdd {
    /// Sum of all sums, and floating-point operations done.
    type Output = (f32, f64);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f64) {
        let (factor, addend) = (simd.splat(self.factor), simd.splat(self.addend));
        let mut sums = [simd.splat(0.0); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.fma(*sum, factor, addend);
            }
        }
        let total = sums.into_iter().fold(simd.splat(0.0), |a, b| simd.add(a, b));
        (simd.sum(total), (2 * ROUNDS * SUMS * S::LANES) as f64)
    }
}

/// One thread's best rate in FLOP/s while `threads` threads measure.
fn best_rate() -> f64 {
    let mut best = 0.0f64;
    for _ in 0..MEASUREMENTS {
        let start = Instant::now();
        let kernel = MultiplyAdd { factor: black_box(0.5), addend: black_box(1.0) };
        let (sum, flops) = dispatch(kernel);
        let seconds = start.elapsed().as_secs_f64();
        // Each sum tends to addend / (1 - factor) = 2: the arithmetic happened.
        assert!((sum / (flops / (2 * ROUNDS) as f64) as f32 - 2.0).abs() < 1e-3, "the sums are wrong: {sum}");
        best = best.max(flops / seconds);
    }
    best
}

/// FLOP/s of `threads` threads together, with the kernels' instruction set.
pub(super) fn measured(threads: usize) -> f64 {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(best_rate)).collect();
        threads.into_iter().map(|t| t.join().expect("the measurement does not panic")).sum()
    })
}
