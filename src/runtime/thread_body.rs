//! What a thread runs that somebody else starts, and who has come and gone.

use std::sync::Arc;

use super::search::serve_between;
use super::seat::Seats;
use crate::sync::{lock, wait, Condvar, Mutex};

/// The work of one worker's thread, to be run on a thread of its own.
pub struct ThreadBody {
    seats: Arc<Seats>,
    index: usize,
}

impl ThreadBody {
    pub(crate) fn new(seats: Arc<Seats>, index: usize) -> Self {
        Self { seats, index }
    }

    /// The worker's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Works until the pool ends. `start` and `exit` are called before and after, as the worker.
    pub fn run(self, start: impl FnOnce(), exit: impl FnOnce()) {
        self.seats.registry().attendance().start();
        serve_between(&self.seats, self.index, start, exit);
    }
}

impl Drop for ThreadBody {
    fn drop(&mut self) {
        self.seats.registry().attendance().stop();
    }
}

/// How many threads have begun, and how many have ended or will never begin.
#[derive(Default)]
pub(crate) struct Attendance {
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Attendance {
    pub(crate) fn start(&self) {
        lock(&self.counts).0 += 1;
        self.changed.notify_all();
    }

    fn stop(&self) {
        lock(&self.counts).1 += 1;
        self.changed.notify_all();
    }

    pub(crate) fn wait_until_started(&self, workers: usize) {
        let mut counts = lock(&self.counts);
        while counts.0.max(counts.1) < workers {
            counts = wait(&self.changed, counts, None);
        }
    }

    pub(crate) fn wait_until_stopped(&self, workers: usize) {
        let mut counts = lock(&self.counts);
        while counts.1 < workers {
            counts = wait(&self.changed, counts, None);
        }
    }
}
