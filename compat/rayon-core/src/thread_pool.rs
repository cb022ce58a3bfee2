//! [`ThreadPool`], and what a thread can ask about the pool that it is in.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use upbeat::embed;
use upbeat::Worker;

use crate::broadcast::{broadcast_in, spawn_broadcast_in, BroadcastContext};
use crate::builder::ThreadPoolBuilder;
use crate::error::ThreadPoolBuildError;
use crate::join::join;
use crate::registry::Registry;
use crate::scope::{in_place_scope_fifo_in, in_place_scope_in, scope, scope_fifo, Scope, ScopeFifo};
use crate::spawn::{spawn_fifo_in, spawn_in};
use crate::thread_builder::ThreadSpawn;

/// A pool of threads, made by [`ThreadPoolBuilder`]. Dropping it lets its threads end once all that was spawned has; it does not
/// wait for them.
///
/// ```
/// let pool = rayon_core::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
/// let (a, b) = pool.join(|| 1 + 1, || 2 + 2);
/// assert_eq!((a, b), (2, 4));
/// ```
pub struct ThreadPool {
    pub(crate) registry: Arc<Registry>,
}

impl ThreadPool {
    /// A pool of this configuration.
    ///
    /// # Errors
    /// As [`ThreadPoolBuilder::build`].
    #[deprecated(note = "Use `ThreadPoolBuilder::build`")]
    #[allow(deprecated)]
    pub fn new(configuration: crate::Configuration) -> Result<Self, Box<dyn Error>> {
        configuration.into_builder().build().map_err(Box::from)
    }

    pub(crate) fn start<S: ThreadSpawn>(builder: ThreadPoolBuilder<S>) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self { registry: Registry::start(builder)? })
    }

    /// Runs `op` on a thread of this pool and waits for it.
    ///
    /// # Panics
    /// When `op` panics.
    pub fn install<OP, R>(&self, op: OP) -> R
    where
        OP: FnOnce() -> R + Send,
        R: Send,
    {
        self.registry.in_worker(|_, _| op())
    }

    /// [`broadcast`](crate::broadcast()) in this pool.
    ///
    /// # Panics
    /// As there.
    pub fn broadcast<OP, R>(&self, op: OP) -> Vec<R>
    where
        OP: Fn(BroadcastContext<'_>) -> R + Sync,
        R: Send,
    {
        broadcast_in(op, &self.registry)
    }

    /// How many threads it has.
    #[inline]
    pub fn current_num_threads(&self) -> usize {
        self.registry.num_threads()
    }

    /// This thread's number, if it is in this pool.
    #[inline]
    pub fn current_thread_index(&self) -> Option<usize> {
        self.registry.with_own_worker(|worker| worker.map(Worker::index))
    }

    /// Whether this thread has jobs of its own that wait, if it is in this pool.
    #[inline]
    pub fn current_thread_has_pending_tasks(&self) -> Option<bool> {
        self.registry.with_own_worker(|worker| worker.map(embed::has_pending))
    }

    /// [`join`] in this pool.
    ///
    /// # Panics
    /// As there.
    pub fn join<A, B, RA, RB>(&self, oper_a: A, oper_b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.install(|| join(oper_a, oper_b))
    }

    /// [`scope`](crate::scope()) in this pool.
    ///
    /// # Panics
    /// As there.
    pub fn scope<'scope, OP, R>(&self, op: OP) -> R
    where
        OP: FnOnce(&Scope<'scope>) -> R + Send,
        R: Send,
    {
        self.install(|| scope(op))
    }

    /// [`scope_fifo`](crate::scope_fifo()) in this pool.
    ///
    /// # Panics
    /// As there.
    pub fn scope_fifo<'scope, OP, R>(&self, op: OP) -> R
    where
        OP: FnOnce(&ScopeFifo<'scope>) -> R + Send,
        R: Send,
    {
        self.install(|| scope_fifo(op))
    }

    /// [`in_place_scope`](crate::in_place_scope()) whose jobs run in this pool.
    ///
    /// # Panics
    /// As there.
    pub fn in_place_scope<'scope, OP, R>(&self, op: OP) -> R
    where
        OP: FnOnce(&Scope<'scope>) -> R,
    {
        in_place_scope_in(self.registry.pool(), op)
    }

    /// [`in_place_scope_fifo`](crate::in_place_scope_fifo()) whose jobs run in this pool.
    ///
    /// # Panics
    /// As there.
    pub fn in_place_scope_fifo<'scope, OP, R>(&self, op: OP) -> R
    where
        OP: FnOnce(&ScopeFifo<'scope>) -> R,
    {
        in_place_scope_fifo_in(self.registry.pool(), op)
    }

    /// [`spawn`](crate::spawn()) in this pool.
    pub fn spawn<OP>(&self, op: OP)
    where
        OP: FnOnce() + Send + 'static,
    {
        spawn_in(op, &self.registry);
    }

    /// [`spawn_fifo`](crate::spawn_fifo()) in this pool.
    pub fn spawn_fifo<OP>(&self, op: OP)
    where
        OP: FnOnce() + Send + 'static,
    {
        spawn_fifo_in(op, &self.registry);
    }

    /// [`spawn_broadcast`](crate::spawn_broadcast()) in this pool.
    pub fn spawn_broadcast<OP>(&self, op: OP)
    where
        OP: Fn(BroadcastContext<'_>) + Send + Sync + 'static,
    {
        spawn_broadcast_in(op, &self.registry);
    }

    /// [`yield_now`], if this thread is in this pool.
    pub fn yield_now(&self) -> Option<Yield> {
        self.registry.with_own_worker(|worker| worker.map(|worker| Yield::of(embed::run_one(worker))))
    }

    /// [`yield_local`], if this thread is in this pool.
    pub fn yield_local(&self) -> Option<Yield> {
        self.registry.with_own_worker(|worker| worker.map(|worker| Yield::of(embed::run_own(worker))))
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.registry.release();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("num_threads", &self.current_num_threads())
            .field("id", &self.registry.pool().id())
            .finish()
    }
}

/// This thread's number in its pool, if it is in one.
#[inline]
pub fn current_thread_index() -> Option<usize> {
    embed::current(|worker| worker.map(Worker::index))
}

/// Whether this thread has jobs of its own that wait, if it is in a pool.
#[inline]
pub fn current_thread_has_pending_tasks() -> Option<bool> {
    embed::current(|worker| worker.map(embed::has_pending))
}

/// Runs one job of the pool, if any waits; `None` on a thread that is in no pool.
pub fn yield_now() -> Option<Yield> {
    embed::current(|worker| worker.map(|worker| Yield::of(embed::run_one(worker))))
}

/// Runs one job of this thread's own, if any waits; `None` on a thread that is in no pool.
pub fn yield_local() -> Option<Yield> {
    embed::current(|worker| worker.map(|worker| Yield::of(embed::run_own(worker))))
}

/// What [`yield_now`] or [`yield_local`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yield {
    /// A job was run.
    Executed,
    /// None waited.
    Idle,
}

impl Yield {
    fn of(ran: bool) -> Self {
        match ran {
            true => Self::Executed,
            false => Self::Idle,
        }
    }
}
