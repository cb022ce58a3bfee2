//! What the workers of one runtime share, and the way in for threads that are not workers.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::current::with_current;
use super::fork;
use super::mode::Mode;
use super::pending::Pending;
use super::roster::Roster;
use super::tenant::Tenant;
use super::thread_body::Attendance;
use super::worker::WorkerThread;
use crate::deque::Ring;
use crate::observe::counters::Counters;
use crate::observe::events::Events;
use crate::sleep::Sleep;
use crate::steal::StealPolicy;
use crate::sync::{now, ordering, AtomicUsize, Injector, Local, Ordering, Stealer};
use crate::task::frame::Worker;
use crate::task::inherit::{Entered, Inheritance};
use crate::task::isolate::{self, Region};
use crate::task::job::InstallJob;
use crate::task::unwind::{abort, catch, message, AbortOnUnwind, Payload};
use crate::task::Task;
use crate::topology::Topology;

/// Handles panics that no one waits for.
pub(crate) type PanicHandler = Box<dyn Fn(Payload) + Send + Sync>;

/// What a child of `fork` is told.
const LEFT_BEHIND: &str =
    "this runtime's workers are in the process that called fork(), not in its child; build a runtime in the child";

/// One worker, as the others see it.
pub(crate) struct Peer {
    pub(crate) ring: Arc<Ring<Worker>>,
    pub(crate) queue: Stealer<Task>,
    /// Tasks for this worker and no other.
    pub(crate) inbox: Injector<Task>,
    /// Address of the scope one of whose tasks the worker took from a queue and runs now, 0 for none. While it is not 0, all
    /// that is in the worker's ring descends from that scope.
    pub(crate) serving: AtomicUsize,
    /// Not 0 while the ring may hold tasks that do not descend from the task that the worker took last: it runs an unrelated
    /// one on top of another, or a stolen one on top of joins that are still open.
    pub(crate) foreign: AtomicUsize,
    /// How many regions of isolation the worker is in.
    pub(crate) isolating: AtomicUsize,
    /// Contexts of the tasks that are open on the worker's stack.
    pub(crate) entered: Entered,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
}

impl Peer {
    /// Whether all that is in the ring descends from the task that the worker took last.
    ///
    /// Ask within `Ring::steal_if`, and before `Latch::is_set` where the worker's name came from a latch: clean *again* means
    /// that the latch was set, and this acquires that.
    pub(crate) fn runs_no_foreign_task(&self) -> bool {
        self.foreign.load(ordering!("foreign_read", Acquire)) == 0
    }
}

/// The shared part of a runtime.
pub(crate) struct Registry {
    pub(crate) peers: Vec<Peer>,
    pub(crate) injector: Injector<Task>,
    /// What goes first: tasks of high priority, whoever spawned them, and those that workers of other runtimes wait for.
    pub(crate) urgent: Injector<Task>,
    pub(crate) roster: Roster,
    sleep: Sleep,
    pub(crate) policy: Box<dyn StealPolicy>,
    pub(crate) topology: Topology,
    pub(crate) heartbeat: Duration,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    on_panic: Option<PanicHandler>,
    pub(crate) inheritance: Option<Inheritance>,
    tenant: Option<Tenant>,
    attendance: Attendance,
    /// Spawned futures that are not over.
    pub(crate) pending: Pending,
    /// How many workers have left for good.
    left: AtomicUsize,
    pub(crate) started: u64,
    /// Which process its threads are in.
    generation: u64,
}

/// What a registry is made of besides its workers.
pub(crate) struct Parts {
    pub(crate) topology: Topology,
    pub(crate) policy: Box<dyn StealPolicy>,
    pub(crate) heartbeat: Duration,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) on_panic: Option<PanicHandler>,
    pub(crate) inheritance: Option<Inheritance>,
    pub(crate) tenant: Option<Tenant>,
}

impl Registry {
    /// A registry and the private ends of its workers' queues.
    pub(crate) fn new(parts: Parts) -> (Arc<Self>, Vec<Local<Task>>) {
        let workers = parts.topology.workers();
        let newest_first = parts.tenant.as_ref().is_some_and(|tenant| tenant.newest_first);
        let queues: Vec<_> = (0..workers).map(|_| Local::new(newest_first)).collect();
        let peers = queues.iter().map(|queue| Peer {
            ring: Arc::new(Ring::with_requests(parts.mode.requests())),
            queue: queue.stealer(),
            inbox: Injector::new(),
            serving: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
            isolating: AtomicUsize::new(0),
            entered: Entered::default(),
            counters: Counters::new(),
            events: Events::new(),
        });
        let registry = Self {
            peers: peers.collect(),
            injector: Injector::new(),
            urgent: Injector::new(),
            roster: Roster::new(workers),
            sleep: Sleep::new(workers),
            policy: parts.policy,
            topology: parts.topology,
            heartbeat: parts.heartbeat,
            seed: parts.seed,
            mode: parts.mode,
            on_panic: parts.on_panic,
            inheritance: parts.inheritance,
            tenant: parts.tenant,
            attendance: Attendance::default(),
            pending: Pending::new(),
            left: AtomicUsize::new(0),
            started: now(),
            generation: fork::generation(),
        };
        (Arc::new(registry), queues)
    }

    /// Whether this process is a child of `fork`, and the workers are in its parent: nothing here may be waited for or locked.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.generation != fork::generation()
    }

    /// # Panics
    /// When [`is_left_behind`](Self::is_left_behind).
    pub(crate) fn require_workers(&self) {
        assert!(!self.is_left_behind(), "{LEFT_BEHIND}");
    }

    /// For code that must not unwind.
    pub(crate) fn require_workers_or_abort(&self) {
        if self.is_left_behind() {
            abort(LEFT_BEHIND);
        }
    }

    pub(crate) fn sleep(&self) -> &Sleep {
        &self.sleep
    }

    /// Makes a task public: in the current worker's own queue if it is one of ours, else in the injector.
    pub(crate) fn submit(self: &Arc<Self>, task: Task) {
        self.submit_from(isolate::current(), task);
    }

    /// The same for a task that was created in `region`.
    pub(crate) fn submit_from(self: &Arc<Self>, region: Option<Arc<Region>>, task: Task) {
        let task = isolate::enclose(self, region, task);
        self.require_workers();
        with_current(|worker| match worker {
            Some(worker) if Arc::ptr_eq(worker.thread().registry(), self) => worker.thread().queue(task),
            _ => self.injector.push(task),
        });
        self.sleep.wake_one();
    }

    /// Makes a task public that goes before all others.
    pub(crate) fn submit_urgent_from(&self, region: Option<Arc<Region>>, task: Task) {
        self.urgent.push(isolate::enclose(self, region, task));
        self.sleep.wake_one();
    }

    /// Makes a task known to worker `index` and nobody else.
    pub(crate) fn send(&self, index: usize, task: Task) {
        self.peers[index].inbox.push(task);
        self.sleep.wake(index);
        self.roster.recall();
    }

    /// Whose rules hold here instead of our own.
    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// Which threads have come and gone, where others start them.
    pub(crate) fn attendance(&self) -> &Attendance {
        &self.attendance
    }

    /// A worker leaves for good; true for the last one.
    pub(super) fn leave(&self) -> bool {
        // Relaxed: it only counts. What the last worker touches is ordered by turns and locks of its own.
        self.left.fetch_add(1, Ordering::Relaxed) + 1 == self.peers.len()
    }

    /// Whether some queue or ring has a task that an idle worker could take.
    pub(crate) fn has_public_work(&self) -> bool {
        !self.injector.is_empty()
            || !self.urgent.is_empty()
            || self.peers.iter().any(|peer| peer.ring.has_public() || !peer.queue.is_empty())
    }

    /// Runs `f` on a worker of this runtime and waits for it; on the spot when this thread is one.
    pub(crate) fn install<F, R>(self: &Arc<Self>, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        with_current(|worker| match worker {
            Some(worker) if Arc::ptr_eq(worker.thread().registry(), self) => f(worker),
            other => {
                let foreign = other.map(Worker::thread).filter(|thread| !thread.registry().is_left_behind());
                self.install_from_outside(foreign, f)
            }
        })
    }

    /// As `install`, but never on a thread that is no worker's own.
    pub(crate) fn run_on_worker<F, R>(self: &Arc<Self>, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        with_current(|worker| match worker {
            Some(worker) if Arc::ptr_eq(worker.thread().registry(), self) => f(worker),
            other => self.install_from_outside(other.map(Worker::thread), f),
        })
    }

    fn install_from_outside<F, R>(self: &Arc<Self>, foreign: Option<&WorkerThread>, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        self.require_workers();
        let job = InstallJob::new(self.inherit(f));
        // The job's frame is public until `done`: nothing between may unwind out of here.
        let guard = AbortOnUnwind("waiting for an installed task failed");
        // SAFETY: this frame stays until `done` is set, and the injector hands the reference to one worker, once.
        let reference = unsafe { job.publish() };
        // A worker's wait goes first, and above all bounds of nesting: it may be what a stack of ours waits for.
        let queue = if foreign.is_some() { &self.urgent } else { &self.injector };
        queue.push(isolate::enclose(self, isolate::current(), Task::Install(reference)));
        self.sleep.wake_one();
        match foreign {
            // A worker of another runtime goes on serving that one: two runtimes may wait for each other.
            Some(thread) => thread.wait_running_anything(job.done()),
            None => job.done().wait(),
        }
        std::mem::forget(guard);
        // SAFETY: `done` is set, and the result is taken here only.
        let result = unsafe { job.take_result() };
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// A task panicked and nobody will ask for its result.
    pub(crate) fn unhandled_panic(&self, task: &str, payload: Payload) {
        let Some(handler) = &self.on_panic else {
            abort(&format!(
                "the detached task `{task}` panicked ({}) and no on_panic handler is set",
                message(&*payload)
            ));
        };
        if let Err(second) = catch(|| handler(payload)) {
            abort(&format!("the on_panic handler panicked ({})", message(&*second)));
        }
    }

    /// Notes a busy stretch that ends now.
    pub(crate) fn end_busy(&self, worker: usize) {
        let counters = &self.peers[worker].counters;
        let since = counters.busy_since.swap(0, Ordering::Relaxed);
        if since != 0 {
            let now = now();
            crate::observe::counters::count(&counters.busy, now.saturating_sub(since));
            self.peers[worker].events.record(since, now);
        }
    }

    /// Notes that a busy stretch begins.
    pub(crate) fn begin_busy(&self, worker: usize) {
        self.peers[worker].counters.busy_since.store(now().max(1), Ordering::Relaxed);
    }
}
