//! A seat that passes from a caller from outside to the worker's own thread while a thief looks at its ring, and while others want
//! that very worker. Each use of a seat is an access that loom compares with all others, so two holders at a time, or one who does not
//! see what the last one did, fail the model; who is not woken is a deadlock, for naps never end.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{offer_next, run_stolen_join, set_naps, Naps, Pool};
use upbeat::Worker;
use upbeat_loom_tests::{check, Datum, Tally};

/// The own thread of worker 0, which sleeps until somebody wakes it for its seat.
fn own_thread(pool: &Arc<Pool>) -> thread::JoinHandle<()> {
    let pool = pool.clone();
    thread::spawn(move || pool.serve_when_woken(0))
}

/// Worker 1, which runs `f`.
fn other_worker<R: 'static>(
    pool: &Arc<Pool>,
    f: impl FnOnce(&Pool, &Worker) -> R + 'static,
) -> thread::JoinHandle<R> {
    let pool = pool.clone();
    thread::spawn(move || pool.enter(1, |worker| f(&pool, worker)))
}

/// A join whose right side is public, and which says what that one wrote and on which worker it ran.
fn join_with(worker: &Worker, number: usize) -> (usize, usize) {
    let right = Datum::new(0);
    offer_next(worker);
    // A thief may take the right side now.
    let left = |_: &Worker| {
        thread::yield_now();
        number
    };
    let (left, by) = worker.join(left, |worker| {
        right.write(10);
        worker.index()
    });
    (left + right.read(), by)
}

/// The thief steals from the guest, wants the guest's worker for something else, and steals from its own thread, which takes seat
/// and ring over as soon as the guest has left; or any of that finds nothing, for the guest was faster.
#[test]
fn a_ring_passes_from_a_guest_to_its_thread_under_the_eyes_of_a_thief() {
    set_naps(Naps::Endless);
    let (stolen, executions) = (Arc::new([Tally::new(), Tally::new()]), Arc::new(Tally::new()));
    let (all_stolen, all_executions) = (stolen.clone(), executions.clone());
    check(1, move || {
        let pool = Arc::new(Pool::with_guests(2));
        let own = own_thread(&pool);
        let (ran, counted) = (Arc::new(Tally::new()), stolen.clone());
        let done = ran.clone();
        let thief = other_worker(&pool, move |pool, worker| {
            run_stolen_join(worker);
            pool.send(0, move |worker| {
                let (sum, by) = join_with(worker, 2);
                assert_eq!(sum, 12);
                (0..by).for_each(|_| counted[1].hit());
                done.hit();
            });
            run_stolen_join(worker);
        });
        let (sum, by) = pool.install(|worker| join_with(worker, 1));
        assert_eq!(sum, 11);
        (0..by).for_each(|_| stolen[0].hit());
        thief.join().unwrap();
        pool.terminate();
        own.join().unwrap();
        assert_eq!(ran.get(), 1, "what was sent to the worker runs once");
        executions.hit();
    });
    for stolen in &*all_stolen {
        assert!((1..all_executions.get()).contains(&stolen.get()), "the model must see it stolen, and not");
    }
}

/// The guest may sleep in the wait for its thief when its worker is wanted: a wake-up for the worker is no wake-up for the wait, and
/// the other way round.
#[test]
fn a_guest_that_waits_for_its_thief_is_woken_and_so_is_its_worker() {
    set_naps(Naps::Endless);
    let (stolen, executions) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let (all_stolen, all_executions) = (stolen.clone(), executions.clone());
    check(2, move || {
        let pool = Arc::new(Pool::with_guests(2));
        let own = own_thread(&pool);
        let thief = other_worker(&pool, |_, worker| run_stolen_join(worker));
        let sent = Arc::new(Tally::new());
        let by = pool.install(|worker| {
            offer_next(worker);
            let (_, by) = worker.join(
                |_| thread::yield_now(),
                |worker| {
                    let sent = sent.clone();
                    pool.send(0, move |_| sent.hit());
                    // Its owner comes to wait for it now.
                    thread::yield_now();
                    worker.index()
                },
            );
            by
        });
        (0..by).for_each(|_| stolen.hit());
        pool.terminate();
        thief.join().unwrap();
        own.join().unwrap();
        assert_eq!(sent.get(), 1, "what was sent to the worker runs once");
        executions.hit();
    });
    assert!((1..all_executions.get()).contains(&all_stolen.get()), "the model must see it stolen, and not");
}
