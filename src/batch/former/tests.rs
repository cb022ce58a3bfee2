//! What of the former has to be seen from inside: who stops between ticket and stamp, generations that begin again, leases that are lost.

use std::iter::from_fn;
use std::sync::mpsc::channel;

use super::*;
use crate::batch::word::NO_LABEL;

fn take(former: &Former<u32>) -> Vec<u32> {
    let (mut items, mut labels) = (Vec::new(), Vec::new());
    former.take(&mut items, &mut labels);
    assert!(labels.iter().zip(&items).all(|(label, item)| *label == item + 100));
    items
}

/// A producer stops between its ticket and its stamp.
#[test]
fn a_batch_whose_writer_was_stopped_is_put_aside_and_found_again() {
    for fence in [AsymmetricFence::new(), AsymmetricFence::Both] {
        let mut former = Former::new(3, 4);
        former.fence = fence;
        let former = &former;
        let ((has_ticket, wait_for_ticket), (go_on, wait_to_go_on)) = (channel(), channel());
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let stops = || {
                    has_ticket.send(()).unwrap();
                    wait_to_go_on.recv().unwrap()
                };
                former.reserve(1, None, 101, |slots| slots.fill(&mut from_fn(stops))).made_ready
            });
            wait_for_ticket.recv().unwrap();
            assert_eq!(former.add(0, 100), Ok(Added { is_first: false, made_ready: false }));
            assert!(former.seal(), "a batch that takes no more is ready");
            // Twice: what was put aside is not looked at again.
            assert_eq!((take(former), take(former)), (vec![], vec![]));
            // Others go on meanwhile.
            for item in 2..5 {
                assert!(former.add(item, item + 100).is_ok());
            }
            assert_eq!(take(former), [2, 3, 4]);
            go_on.send(Some(1)).unwrap();
            assert!(writer.join().unwrap(), "the last stamp makes it ready");
        });
        assert_eq!(take(former), [1, 0]);
        assert!(!former.has_aside());
    }
}

/// One by one and in bulk, over the end of a batch.
#[test]
fn each_item_comes_with_its_label_and_no_label_comes_where_nobody_waits() {
    let former = Former::new(70, 8);
    let take = || {
        let (mut items, mut labels) = (Vec::new(), Vec::new());
        former.take(&mut items, &mut labels);
        (items, labels)
    };
    let mut many: Vec<u32> = (0..100).collect();
    assert!(former.add_many(&mut many.drain(..), NO_LABEL).made_ready);
    assert_eq!(take(), ((0..70).collect(), vec![]));
    // Thirty that nobody waits for are in the next one.
    assert!(former.add(100, 7).is_ok() && former.add(101, NO_LABEL).is_ok());
    let mut many: Vec<u32> = (102..142).collect();
    assert!(former.add_many(&mut many.drain(..), 9).made_ready);
    let (items, labels) = take();
    assert_eq!(items, (70..140).collect::<Vec<_>>());
    assert_eq!(labels[..32], [[NO_LABEL; 30].as_slice(), &[7, NO_LABEL]].concat());
    assert_eq!(labels[32..], [9; 38]);
    assert!(former.seal());
    assert_eq!(take(), (vec![140, 141], vec![9, 9]));
}

#[test]
fn generations_begin_again_and_no_old_stamp_is_taken_for_a_new_one() {
    let former = Former::new(2, 2);
    // The one that is free.
    let closed = State::closed(Stamp::NO_GENERATION - 2);
    former.batches[1].state.0.store(closed.word(), Ordering::Relaxed);
    for item in (0..20).step_by(2) {
        assert!(former.add(item, item + 100).is_ok() && former.add(item + 1, item + 101).is_ok());
        assert_eq!(take(&former), [item, item + 1]);
    }
    let generation = State::of(former.batches[1].state.0.load(Ordering::Relaxed)).generation();
    assert!((1..20).contains(&generation), "{generation}");
}

/// A thread whose lease is in use, and the former.
fn with_lease(labels: [u32; 3]) -> Former<u32> {
    let former = Former::new(100, 4);
    let mut item = 0;
    let mut add = |label| {
        assert!(former.add(item, label).is_ok());
        item += 1;
        former.leases.own().is_some_and(|own| own.next().is_some())
    };
    while !add(labels[0]) {}
    // A lease of two is used up, of the next one a part is.
    assert!(!add(labels[1]) && add(labels[2]));
    former
}

#[test]
fn a_batch_does_not_wait_for_slots_that_are_leased() {
    if !AsymmetricFence::new().is_free() {
        return;
    }
    for labels in [[NO_LABEL; 3], [7, 8, 9], [NO_LABEL, 8, NO_LABEL]] {
        let former = with_lease(labels);
        let (mut taken, mut found) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(former.seal());
                assert!(former.take(&mut taken, &mut found) > 0 && !former.has_aside());
            });
        });
        assert!(taken.iter().copied().eq(0..taken.len() as u32), "in their order, without holes: {taken:?}");
        if labels == [NO_LABEL; 3] {
            assert_eq!(found, []);
        } else {
            let (first, last) = found.split_at(taken.len() - 2);
            assert!(first.iter().all(|&label| label == labels[0]) && *last == labels[1..]);
        }
        // The lease is no good any more: what comes is in the next batch.
        let next = taken.len() as u32;
        assert!(former.add(next, NO_LABEL).unwrap().is_first && former.seal());
        taken.clear();
        assert_eq!((former.take(&mut taken, &mut found), taken), (1, vec![next]));
    }
}

#[test]
fn what_is_left_of_a_lease_goes_to_the_thread_that_has_the_number_next() {
    if !AsymmetricFence::new().is_free() {
        return;
    }
    let former = Former::new(4096, 4);
    let mut items = 0..1000;
    // Other tests' threads take numbers, too; so the number need not be the same, and items must come in their order all the same.
    while !items.is_empty() {
        let some: Vec<u32> = items.by_ref().take(37).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| some.into_iter().for_each(|item| assert!(former.add(item, NO_LABEL).is_ok())));
        });
    }
    assert!(former.seal());
    let (mut taken, mut labels) = (Vec::new(), Vec::new());
    assert_eq!(former.take(&mut taken, &mut labels), 1000);
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..1000));
}
