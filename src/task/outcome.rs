//! How a spawned task's end reaches its handle: the result, who waits for it, and what becomes of a result that nobody takes.
//!
//! Closures (`spawn.rs`) and futures (`future.rs`) complete in the same way. Blocked threads wait on the latch; a handle that is
//! polled as a future leaves its waker. Models: `loom-tests/tests/spawned.rs`, `loom-tests/tests/future.rs`.

use std::mem::replace;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::cancel::Cancelled;
use super::latch::Blocking;
use super::unwind::{catch, Payload};
use crate::error::ShutDown;
use crate::runtime::registry::Registry;
use crate::sync::{left_out, lock, Mutex};

/// Where the result is, or what shall become of it.
enum Outcome<T> {
    /// The task has not ended; whom to wake when it does.
    Pending(Option<Waker>),
    /// Nobody will ask.
    Detached,
    Ready(std::thread::Result<T>),
    Delivered,
}

/// The end of a task, shared by the task and its handle.
pub(crate) struct Completion<T> {
    outcome: Mutex<Outcome<T>>,
    done: Blocking,
    registry: Arc<Registry>,
    /// The task's type, for messages.
    name: &'static str,
}

impl<T> Completion<T> {
    pub(crate) fn new(registry: &Arc<Registry>, name: &'static str) -> Self {
        Self {
            outcome: Mutex::new(Outcome::Pending(None)),
            done: Blocking::new(),
            registry: registry.clone(),
            name,
        }
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Set once the result is there.
    pub(crate) fn done(&self) -> &Blocking {
        &self.done
    }

    /// The task's end: its result goes to the handle, a panic that nobody will ask about to the runtime's handler.
    pub(crate) fn complete(&self, result: std::thread::Result<T>) {
        match self.deliver(result) {
            Some(Err(payload)) => self.unhandled(payload),
            Some(Ok(value)) => self.drop_unclaimed(value),
            None => {}
        }
    }

    /// Hands the result over and wakes who waits for it; gives it back when nobody will.
    fn deliver(&self, result: std::thread::Result<T>) -> Option<std::thread::Result<T>> {
        let waker = {
            let mut outcome = lock(&self.outcome);
            match replace(&mut *outcome, Outcome::Delivered) {
                Outcome::Pending(waker) => {
                    *outcome = Outcome::Ready(result);
                    waker
                }
                Outcome::Detached => return Some(result),
                Outcome::Ready(_) | Outcome::Delivered => unreachable!("a task ends once"),
            }
        };
        self.done.set();
        if let Some(waker) = waker.filter(|_| !left_out!("handle_wakes")) {
            // Another executor's code: its panic is nobody's who waits here.
            if let Err(payload) = catch(move || waker.wake()) {
                self.unhandled(payload);
            }
        }
        None
    }

    /// A panic that nobody will ask about goes to the runtime's handler. To be withdrawn is not a panic.
    pub(crate) fn unhandled(&self, payload: Payload) {
        if payload.is::<Cancelled>() || payload.is::<ShutDown>() {
            return;
        }
        self.registry.unhandled_panic(self.name, payload);
    }

    /// Drops a result that nobody takes. A destructor that panics is the task's panic, whoever runs it.
    fn drop_unclaimed(&self, value: T) {
        if let Err(payload) = catch(move || drop(value)) {
            self.unhandled(payload);
        }
    }

    /// The result, if it is there; else `context`'s waker is woken when it comes, and no other one.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<std::thread::Result<T>> {
        // Cloned, and the old one dropped, outside the lock: both may run anybody's code.
        let waker = context.waker().clone();
        let _replaced = {
            let mut outcome = lock(&self.outcome);
            match replace(&mut *outcome, Outcome::Delivered) {
                Outcome::Ready(result) => return Poll::Ready(result),
                Outcome::Pending(old) => {
                    *outcome = Outcome::Pending(Some(waker));
                    old
                }
                Outcome::Detached | Outcome::Delivered => unreachable!("the handle has not been used up"),
            }
        };
        Poll::Pending
    }

    /// The result, after `done` was seen set.
    pub(crate) fn take_result(&self) -> std::thread::Result<T> {
        match replace(&mut *lock(&self.outcome), Outcome::Delivered) {
            Outcome::Ready(result) => result,
            _ => unreachable!("the result is there before the latch is set"),
        }
    }

    /// Nobody will ask for the result.
    pub(crate) fn detach(&self) {
        let before = {
            let mut outcome = lock(&self.outcome);
            let before = replace(&mut *outcome, Outcome::Delivered);
            if let Outcome::Pending(_) = before {
                *outcome = Outcome::Detached;
            }
            before
        };
        match before {
            Outcome::Ready(Err(payload)) => self.unhandled(payload),
            Outcome::Ready(Ok(value)) => self.drop_unclaimed(value),
            Outcome::Pending(_) | Outcome::Detached | Outcome::Delivered => {}
        }
    }
}
