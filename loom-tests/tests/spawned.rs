//! Spawned tasks: the handle's owner and the workers may all want to run one; who claims it first does, alone.
#![cfg(upbeat_loom)]

use std::panic::resume_unwind;
use std::sync::Arc;

use loom::thread;
use upbeat::model::{run_something, set_naps, Naps, Pool};
use upbeat_loom_tests::{check, start, CountedDrop, Datum, Tally};

/// A pool of `workers` of which each, but for worker 0, takes two turns on a thread of its own.
fn pool_with_helpers(workers: usize) -> (Arc<Pool>, Vec<thread::JoinHandle<()>>) {
    let pool = Arc::new(Pool::new(workers));
    let helpers = (1..workers)
        .map(|index| {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.enter(index, |worker| {
                    for _ in 0..2 {
                        run_something(worker);
                    }
                });
            })
        })
        .collect();
    (pool, helpers)
}

#[test]
fn a_task_is_run_by_its_joiner_or_by_a_worker_but_once() {
    set_naps(Naps::Over);
    let (helped, executions) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let (all_helped, all_executions) = (helped.clone(), executions.clone());
    check(3, move || {
        let (pool, helpers) = pool_with_helpers(2);
        let (ran, result) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        pool.enter(0, |_| {
            let (ran, result) = (ran.clone(), result.clone());
            let handle = pool.spawn(move || {
                ran.hit();
                (upbeat::current_worker_index(), CountedDrop(result))
            });
            let (by, _result) = handle.join().expect("no panic");
            executions.hit();
            if by == Some(1) {
                helped.hit();
            }
        });
        for helper in helpers {
            helper.join().unwrap();
        }
        assert_eq!([ran.get(), result.get()], [1, 1]);
    });
    assert!((1..all_executions.get()).contains(&all_helped.get()), "the model must see both");
}

#[test]
fn what_the_task_wrote_is_visible_to_who_joins_it_from_outside() {
    set_naps(Naps::Endless);
    check(3, || {
        let pool = Arc::new(Pool::new(1));
        let worker = start(&pool, 0);
        let datum = Arc::new(Datum::new(1));
        let handle = {
            let datum = datum.clone();
            pool.spawn(move || datum.write(datum.read() + 1))
        };
        handle.join().expect("no panic");
        assert_eq!(datum.read(), 2);
        pool.terminate();
        worker.join().unwrap();
    });
}

#[test]
fn a_handle_dropped_while_the_task_ends_leaves_its_result_dropped_once() {
    set_naps(Naps::Over);
    check(3, || {
        let (pool, helpers) = pool_with_helpers(2);
        let (ran, result, capture) = (Arc::new(Tally::new()), Arc::new(Tally::new()), Arc::new(Tally::new()));
        pool.enter(0, |worker| {
            let (inner_ran, result) = (ran.clone(), result.clone());
            let capture = CountedDrop(capture.clone());
            let handle = pool.spawn(move || {
                let _capture = capture;
                inner_ran.hit();
                CountedDrop(result)
            });
            drop(handle);
            while ran.get() == 0 && !run_something(worker) {
                thread::yield_now();
            }
        });
        for helper in helpers {
            helper.join().unwrap();
        }
        assert_eq!([ran.get(), result.get(), capture.get()], [1, 1, 1]);
    });
}

#[test]
fn a_panic_is_delivered_to_who_joins() {
    set_naps(Naps::Over);
    check(3, || {
        let (pool, helpers) = pool_with_helpers(2);
        let dropped = Arc::new(Tally::new());
        pool.enter(0, |_| {
            let payload = CountedDrop(dropped.clone());
            let handle = pool.spawn(move || resume_unwind(Box::new(payload)));
            assert!(handle.join().is_err_and(|payload| payload.is::<CountedDrop>()));
        });
        for helper in helpers {
            helper.join().unwrap();
        }
        assert_eq!(dropped.get(), 1);
    });
}

/// Two workers that each join what the other may have claimed.
#[test]
fn two_workers_that_join_their_own_tasks_help_each_other() {
    set_naps(Naps::Over);
    check(2, || {
        let pool = Arc::new(Pool::new(2));
        let ran = Arc::new(Tally::new());
        let join_one = |pool: &Pool, ran: &Arc<Tally>| {
            let ran = ran.clone();
            pool.spawn(move || ran.hit()).join().expect("no panic");
        };
        let other = {
            let (pool, ran) = (pool.clone(), ran.clone());
            thread::spawn(move || pool.enter(1, |_| join_one(&pool, &ran)))
        };
        pool.enter(0, |_| join_one(&pool, &ran));
        other.join().unwrap();
        assert_eq!(ran.get(), 2);
    });
}
