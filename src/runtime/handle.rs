//! The handle of a runtime, and shutting it down.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::broadcast::broadcast;
use super::builder::Builder;
use super::current::with_current;
use super::mode::Mode;
use super::registry::Registry;
use super::report::Report;
use super::seat::Seats;
use crate::error::{BuildError, ResizeError};
use crate::observe::{Metrics, Span};
use crate::steal::learned::PolicyLog;
use crate::sync::{thread, ticks, Ordering};
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::frame::Worker;
use crate::task::priority::Spawn;
use crate::task::scope::{self, Scope};
use crate::task::spawn::JoinHandle;
use crate::task::{block_on, spawn};
use crate::topology::memory::Memory;
use crate::topology::Topology;

/// A set of worker threads and what they share. Dropping it runs what was spawned and joins every thread. A worker that finds nothing to do
/// then leaves at once, so what still runs may be left with fewer to help: it must not block on a task of its own that another one is to run.
///
/// A child of `fork` has none of the threads. There every use of its parent's runtime panics with a message, dropping it does
/// nothing, and the free functions use a global runtime of the child's own (on Linux).
///
/// ```
/// let runtime = upbeat::Runtime::new()?;
/// let (a, b) = runtime.join(|| 1 + 1, || 2 + 2);
/// assert_eq!((a, b), (2, 4));
/// runtime.shutdown();
/// # Ok::<(), upbeat::BuildError>(())
/// ```
pub struct Runtime {
    seats: Arc<Seats>,
    pub(super) threads: Vec<thread::JoinHandle<()>>,
}

impl Runtime {
    /// A runtime with the default configuration; see [`Builder`].
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Configures a runtime.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new_with(seats: Arc<Seats>) -> Self {
        Self { seats, threads: Vec::new() }
    }

    /// The runtime of a model, whose first worker has no thread in `threads`.
    #[cfg(upbeat_loom)]
    pub(super) fn in_model(seats: Arc<Seats>, threads: Vec<thread::JoinHandle<()>>) -> Self {
        Self { seats, threads }
    }

    /// When forks become public.
    pub(crate) fn mode(&self) -> Mode {
        self.registry().mode
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        self.seats.registry()
    }

    /// Runs `f` as a worker of this runtime and waits for it. On one of its own workers `f` runs on the spot. Another thread takes the
    /// place of a worker that sleeps, so `f` runs on the caller's own thread and stack; when no worker sleeps it is handed over to
    /// one. A worker of another runtime always hands over and goes on serving that one meanwhile, so runtimes may install into
    /// each other.
    ///
    /// [`run_on_worker`](Self::run_on_worker) never runs on the caller's thread, and neither does this one when
    /// [`Builder::enrol_callers`] says so.
    ///
    /// # Panics
    /// When `f` panics.
    pub fn install<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        self.seats.install(f)
    }

    /// Runs `f` on a thread of this runtime and waits for it: for work that must not run on the caller's own thread, such as
    /// one that uses what [`on_start`](Builder::on_start) has put into thread-locals. On one of its own workers `f` runs on
    /// the spot; a worker of another runtime goes on serving that one meanwhile.
    ///
    /// # Panics
    /// When `f` panics.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::builder().thread_name(|_| "compute".into()).build()?;
    /// let name = runtime.run_on_worker(|_| std::thread::current().name().map(str::to_owned));
    /// assert_eq!(name.as_deref(), Some("compute"));
    /// # Ok::<(), upbeat::BuildError>(())
    /// ```
    pub fn run_on_worker<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        self.registry().run_on_worker(f)
    }

    /// Runs `f` once on each worker, those that sleep as well, and returns the results in the order of the workers' numbers: to set
    /// up thread-locals, or to collect them.
    ///
    /// A worker runs `f` as soon as its own queue is empty, or on top of whatever it waits for; so `f` must take no lock that a task may
    /// hold across a join. The calling worker runs its own share at once.
    ///
    /// # Panics
    /// When `f` panics, after all have stopped; of several panics that of the lowest worker goes on.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::builder().workers(3).build()?;
    /// assert_eq!(runtime.broadcast(|worker| worker.index()), [0, 1, 2]);
    /// # Ok::<(), upbeat::BuildError>(())
    /// ```
    pub fn broadcast<F, R>(&self, f: F) -> Vec<R>
    where
        F: Fn(&Worker) -> R + Sync,
        R: Send,
    {
        broadcast(self.registry(), &f)
    }

    /// [`join`](crate::join) on this runtime.
    ///
    /// # Panics
    /// When either closure panics, after both have stopped.
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.install(|worker| worker.join(|worker| worker.entered(a), |worker| worker.entered(b)))
    }

    /// [`scope`](crate::scope) on this runtime.
    ///
    /// # Panics
    /// When `f` or a task of the scope panics, after all have stopped.
    pub fn scope<'env, F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Scope<'_, 'env>) -> R + Send,
        R: Send,
    {
        self.install(|worker| scope::run(worker, f))
    }

    /// [`scope_with`](crate::scope_with) on this runtime.
    ///
    /// # Errors
    /// [`Cancelled`] when the token is cancelled by the time all have stopped.
    ///
    /// # Panics
    /// As [`scope`](Self::scope).
    pub fn scope_with<'env, F, R>(&self, token: &CancelToken, f: F) -> Result<R, Cancelled>
    where
        F: FnOnce(&Scope<'_, 'env>) -> R + Send,
        R: Send,
    {
        self.install(|worker| scope::run_with(worker, token, f))
    }

    /// [`spawn`](crate::spawn) on this runtime.
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn::spawn(self.registry(), f)
    }

    /// [`spawn_future`](crate::spawn_future) on this runtime.
    pub fn spawn_future<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Spawn::new().run_future(self.registry(), future)
    }

    /// [`spawn_future_with`](crate::spawn_future_with) on this runtime: a priority, and a token that cancels.
    pub fn spawn_future_with<F>(&self, options: Spawn, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        options.run_future(self.registry(), future)
    }

    /// [`block_on`](crate::block_on) on a worker of this runtime, so that what the future spawns runs here.
    ///
    /// # Panics
    /// When the future panics.
    pub fn block_on<F>(&self, future: F) -> F::Output
    where
        F: Future + Send,
        F::Output: Send,
    {
        self.install(|_| block_on::block_on(future))
    }

    /// [`spawn_with`](crate::spawn_with) on this runtime: a priority, and a token that cancels.
    pub fn spawn_with<F, T>(&self, options: Spawn, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        options.run(self.registry(), f)
    }

    /// Lets the first `workers` workers take work, from 1 to [`num_workers`](Self::num_workers), while the runtime works.
    ///
    /// The others finish what they run, however long that takes, and then sleep until the size grows again; what they have queued is
    /// left to the rest. Their threads stay, and [`num_workers`](Self::num_workers) remains the bound of all workers' numbers.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::builder().workers(4).build()?;
    /// runtime.resize(1)?;
    /// assert_eq!((runtime.size(), runtime.num_workers()), (1, 4));
    /// assert!(runtime.resize(5).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ResizeError`] when `workers` is out of range; nothing changes then.
    pub fn resize(&self, workers: usize) -> Result<(), ResizeError> {
        self.registry().resize(workers)
    }

    /// How many workers take work: all, unless it was [resized](Self::resize).
    pub fn size(&self) -> usize {
        self.registry().roster.size()
    }

    /// How many workers it has.
    pub fn num_workers(&self) -> usize {
        self.registry().peers.len()
    }

    /// Where its workers are.
    pub fn topology(&self) -> &Topology {
        &self.registry().topology
    }

    /// The memory of its machine: on which node data is, and putting it on one.
    pub fn memory(&self) -> &Memory {
        &self.registry().memory
    }

    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        let registry = self.registry();
        let (reader, now) = (registry.clock.reader(), ticks());
        Metrics {
            workers: registry.peers.iter().map(|peer| peer.counters.read(now, &reader)).collect(),
            sites: registry.regions.as_ref().map(|regions| regions.metrics(&reader)).unwrap_or_default(),
            uptime: registry.clock.elapsed(),
        }
    }

    /// What the policy has seen and chosen, if [`Builder::policy_log`](crate::Builder::policy_log) asked for it and something is learned
    /// ([`Builder::learning`](crate::Builder::learning)). Call sites where a region begins or ends at this moment are left out.
    pub fn policy_log(&self) -> Option<PolicyLog> {
        self.registry().regions.as_ref()?.log()
    }

    /// Begins to record when each worker is busy (at most 65,536 spans each); see [`stop_trace`](Self::stop_trace).
    pub fn start_trace(&self) {
        self.registry().require_workers();
        for peer in &self.registry().peers {
            peer.events.start();
        }
    }

    /// The busy spans since [`start_trace`](Self::start_trace), for [`write_chrome_trace`](crate::write_chrome_trace). A
    /// stretch that is still going on counts up to now.
    pub fn stop_trace(&self) -> Vec<Span> {
        self.registry().require_workers();
        let (reader, now) = (self.registry().clock.reader(), ticks());
        let span = |row, (from, to): (u64, u64)| Span {
            name: "busy".to_owned(),
            row,
            start: Duration::from_nanos(reader.moment(from)),
            length: Duration::from_nanos(reader.length(to.saturating_sub(from))),
        };
        let mut spans = Vec::new();
        for (row, peer) in self.registry().peers.iter().enumerate() {
            spans.extend(peer.events.stop().into_iter().map(|times| span(row, times)));
            let since = peer.counters.busy_since.load(Ordering::Relaxed);
            if since != 0 && since < now {
                spans.push(span(row, (since, now)));
            }
        }
        spans
    }

    /// Runs what was spawned, then joins every thread. Dropping the runtime does the same.
    ///
    /// Called from one of its own workers it cannot wait for that worker: all threads are told to end, and left to it. A worker of
    /// another runtime serves that one while it waits.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.registry().is_left_behind() {
            // The threads are not here to be joined, and one of them may have held a lock.
            return std::mem::forget(std::mem::take(&mut self.threads));
        }
        self.registry().terminate();
        let own = with_current(|worker| {
            let Some(thread) = worker.map(Worker::thread) else { return false };
            let own = Arc::ptr_eq(thread.registry(), self.registry());
            if !own {
                // Our workers may wait for those of the other runtime, of which this is one.
                thread.wait_for_threads(&self.threads);
            }
            own
        });
        if !own {
            for thread in self.threads.drain(..) {
                // A worker never unwinds: its loop aborts instead. A failed start hook was reported by `build`.
                let _ = thread.join();
            }
        }
    }
}

/// What each worker does, and since when: for a person who looks at a program that does not go on. Any thread may ask at any time; the
/// answer is a moment old, and not for programs to read.
///
/// ```
/// let runtime = upbeat::Runtime::builder().workers(1).build()?;
/// let report = runtime.install(|_| format!("{runtime:?}"));
/// assert!(report.contains("0: runs a task"), "{report}");
/// # Ok::<(), upbeat::BuildError>(())
/// ```
impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let registry = self.registry();
        let mut report = f.debug_struct("Runtime");
        report.field("size", &self.size()).field("workers", &Report(registry));
        report.field("has_queued_tasks", &registry.has_public_tasks()).finish()
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;
    use crate::par;
    use crate::steal::Generator;
    use crate::sync::clock::BEHIND;
    use crate::sync::statistic::AtomicBool;

    /// Fault 27: a clock that jumps to and fro changes no answer, and no difference of two times overflows.
    #[test]
    fn the_clock_may_jump() {
        let runtime = Runtime::builder().workers(3).heartbeat(Duration::from_nanos(1)).build().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut generator = Generator::new(27);
                while !stop.load(Ordering::Relaxed) {
                    // From nothing to an hour behind, each order of magnitude as often as the others.
                    let nanos = 1 << generator.below(42);
                    BEHIND.store(generator.next_u64() % nanos, Ordering::Relaxed);
                    thread::yield_now();
                }
                BEHIND.store(0, Ordering::Relaxed);
            });
            for round in 0..300 {
                runtime.start_trace();
                let earlier = runtime.metrics();
                let sum = runtime.install(|_| par::map_reduce(0..20_000, |i| i, |a, b| a + b, || 0));
                assert_eq!(sum, 199_990_000);
                let slots = runtime.install(|_| par::map(0..100, |i| i + round));
                assert!(slots.into_iter().eq(round..round + 100));
                assert_eq!(runtime.spawn(move || round).join().unwrap(), round);
                let between = runtime.metrics().since(&earlier);
                assert!(between.total().busy <= Duration::from_secs(3 * 7200), "{between:?}");
                for span in runtime.stop_trace() {
                    assert!(span.length <= Duration::from_secs(7200), "{span:?}");
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
