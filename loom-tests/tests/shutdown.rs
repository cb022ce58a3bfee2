//! Shutting down: what was spawned before runs exactly once, and every worker leaves.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{set_naps, Naps, Pool};
use upbeat_loom_tests::{check, start, CountedDrop, Tally};

fn serve(pool: &Arc<Pool>, workers: usize) -> Vec<thread::JoinHandle<()>> {
    (0..workers).map(|index| start(pool, index)).collect()
}

/// A pool of `workers` that ends as soon as `tasks` tasks were spawned from outside.
fn shut_down_after(workers: usize, tasks: usize) {
    let pool = Arc::new(Pool::new(workers));
    let threads = serve(&pool, workers);
    let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    for _ in 0..tasks {
        let (ran, dropped) = (ran.clone(), CountedDrop(dropped.clone()));
        drop(pool.spawn(move || {
            let _dropped = dropped;
            ran.hit();
        }));
    }
    pool.terminate();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(ran.get(), tasks, "what was spawned runs once");
    assert_eq!(dropped.get(), tasks);
}

// Fault 41.
#[test]
fn one_worker_runs_what_was_spawned_before_it_leaves() {
    check(3, || shut_down_after(1, 1));
}

/// Who ends the runtime need not be who spawned last: no fence of a spawn stands before the flag.
#[test]
fn what_another_thread_spawned_before_runs_too() {
    check(3, || {
        let pool = Arc::new(Pool::new(1));
        let threads = serve(&pool, 1);
        let ran = Arc::new(Tally::new());
        let spawner = {
            let (pool, ran) = (pool.clone(), ran.clone());
            thread::spawn(move || drop(pool.spawn(move || ran.hit())))
        };
        spawner.join().unwrap();
        pool.terminate();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ran.get(), 1);
    });
}

// Fault 41.
#[test]
fn two_workers_run_what_was_spawned_before_they_leave() {
    check(1, || shut_down_after(2, 1));
}

#[test]
fn idle_workers_leave_whatever_the_length_of_their_naps() {
    for naps in [Naps::Endless, Naps::Over] {
        set_naps(naps);
        check(2, || shut_down_after(2, 0));
    }
}

#[test]
fn a_task_that_spawns_while_the_runtime_ends_sees_its_child_run() {
    check(2, || {
        let pool = Arc::new(Pool::new(1));
        let threads = serve(&pool, 1);
        let ran = Arc::new(Tally::new());
        let (inner_pool, inner_ran) = (pool.clone(), ran.clone());
        drop(pool.spawn(move || {
            drop(inner_pool.spawn(move || inner_ran.hit()));
        }));
        pool.terminate();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ran.get(), 1);
    });
}

// Fault 32: the second caller may come just as the worker that served the first one goes back to sleep.
#[test]
fn two_callers_from_outside_are_both_served_by_one_worker_that_sleeps() {
    set_naps(Naps::Endless);
    check(1, || {
        let pool = Arc::new(Pool::new(1));
        let threads = serve(&pool, 1);
        let served = Arc::new(Tally::new());
        let other = {
            let (pool, served) = (pool.clone(), served.clone());
            thread::spawn(move || pool.install(|_| served.hit()))
        };
        pool.install(|_| served.hit());
        other.join().unwrap();
        assert_eq!(served.get(), 2);
        pool.terminate();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

// Fault 32.
#[test]
fn a_caller_from_outside_is_served_by_workers_that_sleep() {
    set_naps(Naps::Endless);
    check(2, || {
        let pool = Arc::new(Pool::new(1));
        let threads = serve(&pool, 1);
        assert_eq!(pool.install(|_| 42), 42);
        pool.terminate();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
