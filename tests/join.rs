//! What a join promises: both results, on any number of workers, at any depth and of any size; and a panic of either side
//! arrives after both have stopped.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::{message, panic_of, watched, Counted, Grenade, Meeting};
use upbeat::{Runtime, Worker};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn fib(worker: &Worker, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    a + b
}

#[test]
fn returns_both_results_on_any_number_of_workers() {
    for workers in [1, 2, 3, 8] {
        let runtime = runtime(workers);
        for _ in 0..20 {
            assert_eq!(runtime.install(|w| fib(w, 22)), 17_711, "{workers} workers");
        }
    }
}

fn down(worker: &Worker, depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let (a, b) = worker.join(|w| down(w, depth - 1), move |_| depth);
    a + b
}

#[test]
fn nests_deeper_than_the_ring() {
    let runtime = Runtime::builder().workers(3).stack_size(64 << 20).build().unwrap();
    assert_eq!(runtime.install(|w| down(w, 20_000)), 20_000 * 20_001 / 2);
}

/// Fault 16: a join nested 100,000 deep takes less than 2.5 KiB of stack a level even in a sanitized build, so 256 MiB are enough.
#[test]
fn nests_a_hundred_thousand_deep_given_the_stack() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).stack_size(256 << 20).build().unwrap();
        assert_eq!(runtime.install(|w| down(w, 100_000)), 100_000 * 100_001 / 2);
    }
}

/// Fault 16: less stack ends in the guard page's message and SIGABRT, not in silent corruption.
#[cfg(target_os = "linux")]
#[test]
fn overflow_of_the_stack_is_caught_by_its_guard() {
    if support::role().is_some() {
        let runtime = Runtime::builder().workers(2).stack_size(256 << 10).build().unwrap();
        std::hint::black_box(runtime.install(|w| down(w, 1_000_000)));
        return;
    }
    let output = support::rerun("overflow_of_the_stack_is_caught_by_its_guard", "overflow").output().unwrap();
    // A sanitizer reports it in its own way and words.
    if !support::stderr(&output).contains("AddressSanitizer: stack-overflow") {
        support::assert_aborted(&output, "has overflowed its stack");
    }
}

/// Fault 1: the left side panics while the right one waits in the ring; that is dropped unrun.
#[test]
fn a_panic_on_the_left_withdraws_the_right() {
    let drops = AtomicUsize::new(0);
    let runtime = runtime(1);
    let payload = panic_of(|| {
        let counted = Counted(&drops);
        runtime.join(
            || panic!("left"),
            move || {
                let _counted = counted;
                unreachable!("a withdrawn task runs")
            },
        )
    });
    assert_eq!(message(payload), "left");
    assert_eq!(drops.into_inner(), 1, "the withdrawn closure is dropped once");
}

/// Fault 1: the left side panics while a thief runs the right one; that finishes first.
#[test]
fn a_panic_on_the_left_waits_for_a_stolen_right() {
    watched("left panics, right stolen", || {
        let runtime = runtime(2);
        for _ in 0..200 {
            let (meeting, finished) = (Meeting::of(2), AtomicBool::new(false));
            let payload = panic_of(|| {
                runtime.join(
                    || {
                        meeting.arrive(0);
                        panic!("left");
                    },
                    || {
                        meeting.arrive(1);
                        (0..2000).for_each(|_| std::hint::spin_loop());
                        finished.store(true, Ordering::Relaxed);
                    },
                )
            });
            assert_eq!(message(payload), "left");
            assert!(finished.into_inner(), "the right side was left running");
        }
    });
}

/// Fault 2: the right side panics on a thief while the left one still runs.
#[test]
fn a_panic_on_the_right_waits_for_the_left() {
    watched("right panics", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            for _ in 0..200 {
                let (meeting, finished) = (Meeting::of(workers), AtomicBool::new(false));
                let payload = panic_of(|| {
                    runtime.join(
                        || {
                            meeting.arrive(0);
                            (0..2000).for_each(|_| std::hint::spin_loop());
                            finished.store(true, Ordering::Relaxed);
                        },
                        || {
                            meeting.arrive(workers - 1);
                            panic!("right");
                        },
                    )
                });
                assert_eq!(message(payload), "right");
                assert!(finished.into_inner(), "the left side was left running");
            }
        }
    });
}

/// Fault 3.
#[test]
fn of_two_panics_the_left_one_arrives_and_the_right_one_is_dropped() {
    watched("both panic", || {
        let runtime = runtime(2);
        for _ in 0..200 {
            static DROPS: AtomicUsize = AtomicUsize::new(0);
            DROPS.store(0, Ordering::Relaxed);
            let meeting = Meeting::of(2);
            let payload = panic_of(|| {
                runtime.join(
                    || {
                        meeting.arrive(0);
                        panic!("left");
                    },
                    || {
                        meeting.arrive(1);
                        std::panic::panic_any(Counted(&DROPS));
                    },
                )
            });
            assert_eq!(message(payload), "left");
            assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        }
    });
}

/// Faults 4 and 5: what the right side leaves behind panics when dropped, while the left side's panic is on its way.
#[test]
fn a_destructor_that_panics_is_contained() {
    watched("grenades", || {
        let runtime = runtime(2);
        for _ in 0..50 {
            for payload_too in [true, false] {
                let meeting = Meeting::of(2);
                let payload = panic_of(|| {
                    runtime.join(
                        || {
                            meeting.arrive(0);
                            panic!("left");
                        },
                        || {
                            meeting.arrive(1);
                            if payload_too {
                                std::panic::panic_any(Grenade);
                            }
                            Grenade
                        },
                    )
                });
                assert_eq!(message(payload), "left");
            }
        }
        // Withdrawn unrun, its closure panics when dropped.
        let one = Runtime::builder().workers(1).build().unwrap();
        let grenade = Grenade;
        let payload = panic_of(|| one.join(|| panic!("left"), move || drop(grenade)));
        assert_eq!(message(payload), "left");
        // And the runtime still works.
        assert_eq!(runtime.install(|w| fib(w, 15)), 610);
    });
}

/// Fault 5: nobody panicked but a destructor; that is the caller's panic.
#[test]
fn a_result_whose_destructor_panics_is_the_callers() {
    let runtime = runtime(2);
    let (left, right) = runtime.join(|| Grenade, || Grenade);
    assert_eq!(message(panic_of(|| drop(left))), "a destructor");
    assert_eq!(message(panic_of(|| drop(right))), "a destructor");
}

/// Fault 14. Every second round the right side is stolen for sure.
#[test]
fn any_size_and_alignment_will_do() {
    #[repr(align(4096))]
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Page(u8);
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Nothing;

    /// Both closures own a copy of `value` and return it.
    #[inline(never)]
    fn pass<T: Copy + Send + PartialEq>(worker: &Worker, value: &T, meet: bool) {
        let meeting = &Meeting::of(2);
        let side = |party: usize, value: T| {
            move |_: &Worker| {
                if meet {
                    meeting.arrive(party);
                }
                value
            }
        };
        let (left, right) = worker.join(side(0, *value), side(1, *value));
        for side in [&left, &right] {
            assert!(std::ptr::from_ref(side).addr().is_multiple_of(align_of::<T>()));
            assert!(side == value, "a result of {} bytes arrives whole", size_of::<T>());
        }
    }

    watched("sizes", || {
        // The default stack is enough, but not under AddressSanitizer, where copies of a megabyte share no stack slot.
        let runtime = Runtime::builder().workers(2).stack_size(64 << 20).build().unwrap();
        let (mut middle, mut large) = (Box::new([0u8; 64 << 10]), Box::new([0u64; 1 << 17]));
        for round in 0..100u8 {
            let meet = round % 2 == 0;
            for (i, byte) in middle.iter_mut().enumerate() {
                *byte = round.wrapping_add(i as u8);
            }
            for (i, word) in large.iter_mut().enumerate() {
                *word = i as u64 ^ u64::from(round) << 32;
            }
            runtime.install(|w| {
                pass(w, &Nothing, meet);
                pass(w, &Page(round), meet);
                pass(w, &*middle, meet);
                pass(w, &*large, meet);
            });
        }
    });
}
