//! A batcher as the workers see it, whatever its items and results are: what the roll lists, and what a task names.

use std::sync::Arc;

use crate::runtime::worker::WorkerThread;
use crate::task::Then;

/// A batcher as the workers see it.
pub(crate) trait Source: Send + Sync {
    /// Whether a batch is full or was sealed.
    fn has_ready(&self) -> bool;

    /// Whether the batch that is not full may leave at `now`, ticks, to a worker that has nothing else to do; others run and
    /// `may_add` to it.
    fn may_leave(&self, now: u64, may_add: bool) -> bool;

    /// Whether it may leave now or in a moment, so that this worker should not sleep.
    fn will_leave(&self, now: u64, may_add: bool) -> bool;

    /// When the first of its items is wanted, ticks.
    fn deadline(&self) -> u64;

    /// Whether one more batch may run.
    fn has_room_to_run(&self) -> bool;

    /// Whether it has no items.
    fn is_empty(&self) -> bool;

    /// Takes the right to run one more batch, which [`run`](Self::run) gives back.
    fn try_claim(&self) -> bool;

    /// Runs a batch: one that is ready, else the one that is open.
    fn run(self: Arc<Self>, thread: &WorkerThread, then: Then);

    /// The runtime ends: nothing is run any more, who waits is told.
    fn close(&self);
}
