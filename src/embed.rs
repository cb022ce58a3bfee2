//! What the front of another runtime is built of: `compat/rayon-core` puts rayon's interface on these.
//!
//! Hidden, and no part of the promised interface. A [`Pool`] has workers like any runtime's, and a *tenant*: whoever built it,
//! whose rules hold where they differ from ours. Its queues may be newest first; its threads are started, and outlive the pool's
//! handle, as the tenant likes; its waits run any task (`runtime/tenant.rs`), since the tenant's users may rely on that.

use std::any::Any;
use std::io;
use std::sync::Arc;

use crate::runtime::registry::{Parts, Registry};
use crate::runtime::seat::Seats;
use crate::runtime::tenant::Tenant;
use crate::runtime::visit::{take_seat, with_current_or_seat};
use crate::task::frame::Worker;
use crate::task::latch::{Blocking, Latch};
use crate::task::Task;
use crate::topology::{machine, Topology};

pub use crate::runtime::thread_body::ThreadBody;

/// A closure that a worker runs once. It catches its own panics: one that comes out ends the process.
pub type Job = Box<dyn FnOnce(&Worker) + Send>;

/// How a [`Pool`] is made.
pub struct Config {
    /// How many workers, from 1 to [`MAX_WORKERS`](crate::MAX_WORKERS).
    pub workers: usize,
    /// Whether a worker takes the newest of its own tasks first; thieves take the oldest.
    pub newest_first: bool,
    /// Whether the thread that builds the pool is its worker 0.
    pub use_current_thread: bool,
    /// What [`Pool::tenant`] returns.
    pub tenant: Arc<dyn Any + Send + Sync>,
}

/// Why a [`Pool`] could not be built.
#[derive(Debug)]
pub enum BuildFailure {
    /// The thread already is a worker.
    CurrentThread,
    /// A thread could not be started.
    Spawn(io::Error),
}

/// Workers without an owner: they end after [`terminate`](Self::terminate), and nobody waits for that.
#[derive(Clone)]
pub struct Pool(Arc<Registry>);

impl Pool {
    /// Makes a pool and hands each thread's body to `spawn`. If that fails or panics, the threads before it end.
    ///
    /// # Errors
    /// See [`BuildFailure`].
    pub fn build(
        config: Config,
        mut spawn: impl FnMut(ThreadBody) -> io::Result<()>,
    ) -> Result<Self, BuildFailure> {
        struct Terminate(Option<Pool>);
        impl Drop for Terminate {
            fn drop(&mut self) {
                if let Some(pool) = &self.0 {
                    pool.terminate();
                }
            }
        }
        let (registry, queues) = Registry::new(Parts {
            tenant: Some(Tenant { newest_first: config.newest_first, data: config.tenant }),
            ..Parts::new(Topology::dealt(&machine(), config.workers))
        });
        let mut unless_built = Terminate(Some(Self(registry.clone())));
        let seats = Seats::new(registry.clone(), queues, false, None);
        for index in 0..config.workers {
            if index == 0 && config.use_current_thread {
                if !take_seat(&seats, index) {
                    return Err(BuildFailure::CurrentThread);
                }
                registry.attendance().start();
                continue;
            }
            spawn(ThreadBody::new(seats.clone(), index)).map_err(BuildFailure::Spawn)?;
        }
        unless_built.0 = None;
        Ok(Self(registry))
    }

    /// The pool that `worker` belongs to, of any runtime.
    pub fn of(worker: &Worker) -> Self {
        Self(worker.thread().registry().clone())
    }

    /// Whether `worker` belongs to this pool.
    pub fn owns(&self, worker: &Worker) -> bool {
        Arc::ptr_eq(worker.thread().registry(), &self.0)
    }

    /// What the pool was built with; `None` where it is a plain runtime's.
    pub fn tenant(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.tenant().map(|tenant| tenant.data.clone())
    }

    /// How many workers it has.
    pub fn num_workers(&self) -> usize {
        self.0.peers.len()
    }

    /// A number that no other living pool has.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// [`Runtime::run_on_worker`](crate::Runtime::run_on_worker) for this pool.
    pub fn run_on_worker<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        self.0.run_on_worker(f)
    }

    /// Makes `job` public: in the queue of the current worker if it is one of this pool, else in the injector.
    pub fn submit(&self, job: Job) {
        self.0.submit_job(job);
    }

    /// Has `job` run by worker `index` and by nobody else, once that one's own queue is empty.
    pub fn send(&self, index: usize, job: Job) {
        self.0.send(index, Task::Job(job));
    }

    /// Tells the workers to end when nothing is left to run. Nobody may submit anything afterwards.
    pub fn terminate(&self) {
        self.0.terminate();
    }

    /// Waits until each worker's thread has begun.
    pub fn wait_until_started(&self) {
        self.0.attendance().wait_until_started(self.num_workers());
    }

    /// Waits until each worker's thread has ended its loop.
    pub fn wait_until_stopped(&self) {
        self.0.attendance().wait_until_stopped(self.num_workers());
    }
}

/// Calls `f` with the worker that this thread is, if it is one: the innermost frame of the joins in which it is.
#[inline(always)]
pub fn current<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    with_current_or_seat(f)
}

/// Runs `f` with `worker` as the one that [`current`] finds.
#[inline(always)]
pub fn entered<R>(worker: &Worker, f: impl FnOnce() -> R) -> R {
    worker.entered(f)
}

/// Makes the worker's next fork public, if there is anybody who might take it.
#[inline]
pub fn offer_next(worker: &Worker) {
    if worker.num_workers() > 1 {
        worker.offer_next();
    }
}

/// Whether tasks of the worker's own wait: spawned ones, or right sides of joins that are open.
pub fn has_pending(worker: &Worker) -> bool {
    worker.is_private() || worker.thread().has_own_work()
}

/// Runs one task of the pool, if any waits, on top of what the worker runs.
pub fn run_one(worker: &Worker) -> bool {
    worker.thread().run_anything(true)
}

/// Runs one task of the worker's own queue, if any waits, on top of what it runs.
pub fn run_own(worker: &Worker) -> bool {
    worker.thread().run_own()
}

/// Something that is done once, and that the thread which made this waits for.
#[derive(Debug)]
pub enum Done {
    /// The thread is this worker of the pool.
    Worker(usize, Latch),
    /// It is no worker of the pool. It may go as soon as the latch is set.
    Other(Arc<Blocking>),
}

impl Done {
    /// Not done yet, and to be done by a worker of `pool`.
    pub fn new(pool: &Pool) -> Self {
        let index = current(|worker| worker.filter(|worker| pool.owns(worker)).map(Worker::index));
        match index {
            Some(index) => Self::Worker(index, Latch::new()),
            None => Self::Other(Arc::default()),
        }
    }

    /// It is done, says `worker`. Who waits may free this before the call returns, so it takes no reference, which would have to stay valid
    /// until then.
    ///
    /// # Safety
    /// `this` is valid until it is set, which happens here and nowhere else.
    pub unsafe fn set(this: *const Self, worker: &Worker) {
        // SAFETY: valid, as it is not set yet.
        let (index, latch) = match unsafe { &*this } {
            Self::Worker(index, latch) => (*index, &raw const *latch),
            Self::Other(latch) => return latch.clone().set(),
        };
        // SAFETY: valid until it is set; a latch is an atomic and nothing else, so it may go while `set` has it.
        if unsafe { &*latch }.set() {
            worker.thread().registry().sleep().unpark(index);
        }
    }
}

/// Waits for `done`, a thing of `pool`. A worker runs anything meanwhile, another thread nothing.
pub fn wait(done: &Done, pool: &Pool) {
    with_current_or_seat(|worker| match (done, worker.map(Worker::thread)) {
        (Done::Worker(_, latch), Some(thread)) => thread.wait_for_latch_as_tenant(latch),
        (Done::Worker(..), None) => unreachable!("the thread that made it was a worker"),
        (Done::Other(latch), Some(thread)) => {
            thread.wait_as_tenant(|| latch.is_set(), |nap| latch.wait_briefly(nap));
        }
        (Done::Other(latch), None) => pool.0.wait_outside(latch),
    });
}
