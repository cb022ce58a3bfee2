//! Scopes: the ledger of what is still to come, a task and who falls asleep, the one who finishes last, panics that race, and a task that spawns into its own scope.
#![cfg(upbeat_loom)]

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

use loom::thread;
use upbeat::model::{
    current, offer_next, park, run_something, set_naps, Blocking, Latch, Ledger, Naps, Pool,
};
use upbeat::Worker;
use upbeat_loom_tests::{check, start, CountedDrop, Datum, Tally};

/// Worker 0 runs `owner` on this thread; worker 1 looks `turns` times for things to run, on another one.
fn with_a_helper<R>(turns: usize, owner: impl FnOnce(&Worker) -> R) -> R {
    let pool = Arc::new(Pool::new(2));
    let helper = {
        let pool = pool.clone();
        thread::spawn(move || {
            pool.enter(1, |worker| {
                for _ in 0..turns {
                    // As a worker does: what it spawned itself it runs before it rests.
                    while run_something(worker) {}
                }
            });
        })
    };
    let result = pool.enter(0, owner);
    helper.join().unwrap();
    result
}

// Fault 15. The owner has spawned two tasks, which others run and count off; it settles, closes or waits, whichever it comes to.
#[test]
fn the_last_to_finish_sets_the_latch_once_and_sees_what_all_wrote() {
    let (settled, closed, waited) = (Arc::new(Tally::new()), Arc::new(Tally::new()), Arc::new(Tally::new()));
    let seen = [settled.clone(), closed.clone(), waited.clone()];
    check(2, move || {
        let shared = Arc::new((Ledger::new(), Latch::new(), [Datum::new(0), Datum::new(0)], Tally::new()));
        let owner = current();
        let tasks: Vec<_> = (0..2)
            .map(|task| {
                shared.0.add(true);
                let (shared, owner) = (shared.clone(), owner.clone());
                thread::spawn(move || {
                    let (ledger, latch, data, last) = &*shared;
                    data[task].write(task + 1);
                    if ledger.finish(1) {
                        last.hit();
                        if latch.set() {
                            owner.unpark();
                        }
                    }
                })
            })
            .collect();
        let (ledger, latch, data, last) = &*shared;
        if ledger.is_settled(0) {
            (settled.hit(), last.hit());
        } else if ledger.close(0) {
            (closed.hit(), last.hit());
        } else {
            waited.hit();
            while !latch.is_set() {
                if latch.announce_waiter() {
                    park();
                }
            }
        }
        assert_eq!(data[0].read() + data[1].read(), 3);
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(last.get(), 1);
    });
    assert!(seen.iter().all(|tally| tally.get() > 0), "the model must see all three ways");
}

/// The owner runs a task that another one's task has spawned, and that one runs the owner's: what each counts is less than nothing, and
/// nobody takes it for the end.
#[test]
fn tasks_that_are_run_by_others_than_their_spawners_are_counted() {
    check(2, || {
        let shared = Arc::new((Ledger::new(), Latch::new(), Datum::new(0), Tally::new()));
        let owner = current();
        shared.0.add(true);
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (ledger, latch, datum, spawned) = &*shared;
                // The owner's task, which spawns two more: the owner runs one of them as soon as it sees it.
                ledger.add(false);
                ledger.add(false);
                spawned.hit();
                thread::yield_now();
                datum.write(1);
                if ledger.finish(2) && latch.set() {
                    owner.unpark();
                }
            })
        };
        let (ledger, latch, datum, spawned) = &*shared;
        let ran = spawned.get();
        if !ledger.is_settled(ran) && !ledger.close(ran) {
            if ran == 0 {
                // It comes to that now.
                while spawned.get() == 0 {
                    thread::yield_now();
                }
                if ledger.finish(1) {
                    latch.set();
                }
            }
            while !latch.is_set() {
                if latch.announce_waiter() {
                    park();
                }
            }
        }
        assert_eq!(datum.read(), 1);
        other.join().unwrap();
    });
}

/// Fault 28, for scopes: who opened one waits for its task by other means, so nobody runs it but the worker that is just falling asleep.
#[test]
fn nobody_sleeps_through_a_task_of_a_scope() {
    set_naps(Naps::Endless);
    check(2, || {
        let pool = Arc::new(Pool::new(2));
        let sleeper = start(&pool, 1);
        let (done, ran) = (Blocking::new(), Tally::new());
        pool.enter(0, |worker| {
            worker.scope(|scope| {
                scope.spawn(|_| {
                    ran.hit();
                    done.set();
                });
                done.wait();
            });
        });
        assert_eq!(ran.get(), 1);
        pool.terminate();
        sleeper.join().unwrap();
    });
}

// Fault 15.
#[test]
fn a_task_that_spawns_into_its_own_scope_is_waited_for_with_its_child() {
    set_naps(Naps::Endless);
    check(2, || {
        let (parent, child) = (Datum::new(0), Datum::new(0));
        with_a_helper(2, |worker| {
            worker.scope(|scope| {
                scope.spawn(|scope| {
                    scope.spawn(|_| child.write(2));
                    parent.write(1);
                });
            });
            assert_eq!(parent.read() + child.read(), 3, "both have run when the scope returns");
        });
    });
}

#[test]
fn two_tasks_of_a_scope_run_once_each() {
    set_naps(Naps::Over);
    check(2, || {
        let ran = [Tally::new(), Tally::new()];
        let dropped = Arc::new(Tally::new());
        with_a_helper(2, |worker| {
            worker.scope(|scope| {
                for ran in &ran {
                    let capture = CountedDrop(dropped.clone());
                    scope.spawn(move |_| {
                        let _capture = capture;
                        ran.hit();
                    });
                }
            });
            assert_eq!([ran[0].get(), ran[1].get()], [1, 1]);
            assert_eq!(dropped.get(), 2);
        });
    });
}

// Fault 10.
#[test]
fn of_two_panics_that_race_one_comes_out_and_the_other_is_dropped() {
    set_naps(Naps::Endless);
    check(2, || {
        let dropped = Arc::new(Tally::new());
        with_a_helper(2, |worker| {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                worker.scope(|scope| {
                    for _ in 0..2 {
                        let payload = CountedDrop(dropped.clone());
                        scope.spawn(move |_| resume_unwind(Box::new(payload)));
                    }
                });
            }));
            assert!(outcome.is_err_and(|payload| payload.is::<CountedDrop>()));
            assert_eq!(dropped.get(), 2, "both payloads are dropped once");
        });
    });
}

/// Fault 17. Worker 0 forks, and opens a scope in the left closure; worker 1 runs the scope's task, which forks; worker 0 steals
/// that one's right closure while it waits for its scope. Now worker 1 waits for worker 0, whose ring holds the outer right
/// closure, which descends from nothing that worker 1 waits for: it must not take it.
fn steal_back_past_a_scope(outer_is_public_before: bool) {
    set_naps(Naps::Over);
    let stolen = Arc::new(Tally::new());
    let all_stolen = stolen.clone();
    check(2, move || {
        let (task, foreign) = (Tally::new(), Tally::new());
        // Whether the scope's task is on worker 1's stack.
        let inside = AtomicBool::new(false);
        with_a_helper(1, |worker| {
            if outer_is_public_before {
                offer_next(worker);
            }
            worker.join(
                |worker| worker.scope(|scope| scope.spawn(|_| forking_task(&task, &inside, &stolen))),
                |worker| {
                    if worker.index() == 1 && inside.load(Relaxed) {
                        foreign.hit();
                    }
                },
            );
        });
        assert_eq!(task.get(), 1);
        assert_eq!(foreign.get(), 0, "the outer right closure ran inside a wait for something else");
    });
    assert!(all_stolen.get() > 0, "the model must see the steal back");
}

#[test]
fn a_waiter_takes_nothing_that_its_thief_exposes_from_below_a_scope() {
    steal_back_past_a_scope(false);
}

#[test]
fn a_waiter_takes_nothing_that_was_public_below_its_thief_s_scope() {
    steal_back_past_a_scope(true);
}

/// Fault 17. As above, told move by move, so that few preemptions reach the end: worker 1 waits for what worker 0 has stolen from it,
/// and looks at worker 0's ring just when worker 0 is done with that. Then worker 0's ring says that it is clean again, for it holds
/// what it held before: the outer right closure.
#[test]
fn a_waiter_takes_nothing_when_its_thief_is_clean_again() {
    set_naps(Naps::Over);
    let stolen = Arc::new(Tally::new());
    let all_stolen = stolen.clone();
    check(1, move || {
        let (foreign, inside) = (Tally::new(), AtomicBool::new(false));
        with_a_helper(1, |worker| {
            offer_next(worker);
            worker.join(
                |worker| {
                    worker.scope(|scope| {
                        scope.spawn(|_| forking_task_with_turns(&inside, &stolen));
                        // Worker 1 takes the scope's task now.
                        thread::yield_now();
                    });
                },
                |worker| {
                    if worker.index() == 1 && inside.load(Relaxed) {
                        foreign.hit();
                    }
                },
            );
        });
        assert_eq!(foreign.get(), 0, "the outer right closure ran inside a wait for something else");
    });
    assert!(all_stolen.get() > 0, "the model must see the steal");
}

/// The scope's task of the model above.
fn forking_task_with_turns(inside: &AtomicBool, stolen: &Tally) {
    let here = upbeat::current_worker_index();
    inside.store(here == Some(1), Relaxed);
    upbeat::model::with_worker(|worker| {
        offer_next(worker);
        worker.join(
            // The other one steals the right closure now.
            |_| thread::yield_now(),
            |worker| {
                if Some(worker.index()) != here {
                    stolen.hit();
                    // Its owner comes to wait for it now.
                    thread::yield_now();
                }
            },
        );
    });
    inside.store(false, Relaxed);
}

/// The scope's task: a fork whose right closure forks again, so that its worker answers requests meanwhile.
fn forking_task(task: &Tally, inside: &AtomicBool, stolen: &Tally) {
    task.hit();
    let here = upbeat::current_worker_index();
    inside.store(here == Some(1), Relaxed);
    upbeat::model::with_worker(|worker| {
        offer_next(worker);
        worker.join(
            |_| (),
            |worker| {
                if Some(worker.index()) != here {
                    stolen.hit();
                    offer_next(worker);
                    worker.join(|_| thread::yield_now(), |_| ());
                }
            },
        );
    });
    inside.store(false, Relaxed);
}
