//! The pool beside the system's allocator: nanoseconds to allocate and free a buffer when warm, and what a long mixed run
//! leaves unusable.
//!
//! `cargo bench -p upbeat-kernels --bench pool` measures; without `--bench` (as `cargo test --benches` runs it)
//! everything runs once, shorter. Contents are checked either way: whatever a buffer was filled with is in it when it is
//! dropped, whoever else allocated meanwhile.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use upbeat_kernels::pool::{self, Tag};
use upbeat_kernels::Buffer;

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 40;
/// Bytes of a buffer: from a kernel's row of sums to more than a thread's cache takes.
const SIZES: [usize; 7] = [64, 1 << 10, 16 << 10, 100_000, 256 << 10, 1 << 20, 8 << 20];
/// The goal, in ns.
const GOAL: f64 = 20.0;

/// Reproducible bits (xorshift; Marsaglia, 2003).
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Nanoseconds of one call of `f`.
fn nanoseconds(repeats: usize, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..repeats).for_each(|_| f());
    start.elapsed().as_secs_f64() * 1e9 / repeats as f64
}

/// Allocates and frees a buffer of the pool; writes a number to its first line.
fn ours(bytes: usize) {
    let mut buffer = Buffer::<u8>::scratch(black_box(bytes));
    buffer[0] = 1;
    black_box(&mut buffer);
}

/// The same of the system's allocator.
fn system(bytes: usize) {
    let mut vector = Vec::<u8>::with_capacity(black_box(bytes));
    vector.push(1);
    black_box(&mut vector);
}

/// Best nanoseconds of a request and its return, with `threads` threads at it at once: ours and the system's.
fn measure(bytes: usize, threads: usize, rounds: usize, repeats: usize) -> [f64; 2] {
    let barrier = Barrier::new(threads);
    let work = || {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..rounds {
            barrier.wait();
            best[0] = best[0].min(nanoseconds(repeats, || ours(bytes)));
            barrier.wait();
            best[1] = best[1].min(nanoseconds(repeats, || system(bytes)));
        }
        best
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    // The slower thread counts.
    all.into_iter().fold([0.0; 2], |worst: [f64; 2], one| [worst[0].max(one[0]), worst[1].max(one[1])])
}

/// Allocates and frees `steps` buffers whose sizes' logarithm is uniform from 8 bytes to 8 MiB, up to `most` bytes at once.
/// Returns the sum of their sizes. At the end buffers are still alive: an empty pool would lose nothing.
fn mixed(seed: u64, steps: u64, most: usize, report: impl FnOnce()) -> u64 {
    let mut bits = Bits(seed);
    let mut kept: Vec<(u64, Buffer<u64>)> = Vec::new();
    let (mut live, mut all) = (0, 0);
    let check = |with: u64, buffer: &Buffer<u64>| {
        let last = buffer.len() - 1;
        let right = [0, last / 2, last].into_iter().all(|at| buffer[at] == with ^ at as u64);
        assert!(right, "a buffer of {} numbers was overwritten", buffer.len());
    };
    for step in 0..steps {
        let len = some_len(&mut bits);
        while live + 8 * len > most || (kept.len() > 2 && bits.next().is_multiple_of(3)) {
            let (with, buffer) = kept.swap_remove(bits.next() as usize % kept.len());
            check(with, &buffer);
            live -= size_of_val(&*buffer);
        }
        let with = seed ^ step;
        let tag = Tag::ALL[step as usize % Tag::ALL.len()];
        let mut buffer = Buffer::unspecified_as(tag, len);
        let last = len - 1;
        for at in [0, last / 2, last] {
            buffer[at] = with ^ at as u64;
        }
        live += size_of_val(&*buffer);
        all += size_of_val(&*buffer) as u64;
        kept.push((with, buffer));
    }
    report();
    kept.iter().for_each(|(with, buffer)| check(*with, buffer));
    all
}

/// A length for the mixed run: its logarithm is uniform.
fn some_len(bits: &mut Bits) -> usize {
    1 + (bits.next() % (1 << (bits.next() % 21))) as usize
}

/// Prints how many bytes requests of the mixed run's sizes get before one needs the system: what idle bytes are worth.
fn fill_idle() {
    let (idle, fresh) = (pool::stats().idle_bytes, pool::stats().fresh);
    let mut bits = Bits(9);
    let mut filled: Vec<Buffer<u64>> = Vec::new();
    while pool::stats().fresh == fresh {
        filled.push(Buffer::unspecified(some_len(&mut bits)));
    }
    filled.pop();
    let bytes: usize = filled.iter().map(|buffer| size_of_val(&**buffer)).sum();
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "  of {:.2} MiB idle, {:.2} MiB went to requests of such sizes before one needed the system",
        mib(idle as f64),
        mib(bytes as f64)
    );
}

/// Prints what the pool holds.
fn account(title: &str) {
    let stats = pool::stats();
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    println!("\n{title}");
    for tag in Tag::ALL {
        let usage = stats.of(tag);
        println!(
            "  {:10} {:9.2} MiB now {:9.2} MiB at most",
            tag.name(),
            mib(usage.live_bytes),
            mib(usage.peak_bytes)
        );
    }
    println!(
        "  {:10} {:9.2} MiB now {:9.2} MiB at most",
        "all",
        mib(stats.live_bytes),
        mib(stats.peak_bytes)
    );
    println!(
        "  reserved {:.2} MiB: live {:.2}, in threads' caches {:.2}, idle {:.2}, lost {:.3}; {} fresh requests, {} reuses",
        mib(stats.reserved_bytes),
        mib(stats.live_bytes),
        mib(stats.cached_bytes),
        mib(stats.idle_bytes),
        mib(stats.lost_bytes()),
        stats.fresh,
        stats.reused
    );
    println!(
        "  fragmentation (bytes that no request can use / reserved) {:.3} %, goal < 1 %; reserved / peak {:.3}",
        100.0 * stats.fragmentation(),
        stats.reserved_bytes as f64 / stats.peak_bytes.max(1) as f64
    );
    assert!(stats.fragmentation() < 0.01, "the goal");
}

fn main() {
    let measuring = std::env::args().any(|arg| arg == "--bench");
    let (rounds, steps) = if measuring { (ROUNDS, 1_000_000) } else { (1, 20_000) };
    println!(
        "{:>10} {:>8} {:>10} {:>10} {:>8}   ns to allocate and free",
        "bytes", "threads", "pool", "system", "ratio"
    );
    for bytes in SIZES {
        for threads in [1, 2] {
            let repeats = if measuring { 20_000 } else { 100 };
            let [ours, system] = measure(bytes, threads, rounds, repeats);
            let met = if ours <= GOAL { "met" } else { "over 20 ns" };
            println!("{bytes:>10} {threads:>8} {ours:>10.1} {system:>10.1} {:>8.2}   {met}", system / ours);
        }
    }
    let start = Instant::now();
    let all = mixed(1, steps, 192 << 20, || {
        account("after a long mixed run of one thread, buffers still alive:");
        fill_idle();
    });
    println!(
        "  {steps} buffers, {:.1} GiB in all, {:.1} s",
        all as f64 / (1u64 << 30) as f64,
        start.elapsed().as_secs_f64()
    );
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let threads = [2, 3].map(|seed| {
            let barrier = &barrier;
            scope.spawn(move || {
                mixed(seed, steps / 2, 96 << 20, || {
                    if barrier.wait().is_leader() {
                        account("after another one of two threads:");
                    }
                    barrier.wait();
                })
            })
        });
        // A scope alone does not wait until its threads have given their caches back.
        for thread in threads {
            thread.join().expect("no thread panics");
        }
    });
    pool::trim();
    let stats = pool::stats();
    println!("\nafter a trim {} bytes are reserved, {} are live", stats.reserved_bytes, stats.live_bytes);
    assert_eq!((stats.reserved_bytes, stats.live_bytes), (0, 0), "nothing is left");
}
