//! `{runtime:?}` tells who waits for what: fault 18, a program that cannot go on. Each test holds a task up until another thread has read
//! the reason.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Mutex};
use std::thread;

use support::{until, watched};
use upbeat::Runtime;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Runs `stuck` on a runtime of `workers` until its report holds `reason`; `stuck` returns once its argument does.
fn held_up(workers: usize, reason: &str, stuck: impl FnOnce(&Runtime, &(dyn Fn() + Sync)) + Send) {
    watched(reason, || {
        let runtime = runtime(workers);
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        // The first one waits for the end of the channel, and so do all others.
        let hold = || assert!(released.lock().unwrap().recv().is_err(), "nothing is sent");
        thread::scope(|threads| {
            threads.spawn(|| stuck(&runtime, &hold));
            until(|| format!("{runtime:?}").contains(reason));
            drop(release);
        });
    });
}

// Fault 18.
#[test]
fn a_join_names_the_worker_that_has_its_other_side() {
    held_up(2, "0: waits for the side of a join that worker 1 runs", |runtime, hold| {
        let begun = AtomicBool::new(false);
        let here = || until(|| begun.load(Ordering::Acquire));
        runtime.join(here, || {
            begun.store(true, Ordering::Release);
            hold();
        });
    });
}

// Fault 18.
#[test]
fn a_scope_waits_for_its_tasks() {
    held_up(2, "waits for the tasks of a scope", |runtime, hold| {
        let begun = AtomicBool::new(false);
        runtime.scope(|scope| {
            scope.spawn(|_| {
                begun.store(true, Ordering::Release);
                hold();
            });
            until(|| begun.load(Ordering::Acquire));
        });
    });
}

// Fault 18.
#[test]
fn a_worker_waits_for_what_another_runtime_runs() {
    let other = runtime(1);
    held_up(1, "0: waits for a task", |runtime, hold| runtime.install(|_| other.install(|_| hold())));
}

// Fault 18.
#[test]
fn a_worker_that_runs_and_one_that_sleeps_are_told_apart() {
    held_up(1, "0: runs a task, for", |runtime, hold| runtime.install(|_| hold()));
    let runtime = runtime(2);
    watched("sleep", || until(|| format!("{runtime:?}").matches("sleeps").count() == 2));
}

/// What a waiting worker naps is no busy time: sooner or later a window is seen in which it was busy for less than half of it.
#[test]
fn a_worker_that_waits_for_a_task_is_not_busy_meanwhile() {
    watched("a waiting worker", || {
        let runtime = runtime(2);
        let (release, released) = mpsc::channel::<()>();
        let (waiter, waits) = mpsc::channel();
        thread::scope(|threads| {
            threads.spawn(|| {
                runtime.run_on_worker(|worker| {
                    let begun = std::sync::Arc::new(AtomicBool::new(false));
                    let has_begun = begun.clone();
                    let task = runtime.spawn(move || {
                        has_begun.store(true, Ordering::Release);
                        assert!(released.recv().is_err(), "nothing is sent");
                    });
                    // Else this worker would run it itself.
                    until(|| begun.load(Ordering::Acquire));
                    waiter.send(worker.index()).unwrap();
                    task.join().unwrap();
                });
            });
            let index = waits.recv().unwrap();
            let begin = runtime.metrics();
            until(|| {
                let window = runtime.metrics().since(&begin);
                window.uptime.as_millis() >= 5 && window.workers[index].busy < window.uptime / 2
            });
            drop(release);
        });
    });
}
