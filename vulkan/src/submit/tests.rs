//! The timeline with a counter and a clock that tests set: what no device can be made to do.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use super::timeline::{Counter, Timeline};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Late,
    NoWaiter,
    Broken,
}

#[derive(Default)]
struct Count {
    value: AtomicU64,
    seconds: AtomicU64,
    broken: AtomicBool,
    destroyed: AtomicBool,
}

/// The device's side is the test's.
#[derive(Clone, Default)]
struct Fake(Arc<Count>);

impl Fake {
    fn reach(&self, value: u64) {
        self.0.value.store(value, Ordering::SeqCst);
    }

    fn pass(&self, seconds: u64) {
        self.0.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Counter for Fake {
    type Error = Lost;

    fn value(&self) -> Result<u64, Lost> {
        assert!(!self.0.destroyed.load(Ordering::SeqCst), "asked after its end");
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(Lost::Broken);
        }
        Ok(self.0.value.load(Ordering::SeqCst))
    }

    fn wait(&self, value: u64, _: Duration) -> Result<bool, Lost> {
        std::thread::sleep(Duration::from_millis(1));
        self.value().map(|found| found >= value)
    }

    fn rest(&self, error: &Lost) -> bool {
        *error == Lost::Broken
    }

    fn destroy(&self) {
        assert!(!self.0.destroyed.swap(true, Ordering::SeqCst), "destroyed twice");
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.0.seconds.load(Ordering::SeqCst))
    }

    fn late(_: Duration) -> Lost {
        Lost::Late
    }

    fn no_waiter(_: std::io::Error) -> Lost {
        Lost::NoWaiter
    }
}

/// A timeline on which nothing may take longer than a minute.
fn timeline() -> (Fake, Arc<Timeline<Fake>>) {
    let fake = Fake::default();
    (fake.clone(), Timeline::new(fake, Duration::from_secs(60)))
}

fn submit(timeline: &Timeline<Fake>) -> u64 {
    let value = timeline.next();
    timeline.submitted(value);
    value
}

/// Counts how often it is woken, and panics at it where told.
#[derive(Default)]
struct Woken {
    times: AtomicUsize,
    panics: bool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "a waker's panic, meant by the test");
    }
}

/// Waits for `value` by a thread that sleeps until it is woken.
fn wait(timeline: &Arc<Timeline<Fake>>, value: u64) -> Result<(), Lost> {
    upbeat::block_on(std::future::poll_fn(|context| timeline.poll(value, context.waker())))
}

#[test]
fn a_long_backlog_that_moves_is_not_late() {
    let (fake, timeline) = timeline();
    for _ in 0..5 {
        submit(&timeline);
    }
    // Each takes 40 seconds: the last one begins long after it was handed over.
    for done in 1..=5 {
        fake.pass(40);
        assert_eq!(timeline.completed(), done - 1);
        assert_eq!(timeline.lost(), None, "submission {done} is under way");
        fake.reach(done);
        assert_eq!(timeline.completed(), done);
    }
    assert_eq!(wait(&timeline, 5), Ok(()));
    assert!(timeline.close());
}

#[test]
fn a_backlog_is_waited_for_in_the_end_as_well() {
    let (fake, timeline) = timeline();
    for _ in 0..3 {
        submit(&timeline);
    }
    let device = fake.clone();
    let works = std::thread::spawn(move || {
        for done in 1..=3 {
            // Time passes only when what was done before is known.
            while Arc::strong_count(&device.0) > 0 && device.0.value.load(Ordering::SeqCst) < done - 1 {}
            std::thread::sleep(Duration::from_millis(100));
            device.pass(40);
            device.reach(done);
        }
    });
    assert!(timeline.close(), "it ends with everything done");
    works.join().unwrap();
    assert!(fake.0.destroyed.load(Ordering::SeqCst));
}

#[test]
fn what_stands_still_for_longer_than_allowed_is_given_up() {
    let (fake, timeline) = timeline();
    submit(&timeline);
    fake.pass(61);
    assert_eq!(wait(&timeline, 1), Err(Lost::Late));
    assert_eq!(wait(&timeline, 1), Err(Lost::Late), "and stays so");
    assert!(!timeline.close(), "it may still be under way");
    assert!(!fake.0.destroyed.load(Ordering::SeqCst));
}

#[test]
fn who_only_asks_learns_that_it_is_late_too() {
    let (fake, timeline) = timeline();
    submit(&timeline);
    fake.pass(61);
    assert_eq!(timeline.completed(), 0);
    assert_eq!(timeline.lost(), Some(Lost::Late));
}

#[test]
fn what_is_done_before_it_is_noted_leaves_no_old_time_behind() {
    let (fake, timeline) = timeline();
    submit(&timeline);
    // The device has done both before the second submission's number is noted, and somebody asks in between.
    let second = timeline.next();
    fake.reach(second);
    assert_eq!(timeline.completed(), second);
    timeline.submitted(second);
    // Much later another one is handed over; it has a minute from then on.
    fake.pass(3600);
    let third = submit(&timeline);
    fake.pass(1);
    assert_eq!(timeline.completed(), second);
    assert_eq!(timeline.lost(), None);
    fake.reach(third);
    assert_eq!(wait(&timeline, third), Ok(()));
    assert!(timeline.close());
}

#[test]
fn a_waker_that_panics_takes_no_other_with_it() {
    let (fake, timeline) = timeline();
    let first = submit(&timeline);
    let bad = Arc::new(Woken { panics: true, ..Woken::default() });
    for _ in 0..2 {
        assert_eq!(timeline.poll(first, &Waker::from(bad.clone())), Poll::Pending);
    }
    let good = Arc::new(Woken::default());
    assert_eq!(timeline.poll(first, &Waker::from(good.clone())), Poll::Pending);
    fake.reach(first);
    assert_eq!(wait(&timeline, first), Ok(()));
    // The waiter lives on.
    let second = submit(&timeline);
    let device = fake.clone();
    let works = std::thread::spawn(move || device.reach(second));
    assert_eq!(wait(&timeline, second), Ok(()));
    works.join().unwrap();
    assert!(timeline.close(), "the waiter's thread ended well");
    assert_eq!((bad.times.load(Ordering::SeqCst), good.times.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn all_who_wait_are_told_of_an_error() {
    let (fake, timeline) = timeline();
    let values: Vec<_> = (0..3).map(|_| submit(&timeline)).collect();
    let threads: Vec<_> = values
        .iter()
        .map(|&value| {
            let timeline = timeline.clone();
            std::thread::spawn(move || wait(&timeline, value))
        })
        .collect();
    fake.0.broken.store(true, Ordering::SeqCst);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Err(Lost::Broken));
    }
    assert!(timeline.close(), "it rests after that error");
}

#[test]
fn a_future_that_was_dropped_and_one_that_moved_to_another_task_hold_up_nobody() {
    let (fake, timeline) = timeline();
    let value = submit(&timeline);
    let (dropped, moved, last) = (Arc::new(Woken::default()), Arc::new(Woken::default()), Woken::default());
    let last = Arc::new(last);
    for waker in [&dropped, &moved, &last] {
        assert_eq!(timeline.poll(value, &Waker::from(waker.clone())), Poll::Pending);
    }
    fake.reach(value);
    assert_eq!(wait(&timeline, value), Ok(()));
    assert!(timeline.close());
    assert_eq!(last.times.load(Ordering::SeqCst), 1, "the last waker is woken");
}

/// Where the one who learns of it may hold a lock that the woken take.
#[test]
fn a_quiet_loss_is_told_on_the_waiters_thread_alone() {
    struct Where(std::sync::mpsc::Sender<std::thread::ThreadId>);
    impl Wake for Where {
        fn wake(self: Arc<Self>) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }
    let (_fake, timeline) = timeline();
    let value = submit(&timeline);
    let (tell, told) = std::sync::mpsc::channel();
    let waker = Waker::from(Arc::new(Where(tell)));
    assert_eq!(timeline.poll(value, &waker), Poll::Pending);
    timeline.lose_quietly(Lost::Broken);
    assert_ne!(told.recv(), Ok(std::thread::current().id()));
    assert_eq!(timeline.poll(value, &waker), Poll::Ready(Err(Lost::Broken)));
    // None is left behind where everything ends just then.
    assert!(timeline.close());
}
