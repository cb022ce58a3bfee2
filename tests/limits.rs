//! What holds at the limits: ten million joins nested a hundred thousand deep, and a thousand runtimes that leave no thread, no
//! file and no memory behind.

mod support;

use support::watched;
use upbeat::{Mode, Runtime, Worker};

/// The sum of 1 to `depth`, by joins nested that deep. The left side goes down, so each right side waits in its frame.
fn down(worker: &Worker, depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let (a, b) = worker.join(|w| down(w, depth - 1), move |_| depth);
    a + b
}

/// Fault 16: 10⁷ joins, 10⁵ deep, nothing lost. Such a level takes less than 2.5 KiB of stack even in a sanitized build.
#[test]
fn ten_million_joins_nested_a_hundred_thousand_deep() {
    const DEPTH: u64 = 100_000;
    let run = |workers, mode, rounds| {
        watched(&format!("{workers} workers, {mode:?}"), || {
            let builder = Runtime::builder().workers(workers).mode(mode).stack_size(256 << 20);
            let runtime = builder.build().unwrap();
            for _ in 0..rounds {
                assert_eq!(runtime.install(|w| down(w, DEPTH)), DEPTH * (DEPTH + 1) / 2);
            }
        });
    };
    // A sanitizer's books on each of a hundred thousand frames take it minutes.
    let rounds: usize = if is_sanitized() { 5 } else { 100 };
    run(1, Mode::OnRequest, rounds);
    run(2, Mode::OnRequest, rounds);
    run(2, Mode::AlwaysPromote, rounds.div_ceil(10));
    run(3, Mode::Seeded(3), rounds.div_ceil(10));
}

/// A number of this process from the system's table.
fn status(key: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find(|line| line.starts_with(key))?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether AddressSanitizer watches: it reserves terabytes for its shadow.
fn is_sanitized() -> bool {
    status("VmSize:").is_some_and(|kib| kib >> 30 >= 1)
}

/// Fault 41 and the like: what a runtime takes from the system it gives back.
#[cfg(target_os = "linux")]
#[test]
fn a_thousand_runtimes_leave_nothing_behind() {
    const NAME: &str = "a_thousand_runtimes_leave_nothing_behind";
    if support::role().is_none() {
        return support::assert_passed(&support::rerun(NAME, "count").output().unwrap());
    }
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = |i: usize| {
        let runtime = Runtime::builder().workers(1 + i % 4).build().unwrap();
        assert_eq!(runtime.install(|w| down(w, 50)), 1275);
        let handles: Vec<_> = (0..20).map(|n| runtime.spawn(move || n)).collect();
        assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq(0..20));
        runtime.scope(|scope| (0..20).for_each(|_| scope.spawn(|_| ())));
        drop(runtime.spawn(|| ()));
        match i % 3 {
            0 => drop(runtime),
            _ => runtime.shutdown(),
        }
    };
    watched("a thousand runtimes", || {
        // The allocator and the C library keep what they have got; after this they need no more.
        (0..200).for_each(round);
        let (threads, open, memory) = (status("Threads:"), files(), status("VmRSS:").unwrap());
        (0..1000).for_each(round);
        assert_eq!(files(), open, "files");
        // A thread that was joined is in the system's table for a moment more. One that stays makes the watchdog end this.
        support::until(|| status("Threads:") <= threads);
        let grown = status("VmRSS:").unwrap().saturating_sub(memory);
        println!("resident memory grew by {grown} KiB");
        // AddressSanitizer keeps freed memory for a while, and finds leaks in its own way.
        if !is_sanitized() {
            assert!(grown < 2048, "a thousand runtimes left {grown} KiB");
        }
    });
}
