//! How many workers take work, while the runtime runs: the others are *retired*.
//!
//! A worker with a number below the roster's size serves. One above it finishes the task that it runs, finds no more, and waits here
//! until the size grows or the runtime ends. It keeps its seat (`src/sleep`) meanwhile, so nobody wakes it in place of one that
//! would work; what it was woken for before it passes on. Tasks that were sent to it by number it still runs. Its queue can be
//! stolen from like any other. When the runtime ends, all serve. Model: `loom-tests/tests/resize.rs`.

use super::registry::Registry;
use super::worker::{Work, WorkerThread};
use crate::error::ResizeError;
use crate::sync::{left_out, lock, wait, AtomicUsize, Condvar, Mutex, Ordering};

/// Who serves.
pub(crate) struct Roster {
    most: usize,
    size: AtomicUsize,
    /// How many retired workers wait. Held while one looks whether it may go on, and by who gives it a reason to.
    changing: Mutex<usize>,
    changed: Condvar,
}

impl Roster {
    /// All of `workers` serve.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            most: workers,
            size: AtomicUsize::new(workers),
            changing: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    /// How many serve.
    pub(crate) fn size(&self) -> usize {
        // Relaxed: a worker that reads an old size serves, or looks again under the lock before it waits.
        self.size.load(Ordering::Relaxed)
    }

    /// Has retired workers look whether they have a reason to go on. Call after there is one.
    pub(crate) fn recall(&self) {
        // To notify is a system call. A worker that does not wait yet looks under the lock first, and sees the reason.
        let waiting = *lock(&self.changing);
        if waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wait_while(&self, is_retired: impl Fn() -> bool) {
        let mut changing = lock(&self.changing);
        while is_retired() {
            *changing += 1;
            changing = wait(&self.changed, changing, None);
            *changing -= 1;
        }
    }
}

impl Registry {
    /// Sets how many workers serve.
    pub(crate) fn resize(&self, size: usize) -> Result<(), ResizeError> {
        let roster = &self.roster;
        if !(1..=roster.most).contains(&size) {
            return Err(ResizeError { asked: size, most: roster.most });
        }
        self.require_workers();
        {
            let _changing = lock(&roster.changing);
            roster.size.store(size, Ordering::Relaxed);
        }
        roster.recall();
        // Those that sleep learn of it now, so that nobody wakes them for work.
        (size..roster.most).for_each(|index| self.sleep().wake(index));
        Ok(())
    }

    /// Tells every worker to leave once there is no work.
    pub(crate) fn terminate(&self) {
        // What a worker that is to retire has queued by the end of its last task, it runs itself: the others may have left by then.
        self.roster.size.store(self.roster.most, Ordering::Relaxed);
        self.sleep().terminate();
        self.roster.recall();
    }
}

impl WorkerThread {
    /// Whether this worker takes work.
    pub(super) fn is_serving(&self) -> bool {
        self.index < self.registry.roster.size()
    }

    /// Waits while this worker is retired; called with an empty stack and hungry.
    pub(super) fn attend(&self) {
        if !self.is_serving() {
            self.retire();
        }
    }

    #[cold]
    fn retire(&self) {
        let registry = &*self.registry;
        let sleep = registry.sleep();
        if !left_out!("retire_passes_on") {
            // We may have been woken for something, or have been the watcher.
            sleep.wake_one();
        }
        sleep.end_hunger();
        sleep.set_absent(self.index, true);
        let inbox = &registry.peers[self.index].inbox;
        let is_retired = || !self.is_serving() && inbox.is_empty() && !sleep.is_terminating();
        registry.roster.wait_while(is_retired);
        sleep.set_absent(self.index, false);
        sleep.begin_hunger();
    }

    /// What a retired worker runs all the same.
    pub(super) fn find_sent(&self) -> Option<Work> {
        self.registry.peers[self.index].inbox.steal().map(Work::Task)
    }
}
