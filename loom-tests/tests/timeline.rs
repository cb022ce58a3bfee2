//! The end of submitted work on a device (`vulkan/src/submit/README.md`): wake-ups, errors, and the end of the device, which is a counter here.
//!
//! The protocol is compiled into this file with loom's locks and threads: so the models need neither Vulkan nor the crate's other parts.
#![cfg(upbeat_loom)]
#![allow(dead_code, unreachable_pub)]

#[path = "../../vulkan/src/submit/timeline.rs"]
mod timeline;

/// What the protocol synchronises with.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(super) use loom::thread::{self, JoinHandle};
}

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use timeline::{Counter, Timeline};
use upbeat_loom_tests::{check, Tally};

#[derive(Default)]
struct Device {
    value: u64,
    broken: bool,
    destroyed: bool,
}

/// A device that works when the model says so. Waits for it have no end but the work's.
#[derive(Clone)]
struct Fake(Arc<(Mutex<Device>, Condvar)>);

impl Fake {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(Device::default()), Condvar::new())))
    }

    fn change(&self, change: impl FnOnce(&mut Device)) {
        change(&mut self.0 .0.lock().unwrap());
        self.0 .1.notify_all();
    }

    fn work(&self, value: u64) {
        self.change(|device| device.value = value);
    }
}

impl Counter for Fake {
    type Error = &'static str;

    fn value(&self) -> Result<u64, Self::Error> {
        let device = self.0 .0.lock().unwrap();
        assert!(!device.destroyed, "asked after its end");
        if device.broken {
            return Err("broken");
        }
        Ok(device.value)
    }

    fn wait(&self, value: u64, _: Duration) -> Result<bool, Self::Error> {
        let mut device = self.0 .0.lock().unwrap();
        while device.value < value && !device.broken {
            assert!(!device.destroyed, "waited for after its end");
            device = self.0 .1.wait(device).unwrap();
        }
        if device.broken {
            return Err("broken");
        }
        Ok(true)
    }

    fn rest(&self, _: &Self::Error) -> bool {
        true
    }

    fn destroy(&self) {
        self.change(|device| assert!(!std::mem::replace(&mut device.destroyed, true), "destroyed twice"));
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn late(_: Duration) -> Self::Error {
        "late"
    }

    fn no_waiter(_: std::io::Error) -> Self::Error {
        "no waiter"
    }
}

fn timeline(submissions: u64) -> (Fake, Arc<Timeline<Fake>>) {
    let fake = Fake::new();
    let timeline = Timeline::new(fake.clone(), Duration::from_secs(1));
    for value in 1..=submissions {
        timeline.submitted(value);
    }
    (fake, timeline)
}

/// A flag that its thread waits for.
struct Alarm(Mutex<bool>, Condvar);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }
}

/// Waits as an executor does: polls, and sleeps until it is woken. A wake-up that is lost is a deadlock, which loom reports.
fn wait(timeline: &Arc<Timeline<Fake>>, value: u64) -> Result<(), &'static str> {
    let alarm = Arc::new(Alarm(Mutex::new(false), Condvar::new()));
    let waker = Waker::from(alarm.clone());
    loop {
        if let Poll::Ready(outcome) = timeline.poll(value, &waker) {
            return outcome;
        }
        let mut woken = alarm.0.lock().unwrap();
        while !*woken {
            woken = alarm.1.wait(woken).unwrap();
        }
        *woken = false;
    }
}

#[test]
fn who_waits_is_woken_when_the_work_is_done() {
    check(2, || {
        let (fake, timeline) = timeline(2);
        let waits = {
            let timeline = timeline.clone();
            thread::spawn(move || assert_eq!(wait(&timeline, 2), Ok(())))
        };
        fake.work(1);
        fake.work(2);
        waits.join().unwrap();
        assert!(timeline.close());
    });
}

#[test]
fn a_waiter_that_had_nothing_to_do_is_told_of_who_comes_next() {
    check(2, || {
        let (fake, timeline) = timeline(1);
        fake.work(1);
        assert_eq!(wait(&timeline, 1), Ok(()));
        timeline.submitted(2);
        let works = thread::spawn(move || fake.work(2));
        assert_eq!(wait(&timeline, 2), Ok(()));
        works.join().unwrap();
        assert!(timeline.close());
    });
}

#[test]
fn two_wait_for_different_ends_and_somebody_else_learns_of_them_first() {
    check(1, || {
        let (fake, timeline) = timeline(2);
        let waits = {
            let timeline = timeline.clone();
            thread::spawn(move || assert_eq!(wait(&timeline, 1), Ok(())))
        };
        fake.work(2);
        timeline.completed();
        assert_eq!(wait(&timeline, 2), Ok(()));
        waits.join().unwrap();
        assert!(timeline.close());
    });
}

#[test]
fn all_who_wait_are_told_of_an_error() {
    check(1, || {
        let (fake, timeline) = timeline(2);
        let waits = {
            let timeline = timeline.clone();
            thread::spawn(move || assert_eq!(wait(&timeline, 1), Err("broken")))
        };
        fake.change(|device| device.broken = true);
        assert_eq!(wait(&timeline, 2), Err("broken"));
        waits.join().unwrap();
        assert!(timeline.close());
    });
}

#[test]
fn the_device_may_end_while_somebody_waits_and_is_not_asked_after() {
    check(2, || {
        let (fake, timeline) = timeline(1);
        let waits = {
            let timeline = timeline.clone();
            thread::spawn(move || {
                assert_eq!(wait(&timeline, 1), Ok(()));
                // Asked after the end, or before.
                assert_eq!(timeline.completed(), 1);
            })
        };
        fake.work(1);
        assert!(timeline.close());
        waits.join().unwrap();
    });
}

/// Ends the device where it is woken, as the last buffer of a task that is dropped does.
struct Ends {
    timeline: Arc<Timeline<Fake>>,
    times: Arc<Tally>,
    told: Arc<Alarm>,
}

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        self.times.hit();
        assert!(self.timeline.close());
        self.told.clone().wake();
    }
}

fn the_waiter_ends_the_device(broken: bool) {
    check(2, move || {
        let (fake, timeline) = timeline(1);
        let (times, told) = (Arc::new(Tally::new()), Arc::new(Alarm(Mutex::new(false), Condvar::new())));
        let ends = Ends { timeline: timeline.clone(), times: times.clone(), told: told.clone() };
        assert_eq!(timeline.poll(1, &Waker::from(Arc::new(ends))), Poll::Pending);
        fake.change(|device| (device.value, device.broken) = (1, broken));
        let mut ended = told.0.lock().unwrap();
        while !*ended {
            ended = told.1.wait(ended).unwrap();
        }
        drop(ended);
        assert_eq!((times.get(), timeline.completed()), (1, u64::from(!broken)));
    });
}

#[test]
fn the_waiter_may_end_the_device_itself() {
    the_waiter_ends_the_device(false);
}

#[test]
fn the_waiter_may_end_a_device_that_is_lost() {
    the_waiter_ends_the_device(true);
}

#[test]
fn what_is_done_before_its_number_is_noted_is_done() {
    check(2, || {
        let (fake, timeline) = timeline(1);
        let asks = {
            let timeline = timeline.clone();
            thread::spawn(move || assert_eq!(wait(&timeline, 1), Ok(())))
        };
        // The device is faster than the note.
        fake.work(2);
        timeline.submitted(2);
        asks.join().unwrap();
        assert_eq!(wait(&timeline, 2), Ok(()));
        assert!(timeline.close());
    });
}

/// A task that runs where it is woken, and waits there for another end.
struct Waits {
    timeline: Arc<Timeline<Fake>>,
    told: Arc<Alarm>,
}

/// Waits as `block_on` of the crate does, on whichever thread.
fn wait_anywhere(timeline: &Arc<Timeline<Fake>>, value: u64) -> Result<(), &'static str> {
    if !timeline.is_waiter() {
        return wait(timeline, value);
    }
    loop {
        if let Poll::Ready(outcome) = timeline.poll(value, Waker::noop()) {
            return outcome;
        }
        timeline.wait_as_waiter();
    }
}

impl Wake for Waits {
    fn wake(self: Arc<Self>) {
        let outcome = wait_anywhere(&self.timeline, 2);
        assert!(matches!(outcome, Ok(()) | Err("broken")));
        self.told.clone().wake();
    }
}

fn a_task_waits_where_it_is_woken(broken: bool) {
    check(2, move || {
        let (fake, timeline) = timeline(2);
        let told = Arc::new(Alarm(Mutex::new(false), Condvar::new()));
        let waits = Waits { timeline: timeline.clone(), told: told.clone() };
        assert_eq!(timeline.poll(1, &Waker::from(Arc::new(waits))), Poll::Pending);
        let works = thread::spawn(move || {
            fake.work(1);
            fake.change(|device| (device.value, device.broken) = (2, broken));
        });
        let mut ended = told.0.lock().unwrap();
        while !*ended {
            ended = told.1.wait(ended).unwrap();
        }
        drop(ended);
        works.join().unwrap();
        assert!(timeline.close());
    });
}

#[test]
fn who_waits_on_the_waiters_thread_is_not_forgotten() {
    a_task_waits_where_it_is_woken(false);
}

#[test]
fn who_waits_on_the_waiters_thread_is_told_of_an_error() {
    a_task_waits_where_it_is_woken(true);
}

#[test]
fn no_more_are_under_way_than_may_be() {
    check(2, || {
        let (fake, timeline) = timeline(0);
        // The queue, whose lock is held while a submission is handed over, and the highest number of those under way.
        let queue = Arc::new(Mutex::new(0));
        let submit = {
            let (fake, timeline, queue) = (fake.clone(), timeline.clone(), queue.clone());
            move || loop {
                let before = {
                    let mut most = queue.lock().unwrap();
                    let before = timeline.before_next(1);
                    if before <= timeline.known() {
                        let next = timeline.next();
                        let under_way = next - fake.0 .0.lock().unwrap().value;
                        *most = u64::max(*most, under_way);
                        timeline.submitted(next);
                        return;
                    }
                    before
                };
                assert_eq!(wait(&timeline, before), Ok(()));
            }
        };
        let other = thread::spawn(submit.clone());
        let device = fake.clone();
        let works = thread::spawn(move || device.work(1));
        submit();
        other.join().unwrap();
        works.join().unwrap();
        fake.work(2);
        assert!(timeline.close());
        assert_eq!(*queue.lock().unwrap(), 1);
    });
}

/// Who submits under a lock of his own finds the device lost and wakes nobody; the waiter does, though everything ends at once.
#[test]
fn a_loss_that_wakes_nobody_is_told_by_the_waiter() {
    check(2, || {
        let (fake, timeline) = timeline(1);
        let waits = {
            let timeline = timeline.clone();
            thread::spawn(move || assert!(wait(&timeline, 1).is_err()))
        };
        fake.change(|device| device.broken = true);
        timeline.lose_quietly("lost");
        timeline.close();
        waits.join().unwrap();
    });
}
