//! Broadcasts: a worker runs what is sent to it once, also when it sleeps or is just falling asleep.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::Pool;
use upbeat_loom_tests::{check, Tally};

// Fault 35.
#[test]
fn a_worker_runs_a_broadcast_once() {
    check(2, || {
        let pool = Arc::new(Pool::new(1));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.serve(0))
        };
        let ran = Tally::new();
        let indices = pool.broadcast(|worker| {
            ran.hit();
            worker.index()
        });
        assert_eq!((indices, ran.get()), (vec![0], 1));
        pool.terminate();
        worker.join().unwrap();
    });
}
