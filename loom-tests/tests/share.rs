//! What nobody has begun of a loop, between its worker, which takes chunks at the front, and a helper, which takes the upper half; and
//! a whole loop against a thief.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{run_stolen_join, set_naps, Naps, Pool, Share};
use upbeat::par;
use upbeat_loom_tests::{check, Datum, Tally};

/// The worker takes chunks of `chunk` until nothing is left, a helper the upper half; each index of `count` is somebody's, once.
fn shared_once(count: u32, chunk: u32) {
    let helped = Arc::new(Tally::new());
    let in_all = helped.clone();
    check(3, move || {
        let share = Arc::new(Share::new(0..count));
        let data: Arc<Vec<Datum>> = Arc::new((0..count).map(|_| Datum::new(0)).collect());
        // An unordered access of the same cell by two threads fails the model.
        let visit = |data: &[Datum], i: u32| data[i as usize].write(data[i as usize].read() + 1);
        let helper = {
            let (share, data) = (share.clone(), data.clone());
            thread::spawn(move || {
                let half = share.take_half().unwrap_or(0..0);
                half.clone().for_each(|i| visit(&data, i));
                half.len()
            })
        };
        let mut mine = 0;
        let mut end = count;
        while let Some(taken) = share.take_front(chunk) {
            assert!(taken.end <= end, "an end never grows");
            end = taken.end;
            mine += taken.items.len();
            taken.items.for_each(|i| visit(&data, i));
        }
        let theirs = helper.join().unwrap();
        assert_eq!(mine + theirs, count as usize);
        assert!(data.iter().all(|datum| datum.read() == 1), "each index once");
        if theirs > 0 {
            helped.hit();
        }
    });
    assert!(in_all.get() > 0, "the model must see the helper get something");
}

#[test]
fn one_index_goes_to_one_of_two() {
    shared_once(1, 1);
}

#[test]
fn each_index_goes_to_one_of_two() {
    shared_once(3, 1);
    shared_once(4, 2);
}

#[test]
fn two_helpers_share_what_the_worker_leaves() {
    check(2, || {
        let share = Arc::new(Share::new(0..4));
        let helpers: Vec<_> = (0..2)
            .map(|_| {
                let share = share.clone();
                thread::spawn(move || share.take_half().map_or(0, |half| half.len()))
            })
            .collect();
        let mut taken = share.take_front(1).map_or(0, |taken| taken.items.len());
        taken += helpers.into_iter().map(|helper| helper.join().unwrap()).sum::<usize>();
        while let Some(rest) = share.take_front(1) {
            taken += rest.items.len();
        }
        assert_eq!(taken, 4);
    });
}

/// The real driver: chunks of one index, on offer from the beginning, against a worker that steals twice.
#[test]
fn a_loop_against_a_thief_runs_each_index_once() {
    set_naps(Naps::Endless);
    let stolen = Arc::new(Tally::new());
    let in_all = stolen.clone();
    check(2, move || {
        let pool = Arc::new(Pool::new(2));
        let data: Arc<Vec<Datum>> = Arc::new((0..3).map(|_| Datum::new(0)).collect());
        let thief = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(1, |worker| (0..2).any(|_| run_stolen_join(worker))))
        };
        pool.enter(0, |_| par::for_each(0..3, |i| data[i].write(data[i].read() + 1)));
        // What the thief did is visible when the loop has returned.
        assert!(data.iter().all(|datum| datum.read() == 1), "each index once");
        if thief.join().unwrap() {
            stolen.hit();
        }
    });
    assert!(in_all.get() > 0, "the model must see the loop stolen from");
}
