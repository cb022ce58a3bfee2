//! Scopes: jobs that may borrow, all of which have ended before the scope returns.
//!
//! A scope's jobs lie in the queues of its pool among all others. Whoever waits for a scope runs jobs from there, its own and
//! others', as the published interface promises by what works with it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use upbeat::embed::{self, Done, Job};
use upbeat::Worker;

use crate::broadcast::BroadcastContext;
use crate::registry::{in_worker, Fifo, Registry};
use crate::unwind::{halt_unwinding, resume_unwinding};

/// What a scope's jobs and its owner share.
pub(crate) struct Shared<'scope> {
    registry: Registry,
    /// The scope's body and each job that has not ended.
    count: AtomicUsize,
    done: Done,
    /// The first panic.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// The queues of a `ScopeFifo`, one a thread.
    fifos: Vec<Fifo>,
    scope: PhantomData<Invariant<'scope>>,
}

/// Neither longer nor shorter than `'scope`.
type Invariant<'scope> = fn(&'scope ()) -> &'scope ();

impl<'scope> Shared<'scope> {
    /// Runs `body`, then waits until all that it has spawned has ended. A panic goes on here.
    pub(crate) fn complete<R>(registry: Registry, body: impl FnOnce(&Arc<Self>) -> R) -> R {
        Self::complete_with(registry, 0, body)
    }

    fn complete_with<R>(registry: Registry, fifos: usize, body: impl FnOnce(&Arc<Self>) -> R) -> R {
        let shared = Arc::new(Self {
            registry,
            count: AtomicUsize::new(1),
            done: Done::new(),
            panic: Mutex::new(None),
            fifos: (0..fifos).map(|_| Fifo::new()).collect(),
            scope: PhantomData,
        });
        let result = halt_unwinding(|| body(&shared));
        let result = result.map_err(|payload| shared.keep(payload));
        if !shared.finish() {
            embed::wait(&shared.done);
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, panic) {
            (Ok(result), None) => result,
            (_, Some(payload)) => resume_unwinding(payload),
            (Err(()), None) => unreachable!("a panic of the body is kept"),
        }
    }

    /// Keeps the first panic.
    fn keep(&self, payload: Box<dyn Any + Send>) {
        let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        match *first {
            None => *first = Some(payload),
            Some(_) => {
                drop(first);
                // Its destructor may panic in turn.
                if let Err(second) = halt_unwinding(|| drop(payload)) {
                    std::mem::forget(second);
                }
            }
        }
    }

    /// Somebody counted has ended. True for the last one.
    fn finish(&self) -> bool {
        self.count.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// A job that runs `f` and is counted.
    fn job(self: &Arc<Self>, f: impl FnOnce(&Worker) + Send + 'scope) -> Job {
        self.count.fetch_add(1, Ordering::Relaxed);
        let shared = self.clone();
        let job = move |worker: &Worker| {
            if let Err(payload) = halt_unwinding(|| f(worker)) {
                shared.keep(payload);
            }
            if shared.finish() {
                shared.done.set();
            }
        };
        // SAFETY: the job is counted, so `complete_with` does not return, and `'scope` does not end, before `f` was run and
        // dropped. Queues run every job: a pool ends only when nobody holds it, and the scope's caller does.
        unsafe { erase(Box::new(job)) }
    }

    /// Has `f` run by thread `index`.
    pub(crate) fn send(self: &Arc<Self>, index: usize, f: impl FnOnce(&Worker) + Send + 'scope) {
        self.registry.pool().send(index, self.job(f));
    }
}

/// Forgets that `job` borrows.
///
/// # Safety
/// It must have been run before `'scope` ends.
unsafe fn erase<'scope>(job: Box<dyn FnOnce(&Worker) + Send + 'scope>) -> Job {
    // SAFETY: only the lifetime changes; the caller sees to it.
    unsafe { std::mem::transmute(job) }
}

/// A place to spawn jobs that may borrow anything that outlives the scope; see [`scope`].
pub struct Scope<'scope> {
    shared: Arc<Shared<'scope>>,
}

/// A [`Scope`] whose jobs run in the order in which they came, as far as one thread's own are concerned; see [`scope_fifo`].
pub struct ScopeFifo<'scope> {
    shared: Arc<Shared<'scope>>,
}

impl<'scope> Scope<'scope> {
    fn complete<R>(registry: Registry, op: impl FnOnce(&Self) -> R) -> R {
        Shared::complete(registry, |shared| op(&Self { shared: shared.clone() }))
    }

    /// Spawns `body`; it may spawn more.
    pub fn spawn<BODY>(&self, body: BODY)
    where
        BODY: FnOnce(&Scope<'scope>) + Send + 'scope,
    {
        let scope = Self { shared: self.shared.clone() };
        let job = self.shared.job(move |_| body(&scope));
        self.shared.registry.pool().submit(job);
    }

    /// Spawns `body` on each thread of the pool.
    pub fn spawn_broadcast<BODY>(&self, body: BODY)
    where
        BODY: Fn(&Scope<'scope>, BroadcastContext<'_>) + Send + Sync + 'scope,
    {
        let body = Arc::new(body);
        for index in 0..self.shared.registry.num_threads() {
            let (scope, body) = (Self { shared: self.shared.clone() }, body.clone());
            self.shared.send(index, move |worker| body(&scope, BroadcastContext::of(worker)));
        }
    }
}

impl<'scope> ScopeFifo<'scope> {
    fn complete<R>(registry: Registry, op: impl FnOnce(&Self) -> R) -> R {
        let fifos = registry.num_threads();
        Shared::complete_with(registry, fifos, |shared| op(&Self { shared: shared.clone() }))
    }

    /// Spawns `body`; it may spawn more.
    pub fn spawn_fifo<BODY>(&self, body: BODY)
    where
        BODY: FnOnce(&ScopeFifo<'scope>) + Send + 'scope,
    {
        let scope = Self { shared: self.shared.clone() };
        let job = self.shared.job(move |_| body(&scope));
        let registry = &self.shared.registry;
        match registry.with_own_worker(|worker| worker.map(Worker::index)) {
            Some(index) => {
                self.shared.fifos[index].push(job);
                let shared = self.shared.clone();
                // The ticket is no job of its own: the one that it runs is counted.
                let ticket: Box<dyn FnOnce(&Worker) + Send + 'scope> =
                    Box::new(move |worker| shared.fifos[index].pop()(worker));
                // SAFETY: what it may touch after `'scope` has ended is counters and queues, which the reference count keeps,
                // and which hold nothing of `'scope`: its queue has a job for each ticket.
                registry.pool().submit(unsafe { erase(ticket) });
            }
            None => registry.pool().submit(job),
        }
    }

    /// Spawns `body` on each thread of the pool.
    pub fn spawn_broadcast<BODY>(&self, body: BODY)
    where
        BODY: Fn(&ScopeFifo<'scope>, BroadcastContext<'_>) + Send + Sync + 'scope,
    {
        let body = Arc::new(body);
        for index in 0..self.shared.registry.num_threads() {
            let (scope, body) = (Self { shared: self.shared.clone() }, body.clone());
            self.shared.send(index, move |worker| body(&scope, BroadcastContext::of(worker)));
        }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("pool_id", &self.shared.registry.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ScopeFifo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeFifo").field("pool_id", &self.shared.registry.id()).finish_non_exhaustive()
    }
}

/// Runs `op` on a thread of the pool with a [`Scope`], and returns when it and all jobs of the scope have ended.
///
/// # Panics
/// When `op` or a job panics, after all have ended.
///
/// ```
/// let mut lengths = [0; 2];
/// rayon_core::scope(|scope| {
///     for (length, word) in lengths.iter_mut().zip(["split", "ring"]) {
///         scope.spawn(move |_| *length = word.len());
///     }
/// });
/// assert_eq!(lengths, [5, 4]);
/// ```
pub fn scope<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&Scope<'scope>) -> R + Send,
    R: Send,
{
    in_worker(|worker, _| Scope::complete(Registry::of(worker), op))
}

/// [`scope`] with a [`ScopeFifo`].
///
/// # Panics
/// As `scope`.
pub fn scope_fifo<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&ScopeFifo<'scope>) -> R + Send,
    R: Send,
{
    in_worker(|worker, _| ScopeFifo::complete(Registry::of(worker), op))
}

/// [`scope`], but `op` runs on this very thread; only the jobs run in the pool.
///
/// # Panics
/// As `scope`.
pub fn in_place_scope<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&Scope<'scope>) -> R,
{
    in_place_scope_in(Registry::current(), op)
}

/// [`scope_fifo`], but `op` runs on this very thread; only the jobs run in the pool.
///
/// # Panics
/// As `scope`.
pub fn in_place_scope_fifo<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&ScopeFifo<'scope>) -> R,
{
    in_place_scope_fifo_in(Registry::current(), op)
}

pub(crate) fn in_place_scope_in<'scope, OP, R>(registry: Registry, op: OP) -> R
where
    OP: FnOnce(&Scope<'scope>) -> R,
{
    Scope::complete(registry, op)
}

pub(crate) fn in_place_scope_fifo_in<'scope, OP, R>(registry: Registry, op: OP) -> R
where
    OP: FnOnce(&ScopeFifo<'scope>) -> R,
{
    ScopeFifo::complete(registry, op)
}
