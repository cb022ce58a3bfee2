//! The rules of a batcher, on the runtime's own workers: whoever goes to sleep has seen every item or is woken for it, what is left when the last handle
//! goes is run, and the end of the runtime leaves no item and nobody who waits behind. How batches are formed is `batch.rs`.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::sync::mpsc::channel;
use loom::thread;
use upbeat::batch::{BatchError, Batcher, Refusal, Reply};
use upbeat::model::{set_naps, set_number, Naps, Pool};
use upbeat_loom_tests::{check, start, CountedDrop, Tally};

/// A pool of one worker on a thread of its own.
fn pool_that_serves() -> (Arc<Pool>, thread::JoinHandle<()>) {
    let pool = Arc::new(Pool::new(1));
    let worker = start(&pool, 0);
    (pool, worker)
}

/// Of threads that have no leases.
const NO_NUMBER: usize = usize::MAX;

/// An item says when it is dropped.
type Item = CountedDrop;

/// Counts the items that it gets.
fn counting(pool: &Pool, cap: usize, ran: &Arc<Tally>) -> Batcher<Item, ()> {
    let ran = ran.clone();
    pool.batcher(cap, move |items: &mut Vec<Item>, results| {
        items.iter().for_each(|_| ran.hit());
        results.resize(items.len(), ());
    })
}

#[test]
fn nobody_sleeps_through_an_item() {
    set_naps(Naps::Endless);
    check(2, || {
        let (pool, worker) = pool_that_serves();
        let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let batcher = counting(&pool, 1, &ran);
        let reply = batcher.submit(CountedDrop(dropped.clone())).expect("the runtime is there");
        assert_eq!(reply.wait(), Ok(()), "a lost wake-up is a deadlock");
        assert_eq!([ran.get(), dropped.get()], [1, 1]);
        drop(batcher);
        pool.terminate();
        worker.join().unwrap();
    });
}

/// Submits an item and waits; how many results came. Without one it was told that the runtime has ended.
fn submit(batcher: &Batcher<Item, ()>, dropped: &Arc<Tally>) -> usize {
    match batcher.submit(CountedDrop(dropped.clone())).map(Reply::wait) {
        Ok(Ok(())) => 1,
        Ok(Err(error)) => {
            assert_eq!(error, BatchError::ShutDown);
            0
        }
        Err(refused) => {
            assert_eq!(refused.reason, Refusal::ShutDown);
            0
        }
    }
}

/// A runtime ends beside who submits to it, after `before` items that nobody waits for: each item is run, told of the end, or given back, and nothing is left
/// where nobody looks. Those who add have that number, one after the other.
fn end_beside_a_producer(cap: usize, before: usize, number: usize) {
    let (pool, worker) = pool_that_serves();
    let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let batcher = counting(&pool, cap, &ran);
    set_number(number);
    for _ in 0..before {
        batcher.push(CountedDrop(dropped.clone())).expect("the runtime is there");
    }
    let producer = {
        let (batcher, dropped) = (batcher.clone(), dropped.clone());
        thread::spawn(move || {
            set_number(number);
            submit(&batcher, &dropped)
        })
    };
    set_number(NO_NUMBER);
    pool.terminate();
    worker.join().unwrap();
    let results = producer.join().unwrap();
    assert!((results..=results + before).contains(&ran.get()), "{results} results of {} runs", ran.get());
    assert_eq!(dropped.get(), 1 + before);
}

#[test]
fn the_end_of_the_runtime_leaves_no_item_behind() {
    set_naps(Naps::Endless);
    check(2, || end_beside_a_producer(2, 0, NO_NUMBER));
}

/// The item that is neither a batch's first nor its last: nobody is woken for it.
#[test]
fn the_end_of_the_runtime_leaves_no_item_in_an_open_batch() {
    set_naps(Naps::Endless);
    check(1, || end_beside_a_producer(3, 1, NO_NUMBER));
}

/// The item goes to a slot that was leased with the first one's ticket.
#[test]
fn the_end_of_the_runtime_leaves_no_item_of_a_lease_behind() {
    set_naps(Naps::Endless);
    check(1, || end_beside_a_producer(4, 1, 0));
}

/// The worker may have run the first item, and look whether anybody may add more, while the last handle seals what holds the second one.
#[test]
fn what_is_left_when_the_last_handle_goes_is_run() {
    set_naps(Naps::Endless);
    check(2, || {
        let (pool, worker) = pool_that_serves();
        let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let batcher = counting(&pool, 2, &ran);
        let replies =
            [0, 1].map(|_| batcher.submit(CountedDrop(dropped.clone())).expect("the runtime is there"));
        drop(batcher);
        for reply in replies {
            assert_eq!(reply.wait(), Ok(()), "what nobody runs is a deadlock");
        }
        assert_eq!([ran.get(), dropped.get()], [2, 2]);
        pool.terminate();
        worker.join().unwrap();
    });
}

/// A batcher that is empty and has no handle is nobody's: what its executor owns goes while the runtime lives.
#[test]
fn a_batcher_without_handles_and_items_goes() {
    set_naps(Naps::Endless);
    check(2, || {
        let (pool, worker) = pool_that_serves();
        let gone = Arc::new(Tally::new());
        let owned = CountedDrop(gone.clone());
        let batcher = pool.batcher(1, move |items: &mut Vec<u8>, results| {
            let _owned = &owned;
            results.resize(items.len(), ());
        });
        let reply = batcher.submit(1).expect("the runtime is there");
        drop(batcher);
        assert_eq!(reply.wait(), Ok(()));
        // The worker comes to this when it has done with the batch.
        pool.run_on_worker(|_| ());
        assert_eq!(gone.get(), 1, "the roll has let go of it");
        pool.terminate();
        worker.join().unwrap();
    });
}

/// Three batches and no more: the fourth item waits until one was taken.
#[test]
fn who_waits_for_room_is_told_of_it() {
    set_naps(Naps::Endless);
    check(1, || {
        let (pool, worker) = pool_that_serves();
        let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let batcher = counting(&pool, 1, &ran);
        for _ in 0..4 {
            batcher.push(CountedDrop(dropped.clone())).expect("the runtime is there");
        }
        let reply = batcher.submit(CountedDrop(dropped.clone())).expect("the runtime is there");
        assert_eq!(reply.wait(), Ok(()));
        drop(batcher);
        pool.terminate();
        worker.join().unwrap();
        assert_eq!(dropped.get(), 5);
    });
}

/// At most one batch runs. The second worker was woken for the second item, may have found that no more may run, and gone to sleep; the worker that
/// runs the first has something else to do afterwards and looks for nothing.
#[test]
fn who_ends_a_batch_wakes_whoever_had_no_room_to_run() {
    set_naps(Naps::Endless);
    check(1, || {
        let pool = Arc::new(Pool::new(2));
        let worker = start(&pool, 1);
        let (tell, ends) = channel();
        let batcher = pool.batcher(1, move |items: &mut Vec<u8>, results| {
            results.resize(items.len(), ());
            tell.send(()).expect("somebody listens");
        });
        pool.enter(0, |_| {
            let first = batcher.submit(1).expect("the runtime is there");
            batcher.push(2).expect("the runtime is there");
            // A wait for a result may run its batch.
            assert_eq!(first.wait(), Ok(()));
            for _ in 0..2 {
                ends.recv().expect("an item for which nobody is woken is a deadlock");
            }
        });
        drop(batcher);
        pool.terminate();
        worker.join().unwrap();
    });
}

/// As above, where the second item comes while the first batch ends: the worker that runs it sees the item, or whoever goes to sleep sees that one more
/// may run.
#[test]
fn who_ends_a_batch_sees_what_comes_meanwhile() {
    set_naps(Naps::Endless);
    check(1, || {
        let pool = Arc::new(Pool::new(2));
        let worker = start(&pool, 1);
        let (ran, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let batcher = counting(&pool, 1, &ran);
        pool.enter(0, |_| {
            let first = batcher.submit(CountedDrop(dropped.clone())).expect("the runtime is there");
            let producer = {
                let (batcher, dropped) = (batcher.clone(), dropped.clone());
                thread::spawn(move || submit(&batcher, &dropped))
            };
            assert_eq!(first.wait(), Ok(()));
            assert_eq!(producer.join().unwrap(), 1, "an item for which nobody is woken is a deadlock");
        });
        assert_eq!([ran.get(), dropped.get()], [2, 2]);
        drop(batcher);
        pool.terminate();
        worker.join().unwrap();
    });
}
