//! Leases of the batch former: a thread writes slots that it has reserved before, beside who takes their batch away. Every item is taken exactly
//! once, in the order of its thread within a batch; no batch waits for a slot that nobody is going to write.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{set_number, Former, Numbers};
use upbeat_loom_tests::check;

const LABEL: u32 = 7;

/// Takes a ready batch; how many items.
fn take(former: &Former<usize>, items: &mut Vec<usize>) -> usize {
    let mut labels = Vec::new();
    let count = former.take(items, &mut labels);
    assert!(labels.len() == count && labels.iter().all(|&label| label == LABEL));
    count
}

fn add(former: &Former<usize>, items: std::ops::Range<usize>) {
    for item in items {
        assert!(former.add(item, LABEL).is_ok(), "there are batches enough");
    }
}

/// Seals what is open and takes what is ready.
fn seal_and_take(former: &Former<usize>) -> Vec<usize> {
    former.seal();
    let mut taken = Vec::new();
    while take(former, &mut taken) > 0 {}
    taken
}

/// Takes the rest, and looks whether together with `taken` that is 0 to `count`, each once.
fn settle(former: &Former<usize>, mut taken: Vec<usize>, count: usize) {
    taken.extend(seal_and_take(former));
    assert!(!former.has_aside(), "nobody writes any more, so no batch waits for anybody");
    taken.sort_unstable();
    assert!(taken.iter().copied().eq(0..count), "each item is taken once: {taken:?}");
}

/// A thread with a number, which has a lease on a slot beside that of item 0.
fn leased(slots: usize, batches: usize) -> Arc<Former<usize>> {
    let former = Arc::new(Former::new(slots, batches));
    set_number(0);
    add(&former, 0..1);
    former
}

#[test]
fn a_lease_is_used_or_lost_when_its_batch_is_taken() {
    check(3, || {
        let former = leased(4, 3);
        let taker = {
            let former = former.clone();
            thread::spawn(move || seal_and_take(&former))
        };
        add(&former, 1..2);
        let taken = taker.join().unwrap();
        assert!(taken.is_sorted());
        settle(&former, taken, 2);
    });
}

/// The lease's thread goes on to the batch that comes next, and gets a lease there.
#[test]
fn who_loses_a_lease_gets_another_one() {
    check(2, || {
        let former = leased(4, 3);
        let taker = {
            let former = former.clone();
            thread::spawn(move || seal_and_take(&former))
        };
        add(&former, 1..4);
        let taken = taker.join().unwrap();
        settle(&former, taken, 4);
    });
}

/// A batch that lacks what two threads write with their leases is made ready by one of them.
#[test]
fn of_two_that_are_under_way_one_finds_the_batch() {
    check(2, || {
        let former = leased(6, 3);
        let other = {
            let former = former.clone();
            thread::spawn(move || {
                set_number(1);
                add(&former, 1..3);
            })
        };
        let taker = {
            let former = former.clone();
            thread::spawn(move || seal_and_take(&former))
        };
        add(&former, 3..4);
        let taken = taker.join().unwrap();
        other.join().unwrap();
        settle(&former, taken, 4);
    });
}

/// The batch is taken, opened again and filled by another thread, before or while the first one uses its lease of the old incarnation.
#[test]
fn a_lease_of_an_incarnation_before_is_refused() {
    check(3, || {
        let former = leased(4, 3);
        let other = {
            let former = former.clone();
            thread::spawn(move || {
                let taken = seal_and_take(&former);
                // The free batch that was used last is opened first.
                add(&former, 2..4);
                taken
            })
        };
        add(&former, 1..2);
        let taken = other.join().unwrap();
        settle(&former, taken, 4);
    });
}

/// With its number a thread takes over the lease of one that has ended.
#[test]
fn a_number_goes_to_another_thread_with_all_that_was_done() {
    check(2, || {
        let (former, numbers) = (Arc::new(Former::new(12, 3)), Arc::new(Numbers::new()));
        set_number(numbers.take());
        add(&former, 0..1);
        numbers.give(0);
        set_number(usize::MAX);
        let adds = |items: std::ops::Range<usize>| {
            let (former, numbers) = (former.clone(), numbers.clone());
            thread::spawn(move || {
                let number = numbers.take();
                set_number(number);
                add(&former, items);
                numbers.give(number);
            })
        };
        // The first of each by the lease that was left, the second with a ticket, and with a lease for who comes next.
        let others = [adds(1..3), adds(3..5)];
        others.into_iter().for_each(|other| other.join().unwrap());
        settle(&former, Vec::new(), 5);
    });
}
