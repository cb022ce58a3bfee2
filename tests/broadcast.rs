//! Broadcasts: each worker gets the closure once, whatever it does at that moment.

use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

use upbeat::Runtime;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Fault 35.
#[test]
fn each_worker_gets_it_once_on_a_thread_of_its_own() {
    for workers in [1, 2, 5] {
        let runtime = runtime(workers);
        for _ in 0..200 {
            let threads = Mutex::new(HashSet::new());
            let indices = runtime.broadcast(|worker| {
                assert!(threads.lock().unwrap().insert(std::thread::current().id()));
                worker.index()
            });
            assert!(indices.into_iter().eq(0..workers));
        }
    }
}

/// Fault 35.
#[test]
fn sleeping_workers_get_it_too() {
    let runtime = runtime(4);
    runtime.install(|_| ());
    for _ in 0..5 {
        // Long enough for most to fall asleep; whether they do is not asked.
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert_eq!(runtime.broadcast(|worker| worker.index()), [0, 1, 2, 3]);
    }
}

#[test]
fn busy_workers_get_it_once_they_have_time() {
    let runtime = runtime(2);
    let (begun, go_on) = (&Barrier::new(3), &Barrier::new(3));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            runtime.scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|_| {
                        begun.wait();
                        go_on.wait();
                    });
                }
            });
        });
        begun.wait();
        let broadcast = threads.spawn(|| runtime.broadcast(|worker| worker.index()));
        go_on.wait();
        assert_eq!(broadcast.join().unwrap(), [0, 1]);
    });
}

#[test]
fn a_worker_may_broadcast() {
    let runtime = runtime(3);
    assert_eq!(runtime.run_on_worker(|_| upbeat::broadcast(|worker| worker.index())), [0, 1, 2]);
}

#[test]
fn all_workers_may_broadcast_at_once() {
    let (runtime, count) = (runtime(4), AtomicUsize::new(0));
    runtime.broadcast(|_| {
        upbeat::broadcast(|_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    });
    assert_eq!(count.into_inner(), 16);
}

#[test]
fn a_stolen_task_may_broadcast_while_its_owner_waits_for_it() {
    let runtime = runtime(2);
    for _ in 0..100 {
        let meet = Barrier::new(2);
        let ((), indices) = runtime.run_on_worker(|worker| {
            worker.join(
                |_| {
                    meet.wait();
                },
                |_| {
                    meet.wait();
                    upbeat::broadcast(|worker| worker.index())
                },
            )
        });
        assert_eq!(indices, [0, 1]);
    }
}

#[test]
fn runtimes_may_broadcast_to_each_other() {
    let (one, two, count) = (runtime(3), runtime(2), AtomicUsize::new(0));
    one.run_on_worker(|_| {
        two.broadcast(|_| {
            one.broadcast(|_| count.fetch_add(1, Ordering::Relaxed));
        })
    });
    assert_eq!(count.into_inner(), 6);
}

#[test]
fn a_panic_comes_out_after_all_have_run() {
    let (runtime, count) = (runtime(4), AtomicUsize::new(0));
    let result = catch_unwind(AssertUnwindSafe(|| {
        runtime.broadcast(|worker| {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(worker.index() % 2 == 0, "worker {}", worker.index());
        })
    }));
    assert_eq!(result.unwrap_err().downcast_ref::<String>().map(String::as_str), Some("worker 1"));
    assert_eq!(count.into_inner(), 4);
}

#[test]
fn the_global_runtime_broadcasts() {
    assert!(upbeat::broadcast(|worker| worker.index()).into_iter().eq(0..upbeat::current_num_workers()));
}
