//! What a worker promises of its stack while it waits: for a join or a scope it stays within the program's own depth and a constant
//! (fault 17); for anything else the nesting is bounded, and a part of the stack is left for what runs already.

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use support::watched;
use upbeat::{Generator, JoinHandle, Runtime};

/// What a wait may cost on top of the program's own depth, bytes.
const CONSTANT: usize = 12 << 10;

thread_local! {
    /// Where the outermost task on this thread began, and how many are open.
    static BASE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Runs `f` as a task that keeps 2 KiB of the stack, and notes in `deepest` how much of it is in use, from the outermost task on.
#[inline(never)]
fn measured<R>(deepest: &AtomicUsize, f: impl FnOnce() -> R) -> R {
    let frame = std::hint::black_box([0u8; 2048]);
    let here = frame.as_ptr() as usize;
    BASE.with(|base| {
        let (outermost, open) = base.get();
        base.set((if open == 0 { here } else { outermost }, open + 1));
        deepest.fetch_max(base.get().0.saturating_sub(here), Ordering::Relaxed);
    });
    let result = f();
    BASE.with(|base| base.set((base.get().0, base.get().1 - 1)));
    std::hint::black_box(&frame);
    result
}

/// A tree of joins and scopes with long and short branches. The right side of each lowest join takes longer, so that its
/// left side has to wait when it was stolen, while many tasks that have nothing to do with it are on offer.
fn grow(seed: u64, depth: u32, deepest: &AtomicUsize) {
    let spin = |turns| (0..turns).for_each(|_| std::hint::spin_loop());
    measured(deepest, || {
        let mut random = Generator::new(seed);
        if depth == 0 {
            let lowest = |turns| measured(deepest, || spin(turns));
            upbeat::join(|| lowest(10), || lowest(random.below(1000)));
            return;
        }
        let (left, right) = (random.next_u64(), random.next_u64());
        let short = depth.saturating_sub(1 + random.below(2) as u32);
        match random.below(4) {
            0 => upbeat::scope(|scope| {
                scope.spawn(move |_| grow(left, depth - 1, deepest));
                grow(right, short, deepest);
            }),
            1 => {
                upbeat::join(|| grow(left, short, deepest), || grow(right, depth - 1, deepest));
            }
            _ => {
                upbeat::join(|| grow(left, depth - 1, deepest), || grow(right, short, deepest));
            }
        }
    });
}

/// Fault 17.
#[test]
fn waiting_takes_no_more_stack_than_the_program() {
    watched("the depth of trees", || {
        let deepest_of = |runtime: &Runtime, seed| {
            let deepest = AtomicUsize::new(0);
            runtime.install(|_| grow(seed, 14, &deepest));
            deepest.into_inner()
        };
        let alone = runtime(1);
        let together = [2, 8].map(runtime);
        for seed in 0..15 {
            let own = deepest_of(&alone, seed);
            assert!(own > 14 * 2048, "the tree is deep: {own}");
            for runtime in &together {
                let deepest = deepest_of(runtime, seed);
                let workers = runtime.num_workers();
                assert!(deepest <= own + CONSTANT, "{workers} workers, seed {seed}: {deepest}, alone {own}");
            }
        }
    });
}

/// Fault 17. Each task waits for another runtime, and while it does its worker runs the next one on top of it.
#[test]
fn tasks_that_wait_for_another_runtime_nest_within_bounds() {
    watched("nested installs", || {
        for (workers, tasks) in [(1, 200_000), (2, 20_000)] {
            let (here, there) = (runtime(workers), Arc::new(runtime(1)));
            let (deepest, sum) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            here.install(|_| {
                for _ in 0..tasks {
                    let (there, deepest, sum) = (there.clone(), deepest.clone(), sum.clone());
                    drop(upbeat::spawn(move || {
                        measured(&deepest, || {
                            sum.fetch_add(there.install(|_| 1), Ordering::Relaxed);
                        });
                    }));
                }
            });
            here.shutdown();
            assert_eq!(sum.load(Ordering::Relaxed), tasks);
            let deepest = deepest.load(Ordering::Relaxed);
            assert!(deepest < 65 * (2048 + 4096), "{deepest} bytes");
        }
    });
}

/// Fault 17. The tasks keep so much of the stack that fewer than the most that may nest fill it; each waits for the one spawned after it.
#[test]
fn the_reserve_of_a_small_stack_stops_the_nesting_first() {
    #[inline(never)]
    fn wait_with_a_large_frame(handle: JoinHandle<()>) {
        let frame = std::hint::black_box([0u8; 32 << 10]);
        handle.join().unwrap();
        std::hint::black_box(&frame);
    }
    watched("a small stack", || {
        let here = Runtime::builder().workers(1).stack_size(512 << 10).build().unwrap();
        let there = Arc::new(runtime(1));
        let count = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..1000)
            .map(|_| {
                let (there, count) = (there.clone(), count.clone());
                here.spawn(move || {
                    let elsewhere = there.spawn(|| std::thread::sleep(std::time::Duration::from_micros(10)));
                    wait_with_a_large_frame(elsewhere);
                    count.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 1000);
    });
}

/// Calls between runtimes may be nested deeper than unrelated tasks may: what a worker of another runtime waits for goes on running.
#[test]
fn runtimes_call_each_other_a_hundred_deep() {
    fn call(depth: usize, here: &Runtime, there: &Runtime) -> usize {
        if depth == 0 {
            return 0;
        }
        1 + here.install(|_| call(depth - 1, there, here))
    }
    watched("nested calls", || {
        let (left, right) = (runtime(1), runtime(1));
        assert_eq!(call(200, &left, &right), 200);
    });
}
