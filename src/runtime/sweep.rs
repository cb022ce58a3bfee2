//! Keeping a worker's own queue short when nobody takes from it.
//!
//! A task is queued once and may be run by other means: a handle's `join` runs the task itself, and the owner of a scope in a region
//! of isolation the scope's tasks, whose tickets stay. What stays is *spent*. A worker that is inside one task for a long time pushes and never pops, so as its queue
//! has grown it looks through it once and drops what is spent.

use super::worker::WorkerThread;
use crate::sync::{statistic, Injector, Ordering};
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

/// The same of a queue that belongs to nobody: what workers push is counted. No other thread sweeps: what it held in its hands while all workers leave
/// would be lost.
pub(super) struct Sweeps(statistic::AtomicUsize);

impl Sweeps {
    pub(super) fn new() -> Self {
        Self(statistic::AtomicUsize::new(SELDOM))
    }

    /// A worker has pushed to `queue`, whose workers `wake` wakes, one of them.
    pub(super) fn pushed(&self, queue: &Injector<Task>, wake: impl Fn() -> bool) {
        // Below 0 while somebody sweeps, who then sets it anew; nobody else sweeps meanwhile.
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            let kept = drop_spent(queue.len(), || queue.steal(), |task| queue.push(task));
            // Who looked for work while a task was in our hands may have gone to sleep for want of it.
            let _woken = (0..kept).take_while(|_| wake()).count();
            self.0.store(kept.max(SELDOM), Ordering::Relaxed);
        }
    }
}

/// Takes `count` tasks from a queue, the oldest first, and puts back those that are not spent, which so stay in their order. Returns how many
/// that are.
fn drop_spent(count: usize, take: impl Fn() -> Option<Task>, put_back: impl Fn(Task)) -> usize {
    let mut kept = 0;
    for task in (0..count).map_while(|_| take()) {
        if !task.retire() {
            put_back(task);
            kept += 1;
        }
    }
    kept
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::SELDOM;
    use crate::{Priority, Runtime, Spawn};

    /// Who waits for a scope runs a task that goes first from the scope's list; what is left of it in the runtime's queue keeps the scope.
    #[test]
    fn urgent_tasks_of_scopes_do_not_pile_up() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let most = runtime.install(|worker| {
            let queue = &worker.thread().registry().urgent;
            let left = |_| {
                worker.scope(|scope| scope.spawn_with(Spawn::new().priority(Priority::High), |_| ()));
                queue.len()
            };
            (0..10_000).map(left).max()
        });
        assert!(most.is_some_and(|most| (1..=2 * SELDOM).contains(&most)), "{most:?}");
    }
}
