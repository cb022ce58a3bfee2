//! Resizing: who retires passes on what it was woken for, and comes back or leaves when it shall.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{set_naps, Naps, Pool};
use upbeat_loom_tests::{check, start};

/// Whether worker 0 or worker 1 is the one that the model begins with: it parks first, so the other is the one that is woken.
#[derive(Clone, Copy)]
enum First {
    Zero,
    One,
}

// Fault 35.
#[test]
fn a_task_for_which_a_retiring_worker_was_woken_runs() {
    set_naps(Naps::Endless);
    for first in [First::Zero, First::One] {
        check(1, move || {
            let pool = Arc::new(Pool::new(2));
            let (here, there) = match first {
                First::Zero => (0, 1),
                First::One => (1, 0),
            };
            let spawner = {
                let pool = pool.clone();
                thread::spawn(move || {
                    let own = pool.clone();
                    // The sleeper that it wakes may be the one that retires.
                    drop(pool.spawn(move || own.terminate()));
                    pool.resize(1);
                })
            };
            let other = start(&pool, there);
            pool.serve(here);
            other.join().unwrap();
            spawner.join().unwrap();
        });
    }
}

// Fault 35.
#[test]
fn a_retired_worker_leaves_when_the_runtime_ends() {
    set_naps(Naps::Endless);
    check(2, || {
        let pool = Arc::new(Pool::new(2));
        pool.resize(1);
        // The only one that there is has retired.
        let worker = start(&pool, 1);
        pool.terminate();
        worker.join().unwrap();
    });
}

// Fault 35.
#[test]
fn a_retired_worker_that_is_called_back_takes_tasks() {
    set_naps(Naps::Endless);
    check(2, || {
        let pool = Arc::new(Pool::new(2));
        pool.resize(1);
        let worker = start(&pool, 1);
        let task = pool.spawn(|| 42);
        pool.resize(2);
        assert_eq!(task.join().expect("no panic"), 42);
        pool.terminate();
        worker.join().unwrap();
    });
}
