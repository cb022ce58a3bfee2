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
