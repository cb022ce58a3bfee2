//! Cancelling: a task begins or is dropped, never both, and whoever waits is told.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{run_something, set_naps, Naps, Pool};
use upbeat::{CancelToken, Cancelled, Spawn};
use upbeat_loom_tests::{check, CountedDrop, Datum, Tally};

/// Cancels on a thread of its own.
fn canceller(token: &CancelToken) -> thread::JoinHandle<()> {
    let token = token.clone();
    thread::spawn(move || token.cancel())
}

// Fault 19.
#[test]
fn a_task_begins_or_is_dropped() {
    set_naps(Naps::Over);
    let (begun, executions) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let (all_begun, all_executions) = (begun.clone(), executions.clone());
    check(3, move || {
        let pool = Arc::new(Pool::new(1));
        let token = CancelToken::new();
        let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let handle = {
            let (ran, capture) = (ran.clone(), CountedDrop(dropped.clone()));
            pool.spawn_with(Spawn::new().cancel(&token), move || {
                let _capture = capture;
                ran.hit();
            })
        };
        let canceller = canceller(&token);
        pool.enter(0, |worker| while run_something(worker) {});
        canceller.join().unwrap();
        assert!(handle.is_finished());
        assert_eq!(dropped.get(), 1);
        match handle.join() {
            Ok(()) => assert_eq!(ran.get(), 1),
            Err(payload) => assert!(payload.is::<Cancelled>() && ran.get() == 0),
        }
        executions.hit();
        if ran.get() == 1 {
            begun.hit();
        }
    });
    assert!((1..all_executions.get()).contains(&all_begun.get()), "the model must see both");
}

/// Nobody would run the task, so its handle learns of the end from the canceller, or from the spawn itself.
#[test]
fn a_task_spawned_while_its_token_is_cancelled_is_dropped() {
    check(3, || {
        let pool = Arc::new(Pool::new(1));
        let token = CancelToken::new();
        let dropped = Arc::new(Tally::new());
        let canceller = canceller(&token);
        let capture = CountedDrop(dropped.clone());
        let handle = pool.spawn_with(Spawn::new().cancel(&token), move || drop(capture));
        canceller.join().unwrap();
        assert!(handle.is_finished());
        assert_eq!(dropped.get(), 1);
    });
}

#[test]
fn who_sees_the_token_cancelled_sees_what_came_before() {
    check(3, || {
        let token = CancelToken::new();
        let datum = Arc::new(Datum::new(1));
        let canceller = {
            let (token, datum) = (token.clone(), datum.clone());
            thread::spawn(move || {
                datum.write(2);
                token.cancel();
            })
        };
        if token.is_cancelled() {
            assert_eq!(datum.read(), 2);
        }
        canceller.join().unwrap();
    });
}

// Fault 19.
#[test]
fn a_scope_that_is_cancelled_runs_or_drops_each_task() {
    set_naps(Naps::Over);
    check(2, || {
        let pool = Arc::new(Pool::new(2));
        let helper = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(1, |worker| while run_something(worker) {}))
        };
        let (ran, dropped) = (Tally::new(), Arc::new(Tally::new()));
        let token = CancelToken::new();
        let outcome = pool.enter(0, |worker| {
            worker.scope_with(&token, |scope| {
                for _ in 0..2 {
                    let (ran, capture) = (&ran, CountedDrop(dropped.clone()));
                    scope.spawn(move |_| {
                        let _capture = capture;
                        ran.hit();
                    });
                }
                token.cancel();
            })
        });
        assert_eq!((outcome, dropped.get()), (Err(Cancelled), 2));
        assert!(ran.get() <= 2);
        helper.join().unwrap();
    });
}
