//! Going to sleep against publishing, turning busy, and leaving the watcher's seat. A worker that sleeps for ever is a deadlock, which loom
//! reports. Work is a relaxed counter, so that only the protocol's own fences can make it visible.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use upbeat::model::{current, Sleep, Woken};
use upbeat_loom_tests::{check, Tally};

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
            self.sleep.park(index, None, || self.work.load(Relaxed) > 0);
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

/// Sleeps until there is something to watch, and takes the seat.
fn become_watcher(sleep: &Sleep, index: usize) {
    while !(sleep.is_active() && sleep.try_watch()) {
        sleep.park(index, None, || sleep.needs_watcher());
    }
}

#[test]
fn a_watcher_that_leaves_its_seat_sees_who_turns_busy() {
    check(3, || {
        let place = Place::new(2);
        let watcher = {
            let place = place.clone();
            thread::spawn(move || {
                place.sleep.register(0, current());
                assert!(place.sleep.try_watch());
                // Nobody was busy, so it leaves; and must come back for the one who turns busy meanwhile.
                place.sleep.stop_watching();
                become_watcher(&place.sleep, 0);
            })
        };
        place.sleep.enter_active();
        watcher.join().unwrap();
        assert!(!place.sleep.needs_watcher());
    });
}

#[test]
fn who_leaves_the_seat_to_work_passes_it_on() {
    check(3, || {
        let place = Place::new(2);
        place.sleep.enter_active();
        assert!(place.sleep.try_watch());
        let other = {
            let place = place.clone();
            thread::spawn(move || {
                place.sleep.register(0, current());
                become_watcher(&place.sleep, 0);
            })
        };
        place.sleep.stop_watching();
        place.sleep.enter_active();
        other.join().unwrap();
        assert!(!place.sleep.needs_watcher());
    });
}

#[test]
fn two_who_turn_busy_at_once_are_watched() {
    check(2, || {
        let place = Place::new(3);
        let idle = {
            let place = place.clone();
            thread::spawn(move || {
                place.sleep.register(0, current());
                become_watcher(&place.sleep, 0);
            })
        };
        let other = {
            let place = place.clone();
            thread::spawn(move || place.sleep.enter_active())
        };
        place.sleep.enter_active();
        other.join().unwrap();
        idle.join().unwrap();
    });
}

#[test]
fn only_one_takes_the_seat() {
    check(3, || {
        let place = Place::new(2);
        let other = {
            let place = place.clone();
            thread::spawn(move || place.sleep.try_watch())
        };
        let mine = place.sleep.try_watch();
        assert_ne!(mine, other.join().unwrap());
    });
}

#[test]
fn a_sleeper_returns_only_when_it_was_meant() {
    check(3, || {
        let place = Place::new(1);
        let sleeper = {
            let place = place.clone();
            thread::spawn(move || {
                place.sleep.register(0, current());
                // A token of an earlier wake-up, as a latch may leave it.
                place.sleep.unpark(0);
                let woken = place.sleep.park(0, None, || false);
                (woken, place.sleep.has_sleepers())
            })
        };
        let woke = loop {
            if place.sleep.wake_one() {
                break true;
            }
            thread::yield_now();
        };
        let (woken, listed) = sleeper.join().unwrap();
        assert!(woke && woken == Woken::Slept && !listed);
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
