//! Spawned futures: one poll at a time, one after the last wake-up, the future dropped once; and handles that are awaited.
//!
//! A future's first poll makes the threads that wake it, so that they race with the rest of that poll.
#![cfg(upbeat_loom)]

use std::future::{poll_fn, Future};
use std::sync::Arc;
use std::task::{Poll, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use upbeat::model::{run_something, set_naps, Naps, Pool};
use upbeat::{block_on, JoinHandle, ShutDown, Worker};
use upbeat_loom_tests::{check, start, CountedDrop, Datum, Tally};

/// What a future tells the model.
#[derive(Clone, Default)]
struct Watch {
    polls: Arc<Tally>,
    dropped: Arc<Tally>,
}

impl Watch {
    /// `poll` with the number of the poll, from 1.
    fn future<T>(
        &self,
        mut poll: impl FnMut(usize, &Waker) -> Poll<T> + Send,
    ) -> impl Future<Output = T> + Send {
        let (polls, dropped) = (self.polls.clone(), CountedDrop(self.dropped.clone()));
        poll_fn(move |context| {
            let _ = &dropped;
            polls.hit();
            poll(polls.get(), context.waker())
        })
    }

    /// The future is gone, once, after `polls` polls.
    fn assert_over(&self, polls: std::ops::RangeInclusive<usize>) {
        assert_eq!(self.dropped.get(), 1, "a future is dropped once");
        assert!(polls.contains(&self.polls.get()), "{} polls", self.polls.get());
    }
}

/// Serves until the task is over.
fn drive<T>(worker: &Worker, handle: JoinHandle<T>) -> std::thread::Result<T> {
    while !handle.is_finished() {
        if !run_something(worker) {
            thread::yield_now();
        }
    }
    handle.join()
}

/// A wake-up during a poll is answered by another poll, which sees what came before the wake-up.
#[test]
fn a_wake_up_during_a_poll_is_answered() {
    check(3, || {
        let pool = Pool::new(1);
        let watch = Watch::default();
        let datum = Arc::new(Datum::new(0));
        pool.enter(0, |worker| {
            let handle = pool.spawn_future(watch.future(move |poll, waker| {
                if poll == 1 {
                    let (waker, datum) = (waker.clone(), datum.clone());
                    thread::spawn(move || {
                        datum.write(7);
                        waker.wake();
                    });
                    return Poll::Pending;
                }
                Poll::Ready(datum.read())
            }));
            assert_eq!(drive(worker, handle).expect("no panic"), 7);
        });
        watch.assert_over(2..=2);
    });
}

/// The second poll, on another worker, sees all that the first one did.
#[test]
fn polls_on_two_workers_follow_each_other() {
    let (handed_over, executions) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let (all_handed_over, all_executions) = (handed_over.clone(), executions.clone());
    check(2, move || {
        let pool = Arc::new(Pool::new(2));
        let watch = Watch::default();
        let trace = Datum::new(0);
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(1, run_something))
        };
        let by = pool.enter(0, |worker| {
            let handle = pool.spawn_future(watch.future(move |poll, waker| {
                if poll == 1 {
                    let waker = waker.clone();
                    thread::spawn(move || waker.wake());
                    trace.write(upbeat::current_worker_index().expect("a worker polls") + 1);
                    return Poll::Pending;
                }
                Poll::Ready((trace.read() - 1, upbeat::current_worker_index()))
            }));
            drive(worker, handle).expect("no panic")
        });
        other.join().unwrap();
        watch.assert_over(2..=2);
        executions.hit();
        if by.1 != Some(by.0) {
            handed_over.hit();
        }
    });
    assert!((1..all_executions.get()).contains(&all_handed_over.get()), "the model must see both");
}

/// However two wake-ups fall, there is a poll after both, and no more polls than wake-ups.
#[test]
fn two_who_wake_at_once_leave_one_ticket() {
    check(3, || {
        let pool = Pool::new(1);
        let watch = Watch::default();
        let woken = Arc::new(AtomicUsize::new(0));
        pool.enter(0, |worker| {
            let handle = pool.spawn_future(watch.future(move |poll, waker| {
                if poll == 1 {
                    for _ in 0..2 {
                        let (waker, woken) = (waker.clone(), woken.clone());
                        thread::spawn(move || {
                            woken.fetch_add(1, Relaxed);
                            waker.wake();
                        });
                    }
                }
                if woken.load(Relaxed) == 2 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }));
            drive(worker, handle).expect("no panic");
            while run_something(worker) {}
        });
        watch.assert_over(1..=3);
    });
}

/// A wake-up that comes while the last poll ends, or after it, does nothing.
#[test]
fn a_wake_up_after_the_end_does_nothing() {
    check(3, || {
        let pool = Pool::new(1);
        let watch = Watch::default();
        let waking = Arc::new(loom::sync::Mutex::new(None));
        let spawned = waking.clone();
        pool.enter(0, |worker| {
            let handle = pool.spawn_future(watch.future(move |_, waker| {
                let waker = waker.clone();
                *spawned.lock().unwrap() = Some(thread::spawn(move || waker.wake()));
                Poll::Ready(())
            }));
            drive(worker, handle).expect("no panic");
            let waking = waking.lock().unwrap().take().expect("it was polled");
            waking.join().unwrap();
            assert!(!run_something(worker), "no ticket is left");
        });
        watch.assert_over(1..=1);
    });
}

/// The handle is dropped while the future ends; nobody is left to ask for the result.
#[test]
fn a_handle_dropped_while_its_future_ends_leaves_the_result_dropped_once() {
    check(3, || {
        let pool = Arc::new(Pool::new(2));
        let (watch, result) = (Watch::default(), Arc::new(Tally::new()));
        let made = result.clone();
        let handle = pool.spawn_future(watch.future(move |_, _| Poll::Ready(CountedDrop(made.clone()))));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(1, |worker| assert!(run_something(worker))))
        };
        drop(handle);
        worker.join().unwrap();
        watch.assert_over(1..=1);
        assert_eq!(result.get(), 1);
    });
}

/// The end of the runtime races with polls and wake-ups: the future is dropped once, and its handle told.
#[test]
fn a_future_is_withdrawn_before_during_or_after_a_poll() {
    let (ended, executions) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
    let (all_ended, all_executions) = (ended.clone(), executions.clone());
    check(3, move || {
        let pool = Arc::new(Pool::new(1));
        let watch = Watch::default();
        let trace = Datum::new(0);
        let handle = pool.spawn_future(watch.future(move |poll, waker| {
            trace.write(poll);
            if poll == 1 {
                waker.wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.enter(0, |worker| {
                    run_something(worker);
                    run_something(worker);
                });
            })
        };
        pool.withdraw_futures();
        worker.join().unwrap();
        assert!(handle.is_finished());
        executions.hit();
        match handle.join() {
            Ok(()) => ended.hit(),
            Err(payload) => assert!(payload.is::<ShutDown>()),
        }
        watch.assert_over(0..=2);
    });
    assert!((1..all_executions.get()).contains(&all_ended.get()), "the model must see both");
}

/// As above, of a future that waits: who withdraws it sees all that its poll did.
#[test]
fn a_future_that_waits_is_withdrawn_after_its_poll() {
    check(3, move || {
        struct Traced(Datum);
        impl Drop for Traced {
            fn drop(&mut self) {
                assert!(self.0.read() <= 1);
            }
        }
        let pool = Arc::new(Pool::new(1));
        let watch = Watch::default();
        let traced = Traced(Datum::new(0));
        let handle = pool.spawn_future(watch.future(move |poll, _| {
            traced.0.write(poll);
            Poll::<()>::Pending
        }));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(0, run_something))
        };
        pool.withdraw_futures();
        worker.join().unwrap();
        assert!(handle.join().is_err_and(|payload| payload.is::<ShutDown>()));
        watch.assert_over(0..=1);
    });
}

/// The last worker to leave does it.
#[test]
fn a_runtime_that_ends_tells_the_handles_of_waiting_futures() {
    set_naps(Naps::Endless);
    check(2, || {
        let pool = Arc::new(Pool::new(1));
        let worker = start(&pool, 0);
        let watch = Watch::default();
        let handle = pool.spawn_future(watch.future(|_, _| Poll::<()>::Pending));
        pool.terminate();
        assert!(handle.join().is_err_and(|payload| payload.is::<ShutDown>()));
        worker.join().unwrap();
        watch.assert_over(1..=1);
    });
}

/// A thread outside that awaits a handle is woken, and sees what the task did.
#[test]
fn who_awaits_a_handle_outside_is_woken() {
    check(3, || {
        let pool = Arc::new(Pool::new(1));
        let datum = Arc::new(Datum::new(0));
        let task = datum.clone();
        let handle = pool.spawn(move || task.write(3));
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(0, |worker| assert!(run_something(worker))))
        };
        block_on(handle).expect("no panic");
        assert_eq!(datum.read(), 3);
        worker.join().unwrap();
    });
}

/// A worker that blocks on a future runs what it waits for, or another one does.
#[test]
fn a_worker_that_blocks_on_a_future_runs_it() {
    set_naps(Naps::Over);
    check(2, || {
        let pool = Arc::new(Pool::new(2));
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.enter(1, run_something))
        };
        pool.enter(0, |_| {
            let inner = pool.spawn(|| 4);
            let mut inner = Box::pin(inner);
            let future = poll_fn(move |context| inner.as_mut().poll(context));
            let got = block_on(pool.spawn_future(future)).expect("no panic").expect("no panic");
            assert_eq!(got, 4);
        });
        other.join().unwrap();
    });
}
