//! The batchers of a runtime, for workers that look for something to do: who finds no task looks here before it sleeps.

use std::sync::Arc;

use super::source::Source;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, statistic, ticks, Mutex, Ordering};
use crate::task::Task;

/// All batchers that may have items.
pub(crate) struct Roll {
    /// How many there are. Relaxed: who adds an item and who goes to sleep make fences.
    count: statistic::AtomicUsize,
    /// The first deadline of any of them, ticks; the largest number when there is none.
    deadline: statistic::AtomicU64,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    all: Vec<Arc<dyn Source>>,
    /// Who is asked first, in turn.
    turn: usize,
    closed: bool,
}

impl Roll {
    pub(crate) fn new() -> Self {
        Self {
            count: statistic::AtomicUsize::new(0),
            deadline: statistic::AtomicU64::new(u64::MAX),
            sources: Mutex::new(Sources::default()),
        }
    }

    /// Lists a batcher; false once the runtime has ended.
    pub(super) fn insert(&self, source: Arc<dyn Source>) -> bool {
        let mut sources = lock(&self.sources);
        if sources.closed {
            return false;
        }
        sources.all.push(source);
        self.count.store(sources.all.len(), Ordering::Relaxed);
        true
    }

    /// Forgets a batcher that has no items and never will.
    pub(super) fn remove(&self, source: *const ()) {
        let mut sources = lock(&self.sources);
        let at = sources.all.iter().position(|listed| Arc::as_ptr(listed).cast::<()>() == source);
        let removed = at.map(|at| sources.all.swap_remove(at));
        self.count.store(sources.all.len(), Ordering::Relaxed);
        drop(sources);
        // Outside the lock: it may be the last owner of the executor.
        drop(removed);
    }

    /// An item is wanted by `deadline`, ticks.
    pub(super) fn expect_by(&self, deadline: u64) {
        // Release: that the batcher knows it.
        self.deadline.fetch_min(deadline, Ordering::Release);
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn is_late(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != u64::MAX && deadline <= ticks()
    }

    /// The next batch that `may_leave`, in turn.
    fn find(&self, may_leave: impl Fn(&dyn Source) -> bool) -> Option<Task> {
        let mut sources = lock(&self.sources);
        let count = sources.all.len();
        let turn = sources.turn;
        let found = (0..count).map(|step| (turn + step) % count).find(|&at| may_leave(&*sources.all[at]))?;
        sources.turn = found + 1;
        Some(Task::Batch(sources.all[found].clone()))
    }

    /// Ends all of them: who waits is told.
    pub(crate) fn close(&self) {
        let all = {
            let mut sources = lock(&self.sources);
            sources.closed = true;
            self.count.store(0, Ordering::Relaxed);
            std::mem::take(&mut sources.all)
        };
        for source in all {
            source.close();
        }
    }
}

impl WorkerThread {
    /// A batch whose deadline is over: it goes before all but the most urgent tasks.
    pub(crate) fn find_late_batch(&self) -> Option<Task> {
        let roll = &self.registry().batches;
        if roll.is_empty() || !roll.is_late() {
            return None;
        }
        let now = ticks();
        // Anew from those that stay, one by one: who adds a deadline meanwhile tells the batcher first. One that is late and may not run
        // now says so again when it may.
        roll.deadline.swap(u64::MAX, Ordering::Acquire);
        let late = roll.find(|source| source.deadline() <= now && source.try_claim());
        for source in &lock(&roll.sources).all {
            let deadline = source.deadline();
            if deadline > now || deadline != u64::MAX && source.has_room_to_run() {
                roll.expect_by(deadline);
            }
        }
        late
    }

    /// A batch that is full.
    pub(crate) fn find_ready_batch(&self) -> Option<Task> {
        let roll = &self.registry().batches;
        if roll.is_empty() {
            return None;
        }
        roll.find(|source| source.has_ready() && source.try_claim())
    }

    /// A batch that is not full, for a worker that would go idle, or for one that waits and would nap.
    pub(crate) fn find_open_batch(&self, waits: bool) -> Option<Task> {
        let roll = &self.registry().batches;
        if roll.is_empty() {
            return None;
        }
        let may_wait = self.others_may_add();
        let now = ticks();
        let leaves = |source: &dyn Source| match waits {
            true => source.will_leave(now, may_wait),
            false => source.may_leave(now, may_wait),
        };
        roll.find(|source| leaves(source) && source.try_claim())
    }

    /// Whether a batch could leave now: for the last look before a sleep.
    pub(crate) fn has_batches(&self) -> bool {
        let roll = &self.registry().batches;
        if roll.is_empty() {
            return false;
        }
        let sources = lock(&roll.sources);
        let (now, may_wait) = (ticks(), self.others_may_add());
        let will_leave = |source: &dyn Source| source.has_ready() || source.will_leave(now, may_wait);
        sources.all.iter().any(|source| source.has_room_to_run() && will_leave(&**source))
    }

    /// Whether another worker runs something, and so may add items.
    fn others_may_add(&self) -> bool {
        self.registry().is_anybody_busy_for(0, self.index())
    }
}
