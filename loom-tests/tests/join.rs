//! A join with the real job in the real frame, against a thief: results, panics, and the end of the frame. The
//! frame's own drop is an access that loom compares with all others, so touching it too late fails the model.
#![cfg(upbeat_loom)]

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;

use loom::thread;
use upbeat::model::{offer_next, run_stolen_join, set_naps, Naps, Pool};
use upbeat::Worker;
use upbeat_loom_tests::{check, start, CountedDrop, Datum, Tally};

/// A pool of two: this thread runs `owner` as worker 0 with its next push on offer, another one tries to steal twice as worker 1.
fn against_a_thief<R>(owner: impl FnOnce(&Worker) -> R) -> R {
    let pool = Arc::new(Pool::new(2));
    let thief = {
        let pool = pool.clone();
        thread::spawn(move || {
            pool.enter(1, |worker| {
                for _ in 0..2 {
                    run_stolen_join(worker);
                }
            });
        })
    };
    let result = pool.enter(0, |worker| {
        offer_next(worker);
        owner(worker)
    });
    thief.join().unwrap();
    result
}

/// What the two closures of a join are made of, and what became of them.
#[derive(Default)]
struct Account {
    ran: [Tally; 2],
    /// Captures of each closure that were dropped.
    captures: [Arc<Tally>; 2],
    /// Results and panic payloads of each closure that were dropped.
    results: [Arc<Tally>; 2],
    /// Whether the thief ran the right one.
    stolen: Tally,
}

impl Account {
    /// Closure `side`: runs once at most, its capture and its result go once.
    fn closure(&self, side: usize, panics: bool) -> impl FnOnce(&Worker) -> CountedDrop + Send + '_ {
        let capture = CountedDrop(self.captures[side].clone());
        move |worker| {
            let _capture = capture;
            if worker.index() == 1 {
                self.stolen.hit();
            }
            self.ran[side].hit();
            let result = CountedDrop(self.results[side].clone());
            if panics {
                // Without the panic hook, which would print a line for each execution.
                resume_unwind(Box::new((side, result)));
            }
            result
        }
    }

    /// Joins the two, and says whose panic came out.
    fn join(&self, worker: &Worker, panics: [bool; 2]) -> Option<usize> {
        let (a, b) = (self.closure(0, panics[0]), self.closure(1, panics[1]));
        match catch_unwind(AssertUnwindSafe(|| worker.join(a, b))) {
            Ok(_) => None,
            Err(payload) => Some(payload.downcast::<(usize, CountedDrop)>().expect("the closures' own").0),
        }
    }

    /// All that was made is gone, once.
    fn assert_balanced(&self) {
        assert_eq!(self.ran[0].get(), 1, "the left closure runs");
        assert!(self.ran[1].get() <= 1);
        for side in 0..2 {
            assert_eq!(self.captures[side].get(), 1, "captures of closure {side} go once");
            assert_eq!(self.results[side].get(), self.ran[side].get(), "results of closure {side} go once");
        }
    }
}

fn outcome(panics: [bool; 2], expected: Option<usize>) {
    for naps in [Naps::Endless, Naps::Over] {
        set_naps(naps);
        let (stolen, executions) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let (all_stolen, all_executions) = (stolen.clone(), executions.clone());
        check(3, move || {
            let account = Account::default();
            let panic = against_a_thief(|worker| account.join(worker, panics));
            assert_eq!(panic, expected);
            account.assert_balanced();
            if !panics[0] {
                assert_eq!(account.ran[1].get(), 1, "the right closure runs");
            }
            executions.hit();
            if account.stolen.get() > 0 {
                stolen.hit();
            }
        });
        assert!(
            (1..all_executions.get()).contains(&all_stolen.get()),
            "the model must see it stolen, and not"
        );
    }
}

#[test]
fn both_run_once() {
    outcome([false, false], None);
}

// Fault 1.
#[test]
fn a_left_panic_comes_out_after_the_right_one_has_run_or_was_withdrawn() {
    outcome([true, false], Some(0));
}

// Fault 2.
#[test]
fn a_right_panic_comes_out() {
    outcome([false, true], Some(1));
}

// Fault 3.
#[test]
fn of_two_panics_the_left_one_comes_out_and_the_other_is_dropped() {
    outcome([true, true], Some(0));
}

#[test]
fn what_came_before_the_join_and_what_the_thief_wrote_are_visible() {
    check(3, || {
        let (before, right) = (Datum::new(0), Datum::new(0));
        against_a_thief(|worker| {
            before.write(20);
            worker.join(|_| before.read(), |_| right.write(before.read() + 1));
        });
        assert_eq!(right.read(), 21);
    });
}

#[test]
fn nested_joins_are_shared_between_two() {
    check(2, || {
        let data: [Datum; 3] = std::array::from_fn(|_| Datum::new(0));
        let [a, b, c] = &data;
        against_a_thief(|worker| {
            worker.join(
                |worker| {
                    worker.join(|_| a.write(1), |_| b.write(2));
                    assert_eq!(a.read() + b.read(), 3);
                },
                |_| c.write(4),
            );
        });
        assert_eq!(data.iter().map(Datum::read).sum::<usize>(), 7);
    });
}

/// The whole of it: a caller from outside, two workers that sleep and wake, and the end.
#[test]
fn a_join_on_a_runtime_of_two() {
    set_naps(Naps::Endless);
    check(1, || {
        let pool = Arc::new(Pool::new(2));
        let threads: Vec<_> = (0..2).map(|index| start(&pool, index)).collect();
        let account = Account::default();
        let panic = pool.install(|worker| account.join(worker, [false, false]));
        assert_eq!(panic, None);
        account.assert_balanced();
        pool.terminate();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
