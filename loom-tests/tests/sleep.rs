//! Going to sleep against publishing, turning busy, and leaving the watcher's seat. A worker that sleeps for ever is a deadlock, which loom
//! reports. Work is a relaxed counter, so that only the protocol's own fences can make it visible.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use upbeat::model::{current, set_naps, Naps, Sleep, Woken};
use upbeat_loom_tests::{check, Datum, Tally};

struct Place {
    sleep: Sleep,
    work: AtomicUsize,
    done: Tally,
}

impl Place {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { sleep: Sleep::new(workers), work: AtomicUsize::new(0), done: Tally::new() })
    }

    fn publish(&self) {
        self.work.fetch_add(1, Relaxed);
        self.sleep.wake_one();
    }

    fn take(&self) -> bool {
        self.work.fetch_update(Relaxed, Relaxed, |work| work.checked_sub(1)).is_ok()
    }

    /// A worker: takes work until `all` of it is done, by whomever; who does the last of it sends all home.
    fn serve(&self, index: usize, all: usize) {
        self.sleep.register(index, current());
        self.sleep.take_seat(index);
        loop {
            while self.take() {
                self.done.hit();
                if self.done.get() == all {
                    self.sleep.terminate();
                }
            }
            if self.sleep.is_terminating() {
                return;
            }
            self.sleep.rest(index, None, || self.work.load(Relaxed) > 0);
        }
    }
}

fn worker(place: &Arc<Place>, index: usize, all: usize) -> thread::JoinHandle<()> {
    let place = place.clone();
    thread::spawn(move || place.serve(index, all))
}

// Fault 28.
#[test]
fn nobody_sleeps_through_work_that_was_published() {
    check(3, || {
        let place = Place::new(1);
        let sleeper = worker(&place, 0, 1);
        place.publish();
        sleeper.join().unwrap();
        assert_eq!(place.done.get(), 1);
    });
}

// Fault 28. A group without the sleeper is as good as none.
#[test]
fn nobody_sleeps_through_work_that_was_published_for_a_group() {
    for members in [&[0][..], &[]] {
        check(3, move || {
            let place = Place::new(1);
            let group = place.sleep.group(members);
            let sleeper = worker(&place, 0, 1);
            place.work.fetch_add(1, Relaxed);
            place.sleep.wake_one_of(&group);
            sleeper.join().unwrap();
            assert_eq!(place.done.get(), 1);
        });
    }
}

// Fault 28.
#[test]
fn two_tasks_and_two_sleepers_leave_nothing_undone() {
    check(1, || {
        let place = Place::new(2);
        let sleepers = [worker(&place, 0, 2), worker(&place, 1, 2)];
        place.publish();
        place.publish();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert_eq!(place.done.get(), 2);
    });
}

/// A worker that has its seat rests until there is something to watch, and watches.
fn become_watcher(sleep: &Sleep, index: usize) {
    while !(sleep.others_awake(index) && sleep.try_watch(index)) {
        sleep.rest(index, None, || sleep.needs_watcher(index));
    }
}

/// The thread of worker 1, which has its seat from the start.
fn second(place: &Arc<Place>, f: impl FnOnce(&Sleep) + 'static) -> thread::JoinHandle<()> {
    let place = place.clone();
    assert!(place.sleep.try_claim(1));
    place.sleep.begin_hunger();
    thread::spawn(move || {
        place.sleep.register(1, current());
        f(&place.sleep);
    })
}

#[test]
fn a_watcher_that_leaves_sees_who_turns_busy() {
    check(3, || {
        let place = Place::new(2);
        let watcher = second(&place, |sleep| {
            assert!(sleep.try_watch(1));
            // Nobody was busy, so it leaves; and must come back for the caller who enrols meanwhile.
            sleep.stop_watching(1);
            become_watcher(sleep, 1);
        });
        assert_eq!(place.sleep.claim_for_guest(None), Some(0));
        if !place.sleep.is_watched() {
            place.sleep.wake_watcher();
        }
        watcher.join().unwrap();
        assert!(!place.sleep.needs_watcher(0));
    });
}

#[test]
fn who_leaves_the_watch_to_work_passes_it_on() {
    check(3, || {
        let place = Place::new(2);
        assert!(place.sleep.try_claim(0) && place.sleep.try_watch(0));
        let other = second(&place, |sleep| become_watcher(sleep, 1));
        place.sleep.stop_watching(0);
        place.sleep.enter_active(0, false);
        other.join().unwrap();
        assert!(!place.sleep.needs_watcher(0));
    });
}

#[test]
fn only_one_watches() {
    check(3, || {
        let place = Place::new(2);
        let other = {
            let place = place.clone();
            thread::spawn(move || place.sleep.try_watch(1))
        };
        let mine = place.sleep.try_watch(0);
        assert_ne!(mine, other.join().unwrap());
    });
}

/// A job that a busy worker pushed to its own queue without a fence, and cannot run because it is blocked, against a worker that leaves
/// the watch to sleep for good. That one is woken, or sees who is busy and watches on.
#[test]
fn a_job_pushed_without_a_fence_is_seen_by_who_falls_asleep() {
    set_naps(Naps::Over);
    check(3, || {
        let place = Place::new(2);
        let other = {
            let jobs = place.clone();
            second(&place, move |sleep| {
                assert!(sleep.try_watch(1));
                // Nobody was busy, so it leaves.
                sleep.stop_watching(1);
                let has_work = || jobs.work.load(Relaxed) > 0;
                while !jobs.take() {
                    if sleep.is_watcher(1) || sleep.others_awake(1) && sleep.try_watch(1) {
                        sleep.rest(1, Some(std::time::Duration::from_micros(1)), has_work);
                    } else {
                        sleep.rest(1, None, || has_work() || sleep.needs_watcher(1));
                    }
                }
            })
        };
        assert!(place.sleep.try_claim(0));
        place.sleep.enter_active(0, true);
        place.work.fetch_add(1, Relaxed);
        place.sleep.wake_if_seen();
        other.join().unwrap();
    });
}

/// What a seat's holder owns is used by one at a time: a caller that comes while the thread goes to sleep, and the thread itself.
#[test]
fn a_seat_has_one_holder_and_passes_on_what_that_one_did() {
    check(3, || {
        let place = Place::new(1);
        let datum = Arc::new(Datum::new(0));
        assert!(place.sleep.try_claim(0));
        let thread = {
            let (place, datum) = (place.clone(), datum.clone());
            thread::spawn(move || {
                place.sleep.register(0, current());
                place.sleep.begin_hunger();
                datum.update(|value| value + 1);
                place.sleep.rest(0, None, || false);
                datum.update(|value| value + 1);
            })
        };
        let mut guests = 0;
        while guests < 1 {
            if place.sleep.claim_for_guest(None).is_some() {
                datum.update(|value| value + 1);
                guests += 1;
                place.sleep.release(0);
            } else {
                thread::yield_now();
            }
        }
        while !place.sleep.wake_one() {
            thread::yield_now();
        }
        thread.join().unwrap();
        assert_eq!(datum.read(), 3);
    });
}

/// The same when the thread's nap is over before anybody wakes it: neither side has a fence in between.
#[test]
fn a_thread_that_wakes_by_itself_sees_what_a_guest_did() {
    set_naps(Naps::Over);
    check(3, || {
        let place = Place::new(1);
        let datum = Arc::new(Datum::new(0));
        let thread = {
            let (place, datum) = (place.clone(), datum.clone());
            thread::spawn(move || {
                place.sleep.register(0, current());
                place.sleep.take_seat(0);
                datum.update(|value| value + 1);
                if place.sleep.rest(0, Some(std::time::Duration::from_micros(1)), || false) == Woken::ByItself
                {
                    datum.update(|value| value + 1);
                }
            })
        };
        if place.sleep.claim_for_guest(None).is_some() {
            datum.update(|value| value + 1);
            place.sleep.release(0);
            place.sleep.wake_one();
        }
        thread.join().unwrap();
    });
}

/// Who wakes the thread acquires with its claim what a guest has just done, and the grant passes that on to a thread which finds it
/// before it parks: nothing else orders the two, for the waker's fence came before the claim.
#[test]
fn a_grant_passes_on_what_a_guest_did_just_before_it() {
    check(3, || {
        let place = Place::new(1);
        let datum = Arc::new(Datum::new(0));
        let thread = {
            let (place, datum) = (place.clone(), datum.clone());
            assert!(place.sleep.try_claim(0));
            place.sleep.begin_hunger();
            thread::spawn(move || {
                place.sleep.register(0, current());
                place.sleep.rest(0, None, || false);
                datum.update(|value| value + 1);
            })
        };
        let guest = {
            let (place, datum) = (place.clone(), datum.clone());
            thread::spawn(move || {
                let enrolled = place.sleep.claim_for_guest(None).is_some();
                if enrolled {
                    datum.update(|value| value + 1);
                    place.sleep.release(0);
                }
                usize::from(enrolled)
            })
        };
        thread::yield_now();
        let woken = place.sleep.wake_one();
        let guests = guest.join().unwrap();
        while !woken && !place.sleep.wake_one() {
            thread::yield_now();
        }
        thread.join().unwrap();
        assert_eq!(datum.read(), guests + 1);
    });
}

/// Fault 32: the caller finds no free seat, hands over, and the guest that had it leaves.
#[test]
fn work_that_came_while_no_seat_was_free_is_found_by_who_frees_one() {
    check(3, || {
        let place = Place::new(1);
        assert_eq!(place.sleep.claim_for_guest(None), Some(0));
        let thread = worker(&place, 0, 1);
        let publisher = {
            let place = place.clone();
            thread::spawn(move || place.publish())
        };
        place.sleep.release(0);
        if place.work.load(Relaxed) > 0 {
            place.sleep.wake_one();
        }
        publisher.join().unwrap();
        thread.join().unwrap();
        assert_eq!(place.done.get(), 1);
    });
}

#[test]
fn a_sleeper_returns_only_when_it_was_meant() {
    check(3, || {
        let place = Place::new(2);
        let sleeper = second(&place, |sleep| {
            // A token of an earlier wake-up, as a latch may leave it.
            sleep.unpark(1);
            assert_eq!(sleep.rest(1, None, || false), Woken::ByOthers);
            assert!(!sleep.try_claim(1), "it has its seat");
        });
        assert!(place.sleep.try_claim(0));
        while !place.sleep.wake_one() {
            thread::yield_now();
        }
        sleeper.join().unwrap();
    });
}

#[test]
fn termination_reaches_a_worker_on_its_way_to_sleep() {
    check(3, || {
        let place = Place::new(1);
        let sleeper = worker(&place, 0, 1);
        place.sleep.terminate();
        sleeper.join().unwrap();
    });
}

/// The runtime is dropped by a caller that holds a seat: its thread leaves once the caller has.
#[test]
fn termination_waits_for_a_guest() {
    check(3, || {
        let place = Place::new(1);
        assert_eq!(place.sleep.claim_for_guest(None), Some(0));
        let thread = worker(&place, 0, 1);
        place.sleep.terminate();
        place.sleep.release(0);
        thread.join().unwrap();
    });
}
