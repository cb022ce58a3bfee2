//! Scopes: any number of tasks that may borrow, all finished before the scope returns.
//!
//! A scope has a queue of its own, and stands on the list of what its worker has open (`runtime/opened.rs`), where workers without work
//! find it. So the scope's owner, while it waits, runs tasks of this scope and nothing else. Whoever else helps runs a *stretch* of
//! tasks. What is still to come is counted in `ledger.rs`. Models: `loom-tests/tests/scope.rs`.

use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::body::Body;
use super::cancel::{self, CancelToken, Cancelled};
use super::directed::{Directed, DirectedTasks};
use super::frame::Worker;
use super::isolate::{self, Region};
use super::latch::Latch;
use super::ledger::Ledger;
use super::priority::{Destination, Spawn};
use super::unwind::{catch, discard, Payload};
use super::{Task, Then};
use crate::heartbeat::sites::Key;
use crate::runtime::current::with_current;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{fence_after_rmw, lock, ticks, Injector, Mutex, HAS_TIME};

/// What a scope's tasks and its owner share.
pub(crate) struct Shared {
    queue: Injector<Body>,
    directed: DirectedTasks,
    ledger: Ledger,
    latch: Latch,
    /// The first panic of a task.
    panic: Mutex<Option<Payload>>,
    /// The worker that waits.
    owner: usize,
    registry: Arc<Registry>,
    setting: Setting,
}

/// What one scope has and the next one in the same place has not.
struct Setting {
    /// Cancels the tasks that have not begun.
    token: Option<CancelToken>,
    /// Where its tasks belong.
    region: Option<Arc<Region>>,
    /// Whether others find it on its worker's list. In a region they do not: tickets in the region's queue stand for its tasks.
    is_listed: bool,
    /// When, ticks.
    opened_at: u64,
    /// Scopes of its call site last long enough for a sleeper to be woken.
    is_long: bool,
}

/// How a scope's owner ran out of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// All are done, and the owner has run and spawned them all.
    Alone,
    /// All are done.
    Helped,
    /// Others run some.
    Waits,
}

impl Shared {
    /// Opens a scope on `thread`, in what an older one has left if it did.
    fn open(thread: &WorkerThread, setting: Setting) -> Arc<Self> {
        let shared = match thread.spare_scope.take() {
            Some(mut spare) => {
                let Some(old) = Arc::get_mut(&mut spare) else {
                    unreachable!("`close` kept it as nobody else's")
                };
                (old.ledger, old.latch, old.setting) = (Ledger::new(), Latch::new(), setting);
                spare
            }
            None => Arc::new(Self {
                queue: Injector::new(),
                directed: DirectedTasks::new(),
                ledger: Ledger::new(),
                latch: Latch::new(),
                panic: Mutex::new(None),
                owner: thread.index(),
                registry: thread.registry().clone(),
                setting,
            }),
        };
        if shared.setting.is_listed {
            thread.opened().push(&shared);
        }
        shared
    }

    /// The scope is over, on the `thread` that opened it: nobody finds it any more.
    fn close(mut self: Arc<Self>, thread: &WorkerThread, site: Key) {
        // In a child of `fork` the list's lock may be held by a thread that is not there.
        if self.setting.is_listed && !self.registry.is_left_behind() {
            thread.opened().pop();
        }
        let registry = &self.registry;
        let length = ticks().saturating_sub(self.setting.opened_at);
        registry.sites.record(site, length, registry.sleep().wake_latency(), self.setting.is_long);
        // Who has helped may not have let go of it yet. What the list holds is spent.
        if !self.registry.is_left_behind() {
            self.directed.clear();
        }
        if let Some(old) = Arc::get_mut(&mut self) {
            (old.setting.token, old.setting.region) = (None, None);
            thread.spare_scope.set(Some(self));
        }
    }

    /// Counts a task that this thread is about to make public.
    fn add(&self) {
        let is_owner = with_current(|worker| {
            let thread = worker.map(Worker::thread);
            thread.is_some_and(|thread| {
                thread.index() == self.owner && Arc::ptr_eq(thread.registry(), &self.registry)
            })
        });
        self.ledger.add(is_owner);
    }

    /// Makes a task public that has options.
    fn publish_at(self: &Arc<Self>, destination: Destination, body: Body) {
        if destination.is_usual() {
            return self.publish(body);
        }
        self.add();
        let task = Directed::new(self, &destination, body);
        self.directed.push(task.clone());
        destination.submit(&self.registry, self.setting.region.clone(), Task::Spawned(task));
    }

    /// Makes a task public.
    fn publish(self: &Arc<Self>, body: Body) {
        let registry = &self.registry;
        self.add();
        self.queue.push(body);
        if let Some(region) = &self.setting.region {
            return registry.submit_from(Some(region.clone()), Task::Scoped(self.clone()));
        }
        // Pairs with the fence in `Sleep::release`: who falls asleep sees the task, or we see the free seat. To push ends with a
        // read-modify-write of the queue's.
        fence_after_rmw!("scope_publish_fence");
        let sleep = registry.sleep();
        // A short scope is not worth a wake-up; should it be a long one this time, who watches finds it.
        if sleep.has_sleepers() && (self.setting.is_long || !sleep.is_watched() || !HAS_TIME) {
            sleep.wake_one();
        }
    }

    /// A task that `thread` should run.
    fn take(&self, thread: &WorkerThread) -> Option<Body> {
        let first = self.directed.take_urgent(thread);
        first.or_else(|| self.queue.steal()).or_else(|| self.directed.take_bound(thread))
    }

    /// Runs a task that was taken from one of the runtime's queues.
    pub(super) fn run_taken(self: &Arc<Self>, body: Body, thread: &WorkerThread, then: Then) {
        self.run(body, thread);
        thread.ending(then);
        self.finish(1);
    }

    /// Runs one task of the scope, if one waits, in the middle of something else.
    pub(crate) fn run_one(self: &Arc<Self>, thread: &WorkerThread) {
        if let Some(body) = self.queue.steal() {
            self.run(body, thread);
            self.finish(1);
        }
    }

    /// Runs tasks of the scope until none waits or `thread` is wanted elsewhere. They are counted off together, when the worker has
    /// said that it is without work.
    pub(crate) fn run_stretch(self: &Arc<Self>, thread: &WorkerThread) {
        let end = thread.end_of_stretch();
        let (mut next, mut ran) = (self.take(thread), 0);
        while let Some(body) = next {
            self.run(body, thread);
            ran += 1;
            next = if thread.has_to_attend(end) { None } else { self.take(thread) };
        }
        thread.ending(Then::Rest);
        if ran > 0 {
            self.finish(ran);
        }
    }

    /// The owner has run the scope's body; it runs what tasks there are.
    pub(crate) fn drain(self: &Arc<Self>, thread: &WorkerThread) -> Drained {
        let mut ran = 0;
        while let Some(body) = self.take(thread) {
            self.run(body, thread);
            ran += 1;
        }
        match self.ledger.is_settled(ran) {
            true if self.ledger.is_owners_alone(ran) => Drained::Alone,
            true => Drained::Helped,
            false if self.ledger.close(ran) => Drained::Helped,
            false => Drained::Waits,
        }
    }

    fn run(self: &Arc<Self>, body: Body, thread: &WorkerThread) {
        match catch(move || thread.enter(|worker| body.run(worker, self))) {
            // A task that was dropped, or whose loop stopped, stands in no panic's way; who has the token is told by that.
            Err(payload) if self.setting.token.is_none() || !payload.is::<Cancelled>() => {
                self.keep_first(payload)
            }
            Ok(()) | Err(_) => {}
        }
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

    /// Counts off tasks that were run. The last one to do so wakes the owner.
    fn finish(&self, ran: usize) {
        if self.ledger.finish(ran) && self.latch.set() {
            self.registry.sleep().unpark(self.owner);
        }
    }

    /// Whether there is a task that `thread`, who waits for them all, should run.
    pub(crate) fn has_task_for(&self, thread: &WorkerThread) -> bool {
        !self.is_idle() || self.directed.has_one_for(thread)
    }

    /// Whether no task waits for whoever comes.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn latch(&self) -> &Latch {
        &self.latch
    }

    pub(crate) fn opened_at(&self) -> u64 {
        self.setting.opened_at
    }

    /// Runs `f`, the code of a task, unless the scope was cancelled.
    fn begin(&self, f: impl FnOnce()) {
        match &self.setting.token {
            None => f(),
            Some(token) => token.clone().begin(f),
        }
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
        self.shared.publish(self.body(f));
    }

    /// [`spawn`](Self::spawn) with options: a memory node, or data to be near to; a priority; a token that cancels. A task that is cancelled before
    /// it begins is dropped, and the scope goes on. What a task with a token of its own opens is under that one, and not under the scope's.
    /// In [`isolate`](crate::isolate) a worker takes the oldest task of the region, whatever node it is bound for.
    ///
    /// ```
    /// use upbeat::topology::Machine;
    /// use upbeat::{Runtime, Spawn};
    ///
    /// let runtime = Runtime::builder().topology(Machine::synthetic("node:2 core:2")?).build()?;
    /// let mut halves = [vec![1.0_f32; 1 << 16], vec![2.0; 1 << 16]];
    /// for (node, half) in halves.iter().enumerate() {
    ///     runtime.memory().bind(&half[..], node)?;
    /// }
    /// runtime.scope(|scope| {
    ///     for half in &mut halves {
    ///         scope.spawn_with(Spawn::new().near(&half[..]), |_| half.iter_mut().for_each(|x| *x *= 2.0));
    ///     }
    /// });
    /// assert_eq!([halves[0][0], halves[1][9]], [2.0, 4.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_with(&self, options: Spawn, f: impl FnOnce(&Scope<'_, 'env>) + Send + 'env) {
        let destination = options.destination(&self.shared.registry);
        let body = match options.token() {
            None => self.body(f),
            Some(token) => self.body(move |scope| match catch(|| token.clone().begin(|| f(scope))) {
                // Of another token it is a panic like any other.
                Err(payload) if !(payload.is::<Cancelled>() && token.is_cancelled()) => {
                    resume_unwind(payload)
                }
                _ => {}
            }),
        };
        self.shared.publish_at(destination, body);
    }

    /// A task without its lifetime.
    fn body(&self, f: impl FnOnce(&Scope<'_, 'env>) + Send + 'env) -> Body {
        // Before the closure is in a form that nothing drops.
        self.shared.registry.require_workers();
        match self.shared.registry.capture() {
            // SAFETY: `run_under` returns only when every task has run, and `'env` outlives that call.
            None => unsafe {
                Body::new(move |_: &Worker, shared: &Arc<Shared>| {
                    shared.begin(|| f(&Scope { shared, env: PhantomData }))
                })
            },
            Some(context) => {
                let run = move |worker: &Worker, shared: &Arc<Shared>| {
                    worker
                        .thread()
                        .within(Some(&context), || shared.begin(|| f(&Scope { shared, env: PhantomData })));
                };
                // SAFETY: as above.
                unsafe { Body::new(run) }
            }
        }
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
    let (thread, site) = (worker.thread(), Key::new(run_under::<F, R> as *const ()));
    let registry = thread.registry();
    let region = isolate::current();
    let setting = Setting {
        token: token.clone(),
        is_listed: region.is_none() && !registry.is_left_behind(),
        region,
        opened_at: ticks(),
        is_long: registry.sites.is_worth(site, registry.sleep().wake_latency()),
    };
    let shared = Shared::open(thread, setting);
    let scope = Scope { shared: &shared, env: PhantomData };
    let body = || worker.entered(|| f(&scope));
    let result = match token {
        None => catch(body),
        Some(token) => catch(|| token.begin(body)),
    };
    thread.wait_for_scope(&shared);
    let task_panic = lock(&shared.panic).take();
    shared.close(thread, site);
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
