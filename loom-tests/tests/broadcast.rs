//! Broadcasts: a worker runs what is sent to it once, also when it sleeps or is just falling asleep.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use upbeat::model::Pool;
use upbeat_loom_tests::{check, start, Tally};

// Fault 35.
#[test]
fn a_worker_runs_a_broadcast_once() {
    check(2, || {
        let pool = Arc::new(Pool::new(1));
        let worker = start(&pool, 0);
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
