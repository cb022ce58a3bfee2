//! The batch former: producers, who seals, who takes. Every item is taken exactly once, by somebody to whom its write is visible (each
//! slot is a cell that loom watches), none stays behind in a batch that is current no more, and no batch is lost.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::Former;
use upbeat_loom_tests::check;

/// A former whose items are numbers that differ, all of which are taken in the end.
struct Batches {
    former: Arc<Former<usize>>,
    slots: usize,
    batches: usize,
}

impl Batches {
    fn new(slots: usize, batches: usize) -> Self {
        Self { former: Arc::new(Former::new(slots, batches)), slots, batches }
    }

    /// A thread that adds `items` and, where no batch is free, takes some.
    fn produce(&self, items: &'static [usize]) -> thread::JoinHandle<Vec<usize>> {
        let former = self.former.clone();
        thread::spawn(move || produce(&former, items))
    }

    /// A thread that seals once and takes what is ready then.
    fn seal_and_take(&self) -> thread::JoinHandle<Vec<usize>> {
        let former = self.former.clone();
        thread::spawn(move || {
            former.seal();
            let mut taken = Vec::new();
            take(&former, &mut taken);
            taken
        })
    }

    /// Takes the rest, and looks whether together with `taken` that is 0 to `count`, each once, and whether every batch is still there.
    fn settle(self, mut taken: Vec<usize>, count: usize) {
        self.former.seal();
        while take(&self.former, &mut taken) > 0 {}
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(0..count), "each item is taken once: {taken:?}");
        for item in 0..self.slots * self.batches {
            assert!(self.former.add(item, 7).is_ok(), "no batch is lost");
        }
        assert_eq!(self.former.add(0, 0), Err(0), "no batch is there twice");
    }
}

/// Takes a ready batch; how many items. Each has its label.
fn take(former: &Former<usize>, items: &mut Vec<usize>) -> usize {
    let mut labels = Vec::new();
    let count = former.take(items, &mut labels);
    assert!(labels.len() == count && labels.iter().all(|&label| label == 7));
    count
}

fn produce(former: &Former<usize>, items: &[usize]) -> Vec<usize> {
    let mut taken = Vec::new();
    for &item in items {
        while former.add(item, 7).is_err() {
            take(former, &mut taken);
            thread::yield_now();
        }
    }
    taken
}

#[test]
fn two_producers_and_a_seal() {
    check(3, || {
        let batches = Batches::new(2, 3);
        let others = [batches.produce(&[0]), batches.seal_and_take()];
        let mut taken = produce(&batches.former, &[1]);
        taken.extend(others.into_iter().flat_map(|other| other.join().unwrap()));
        batches.settle(taken, 2);
    });
}

#[test]
fn two_producers_fill_batches() {
    check(3, || {
        let batches = Batches::new(2, 3);
        let other = batches.produce(&[0, 1]);
        let mut taken = produce(&batches.former, &[2, 3]);
        taken.extend(other.join().unwrap());
        batches.settle(taken, 4);
    });
}

/// Each item closes its batch, and batches are used again while stale tickets are about.
#[test]
fn batches_of_one_are_used_again() {
    check(2, || {
        let batches = Batches::new(1, 2);
        let other = batches.produce(&[0, 1]);
        let mut taken = produce(&batches.former, &[2, 3]);
        take(&batches.former, &mut taken);
        taken.extend(other.join().unwrap());
        batches.settle(taken, 4);
    });
}

/// Three meet a full batch at once: two of them open another one, and one of those strays.
#[test]
fn who_meets_a_batch_that_was_opened_in_vain_loses_nothing() {
    check(1, || {
        let batches = Batches::new(1, 4);
        let others = [batches.produce(&[0]), batches.produce(&[1])];
        let mut taken = produce(&batches.former, &[2]);
        taken.extend(others.into_iter().flat_map(|other| other.join().unwrap()));
        batches.settle(taken, 3);
    });
}

#[test]
fn a_batch_is_sealed_taken_and_used_again_beside_a_producer() {
    check(2, || {
        let batches = Batches::new(2, 2);
        let other = batches.seal_and_take();
        let mut taken = produce(&batches.former, &[0, 1, 2]);
        batches.former.seal();
        take(&batches.former, &mut taken);
        taken.extend(other.join().unwrap());
        batches.settle(taken, 3);
    });
}

#[test]
fn a_reservation_in_bulk_straddles_the_cap() {
    check(3, || {
        let batches = Batches::new(2, 4);
        let other = {
            let former = batches.former.clone();
            thread::spawn(move || {
                let mut items = vec![0, 1, 2];
                let mut items = items.drain(..);
                let _added = former.add_many(&mut items, 7);
                assert_eq!(items.len(), 0, "there are batches enough");
            })
        };
        let mut taken = produce(&batches.former, &[3]);
        batches.former.seal();
        take(&batches.former, &mut taken);
        other.join().unwrap();
        batches.settle(taken, 4);
    });
}

/// A cap takes effect with the batches that are opened later, and strands nobody.
#[test]
fn a_cap_changes_while_a_batch_is_open() {
    check(3, || {
        let batches = Batches::new(2, 3);
        let other = batches.produce(&[0, 1]);
        batches.former.set_cap(1);
        let mut taken = produce(&batches.former, &[2]);
        taken.extend(other.join().unwrap());
        batches.former.set_cap(2);
        let mut rest = Vec::new();
        batches.former.seal();
        while take(&batches.former, &mut rest) > 0 {}
        taken.extend(rest);
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
    });
}
