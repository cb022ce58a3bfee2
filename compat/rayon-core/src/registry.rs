//! A pool's shared part: its `upbeat` workers, its handlers, who holds it open, and the global one.
//!
//! The queues, the threads' loop and all waiting are `upbeat`'s. What is kept here is what it does not know of: a count of
//! holders, after the last of which the workers end, and a queue a worker for [`spawn_fifo`](crate::spawn_fifo).

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crossbeam_deque::{Injector, Steal};
use upbeat::embed::{self, BuildFailure, Config, Job, Pool};
use upbeat::Worker;

use crate::builder::{ExitHandler, PanicHandler, StartHandler, ThreadPoolBuilder};
use crate::error::{ErrorKind, ThreadPoolBuildError};
use crate::thread_builder::{ThreadBuilder, ThreadSpawn};
use crate::unwind::{self, AbortIfPanic};

/// A pool, shared by its handle, its threads and its jobs.
#[derive(Clone)]
pub(crate) struct Registry {
    pool: Pool,
    state: Arc<State>,
}

/// What a pool has besides its workers.
pub(crate) struct State {
    panic_handler: Option<Box<PanicHandler>>,
    start_handler: Option<Box<StartHandler>>,
    exit_handler: Option<Box<ExitHandler>>,
    /// The pool's handle and each spawned job that has not ended. After the last one the threads end; a job that is spawned is
    /// counted by somebody who is.
    holders: AtomicUsize,
    /// Jobs of `spawn_fifo`, a queue for each worker.
    fifos: Vec<Fifo>,
}

impl State {
    fn new(handlers: Handlers, threads: usize) -> Self {
        let (panic_handler, start_handler, exit_handler) = handlers;
        Self {
            panic_handler,
            start_handler,
            exit_handler,
            holders: AtomicUsize::new(1),
            fifos: (0..threads).map(|_| Fifo::new()).collect(),
        }
    }

    /// Runs `f`; a panic goes to the handler, and ends the process if there is none.
    pub(crate) fn catch_unwind(&self, f: impl FnOnce()) {
        if let Err(payload) = unwind::halt_unwinding(f) {
            let guard = AbortIfPanic;
            if let Some(handler) = &self.panic_handler {
                handler(payload);
                mem::forget(guard);
            }
        }
    }

    pub(crate) fn call_start_handler(&self, index: usize) {
        if let Some(handler) = &self.start_handler {
            self.catch_unwind(|| handler(index));
        }
    }

    pub(crate) fn call_exit_handler(&self, index: usize) {
        if let Some(handler) = &self.exit_handler {
            self.catch_unwind(|| handler(index));
        }
    }
}

type Handlers = (Option<Box<PanicHandler>>, Option<Box<StartHandler>>, Option<Box<ExitHandler>>);

impl Registry {
    /// Starts the threads that `builder` asks for. If one cannot be started, or its name cannot be had, the ones before it end.
    pub(crate) fn start<S: ThreadSpawn>(
        mut builder: ThreadPoolBuilder<S>,
    ) -> Result<Arc<Self>, ThreadPoolBuildError> {
        let threads = builder.threads();
        let handlers =
            (builder.panic_handler.take(), builder.start_handler.take(), builder.exit_handler.take());
        let state = Arc::new(State::new(handlers, threads));
        let config = Config {
            workers: threads,
            newest_first: !builder.breadth_first,
            use_current_thread: builder.use_current_thread,
            tenant: state.clone(),
        };
        let pool = Pool::build(config, |body| {
            let name = builder.get_thread_name.as_mut().map(|name| name(body.index()));
            let stack_size = builder.stack_size;
            builder.spawn_handler.spawn(ThreadBuilder { name, stack_size, body, state: state.clone() })
        });
        let pool = pool.map_err(|failure| {
            ThreadPoolBuildError::new(match failure {
                BuildFailure::CurrentThread => ErrorKind::CurrentThreadAlreadyInPool,
                BuildFailure::Spawn(error) => ErrorKind::IOError(error),
            })
        })?;
        Ok(Arc::new(Self { pool, state }))
    }

    /// The pool of this thread, else the global one.
    pub(crate) fn current() -> Self {
        embed::current(|worker| match worker {
            Some(worker) => Self::of(worker),
            None => Self::clone(global()),
        })
    }

    /// The pool that `worker` belongs to. A worker of a plain `upbeat` runtime has no handlers, and its threads end when that
    /// runtime does.
    pub(crate) fn of(worker: &Worker) -> Self {
        static PLAIN: OnceLock<Arc<State>> = OnceLock::new();
        let pool = Pool::of(worker);
        let state = pool.tenant().and_then(|tenant| Arc::downcast(tenant).ok());
        let plain = || PLAIN.get_or_init(|| Arc::new(State::new((None, None, None), 0))).clone();
        Self { state: state.unwrap_or_else(plain), pool }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn num_threads(&self) -> usize {
        self.pool.num_workers()
    }

    /// Calls `f` with the worker of this pool that the thread is, if it is one.
    pub(crate) fn with_own_worker<R>(&self, f: impl FnOnce(Option<&Worker>) -> R) -> R {
        embed::current(|worker| f(worker.filter(|worker| self.pool.owns(worker))))
    }

    /// Runs `f` on a thread of this pool and waits for it. `f` learns whether it came from outside.
    pub(crate) fn in_worker<R: Send>(&self, f: impl FnOnce(&Worker, bool) -> R + Send) -> R {
        embed::current(|worker| match worker {
            Some(worker) if self.pool.owns(worker) => f(worker, false),
            _ => self.pool.run_on_worker(|worker| f(worker, true)),
        })
    }

    /// Runs `f` later; the pool stays until it has ended, and its panic goes to the handler.
    pub(crate) fn detached(&self, f: impl FnOnce() + Send + 'static) -> Job {
        self.state.holders.fetch_add(1, Ordering::Relaxed);
        let registry = self.clone();
        Box::new(move |_: &Worker| {
            registry.state.catch_unwind(f);
            registry.release();
        })
    }

    /// The queue of `spawn_fifo` that belongs to worker `index`; none in a plain `upbeat` runtime, whose own queues are in order.
    pub(crate) fn fifo(&self, index: usize) -> Option<&Fifo> {
        self.state.fifos.get(index)
    }

    /// Somebody counted holds the pool open no longer. The last one ends its threads.
    pub(crate) fn release(&self) {
        if self.state.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.pool.terminate();
        }
    }

    /// Waits until each thread has begun.
    pub(crate) fn wait_until_primed(&self) {
        self.pool.wait_until_started();
    }

    /// Waits until each thread has ended.
    #[cfg(test)]
    #[allow(dead_code)] // called by the published tests, which are put beside this file when they are run
    pub(crate) fn wait_until_stopped(&self) {
        self.pool.wait_until_stopped();
    }
}

/// Jobs in the order in which they came. A worker's own queue is last in, first out; so a job is put here, and a ticket for the
/// oldest one into that queue.
pub(crate) struct Fifo(Injector<Job>);

impl Fifo {
    pub(crate) fn new() -> Self {
        Self(Injector::new())
    }

    pub(crate) fn push(&self, job: Job) {
        self.0.push(job);
    }

    /// The oldest job; called by the holder of a ticket, for whom there is one.
    pub(crate) fn pop(&self) -> Job {
        loop {
            match self.0.steal() {
                Steal::Success(job) => return job,
                Steal::Retry => std::hint::spin_loop(),
                Steal::Empty => unreachable!("each ticket stands for a job"),
            }
        }
    }
}

static GLOBAL: OnceLock<Arc<Registry>> = OnceLock::new();
static BUILDING: Mutex<()> = Mutex::new(());

/// The global pool, started when it is first used.
///
/// # Panics
/// When it cannot be started.
pub(crate) fn global() -> &'static Arc<Registry> {
    if let Some(registry) = GLOBAL.get() {
        return registry;
    }
    match set_global(default_global) {
        Ok(registry) => registry,
        Err(error) => {
            GLOBAL.get().unwrap_or_else(|| panic!("The global thread pool has not been initialized: {error}"))
        }
    }
}

/// Starts the global pool as `builder` says.
pub(crate) fn init_global<S: ThreadSpawn>(
    builder: ThreadPoolBuilder<S>,
) -> Result<&'static Registry, ThreadPoolBuildError> {
    set_global(|| Registry::start(builder)).map(|registry| &**registry)
}

fn set_global(
    start: impl FnOnce() -> Result<Arc<Registry>, ThreadPoolBuildError>,
) -> Result<&'static Arc<Registry>, ThreadPoolBuildError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if GLOBAL.get().is_some() {
        return Err(ThreadPoolBuildError::new(ErrorKind::GlobalPoolAlreadyInitialized));
    }
    let registry = start()?;
    Ok(GLOBAL.get_or_init(|| registry))
}

/// The default configuration; on a system without threads the calling thread alone.
fn default_global() -> Result<Arc<Registry>, ThreadPoolBuildError> {
    let started = Registry::start(ThreadPoolBuilder::new());
    if started.as_ref().is_err_and(ThreadPoolBuildError::is_unsupported) {
        let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        return Registry::start(alone).or(started);
    }
    started
}

/// Runs `f` on the current worker, or on one of the global pool; it learns whether it came from outside.
#[inline]
pub(crate) fn in_worker<R: Send>(f: impl FnOnce(&Worker, bool) -> R + Send) -> R {
    embed::current(|worker| match worker {
        Some(worker) => f(worker, false),
        None => from_outside(f),
    })
}

#[cold]
#[inline(never)]
fn from_outside<R: Send>(f: impl FnOnce(&Worker, bool) -> R + Send) -> R {
    global().pool.run_on_worker(|worker| f(worker, true))
}
