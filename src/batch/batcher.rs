//! The handles: [`Batcher`], which items are given to, and [`Reply`], which a result is waited for with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::Core;
use super::error::{BatchError, BatchOptionsError, Refusal, Refused};
use super::pressure::{Gauge, Level};
use super::replies::{Replies, NOBODY};
use super::word::{MAX_BATCHES, MAX_CAP};
use crate::runtime::current::with_current;
use crate::runtime::current_registry;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::task::block_on::block_on_helping;
use crate::task::frame::Worker;
use crate::task::unwind::discard;
use crate::Runtime;

/// How a [`Batcher`] forms its batches.
///
/// ```
/// use std::time::Duration;
/// use upbeat::batch::BatchOptions;
/// // A model: one batch at a time, which all workers share in; 32 requests at most, 20 ms at most.
/// let options = BatchOptions::new(32).running(1).latency(Duration::from_millis(20));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing by themselves"]
pub struct BatchOptions {
    pub(super) cap: usize,
    pub(super) backlog: usize,
    pub(super) running: Option<usize>,
    pub(super) linger: Option<Duration>,
    pub(super) latency: Option<Duration>,
    pub(super) memory: Option<Gauge>,
}

impl BatchOptions {
    /// Batches of at most `cap` items, 1 to 4096.
    pub fn new(cap: usize) -> Self {
        Self { cap, backlog: 64, running: None, linger: None, latency: None, memory: None }
    }

    /// How many batches may wait to be run before items are refused; 64 by default, 65,534 at most. Room for all of them is kept.
    pub fn backlog(mut self, batches: usize) -> Self {
        self.backlog = batches;
        self
    }

    /// How many batches may run at a time; by default as many as there are workers. With 1 all that arrives while a batch runs gathers in
    /// the next one, and idle workers help with the loops and joins of the one that runs.
    pub fn running(mut self, batches: usize) -> Self {
        self.running = Some(batches);
        self
    }

    /// How long a batch that is not full waits for more items while other workers run something and may add to it; a heartbeat by default.
    /// When nobody else runs, it leaves at once. After that it goes in turn with the other tasks.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// How long a batch may take to run. The cap then follows what the machine gets done within that, up to the one given: a sixteenth
    /// of that more after a full batch that was in time, half after one that was not.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }

    /// Reads `gauge` ten times a second at most, while batches run, and makes the cap smaller where memory is short: three quarters, half, a quarter
    /// of what it would be ([`Level`]). For batches that are large in memory. No item is refused for it: that is for who lets requests in.
    ///
    /// ```
    /// use upbeat::batch::pressure::{Gauge, Level};
    /// use upbeat::batch::{BatchOptions, Batcher};
    ///
    /// let options = BatchOptions::new(64).memory(Gauge::default());
    /// let rows = Batcher::with(&options, |rows: &mut Vec<Vec<f32>>, sums| {
    ///     sums.extend(rows.iter().map(|row| row.iter().sum::<f32>()));
    /// })?;
    /// assert_eq!(rows.submit(vec![1.0; 4096])?.wait()?, 4096.0);
    /// let metrics = rows.metrics();
    /// assert!(metrics.cap == 64 || metrics.pressure > Level::Calm);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory(mut self, gauge: Gauge) -> Self {
        self.memory = Some(gauge);
        self
    }

    pub(super) fn check(&self) -> Result<(), BatchOptionsError> {
        if !(1..=MAX_CAP).contains(&self.cap) {
            return Err(BatchOptionsError::Cap { asked: self.cap });
        }
        if !(1..=MAX_BATCHES - 2).contains(&self.backlog) {
            return Err(BatchOptionsError::Backlog { asked: self.backlog });
        }
        match self.running {
            Some(0) => Err(BatchOptionsError::Running),
            _ => Ok(()),
        }
    }
}

/// What a batcher has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchMetrics {
    /// Batches that were run.
    pub batches: u64,
    /// Items in them.
    pub items: u64,
    /// Batches that had as many items as the cap allowed.
    pub full: u64,
    /// Items that found no room. One that waits for room counts each time it tries.
    pub refused: u64,
    /// Items that the next batch takes at most.
    pub cap: usize,
    /// How short memory was at the last look; calm where [`BatchOptions::memory`] asked for none.
    pub pressure: Level,
}

/// Runs many small items as few large batches: requests to a model, small products with common weights.
///
/// Any number of threads and tasks [`submit`](Self::submit) items, without locks. A batch of them leaves when it is full or when a worker
/// has nothing else to do, and the executor runs it as one task of the runtime. It gets all items and pushes one result for each, in their
/// order. Clones are handles of the same batcher; what was submitted is run after the last of them is gone.
///
/// ```
/// use upbeat::batch::Batcher;
///
/// let squares = Batcher::new(64, |items: &mut Vec<u64>, results| {
///     results.extend(items.iter().map(|item| item * item));
/// })?;
/// let replies: Vec<_> = (0..100).map(|item| squares.submit(item)).collect::<Result<_, _>>()?;
/// for (item, reply) in (0..).zip(replies) {
///     assert_eq!(reply.wait()?, item * item);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The executor runs as in [`isolate`](crate::isolate): while it waits, its worker runs nothing but what it has created itself. It must not
/// wait for an item that it submits to its own batcher, nor for room there: with [`running`](BatchOptions::running) at its bound nobody
/// would run it. [`try_submit`](Self::try_submit) never waits. An executor that owns a handle of its own batcher keeps it, and itself, for
/// ever.
pub struct Batcher<T: Send + 'static, R: Send + 'static> {
    owner: Arc<Owner<T, R>>,
}

impl<T: Send + 'static, R: Send + 'static> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self { owner: self.owner.clone() }
    }
}

/// Ends with the last handle.
struct Owner<T: Send + 'static, R: Send + 'static>(Arc<Core<T, R>>);

impl<T: Send + 'static, R: Send + 'static> Drop for Owner<T, R> {
    fn drop(&mut self) {
        self.0.retire();
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// A batcher on the current runtime, whose batches have `cap` items at most and are otherwise as [`BatchOptions`] has it.
    ///
    /// # Errors
    /// [`BatchOptionsError`] when the cap is 0 or above 4096.
    ///
    /// # Panics
    /// When the global runtime is needed and cannot be built.
    pub fn new(
        cap: usize,
        executor: impl Fn(&mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        Self::with(&BatchOptions::new(cap), executor)
    }

    /// [`new`](Self::new) with options.
    ///
    /// # Errors
    /// [`BatchOptionsError`] when an option is out of its range.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with(
        options: &BatchOptions,
        executor: impl Fn(&mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        Self::on_registry(&current_registry(), options, executor)
    }

    /// A batcher on `runtime`. When that ends, who waits for a result gets [`BatchError::ShutDown`].
    ///
    /// # Errors
    /// [`BatchOptionsError`] when an option is out of its range.
    pub fn on(
        runtime: &Runtime,
        options: &BatchOptions,
        executor: impl Fn(&mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        Self::on_registry(runtime.registry(), options, executor)
    }

    pub(crate) fn on_registry(
        registry: &Arc<Registry>,
        options: &BatchOptions,
        executor: impl Fn(&mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        options.check()?;
        Ok(Self { owner: Arc::new(Owner(Core::new(registry, options, Box::new(executor)))) })
    }

    /// Adds an item, and waits where the backlog is full: a worker runs a batch meanwhile, another thread sleeps.
    ///
    /// # Errors
    /// [`Refused`], with the item, when the runtime has ended.
    pub fn submit(&self, item: T) -> Result<Reply<R>, Refused<T>> {
        self.submit_until(item, None, true)
    }

    /// Adds an item unless the backlog is full. Never waits, so it may be called in a future.
    ///
    /// # Errors
    /// [`Refused`], with the item, when the backlog is full or the runtime has ended.
    pub fn try_submit(&self, item: T) -> Result<Reply<R>, Refused<T>> {
        self.submit_until(item, None, false)
    }

    /// [`submit`](Self::submit) for an item that should not wait longer than `within`: by then its batch leaves, however few items it has,
    /// and goes before other tasks of the runtime. It cannot leave before a worker is free.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_within(&self, item: T, within: Duration) -> Result<Reply<R>, Refused<T>> {
        self.submit_until(item, Some(within), true)
    }

    fn submit_until(&self, item: T, within: Option<Duration>, waits: bool) -> Result<Reply<R>, Refused<T>> {
        let core = &self.owner.0;
        let Some(cell) = core.replies.begin() else {
            return Err(Refused { item, reason: Refusal::Full });
        };
        match self.add(item, cell, within, waits) {
            Ok(()) => Ok(Reply { waits_for: core.clone(), cell }),
            Err(refused) => {
                core.replies.cancel(cell);
                Err(refused)
            }
        }
    }

    /// Adds an item whose result nobody needs; waits as [`submit`](Self::submit) does. A panic of the executor that nobody waits for goes to
    /// [`Builder::on_panic`](crate::Builder::on_panic).
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn push(&self, item: T) -> Result<(), Refused<T>> {
        self.add(item, NOBODY, None, true)
    }

    #[inline]
    fn add(&self, mut item: T, cell: u32, within: Option<Duration>, waits: bool) -> Result<(), Refused<T>> {
        loop {
            match self.owner.0.add(item, cell, within) {
                Err(refused) if waits && refused.reason == Refusal::Full => item = refused.item,
                outcome => return outcome,
            }
            self.wait_for_room();
        }
    }

    #[cold]
    fn wait_for_room(&self) {
        let core = &self.owner.0;
        with_current(|worker| core.wait_for_room(worker.map(Worker::thread)));
    }

    /// Lets the batch that is open leave as soon as a worker is free, however few items it has.
    pub fn flush(&self) {
        self.owner.0.flush();
    }

    /// A place where one task or thread gathers items before they are added, 64 at a time: a tenth of the cost of [`push`](Self::push).
    pub fn producer(&self) -> Producer<T, R> {
        Producer { batcher: self.clone(), items: Vec::with_capacity(Producer::<T, R>::ROOM) }
    }

    /// What it has done so far.
    pub fn metrics(&self) -> BatchMetrics {
        self.owner.0.metrics()
    }
}

impl<T: Send + 'static, R: Send + 'static> std::fmt::Debug for Batcher<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// The worker's own part, if it is one of `registry`.
fn own_thread<'a>(worker: Option<&'a Worker>, registry: &Arc<Registry>) -> Option<&'a WorkerThread> {
    worker.map(Worker::thread).filter(|thread| Arc::ptr_eq(thread.registry(), registry))
}

/// Gathers items that nobody waits for; see [`Batcher::producer`]. They are added when there are 64, at [`flush`](Self::flush) and when this
/// is dropped: no worker sees them before, so keep none back over a long computation.
pub struct Producer<T: Send + 'static, R: Send + 'static> {
    batcher: Batcher<T, R>,
    items: Vec<T>,
}

impl<T: Send + 'static, R: Send + 'static> Producer<T, R> {
    /// As many as are reserved at once.
    const ROOM: usize = super::word::BULK;

    /// Adds an item; waits as [`Batcher::submit`] does.
    ///
    /// # Errors
    /// [`Refusal::ShutDown`] when the runtime has ended; the items that were gathered are dropped.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Refusal> {
        self.items.push(item);
        if self.items.len() >= Self::ROOM {
            return self.flush();
        }
        Ok(())
    }

    /// Adds what was gathered.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self) -> Result<(), Refusal> {
        let core = &self.batcher.owner.0;
        let mut items = self.items.drain(..);
        while !core.add_many(&mut items) {
            if core.is_closed() {
                return Err(Refusal::ShutDown);
            }
            self.batcher.wait_for_room();
        }
        Ok(())
    }
}

impl<T: Send + 'static, R: Send + 'static> Drop for Producer<T, R> {
    fn drop(&mut self) {
        if !self.batcher.owner.0.is_left_behind() {
            // Without a runtime there is nobody to run them.
            let _ = self.flush();
        }
    }
}

/// What a reply needs of its batcher.
trait Answers<R>: Send + Sync {
    /// # Panics
    /// In a child of `fork`.
    fn replies(&self) -> &Replies<R>;

    /// Gives up a result.
    fn abandon(&self, cell: u32);

    /// Runs a batch on this thread if it is a worker and one may leave.
    fn help(self: Arc<Self>) -> bool;
}

impl<T: Send + 'static, R: Send + 'static> Answers<R> for Core<T, R> {
    fn replies(&self) -> &Replies<R> {
        self.registry().require_workers();
        &self.replies
    }

    fn abandon(&self, cell: u32) {
        if !self.is_left_behind() {
            discard(self.replies.abandon(cell));
        }
    }

    fn help(self: Arc<Self>) -> bool {
        with_current(|worker| {
            own_thread(worker, self.registry()).is_some_and(|thread| Core::help(&self, thread))
        })
    }
}

/// The result of an item, once there is one. A future that any executor may await, and [`wait`](Self::wait) for those who block.
///
/// Dropping it cancels the item if its batch has not left, and its result is dropped otherwise.
#[must_use = "dropping a reply cancels its item; say `push` where nobody waits"]
pub struct Reply<R> {
    waits_for: Arc<dyn Answers<R>>,
    cell: u32,
}

impl<R> Reply<R> {
    /// Blocks until the result is there. A worker runs the batch itself if it may leave, else other tasks, as
    /// [`block_on`](crate::block_on) does.
    ///
    /// # Errors
    /// [`BatchError`]: the executor panicked or gave too few or too many results, or the runtime ended.
    pub fn wait(self) -> Result<R, BatchError> {
        while !self.is_finished() && self.waits_for.clone().help() {}
        // And again before each nap: the batch may wait for somebody who still writes to it, and nobody may be left who would find it then.
        let waits_for = self.waits_for.clone();
        block_on_helping(self, || waits_for.clone().help())
    }

    /// Whether the result is there.
    pub fn is_finished(&self) -> bool {
        self.waits_for.replies().is_ready(self.cell)
    }
}

impl<R> Future for Reply<R> {
    type Output = Result<R, BatchError>;

    /// # Panics
    /// When it was ready before.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.waits_for.replies().poll(self.cell, context.waker().clone())
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        self.waits_for.abandon(self.cell);
    }
}

impl<R> std::fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}
