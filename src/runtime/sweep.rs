//! Keeping a worker's own queue short when nobody takes from it.
//!
//! A task is queued once and may be run by other means: a handle's `join` runs the task itself, and the owner of a scope in a region
//! of isolation the scope's tasks, whose tickets stay. What stays is *spent*. A worker that is inside one task for a long time pushes and never pops, so as its queue
//! has grown it looks through it once and drops what is spent.

use super::worker::WorkerThread;
use crate::task::Task;

/// Pushes between two looks, at least. Spent tasks keep up to 2 KiB each.
const SELDOM: usize = 64;

impl WorkerThread {
    /// Makes a task public in this worker's queue.
    pub(crate) fn queue(&self, task: Task) {
        self.queue.push(task);
        if self.registry.tenant().is_some() {
            // A tenant's tasks are run from the queue and by no other means.
            return;
        }
        // As many pushes as there were tasks left last time pay for this look.
        let left = self.until_sweep.get() - 1;
        self.until_sweep.set(if left == 0 { self.sweep().max(SELDOM) } else { left });
    }

    /// Drops what is spent; the rest stays in its order. Returns how much that is.
    #[cold]
    fn sweep(&self) -> usize {
        let own = &self.registry.peers[self.index].queue;
        let kept = drop_spent(self.queue.len(), || own.steal(), |task| self.queue.push(task));
        // Who looked for work while a task was in our hands may have gone to sleep for want of it.
        let sleep = self.registry.sleep();
        let _woken = (0..kept.min(self.registry.peers.len())).take_while(|_| sleep.wake_one()).count();
        kept
    }

    /// Pushes until the first look.
    pub(super) const FIRST_SWEEP: usize = SELDOM;
}

/// Takes `count` tasks from a queue, the oldest first, and puts back those that are not spent, which so stay in their order. Returns how many
/// that are.
pub(super) fn drop_spent(count: usize, take: impl Fn() -> Option<Task>, put_back: impl Fn(Task)) -> usize {
    let mut kept = 0;
    for task in (0..count).map_while(|_| take()) {
        if !task.retire() {
            put_back(task);
            kept += 1;
        }
    }
    kept
}
