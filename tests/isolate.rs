//! What isolation promises: a wait inside runs nothing that was created outside, whatever it waits for and on whatever worker the work
//! has come to run; what was created inside runs as ever (fault 18).

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::{message, panic_of, watched};
use upbeat::{isolate, Runtime};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        thread::yield_now();
    }
}

thread_local! {
    /// Whether something isolated is on this thread's stack.
    static ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Spawns a task that says whether it ran on top of something isolated.
fn spawn_outer(runtime: &Runtime, ran: &Arc<AtomicUsize>, on_top: &Arc<AtomicBool>) {
    let (ran, on_top) = (ran.clone(), on_top.clone());
    drop(runtime.spawn(move || {
        if ISOLATED.get() {
            on_top.store(true, Ordering::Release);
        }
        ran.fetch_add(1, Ordering::Release);
    }));
}

/// Lets the worker that calls it wait for `there` long enough to take whatever it may.
fn wait_for_the_other_runtime(there: &Runtime) {
    there.install(|_| thread::sleep(Duration::from_millis(3)));
}

/// Fault 18, for each way to wait.
#[test]
fn a_wait_inside_runs_nothing_from_outside() {
    watched("isolated waits", || {
        let there = runtime(1);
        for workers in [1, 2] {
            let here = runtime(workers);
            let (ran, on_top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            for way in 0..4 {
                for _ in 0..5 {
                    here.run_on_worker(|_| {
                        let spawn_outer = || spawn_outer(&here, &ran, &on_top);
                        spawn_outer();
                        ISOLATED.set(true);
                        isolate(|| match way {
                            0 => wait_for_the_other_runtime(&there),
                            1 => there.spawn(|| thread::sleep(Duration::from_millis(3))).join().unwrap(),
                            2 => upbeat::spawn(|| ()).join().unwrap(),
                            _ => assert!((0..10).all(|_| upbeat::yield_now() == Some(upbeat::Yield::Idle))),
                        });
                        ISOLATED.set(false);
                    });
                }
            }
            drop(here);
            assert!(!on_top.load(Ordering::Acquire), "{workers} workers");
            assert_eq!(ran.load(Ordering::Acquire), 20, "they run once nothing is isolated");
        }
    });
}

/// The test above could not fail if waits ran nothing anyway.
#[test]
fn a_wait_outside_runs_anything() {
    watched("waits that are not isolated", || {
        let (here, there) = (runtime(1), runtime(1));
        let (ran, on_top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        here.run_on_worker(|_| {
            isolate(|| ());
            spawn_outer(&here, &ran, &on_top);
            let ran = ran.clone();
            there.run_on_worker(move |_| {
                while ran.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
            });
        });
    });
}

#[test]
fn what_was_created_inside_runs_inside() {
    watched("tasks created inside", || {
        for workers in [1, 2] {
            let (here, there) = (runtime(workers), runtime(1));
            let flags: Arc<[AtomicBool; 3]> = Arc::default();
            here.run_on_worker(|_| {
                isolate(|| {
                    let (first, all) = (flags.clone(), flags.clone());
                    drop(upbeat::spawn(move || {
                        let second = first.clone();
                        drop(upbeat::spawn(move || second[1].store(true, Ordering::Release)));
                        first[0].store(true, Ordering::Release);
                    }));
                    // With one worker, both run while it waits for the other runtime.
                    there.run_on_worker(move |_| all[..2].iter().for_each(wait_for));
                    let (third, all) = (&flags[2], &flags);
                    upbeat::scope(|scope| {
                        scope.spawn(|_| third.store(true, Ordering::Release));
                        there.run_on_worker(|_| wait_for(&all[2]));
                    });
                });
            });
        }
    });
}

/// Each call between the two single workers is answered by one that waits inside the region of the call before.
#[test]
fn runtimes_call_each_other_inside() {
    fn call(depth: usize, here: &Runtime, there: &Runtime) -> usize {
        if depth == 0 {
            return 0;
        }
        isolate(|| 1 + here.run_on_worker(|_| call(depth - 1, there, here)))
    }
    watched("isolated calls", || {
        let (left, right) = (runtime(1), runtime(1));
        assert_eq!(call(30, &left, &right), 30);
    });
}

/// Fault 18: what waits inside an inner region may hold another lock than what waits in the outer one.
#[test]
fn regions_nest() {
    watched("nested regions", || {
        let (here, there) = (runtime(1), runtime(1));
        let (ran, on_top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        here.run_on_worker(|_| {
            isolate(|| {
                spawn_outer(&here, &ran, &on_top);
                ISOLATED.set(true);
                isolate(|| wait_for_the_other_runtime(&there));
                ISOLATED.set(false);
                assert_eq!(
                    ran.load(Ordering::Acquire),
                    0,
                    "the inner region keeps the outer one's tasks out"
                );
                let ran = ran.clone();
                // Now it may run.
                there.run_on_worker(move |_| {
                    while ran.load(Ordering::Acquire) == 0 {
                        thread::yield_now();
                    }
                });
            });
        });
        assert!(!on_top.load(Ordering::Acquire));
    });
}

/// Fault 18: a join's right side that another worker has stolen is as isolated as the left one.
#[test]
fn a_stolen_task_is_isolated_as_well() {
    watched("stolen from inside", || {
        let (here, there) = (runtime(2), runtime(1));
        for _ in 0..20 {
            let (ran, on_top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let stolen = AtomicBool::new(false);
            here.run_on_worker(|worker| {
                let (here, there, ran, on_top) = (&here, &there, &ran, &on_top);
                let (owner, stolen) = (worker.index(), &stolen);
                isolate(|| {
                    worker.join(
                        // Forks until somebody has asked and taken the right side.
                        |worker| {
                            while !stolen.load(Ordering::Acquire) {
                                worker.join(|_| (), |_| ());
                            }
                        },
                        move |worker| {
                            stolen.store(true, Ordering::Release);
                            if worker.index() != owner {
                                ISOLATED.set(true);
                                // Made public by a thread outside, so it belongs to no region.
                                thread::scope(|threads| {
                                    threads.spawn(|| spawn_outer(here, ran, on_top)).join().unwrap()
                                });
                                wait_for_the_other_runtime(there);
                                ISOLATED.set(false);
                            }
                        },
                    )
                });
            });
            assert!(stolen.load(Ordering::Acquire));
            assert!(!on_top.load(Ordering::Acquire));
        }
    });
}

/// Fault 18, as a user meets it: a lock is held across a wait, and the tasks on offer want it.
#[test]
fn a_lock_may_be_held_across_a_wait_inside() {
    watched("a lock held across a wait", || {
        for workers in [1, 2, 8] {
            let (here, there) = (runtime(workers), Arc::new(runtime(1)));
            let total = Arc::new(Mutex::new(0));
            let tasks: Vec<_> = (0..200)
                .map(|i| {
                    let (total, there) = (total.clone(), there.clone());
                    here.spawn(move || {
                        let mut total = total.lock().unwrap();
                        *total += isolate(|| there.install(|_| i) + upbeat::spawn(move || i).join().unwrap());
                    })
                })
                .collect();
            tasks.into_iter().for_each(|task| task.join().unwrap());
            assert_eq!(*total.lock().unwrap(), 199 * 200);
        }
    });
}

#[test]
fn a_panic_ends_the_region() {
    watched("a panic inside", || {
        let (here, there) = (runtime(1), runtime(1));
        let (ran, on_top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        here.run_on_worker(|_| {
            assert_eq!(message(panic_of(|| isolate(|| panic!("inside")))), "inside");
            spawn_outer(&here, &ran, &on_top);
            let ran = ran.clone();
            there.run_on_worker(move |_| {
                while ran.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
            });
        });
    });
}

/// On a thread that is no worker, what is created inside is isolated all the same.
#[test]
fn isolation_begins_on_any_thread() {
    watched("isolation from outside", || {
        let (here, there) = (runtime(1), runtime(1));
        let (ran, on_top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        isolate(|| {
            here.run_on_worker(|_| {
                thread::scope(|threads| {
                    threads.spawn(|| spawn_outer(&here, &ran, &on_top)).join().unwrap();
                });
                ISOLATED.set(true);
                wait_for_the_other_runtime(&there);
                ISOLATED.set(false);
            });
        });
        drop(here);
        assert_eq!((ran.load(Ordering::Acquire), on_top.load(Ordering::Acquire)), (1, false));
    });
}
