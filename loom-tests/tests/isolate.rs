//! Isolation and precedence: a wait inside a region runs nothing from outside of it, whoever takes the tickets; what a region leaves behind is run all the same,
//! once; a task that goes first is found by whoever falls asleep.
#![cfg(upbeat_loom)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

use loom::thread;
use upbeat::model::{run_something, set_naps, Naps, Pool, Worker};
use upbeat::{Priority, Spawn};
use upbeat_loom_tests::{check, start, Tally};

/// A thread that is worker 1 of `pool` for one turn.
fn helper(pool: &Arc<Pool>) -> thread::JoinHandle<()> {
    let pool = pool.clone();
    thread::spawn(move || pool.enter(1, |worker| drop(run_something(worker))))
}

/// Runs what there is until `is_done`.
fn run_until(worker: &Worker, is_done: impl Fn() -> bool) {
    while !is_done() {
        if !run_something(worker) {
            thread::yield_now();
        }
    }
}

/// Worker 0 waits inside for a child that worker 1 may take by its ticket, while a job from outside is there for worker 0.
#[test]
fn a_wait_inside_runs_what_was_created_inside_and_nothing_else() {
    set_naps(Naps::Over);
    let (helped, alone) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let seen = (helped.clone(), alone.clone());
    check(3, move || {
        let pool = Arc::new(Pool::new(2));
        let other = helper(&pool);
        let (outside, inside) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let waits = Arc::new(AtomicBool::new(false));
        pool.enter(0, |worker| {
            let (ran, is_waiting) = (outside.clone(), waits.clone());
            pool.send(0, move |_| {
                assert!(!is_waiting.load(Relaxed), "on top of a wait inside");
                ran.hit();
            });
            let by = upbeat::isolate(|| {
                let ran = inside.clone();
                let child = pool.spawn(move || {
                    ran.hit();
                    upbeat::current_worker_index()
                });
                waits.store(true, Relaxed);
                let by = child.join().expect("no panic");
                waits.store(false, Relaxed);
                by
            });
            if by == Some(1) {
                helped.hit()
            } else {
                alone.hit()
            }
            run_until(worker, || outside.get() == 1);
            // A ticket that is spent runs nothing.
            while run_something(worker) {}
        });
        other.join().unwrap();
        assert_eq!([outside.get(), inside.get()], [1, 1]);
    });
    assert!(
        seen.0.get() > 0 && seen.1.get() > 0,
        "the model must see both: {} {}",
        seen.0.get(),
        seen.1.get()
    );
}

/// Nobody waits inside for what was spawned there: its ticket is taken like any task, and each one runs one task of the region.
#[test]
fn what_a_region_leaves_behind_runs_once() {
    set_naps(Naps::Over);
    check(3, || {
        let pool = Arc::new(Pool::new(2));
        let other = helper(&pool);
        let ran = [Arc::new(Tally::new()), Arc::new(Tally::new())];
        pool.enter(0, |worker| {
            upbeat::isolate(|| {
                for ran in ran.clone() {
                    drop(pool.spawn(move || ran.hit()));
                }
            });
            run_until(worker, || ran.iter().all(|ran| ran.get() > 0));
            while run_something(worker) {}
        });
        other.join().unwrap();
        assert_eq!(ran.map(|ran| ran.get()), [1, 1]);
    });
}

/// Tasks that go first lie in a queue of their own, which a worker looks at once more before it sleeps.
#[test]
fn nobody_sleeps_through_a_task_that_goes_first() {
    set_naps(Naps::Endless);
    check(3, || {
        let pool = Arc::new(Pool::new(1));
        let worker = start(&pool, 0);
        let task = pool.spawn_with(Spawn::new().priority(Priority::High), || 42);
        assert_eq!(task.join().expect("no panic"), 42, "a lost wake-up is a deadlock");
        pool.terminate();
        worker.join().unwrap();
    });
}
