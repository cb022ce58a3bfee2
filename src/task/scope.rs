//! Scopes: any number of tasks that may borrow, all finished before the scope returns.
//!
//! A scope has a queue of its own; workers find it through tickets in their public queues. So the scope's owner, while it
//! waits, runs tasks of this scope and nothing else. Model of the count: `loom-tests/tests/scope.rs`.

use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::cancel::{self, CancelToken, Cancelled};
use super::frame::Worker;
use super::isolate::{self, Region};
use super::latch::Latch;
use super::unwind::{catch, discard, Payload};
use super::{Task, Then};
use crate::runtime::current::with_current;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, Injector, Mutex};

#[allow(unreachable_pub)]
mod count {
    //! How many tasks a scope still waits for.

    use crate::sync::{ordering, AtomicUsize, Ordering};

    /// Counts from 1: the scope's own body is the first thing to wait for.
    #[derive(Debug)]
    pub struct Count(AtomicUsize);

    impl Count {
        /// The body alone.
        pub fn new() -> Self {
            Self(AtomicUsize::new(1))
        }

        /// One more; called by somebody who is counted, so the count is not 0.
        pub fn add(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        /// One less; true for the last one, to whom the others' writes are visible.
        pub fn finish(&self) -> bool {
            self.0.fetch_sub(1, ordering!("scope_finish", AcqRel)) == 1
        }
    }

    impl Default for Count {
        fn default() -> Self {
            Self::new()
        }
    }
}

#[allow(unreachable_pub)]
pub use count::Count;

/// A task of a scope, which gets its scope from whoever runs it: he has it, and a count of references each would cost two writes
/// to a word that all workers share.
type Body<'env> = Box<dyn FnOnce(&Worker, &Arc<Shared>) + Send + 'env>;

/// What a scope's tasks and its owner share.
pub(crate) struct Shared {
    queue: Injector<Body<'static>>,
    count: Count,
    latch: Latch,
    /// The first panic of a task.
    panic: Mutex<Option<Payload>>,
    /// The worker that waits.
    owner: usize,
    registry: Arc<Registry>,
    /// Cancels the tasks that have not begun.
    token: Option<CancelToken>,
    /// Where its tasks belong.
    region: Option<Arc<Region>>,
}

impl Shared {
    /// Runs one task of the scope, if one waits.
    pub(crate) fn run_one(self: &Arc<Self>, thread: &WorkerThread, then: Then) -> bool {
        let Some(body) = self.queue.steal() else {
            thread.ending(then);
            return false;
        };
        match catch(move || thread.enter(|worker| body(worker, self))) {
            // A task that was dropped, or whose loop stopped, stands in no panic's way; who has the token is told by that.
            Err(payload) if self.token.is_none() || !payload.is::<Cancelled>() => self.keep_first(payload),
            Ok(()) | Err(_) => {}
        }
        thread.ending(then);
        self.finish();
        true
    }

    /// Keeps the first panic of a task for the scope's owner.
    fn keep_first(&self, payload: Payload) {
        let mut first = lock(&self.panic);
        match *first {
            None => *first = Some(payload),
            Some(_) => {
                drop(first);
                discard(payload);
            }
        }
    }

    fn finish(&self) {
        if self.count.finish() && self.latch.set() {
            self.registry.sleep().unpark(self.owner);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn latch(&self) -> &Latch {
        &self.latch
    }
}

/// Neither longer nor shorter than `'env`.
type Invariant<'env> = fn(&'env ()) -> &'env ();

/// A place to spawn tasks that may borrow anything that outlives the scope; see [`scope`](crate::scope).
pub struct Scope<'scope, 'env> {
    shared: &'scope Arc<Shared>,
    /// `'env` is invariant, so that a scope cannot pass for one of shorter-lived borrows.
    env: PhantomData<Invariant<'env>>,
}

impl<'env> Scope<'_, 'env> {
    /// Spawns `f`; the scope returns only after it has run. Tasks may spawn more tasks.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::new().unwrap();
    /// let mut parts = [0u64; 4];
    /// runtime.scope(|scope| {
    ///     for (i, part) in parts.iter_mut().enumerate() {
    ///         scope.spawn(move |_| *part = i as u64 + 1);
    ///     }
    /// });
    /// assert_eq!(parts, [1, 2, 3, 4]);
    /// ```
    pub fn spawn(&self, f: impl FnOnce(&Scope<'_, 'env>) + Send + 'env) {
        let context = self.shared.registry.capture();
        let body: Body<'env> = Box::new(move |worker, shared| {
            let run = || f(&Scope { shared, env: PhantomData });
            worker.thread().within(context.as_ref(), || match &shared.token {
                None => run(),
                Some(token) => token.clone().begin(run),
            });
        });
        // SAFETY: only the lifetime changes; `run` below returns only when every counted task has run, and `'env` outlives that call.
        let body = unsafe { std::mem::transmute::<Body<'env>, Body<'static>>(body) };
        self.shared.count.add();
        self.shared.queue.push(body);
        let (registry, region) = (&self.shared.registry, self.shared.region.clone());
        registry.submit_from(region, Task::Scoped(self.shared.clone()));
    }
}

impl std::fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Runs a scope on `worker`.
pub(crate) fn run<'env, F, R>(worker: &Worker, f: F) -> R
where
    F: FnOnce(&Scope<'_, 'env>) -> R,
{
    match cancel::current() {
        None => run_under(worker, None, f).unwrap_or_else(|payload| resume_unwind(payload)),
        // What runs under a token opens its scopes under it as well.
        Some(token) => {
            run_with(worker, &token, f).unwrap_or_else(|cancelled| resume_unwind(Box::new(cancelled)))
        }
    }
}

/// Runs a scope on `worker` whose body and tasks are under `token`.
pub(crate) fn run_with<'env, F, R>(worker: &Worker, token: &CancelToken, f: F) -> Result<R, Cancelled>
where
    F: FnOnce(&Scope<'_, 'env>) -> R,
{
    match run_under(worker, Some(token.clone()), f) {
        Err(payload) if !payload.is::<Cancelled>() => resume_unwind(payload),
        Ok(result) if !token.is_cancelled() => Ok(result),
        unwanted => {
            discard(unwanted);
            Err(Cancelled)
        }
    }
}

/// Runs a scope; its panic is the body's if that panicked, else the first of its tasks'.
fn run_under<'env, F, R>(worker: &Worker, token: Option<CancelToken>, f: F) -> std::thread::Result<R>
where
    F: FnOnce(&Scope<'_, 'env>) -> R,
{
    let shared = Arc::new(Shared {
        queue: Injector::new(),
        count: Count::new(),
        latch: Latch::new(),
        panic: Mutex::new(None),
        owner: worker.index(),
        registry: worker.thread().registry().clone(),
        token: token.clone(),
        region: isolate::current(),
    });
    let scope = Scope { shared: &shared, env: PhantomData };
    let body = || worker.entered(|| f(&scope));
    let result = match token {
        None => catch(body),
        Some(token) => catch(|| token.begin(body)),
    };
    shared.finish();
    worker.thread().wait_for_scope(&shared);
    let task_panic = lock(&shared.panic).take();
    match (result, task_panic) {
        (result, None) => result,
        (Ok(result), Some(payload)) => {
            discard(result);
            Err(payload)
        }
        (Err(payload), Some(panic)) if payload.is::<Cancelled>() => Err(panic),
        (Err(payload), other) => {
            discard(other);
            Err(payload)
        }
    }
}

impl Worker {
    /// Runs `f` with a scope on this worker; see [`scope`](crate::scope).
    pub fn scope<'env, F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Scope<'_, 'env>) -> R,
    {
        run(self, f)
    }

    /// Runs `f` with a scope on this worker, under `token`; see [`scope_with`](crate::scope_with).
    ///
    /// # Errors
    /// [`Cancelled`] when the token is cancelled by the time all have stopped.
    pub fn scope_with<'env, F, R>(&self, token: &CancelToken, f: F) -> Result<R, Cancelled>
    where
        F: FnOnce(&Scope<'_, 'env>) -> R,
    {
        run_with(self, token, f)
    }
}

/// Runs a scope on the current worker, if this thread is one.
pub(crate) fn run_current<'env, F, R>(f: F) -> Result<R, F>
where
    F: FnOnce(&Scope<'_, 'env>) -> R,
{
    with_current(|worker| match worker {
        Some(worker) => Ok(run(worker, f)),
        None => Err(f),
    })
}
