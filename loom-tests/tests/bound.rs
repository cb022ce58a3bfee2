//! Tasks that are bound for a memory node, against workers of that node and of another one that go to sleep: each runs once, and nobody
//! sleeps through one. Where no time passes, other nodes' workers wait for nothing before they help.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{run_something, set_naps, with_worker, Naps, Pool};
use upbeat::Spawn;
use upbeat_loom_tests::{check, start, Datum, Tally};

/// Two nodes with a worker each.
fn serve() -> (Arc<Pool>, Vec<thread::JoinHandle<()>>) {
    let pool = Arc::new(Pool::on_nodes(2));
    let threads = (0..2).map(|index| start(&pool, index));
    (pool.clone(), threads.collect())
}

#[test]
fn nobody_sleeps_through_a_task_that_is_bound_for_a_node() {
    set_naps(Naps::Endless);
    check(1, || {
        let (pool, threads) = serve();
        let datum = Arc::new(Datum::new(1));
        let seen = datum.clone();
        let task = pool.spawn_with(Spawn::new().on_node(1), move || seen.write(seen.read() + 1));
        task.join().expect("no panic");
        assert_eq!(datum.read(), 2);
        pool.terminate();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_is_bound_for_a_node_runs_before_all_leave() {
    set_naps(Naps::Endless);
    check(1, || {
        let (pool, threads) = serve();
        let ran = Arc::new(Tally::new());
        let seen = ran.clone();
        drop(pool.spawn_with(Spawn::new().on_node(0), move || seen.hit()));
        pool.terminate();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(ran.get(), 1);
    });
}

// A scope's task is in two places: in its node's queue, and on the list of its owner, who waits. Both may come for it at once.
#[test]
fn a_bound_task_of_a_scope_runs_once_before_the_scope_ends() {
    let runners = [Arc::new(Tally::new()), Arc::new(Tally::new())];
    let seen = runners.clone();
    check(2, move || {
        let pool = Arc::new(Pool::on_nodes(2));
        let helper = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(1, |worker| while run_something(worker) {}))
        };
        let datum = Datum::new(1);
        pool.enter(0, |worker| {
            worker.scope(|scope| {
                scope.spawn_with(Spawn::new().on_node(1), |_| {
                    datum.write(datum.read() + 1);
                    with_worker(|worker| seen[worker.index()].hit());
                });
            });
            assert_eq!(datum.read(), 2);
        });
        helper.join().unwrap();
    });
    assert!(runners.iter().all(|runner| runner.get() > 0), "both run it in some interleaving");
}
