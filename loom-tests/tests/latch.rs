//! Latches: set once, waited for by a worker that may park. The frame that holds a latch may go as soon as it is set.
#![cfg(upbeat_loom)]
#![allow(unsafe_code)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::{current, park, Blocking, Latch, Thread};
use upbeat_loom_tests::{check, Datum, Tally};

/// What a join keeps in its frame: the result, and the latch that says it is there.
struct Frame {
    latch: Latch,
    result: Datum,
}

impl Frame {
    /// A frame that its owner frees by [`leave`].
    fn enter() -> *mut Frame {
        Box::into_raw(Box::new(Frame { latch: Latch::new(), result: Datum::new(0) }))
    }
}

/// The owner has seen the latch set: it takes the result and the frame is gone.
fn leave(frame: *mut Frame) {
    // SAFETY: the model makes each frame once and leaves it once.
    let mut frame = unsafe { Box::from_raw(frame) };
    assert_eq!(frame.result.read(), 42, "the waiter sees what the setter wrote");
    frame.latch.retire();
}

/// The thief's part, on a thread of its own: the result, the latch, and nothing of the frame after that.
fn set_elsewhere(frame: *mut Frame, waiter: Thread) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let must_wake = {
            // SAFETY: the owner stays until the latch is set; were it not so, `retire` would tell.
            let frame = unsafe { &*frame };
            frame.latch.set_runner(3);
            frame.result.write(42);
            frame.latch.set()
        };
        if must_wake {
            waiter.unpark();
        }
    })
}

// Faults 3 and 30.
#[test]
fn the_frame_may_go_once_the_latch_is_seen_set() {
    check(3, || {
        let frame = Frame::enter();
        let setter = set_elsewhere(frame, current());
        // SAFETY: this thread frees the frame below.
        let latch = unsafe { &(*frame).latch };
        while !latch.is_set() {
            assert!(matches!(latch.runner(), None | Some(3)));
            thread::yield_now();
        }
        leave(frame);
        setter.join().unwrap();
    });
}

#[test]
fn the_waiter_never_sleeps_with_the_latch_set() {
    check(3, || {
        let frame = Frame::enter();
        let setter = set_elsewhere(frame, current());
        // SAFETY: this thread frees the frame below.
        let latch = unsafe { &(*frame).latch };
        while !latch.is_set() {
            if latch.announce_waiter() {
                park();
            }
        }
        leave(frame);
        setter.join().unwrap();
    });
}

// Fault 29.
#[test]
fn a_stray_token_makes_the_waiter_look_again_and_no_more() {
    check(3, || {
        let frame = Frame::enter();
        let waiter = current();
        let stray = thread::spawn(move || waiter.unpark());
        let setter = set_elsewhere(frame, current());
        // SAFETY: this thread frees the frame below.
        let latch = unsafe { &(*frame).latch };
        while !latch.is_set() {
            if latch.announce_waiter() {
                park();
            }
        }
        leave(frame);
        setter.join().unwrap();
        stray.join().unwrap();
    });
}

#[test]
fn a_blocking_latch_lets_every_waiter_go_and_shows_them_what_came_before() {
    check(3, || {
        let shared = Arc::new((Blocking::new(), Datum::new(0), Tally::new()));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (latch, datum, passed) = &*shared;
                    latch.wait();
                    assert_eq!(datum.read(), 7);
                    passed.hit();
                })
            })
            .collect();
        let (latch, datum, passed) = &*shared;
        datum.write(7);
        latch.set();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(latch.is_set());
        assert_eq!(passed.get(), 2);
    });
}
