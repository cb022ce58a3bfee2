//! What a user can ask a [`Worker`].

use super::frame::Worker;
use crate::runtime::Mode;

impl Worker {
    /// This worker's number, from 0.
    pub fn index(&self) -> usize {
        self.thread().index()
    }

    /// How many workers its runtime has.
    pub fn num_workers(&self) -> usize {
        self.thread().registry().peers.len()
    }

    /// Its runtime's mode.
    pub(crate) fn mode(&self) -> Mode {
        self.thread().registry().mode
    }

    /// Makes the oldest half of the private frames public, this one being the newest.
    pub(crate) fn answer(&self) {
        self.thread().answer(self);
    }

    /// Makes the next fork public: for work so coarse that to offer it costs nothing.
    pub(crate) fn offer_next(&self) {
        self.thread().offer_next();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index()).finish_non_exhaustive()
    }
}
