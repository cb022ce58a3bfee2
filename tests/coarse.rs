//! What coarse leaves promise: while workers idle, both sides of a join run at once, however long the left one takes and
//! though it never looks up. Proven by leaves that wait for each other, so nothing here depends on timing.
//!
//! Not promised: that a worker which falls idle after the left side began gets the right one; that two items of a loop run at once after
//! a short one in the same call, or, in a loop of 16 or more, when it was short the times before, or two of one leaf of a `map_reduce`.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{watched, Meeting};
use upbeat::{par, Runtime, Worker};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn meet_in_halves(worker: &Worker, meeting: &Meeting, first: usize, parties: usize) {
    if parties == 1 {
        return meeting.arrive(first);
    }
    let half = parties / 2;
    worker.join(
        |w| meet_in_halves(w, meeting, first, half),
        |w| meet_in_halves(w, meeting, first + half, parties - half),
    );
}

fn tiny_joins(worker: &Worker, depth: u32) -> u64 {
    if depth == 0 {
        return 1;
    }
    let (a, b) = worker.join(|w| tiny_joins(w, depth - 1), |w| tiny_joins(w, depth - 1));
    a + b
}

#[test]
fn two_leaves_meet_on_a_fresh_runtime() {
    watched("two leaves, fresh runtimes", || {
        for _ in 0..200 {
            runtime(2).install(|w| meet_in_halves(w, &Meeting::of(2), 0, 2));
        }
    });
}

#[test]
fn two_leaves_meet_again_and_again() {
    watched("two leaves, one region each", || {
        let runtime = runtime(2);
        for _ in 0..1000 {
            runtime.install(|w| meet_in_halves(w, &Meeting::of(2), 0, 2));
        }
    });
}

#[test]
fn two_leaves_meet_again_and_again_in_one_region() {
    watched("two leaves, one region", || {
        runtime(2).install(|w| {
            for _ in 0..1000 {
                meet_in_halves(w, &Meeting::of(2), 0, 2);
            }
        });
    });
}

#[test]
fn as_many_leaves_as_workers_meet() {
    for workers in [3, 4, 8] {
        watched(&format!("{workers} leaves"), || {
            let runtime = runtime(workers);
            for _ in 0..100 {
                runtime.install(|w| meet_in_halves(w, &Meeting::of(workers), 0, workers));
            }
        });
    }
}

#[test]
fn leaves_meet_after_a_region_of_tiny_joins() {
    watched("after tiny joins", || {
        let runtime = runtime(2);
        for round in 0..1000 {
            runtime.install(|w| {
                assert_eq!(tiny_joins(w, round % 12), 1 << (round % 12));
                meet_in_halves(w, &Meeting::of(2), 0, 2);
            });
        }
    });
}

/// A list whose last two items are long, at whatever depth. The other worker may be running a short item when the long ones begin, so not
/// each run must share them; but some must.
#[test]
fn leaves_meet_at_the_end_of_a_list() {
    fn list(worker: &Worker, length: usize, met: &AtomicBool) {
        if length > 0 {
            worker.join(|_| (), |w| list(w, length - 1, met));
            return;
        }
        let here = &[const { AtomicBool::new(false) }; 2];
        let arrive = |side: usize| {
            here[side].store(true, Ordering::SeqCst);
            let patience = Instant::now() + Duration::from_millis(200);
            while !here[1 - side].load(Ordering::SeqCst) {
                if Instant::now() > patience {
                    return;
                }
                std::thread::yield_now();
            }
            met.store(true, Ordering::SeqCst);
        };
        worker.join(|_| arrive(0), |_| arrive(1));
    }
    let runtime = runtime(2);
    for length in [1, 2, 3, 4, 8, 32] {
        let met = AtomicBool::new(false);
        let mut runs = 0;
        while !met.load(Ordering::SeqCst) && runs < 50 {
            runtime.install(|w| list(w, length, &met));
            runs += 1;
        }
        assert!(met.load(Ordering::SeqCst), "never shared below {length} joins");
    }
}

#[test]
fn two_items_of_a_loop_meet() {
    watched("two items", || {
        let runtime = runtime(2);
        for _ in 0..1000 {
            let meeting = Meeting::of(2);
            runtime.install(|_| par::for_each(0..2, |i| meeting.arrive(i)));
            let meeting = Meeting::of(2);
            runtime.install(|_| par::chunks_mut(&mut [0; 2], 1, |i, _| meeting.arrive(i)));
        }
    });
}

/// However short a loop of a few chunks was before, and however many elements they have.
#[test]
fn two_chunks_meet_after_many_short_ones() {
    watched("two chunks", || {
        let runtime = runtime(2);
        let mut data = [0u8; 16_384];
        for _ in 0..20 {
            for is_long in [false; 50].into_iter().chain([true]) {
                let meeting = Meeting::of(2);
                let arrive = |i: usize| {
                    if is_long && i < 2 {
                        meeting.arrive(i)
                    }
                };
                runtime.install(|_| par::chunks_mut(&mut data, 8192, |i, _| arrive(i)));
                let meeting = Meeting::of(2);
                let arrive = |i: usize| {
                    if is_long && i < 2 {
                        meeting.arrive(i)
                    }
                };
                let address = data.as_ptr().addr();
                let place = |chunk: &[u8]| (chunk.as_ptr().addr() - address) / 8192;
                let chunks = runtime.install(|_| {
                    let map = |chunk: &[u8]| (arrive(place(chunk)), 1).1;
                    par::map_reduce_chunks(&data, map, |a, b| a + b, || 0)
                });
                assert_eq!(chunks, 4);
            }
        }
    });
}

#[test]
fn two_tasks_of_a_scope_meet() {
    watched("two tasks of a scope", || {
        let runtime = runtime(2);
        for _ in 0..1000 {
            let meeting = Meeting::of(2);
            runtime.scope(|scope| {
                scope.spawn(|_| meeting.arrive(0));
                scope.spawn(|_| meeting.arrive(1));
            });
        }
    });
}
