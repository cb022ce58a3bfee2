//! What the handles of one batcher share: how items get in, and when batches leave. What running one means is `execution.rs`.
//!
//! A batch leaves when it is full, when its deadline is over, or when a worker has nothing else to do and nobody who runs could add to it
//! (or has not for as long as it may linger). At most so many run at a time; what arrives meanwhile gathers in the next one.

use std::sync::Arc;
use std::time::Duration;

use super::cap::Caps;
use super::error::{Refusal, Refused};
use super::execution::{Executor, Space};
use super::former::{Added, Former};
use super::replies::{Replies, NOBODY};
use super::source::Source;
use super::BatchOptions;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{
    barrier_after_rmw, fence_after_rmw, full_fence, left_out, lock, statistic, ticks, wait, AtomicBool,
    AtomicU64, AtomicUsize, Condvar, Line, Mutex, Ordering,
};
use crate::task::isolate;
use crate::task::unwind::discard;
use crate::task::{Task, Then};

/// How long a worker that waits for room naps between two looks for something to run.
const NAP: Duration = Duration::from_micros(50);

pub(super) struct Core<T: Send + 'static, R: Send + 'static> {
    pub(super) former: Former<T>,
    pub(super) replies: Replies<R>,
    pub(super) registry: Arc<Registry>,
    pub(super) executor: Executor<T, R>,
    spaces: Mutex<Vec<Space<T, R>>>,
    most_running: usize,
    /// How long a batch that is not full waits while others run, ticks.
    linger: u64,
    pub(super) caps: Caps,
    pub(super) workers: Line<Workers>,
    pub(super) producers: Line<Producers>,
    /// The batcher's last handle is gone: once it is empty, it leaves the roll.
    retired: AtomicBool,
    closed: AtomicBool,
    /// Who waits for a free batch.
    pub(super) waiting: AtomicUsize,
    room: (Mutex<()>, Condvar),
}

impl<T: Send + 'static, R: Send + 'static> Drop for Core<T, R> {
    fn drop(&mut self) {
        // What the executor owns is anybody's, and a worker may be the last who has it: a panic would be the end of the process.
        discard(std::mem::replace(&mut self.executor, Box::new(|_, _| {})));
    }
}

/// What workers write.
#[derive(Default)]
pub(super) struct Workers {
    /// Batches that run, or are about to.
    running: AtomicUsize,
    /// When a batch was last run, ticks.
    ran_at: statistic::AtomicU64,
    /// Ready batches that go before other tasks, for an item in them is late.
    pub(super) late: statistic::AtomicUsize,
    pub(super) batches: statistic::AtomicU64,
    pub(super) items: statistic::AtomicU64,
    pub(super) full: statistic::AtomicU64,
}

/// What producers write, now and then.
pub(super) struct Producers {
    /// When the current batch got its first item, ticks. An old value lets a batch leave early, no more.
    opened_at: statistic::AtomicU64,
    /// When the first item is wanted, ticks.
    pub(super) deadline: AtomicU64,
    refused: statistic::AtomicU64,
}

impl<T: Send + 'static, R: Send + 'static> Core<T, R> {
    pub(super) fn new(
        registry: &Arc<Registry>,
        options: &BatchOptions,
        executor: Executor<T, R>,
    ) -> Arc<Self> {
        // One is current, and one is about to be.
        let former = Former::new(options.cap, options.backlog + 2);
        let caps = Caps::new(options);
        former.set_cap(caps.now());
        let core = Arc::new(Self {
            former,
            replies: Replies::new(),
            registry: registry.clone(),
            executor,
            spaces: Mutex::new(Vec::new()),
            most_running: options.running.unwrap_or(registry.peers.len()),
            linger: registry.clock.ticks(options.linger.unwrap_or(registry.heartbeat)),
            caps,
            workers: Line(Workers::default()),
            producers: Line(Producers {
                opened_at: statistic::AtomicU64::new(0),
                deadline: AtomicU64::new(u64::MAX),
                refused: statistic::AtomicU64::new(0),
            }),
            retired: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            room: (Mutex::new(()), Condvar::new()),
        });
        if !registry.batches.insert(core.clone()) {
            core.closed.store(true, Ordering::Release);
        }
        core
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) fn metrics(&self) -> super::BatchMetrics {
        let read = |counter: &statistic::AtomicU64| counter.load(Ordering::Relaxed);
        super::BatchMetrics {
            batches: read(&self.workers.0.batches),
            items: read(&self.workers.0.items),
            full: read(&self.workers.0.full),
            refused: read(&self.producers.0.refused),
            cap: self.former.cap(),
            pressure: self.caps.level(),
        }
    }

    /// Adds an item whose result goes to cell `reply`.
    #[inline]
    pub(super) fn add(
        self: &Arc<Self>,
        item: T,
        reply: u32,
        deadline: Option<Duration>,
    ) -> Result<(), Refused<T>> {
        self.registry.require_workers();
        if self.is_closed() {
            return Err(Refused { item, reason: Refusal::ShutDown });
        }
        match self.former.add(item, reply) {
            Ok(added) => {
                if let Some(within) = deadline {
                    self.expect_within(within);
                }
                self.after(added);
                Ok(())
            }
            Err(item) => {
                self.producers.0.refused.fetch_add(1, Ordering::Relaxed);
                if self.former.has_ready() {
                    // A batch that was opened in vain may be among them, of which nobody was told.
                    self.registry.sleep().wake_one();
                    self.withdraw_if_closed();
                }
                Err(Refused { item, reason: Refusal::Full })
            }
        }
    }

    /// Adds items that nobody waits for, as many as there is room for; whether that was all.
    pub(super) fn add_many(self: &Arc<Self>, items: &mut std::vec::Drain<'_, T>) -> bool {
        self.registry.require_workers();
        if !self.is_closed() {
            self.after(self.former.add_many(items, NOBODY));
        }
        items.len() == 0
    }

    /// Says what was added to whom it concerns.
    #[inline]
    fn after(self: &Arc<Self>, added: Added) {
        if isolate::is_inside() {
            // A wait inside runs what was created inside, and nothing else.
            self.registry.submit_from(isolate::current(), Task::Offer(self.clone()));
        }
        if added.is_first {
            self.producers.0.opened_at.store(ticks(), Ordering::Relaxed);
        }
        if (added.is_first || added.made_ready) && !left_out!("batch_add_wakes") {
            // One look at each batch is enough: who adds more finds somebody who has it in mind. It makes a fence first.
            self.registry.sleep().wake_one();
        } else {
            // The ticket.
            barrier_after_rmw();
        }
        // Or who ended it sees our ticket, and that we have yet to stamp.
        if !left_out!("batch_add_looks") {
            self.withdraw_if_closed();
        }
    }

    #[cold]
    fn expect_within(&self, within: Duration) {
        let deadline = ticks().saturating_add(self.registry.clock.ticks(within));
        self.producers.0.deadline.fetch_min(deadline, Ordering::Relaxed);
        self.registry.batches.expect_by(deadline);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets the batch that is open leave as soon as a worker is free.
    pub(super) fn flush(&self) {
        if self.is_left_behind() {
            return;
        }
        if self.former.seal() {
            self.registry.sleep().wake_one();
            self.withdraw_if_closed();
        }
    }

    /// After a batch was made ready, and the fence of a wake-up: either we see that the runtime has ended, or who ended it sees the batch.
    fn withdraw_if_closed(&self) {
        if self.closed.load(Ordering::Relaxed) {
            self.withdraw();
        }
    }

    /// Blocks until there may be a free batch. A worker runs a batch meanwhile, or another task of its own runtime: what frees a batch may
    /// depend on it.
    pub(super) fn wait_for_room(self: &Arc<Self>, thread: Option<&WorkerThread>) {
        let mut limit = None;
        if let Some(thread) = thread {
            let is_ours = Arc::ptr_eq(thread.registry(), &self.registry);
            if is_ours && self.help(thread) || thread.run_one_nested() {
                return;
            }
            limit = Some(NAP);
        }
        let mut guard = lock(&self.room.0);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Pairs with the one in `take`: who frees a batch sees us wait, or we see the free batch.
        full_fence!("batch_room_fence");
        while !self.former.has_room() && !self.is_closed() {
            guard = wait(&self.room.1, guard, limit);
            if limit.is_some() {
                break;
            }
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Runs a batch on top of what this worker waits in, if one may leave.
    pub(super) fn help(self: &Arc<Self>, thread: &WorkerThread) -> bool {
        let may_add = self.registry.is_anybody_busy_for(0, thread.index());
        if !(self.former.has_ready() || self.will_leave(ticks(), may_add)) || !self.try_claim() {
            return false;
        }
        thread.run_on_top(Task::Batch(self.clone()));
        true
    }

    /// Whether this is a child of `fork`, where nobody runs anything and any lock may be held for ever.
    pub(super) fn is_left_behind(&self) -> bool {
        self.registry.is_left_behind()
    }

    /// The last handle is gone.
    pub(super) fn retire(&self) {
        if self.is_left_behind() {
            return;
        }
        // First, for a worker that has just run a batch and knows of the retirement would take a batch that is sealed, but not yet in the queue
        // of ready ones, for none at all: it would leave the roll, and its items were dropped with it.
        if !left_out!("retire_seals_first") {
            self.flush();
        }
        self.retired.store(true, Ordering::Release);
        if left_out!("retire_seals_first") {
            self.flush();
        }
        // Pairs with the one in `run`: the worker that runs the last batch sees that nobody adds any more, or we see that it has run.
        full_fence!("retire_fence");
        self.leave_if_empty();
    }

    fn leave_if_empty(&self) {
        // Nobody adds any more, so what is empty stays empty.
        if self.retired.load(Ordering::Acquire) && self.is_empty() {
            self.registry.batches.remove((&raw const *self).cast());
        }
    }

    pub(super) fn tell_who_waits_for_room(&self) {
        drop(lock(&self.room.0));
        self.room.1.notify_all();
    }
}

impl<T: Send + 'static, R: Send + 'static> Source for Core<T, R> {
    fn has_ready(&self) -> bool {
        self.former.has_ready()
    }

    fn may_leave(&self, now: u64, may_add: bool) -> bool {
        let age = now.saturating_sub(self.producers.0.opened_at.load(Ordering::Relaxed));
        let visible = self.registry.terms.rule.visible;
        // Items come in a stream: to take each few of them costs them and us more than they gain. As with joins, nothing is taken that has
        // not been there for a moment, unless nothing was taken for a moment. Asked first, for a look at the batch itself slows down who
        // adds to it.
        let is_streaming =
            age < visible && now.saturating_sub(self.workers.0.ran_at.load(Ordering::Relaxed)) < visible;
        (!(is_streaming || may_add && age < self.linger) || now >= self.deadline())
            && self.former.has_open_items()
    }

    fn will_leave(&self, now: u64, may_add: bool) -> bool {
        let age = || now.saturating_sub(self.producers.0.opened_at.load(Ordering::Relaxed));
        self.former.has_open_items() && (!may_add || age() >= self.linger || now >= self.deadline())
    }

    fn deadline(&self) -> u64 {
        if self.workers.0.late.load(Ordering::Relaxed) > 0 {
            return 0;
        }
        self.producers.0.deadline.load(Ordering::Relaxed)
    }

    fn has_room_to_run(&self) -> bool {
        self.workers.0.running.load(Ordering::Relaxed) < self.most_running
    }

    fn is_empty(&self) -> bool {
        !self.former.has_ready() && !self.former.has_open_items() && !self.former.has_aside()
    }

    fn try_claim(&self) -> bool {
        let one_more = |running| (running < self.most_running).then_some(running + 1);
        self.workers.0.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn run(self: Arc<Self>, thread: &WorkerThread, then: Then) {
        let mut space = lock(&self.spaces).pop().unwrap_or_default();
        if self.take(&mut space) {
            self.execute(&mut space, thread);
        }
        lock(&self.spaces).push(space);
        self.workers.0.ran_at.store(ticks(), Ordering::Relaxed);
        self.workers.0.running.fetch_sub(1, Ordering::Relaxed);
        // Pairs with the one of who goes to sleep: it sees that one more may run, or we see what it has left.
        fence_after_rmw!("batch_run_fence");
        let deadline = self.deadline();
        if deadline != u64::MAX {
            self.registry.batches.expect_by(deadline);
        }
        // Those who were woken for it found that as many ran as may, and this worker may have to go on with something else.
        let is_left = self.former.has_ready() || then == Then::GoOn && self.former.has_open_items();
        if is_left && !left_out!("batch_run_wakes") {
            self.registry.sleep().wake_one();
        }
        thread.ending(then);
        self.leave_if_empty();
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Pairs with the one in `after`.
        full_fence!("batch_close_fence");
        self.withdraw();
    }
}
