//! Latches: one thread says once that something is done, another one waits for it.
//!
//! [`Latch`] is one word and lives in the frame of a join or in a scope; its waiter is a worker, which helps,
//! spins and then parks. [`Blocking`] is for threads that are not workers. Models: `loom-tests/tests/latch.rs`.

use std::time::Duration;

use crate::sync::{left_out, lock, ordering, wait, AtomicU32, Condvar, Mutex, Ordering};

const DONE: u32 = 1;
const WAITER: u32 = 2;
/// Bits above the flags hold 1 + the index of the worker that runs the task, 0 while unknown.
const RUNNER_SHIFT: u32 = 2;

/// A one-shot latch with room for who runs the task.
///
/// States: `open` → (`runner known`) → `done`, with `WAITER` added while its owner sleeps. Setting is the setter's last
/// access: the owner may leave the frame that holds the latch at once.
#[derive(Debug)]
pub struct Latch(AtomicU32);

impl Latch {
    /// An open latch.
    #[inline(always)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether it was set; if so, everything done before setting is visible.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(ordering!("latch_read", Acquire)) & DONE != 0
    }

    /// Notes that worker `index` runs the task, for the waiter to help there. Release: the waiter must see whether the
    /// worker's ring is clean.
    pub fn set_runner(&self, index: usize) {
        self.0.fetch_or((index as u32 + 1) << RUNNER_SHIFT, ordering!("latch_runner_set", Release));
    }

    /// The worker that runs the task, once known. What it said of its ring is visible to who then asks `is_set`.
    pub fn runner(&self) -> Option<usize> {
        match self.0.load(Ordering::Relaxed) >> RUNNER_SHIFT {
            0 => None,
            index => Some(index as usize - 1),
        }
    }

    /// Announces that the waiter is about to sleep; false when the latch is set already.
    pub fn announce_waiter(&self) -> bool {
        // Relaxed: one word, so either this sees `DONE` or the setter sees `WAITER`; what the setter wrote is acquired by
        // `is_set`, which the waiter asks in either case.
        self.0.fetch_or(WAITER, Ordering::Relaxed) & DONE == 0 || left_out!("latch_announce_answer")
    }

    /// Sets the latch; true when the waiter announced that it sleeps and must be woken.
    ///
    /// The caller must not touch the latch, nor what it guards, after this.
    pub fn set(&self) -> bool {
        let before = self.0.swap(DONE, ordering!("latch_set", Release));
        if left_out!("latch_last_access") {
            return self.0.load(Ordering::Relaxed) & WAITER != 0;
        }
        before & WAITER != 0
    }

    /// Tells the model that the latch is freed: every access by others must have come before.
    #[cfg(upbeat_loom)]
    pub fn retire(&mut self) {
        self.0.with_mut(|_| ());
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

/// A latch that any thread may block on. Shared by reference count, so setter and waiter may leave in any order.
#[derive(Debug)]
pub struct Blocking {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    done: bool,
    /// How many wait: to notify is a system call.
    waiting: usize,
}

impl Blocking {
    /// An open latch.
    pub fn new() -> Self {
        Self { state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        lock(&self.state).done
    }

    /// Sets it and wakes every waiter.
    pub fn set(&self) {
        let mut state = lock(&self.state);
        state.done = true;
        let has_waiters = state.waiting > 0;
        drop(state);
        if has_waiters {
            self.changed.notify_all();
        }
    }

    /// Opens it again.
    pub fn reset(&self) {
        lock(&self.state).done = false;
    }

    /// Blocks until it is set.
    pub fn wait(&self) {
        let mut state = lock(&self.state);
        state.waiting += 1;
        while !state.done {
            state = wait(&self.changed, state, None);
        }
        state.waiting -= 1;
    }

    /// Blocks until it is set or `limit` has passed, or for no reason at all.
    pub fn wait_briefly(&self, limit: Duration) {
        let mut state = lock(&self.state);
        if !state.done {
            state.waiting += 1;
            state = wait(&self.changed, state, Some(limit));
            state.waiting -= 1;
        }
    }
}

impl Default for Blocking {
    fn default() -> Self {
        Self::new()
    }
}
