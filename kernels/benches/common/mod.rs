//! What the benchmarks of the kernels share: arguments, runtimes, the machine's limits, clocks and numbers. Not what they measure.
//!
//! Each benchmark uses a part of it.
#![allow(dead_code)]

use std::hint::black_box;
use std::time::Instant;

use upbeat::Runtime;
use upbeat_kernels::isa::dispatch;
use upbeat_kernels::simd::{Kernel, Simd};
use upbeat_kernels::Buffer;

/// Multiply-adds on registers alone: the most that a core can do.
struct MultiplyAdds {
    rounds: usize,
}

impl Kernel for MultiplyAdds {
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

/// Does `rounds` rounds of multiply-adds in registers; returns how many operations they were.
pub(crate) fn multiply_adds(rounds: usize) -> f64 {
    black_box(dispatch(MultiplyAdds { rounds })).1
}

/// A sum of everything, in eight chains.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 8];
        for x in self.0.chunks_exact(8 * S::LANES) {
            for (sum, x) in sums.iter_mut().zip(x.chunks_exact(S::LANES)) {
                *sum = simd.add(*sum, simd.load(x));
            }
        }
        let total = sums.into_iter().fold(simd.splat(0.0), |total, sum| simd.add(total, sum));
        simd.sum(total)
    }
}

/// Reads all of `numbers` on one core, as fast as it can.
pub(crate) fn read(numbers: &[f32]) -> f32 {
    black_box(dispatch(Read(numbers)))
}

/// Time that passes while `f` runs, in seconds.
pub(crate) fn wall_seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Time that this thread spends on `f`, in seconds: other processes' turns do not count.
#[allow(unsafe_code)]
pub(crate) fn thread_seconds(f: impl FnOnce()) -> f64 {
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

/// `len` numbers in `-1..1`.
pub(crate) fn numbers(len: usize, seed: u32) -> Buffer<f32> {
    let mut state = seed;
    let mut numbers = Buffer::unspecified(len);
    numbers.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 9) as f32 / (1 << 22) as f32 - 1.0
    });
    numbers
}

/// Whether to measure, not only to check, and the part of their names that cases are chosen by: from `-- [--bench] [FILTER]`.
pub(crate) fn arguments() -> (bool, String) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = arguments.iter().any(|a| a == "--bench");
    // Without one all names contain it.
    (measured, arguments.into_iter().find(|a| !a.starts_with("--")).unwrap_or_default())
}

/// Runtimes of one worker and of two.
pub(crate) fn runtimes() -> [Runtime; 2] {
    [1, 2].map(|workers| Runtime::builder().workers(workers).build().expect("a runtime starts"))
}
