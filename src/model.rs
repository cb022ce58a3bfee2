//! The protocols' parts, for the models in `loom-tests`: the very code that runs, on loom's primitives.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

pub use crate::batch::{set_number, Added, Former, Numbers};
pub use crate::deque::{OwnerEnd, Ring, Taken};
pub use crate::par::share::Share;
pub use crate::runtime::once::Once;
pub use crate::sleep::{Sleep, Woken};
pub use crate::sync::thread::{current, park, set_naps, Naps, Thread};
pub use crate::task::frame::Worker;
pub use crate::task::latch::{Blocking, Latch};
pub use crate::task::ledger::Ledger;

use crate::batch::{BatchOptions, Batcher};
use crate::runtime::current::with_current;
use crate::runtime::registry::{Parts, Registry};
use crate::runtime::search::{serve, serve_between};
use crate::runtime::seat::Seats;
use crate::steal::Random;
use crate::task::unwind::catch;
use crate::topology::{Cpu, Topology};

/// A runtime whose threads the model makes.
pub struct Pool {
    registry: Arc<Registry>,
    seats: Arc<Seats>,
}

impl Pool {
    /// A pool of `workers`, none of which runs yet.
    pub fn new(workers: usize) -> Self {
        Self::with(Self::parts(workers))
    }

    /// As above; callers from outside may take the seats of workers that sleep.
    pub fn with_guests(workers: usize) -> Self {
        Self::made(Self::parts(workers), true)
    }

    /// As [`new`](Self::new), with a memory node for each worker.
    pub fn on_nodes(workers: usize) -> Self {
        let cpu = |id| Cpu { id, core: id, node: id, ..Cpu::default() };
        Self::with(Parts { topology: Topology::of((0..workers).map(cpu).collect()), ..Self::parts(workers) })
    }

    fn parts(workers: usize) -> Parts {
        Parts {
            policy: Box::new(Random),
            heartbeat: Duration::from_micros(1),
            seed: 1,
            ..Parts::new(Topology::flat(workers))
        }
    }

    pub(crate) fn with(parts: Parts) -> Self {
        Self::made(parts, false)
    }

    fn made(parts: Parts, enrols: bool) -> Self {
        let (registry, queues) = Registry::new(parts);
        let seats = Seats::new(registry.clone(), queues, enrols, None);
        Self { registry, seats }
    }

    /// The loop of worker `index` as a runtime's thread runs it: asleep until the seat is granted. Once.
    pub fn serve_when_woken(&self, index: usize) {
        serve(&self.seats, index);
    }

    /// The loop of worker `index`, awake from the start, to be run on a thread of its own, once.
    pub fn serve(&self, index: usize) {
        serve_between(&self.seats, index, || (), || ());
    }

    /// Makes this thread worker `index` while `f` runs, once. It does what `f` does and serves nobody else.
    pub fn enter<R>(&self, index: usize, f: impl FnOnce(&Worker) -> R) -> R {
        self.claim(index);
        self.seats.enter_claimed(index, f)
    }

    fn claim(&self, index: usize) {
        let sleep = self.registry.sleep();
        sleep.register(index, current());
        sleep.take_seat(index);
        sleep.end_hunger();
    }

    /// As [`enter`](Self::enter), but as busy as a worker that runs a task. When there is no other worker, this one runs what
    /// `f` leaves behind.
    pub(crate) fn work<R>(&self, index: usize, f: impl FnOnce(&Worker) -> R) -> R {
        let sleep = self.registry.sleep();
        self.claim(index);
        sleep.enter_active(index, false);
        // Nobody looks for interleavings of what came so far, nor of the others' way to sleep.
        let others = self.registry.peers.len() - 1;
        while sleep.parked() < others {
            loom::thread::yield_now();
        }
        loom::explore();
        self.registry.begin_busy(index);
        let result = catch(|| self.seats.enter_claimed(index, f));
        self.registry.end_busy(index);
        if others == 0 {
            self.seats.enter_claimed(index, |worker| while worker.thread().run_something() {});
        }
        // The seat stays claimed: no thread is there to be woken for it.
        if sleep.parked() == others && !self.registry.has_public_tasks() {
            // All have gone to sleep and there is nothing to wake them for: no task runs any more.
            loom::stop_exploring();
        }
        self.seats.leave_claimed(index);
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }

    pub(crate) fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// Runs `f` on a worker and waits.
    pub fn install<R: Send>(&self, f: impl FnOnce(&Worker) -> R + Send) -> R {
        self.seats.install(f)
    }

    /// Runs `f` on a worker's own thread and waits.
    pub fn run_on_worker<R: Send>(&self, f: impl FnOnce(&Worker) -> R + Send) -> R {
        self.registry.run_on_worker(f)
    }

    /// Has `job` run by worker `index` and nobody else.
    pub fn send(&self, index: usize, job: impl FnOnce(&Worker) + Send + 'static) {
        self.registry.send(index, crate::task::Task::Job(Box::new(job)));
    }

    /// Spawns a task.
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> crate::JoinHandle<T> {
        crate::task::spawn::spawn(&self.registry, f)
    }

    /// Spawns a future.
    pub fn spawn_future<F>(&self, future: F) -> crate::JoinHandle<F::Output>
    where
        F: std::future::Future<Output: Send + 'static> + Send + 'static,
    {
        crate::Spawn::new().run_future(&self.registry, future)
    }

    /// Withdraws the futures that are not over, as the last worker to leave does.
    pub fn withdraw_futures(&self) {
        for future in self.registry.pending.close().iter().filter_map(std::sync::Weak::upgrade) {
            future.withdraw(crate::task::turn::Reason::ShutDown);
        }
    }

    /// Runs `f` once on each worker.
    pub fn broadcast<R: Send>(&self, f: impl Fn(&Worker) -> R + Sync) -> Vec<R> {
        crate::runtime::broadcast::broadcast(&self.registry, &f)
    }

    /// Spawns a task with options.
    pub fn spawn_with<T: Send + 'static>(
        &self,
        options: crate::Spawn,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> crate::JoinHandle<T> {
        options.run(&self.registry, f)
    }

    /// Lets the first `workers` take work.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn resize(&self, workers: usize) {
        self.registry.resize(workers).expect("a size that the pool can have");
    }

    /// A batcher whose batches are of `cap` items at most and linger for nobody.
    ///
    /// # Panics
    /// When there is no such cap.
    pub fn batcher<T: Send + 'static, R: Send + 'static>(
        &self,
        cap: usize,
        executor: impl Fn(&mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Batcher<T, R> {
        let options = BatchOptions::new(cap).backlog(1).running(1).linger(Duration::ZERO);
        Batcher::on_registry(&self.registry, &options, executor).expect("options in range")
    }

    /// Tells the workers to end when nothing is left.
    pub fn terminate(&self) {
        self.registry.terminate();
    }
}

/// Makes the worker's next fork public, as a thief's request would.
pub fn offer_next(worker: &Worker) {
    worker.offer_next();
}

/// Runs one thing that an idle worker would run, if there is one.
pub fn run_something(worker: &Worker) -> bool {
    worker.thread().run_something()
}

/// Runs one join task of another worker, if one is public.
pub fn run_stolen_join(worker: &Worker) -> bool {
    worker.thread().run_stolen_join()
}

/// Calls `f` with the worker that this thread is.
///
/// # Panics
/// When it is none.
pub fn with_worker<R>(f: impl FnOnce(&Worker) -> R) -> R {
    with_current(|worker| f(worker.expect("a worker's thread")))
}
