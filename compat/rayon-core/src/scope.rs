//! Scopes: jobs that may borrow, all of which have ended before the scope returns.
//!
//! A scope lies in its owner's frame, and its jobs point to it. They lie in the queues of its pool among all others. Whoever waits for a scope
//! runs jobs from there, its own and others', as the published interface promises by what works with it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use upbeat::embed::{self, Done, Job, Pool};
use upbeat::Worker;

use crate::broadcast::BroadcastContext;
use crate::registry::{in_worker, Fifo, Registry};
use crate::unwind::{halt_unwinding, resume_unwinding};

/// What the jobs of any kind of scope share with its owner.
pub(crate) struct Base<'scope> {
    pool: Pool,
    /// The scope's body and each job that has not ended.
    count: AtomicUsize,
    done: Done,
    /// The first panic.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    scope: PhantomData<Invariant<'scope>>,
}

/// Neither longer nor shorter than `'scope`.
type Invariant<'scope> = fn(&'scope ()) -> &'scope ();

/// A scope that stays where it is until its jobs have ended.
pub(crate) trait Shared<'scope>: Sync {
    fn base(&self) -> &Base<'scope>;
}

/// The address of a scope, for one of its jobs.
struct Address<S>(*const S);

// SAFETY: it gives shared access to what may be shared.
unsafe impl<S: Sync> Send for Address<S> {}

impl<S> Address<S> {
    /// # Safety
    /// The caller is, or holds, a job of the scope that is counted and has not ended; the result is not used after its end.
    unsafe fn scope<'a>(&self) -> &'a S {
        // SAFETY: the scope's owner keeps it in place until each counted job has ended.
        unsafe { &*self.0 }
    }
}

impl<'scope> Base<'scope> {
    /// For jobs in `pool`; the calling thread will wait for them.
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            done: Done::new(&pool),
            pool,
            count: AtomicUsize::new(1),
            panic: Mutex::new(None),
            scope: PhantomData,
        }
    }

    /// Runs `body`, then waits until all that it has spawned has ended. `None` when it panicked.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> R) -> Option<R> {
        let result = halt_unwinding(body).map_err(|payload| self.keep(payload));
        // Who is counted alone needs no atomic step to know it: only the counted spawn.
        let is_last = self.count.load(Ordering::Acquire) == 1;
        if !is_last && self.count.fetch_sub(1, Ordering::AcqRel) != 1 {
            embed::wait(&self.done, &self.pool);
        }
        result.ok()
    }

    /// The body's result, once the scope has [run](Self::run); the first panic goes on here.
    pub(crate) fn into_result<R>(self, result: Option<R>) -> R {
        let panic = self.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (result, panic) {
            (Some(result), None) => result,
            (_, Some(payload)) => resume_unwinding(payload),
            (None, None) => unreachable!("a panic of the body is kept"),
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

    /// A job on `worker` has ended. If it was the last one, the scope may be gone when this returns.
    ///
    /// # Safety
    /// The job is counted, so that `this` is valid.
    unsafe fn finish(this: *const Self, worker: &Worker) {
        // SAFETY: valid, for the job is still counted.
        let before = unsafe { &(*this).count }.fetch_sub(1, Ordering::AcqRel);
        if before == 1 {
            // SAFETY: the owner waits for `done`, and not for the count, so all is still there.
            let done = unsafe { &raw const (*this).done };
            // SAFETY: as above, and the last job alone sets it.
            unsafe { Done::set(done, worker) };
        }
    }
}

/// A counted job of `scope` that runs `f`.
fn job<'scope, S, F>(scope: &S, f: F) -> Job
where
    S: Shared<'scope> + 'scope,
    F: FnOnce(&Worker, &S) + Send + 'scope,
{
    scope.base().count.fetch_add(1, Ordering::Relaxed);
    let address = Address(&raw const *scope);
    let job = move |worker: &Worker| {
        let address = address;
        // SAFETY: this job is counted and ends with `finish`.
        let scope = unsafe { address.scope() };
        if let Err(payload) = halt_unwinding(|| f(worker, scope)) {
            scope.base().keep(payload);
        }
        let base = &raw const *scope.base();
        // SAFETY: this is the end of a counted job.
        unsafe { Base::finish(base, worker) };
    };
    // SAFETY: the job is counted, so `run` does not return, and `'scope` does not end, before `f` was run and dropped. Queues
    // run every job: a pool ends only when nobody holds it, and the scope's caller does.
    unsafe { erase(Box::new(job)) }
}

/// Has `f` run by thread `index` of the scope's pool.
pub(crate) fn send<'scope, S, F>(scope: &S, index: usize, f: F)
where
    S: Shared<'scope> + 'scope,
    F: FnOnce(&Worker, &S) + Send + 'scope,
{
    scope.base().pool.send(index, job(scope, f));
}

/// Has a copy of `body` run by each thread of the scope's pool.
fn send_to_all<'scope, S, F>(scope: &S, body: F)
where
    S: Shared<'scope> + 'scope,
    F: Fn(&S, BroadcastContext<'_>) + Send + Sync + 'scope,
{
    let body = Arc::new(body);
    for index in 0..scope.base().pool.num_workers() {
        let body = body.clone();
        send(scope, index, move |worker, scope: &S| body(scope, BroadcastContext::of(worker)));
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

impl<'scope> Shared<'scope> for Base<'scope> {
    fn base(&self) -> &Self {
        self
    }
}

/// A place to spawn jobs that may borrow anything that outlives the scope; see [`scope`].
pub struct Scope<'scope> {
    base: Base<'scope>,
}

impl<'scope> Shared<'scope> for Scope<'scope> {
    fn base(&self) -> &Base<'scope> {
        &self.base
    }
}

/// A [`Scope`] whose jobs run in the order in which they came, as far as one thread's own are concerned; see [`scope_fifo`].
pub struct ScopeFifo<'scope> {
    base: Base<'scope>,
    /// A queue for each thread.
    fifos: Vec<Fifo>,
}

impl<'scope> Shared<'scope> for ScopeFifo<'scope> {
    fn base(&self) -> &Base<'scope> {
        &self.base
    }
}

impl<'scope> Scope<'scope> {
    fn complete<R>(pool: Pool, op: impl FnOnce(&Self) -> R) -> R {
        let scope = Self { base: Base::new(pool) };
        let result = scope.base.run(|| op(&scope));
        scope.base.into_result(result)
    }

    /// Spawns `body`; it may spawn more.
    pub fn spawn<BODY>(&self, body: BODY)
    where
        BODY: FnOnce(&Scope<'scope>) + Send + 'scope,
    {
        self.base.pool.submit(job(self, |_, scope| body(scope)));
    }

    /// Spawns `body` on each thread of the pool.
    pub fn spawn_broadcast<BODY>(&self, body: BODY)
    where
        BODY: Fn(&Scope<'scope>, BroadcastContext<'_>) + Send + Sync + 'scope,
    {
        send_to_all(self, body);
    }
}

impl<'scope> ScopeFifo<'scope> {
    fn complete<R>(pool: Pool, op: impl FnOnce(&Self) -> R) -> R {
        let fifos = (0..pool.num_workers()).map(|_| Fifo::new()).collect();
        let scope = Self { base: Base::new(pool), fifos };
        let result = scope.base.run(|| op(&scope));
        scope.base.into_result(result)
    }

    /// Spawns `body`; it may spawn more.
    pub fn spawn_fifo<BODY>(&self, body: BODY)
    where
        BODY: FnOnce(&ScopeFifo<'scope>) + Send + 'scope,
    {
        let job = job(self, |_, scope| body(scope));
        let pool = &self.base.pool;
        match embed::current(|worker| worker.filter(|worker| pool.owns(worker)).map(Worker::index)) {
            Some(index) => {
                self.fifos[index].push(job);
                let address = Address(&raw const *self);
                let ticket = move |worker: &Worker| {
                    let address = address;
                    // SAFETY: there are as many tickets as jobs in that queue, so while this one has taken none, there is a job
                    // that is counted and has not ended.
                    let scope: &Self = unsafe { address.scope() };
                    scope.fifos[index].pop()(worker);
                };
                // SAFETY: as above; with the end of the job that it took the ticket has ended, too.
                pool.submit(unsafe { erase(Box::new(ticket)) });
            }
            None => pool.submit(job),
        }
    }

    /// Spawns `body` on each thread of the pool.
    pub fn spawn_broadcast<BODY>(&self, body: BODY)
    where
        BODY: Fn(&ScopeFifo<'scope>, BroadcastContext<'_>) + Send + Sync + 'scope,
    {
        send_to_all(self, body);
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("pool_id", &self.base.pool.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ScopeFifo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeFifo").field("pool_id", &self.base.pool.id()).finish_non_exhaustive()
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
    in_worker(|worker, _| Scope::complete(Pool::of(worker), op))
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
    in_worker(|worker, _| ScopeFifo::complete(Pool::of(worker), op))
}

/// [`scope`], but `op` runs on this very thread; only the jobs run in the pool.
///
/// # Panics
/// As `scope`.
pub fn in_place_scope<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&Scope<'scope>) -> R,
{
    in_place_scope_in(Registry::current().pool(), op)
}

/// [`scope_fifo`], but `op` runs on this very thread; only the jobs run in the pool.
///
/// # Panics
/// As `scope`.
pub fn in_place_scope_fifo<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&ScopeFifo<'scope>) -> R,
{
    in_place_scope_fifo_in(Registry::current().pool(), op)
}

pub(crate) fn in_place_scope_in<'scope, OP, R>(pool: &Pool, op: OP) -> R
where
    OP: FnOnce(&Scope<'scope>) -> R,
{
    Scope::complete(pool.clone(), op)
}

pub(crate) fn in_place_scope_fifo_in<'scope, OP, R>(pool: &Pool, op: OP) -> R
where
    OP: FnOnce(&ScopeFifo<'scope>) -> R,
{
    ScopeFifo::complete(pool.clone(), op)
}
