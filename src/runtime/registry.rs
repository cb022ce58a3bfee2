//! What the workers of one runtime share, and the way in for threads that are not workers.

use std::sync::Arc;
use std::time::Duration;

use super::bound::Bound;
use super::current::with_current;
use super::fork;
use super::mode::Mode;
use super::opened::Opened;
use super::pending::Pending;
use super::regions::{Regions, Terms};
use super::report::Note;
use super::roster::Roster;
use super::sweep::Sweeps;
use super::tenant::Tenant;
use super::thread_body::Attendance;
use crate::batch::roll::Roll;
use crate::deque::Ring;
use crate::heartbeat::rate::Rule;
use crate::heartbeat::sites::Sites;
use crate::observe::clock::Clock;
use crate::observe::counters::{count, Counters};
use crate::observe::events::Events;
use crate::sleep::polling::Polling;
use crate::sleep::Sleep;
use crate::steal::learned::{Learning, Network};
use crate::steal::{is_order, Generator, Random, StealPolicy, Stealing};
use crate::sync::{ordering, statistic, ticks, AtomicUsize, Injector, Local, Ordering, Stealer};
use crate::task::frame::Worker;
use crate::task::inherit::{Entered, Inheritance};
use crate::task::isolate::{self, Region};
use crate::task::unwind::{abort, catch, message, warn, Payload};
use crate::task::Task;
use crate::topology::memory::Memory;
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
    /// The scopes that it has open, and whose tasks anybody may run.
    pub(crate) opened: Opened,
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
    /// What the worker waits for, for who looks for a deadlock.
    pub(crate) note: Note,
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
    /// What goes first: tasks of high priority, whoever spawned them, and closures that a thread waits for which is no worker of this runtime.
    pub(crate) urgent: Injector<Task>,
    pub(super) urgent_sweeps: Sweeps,
    /// Tasks that are bound for a memory node.
    pub(super) bound: Bound,
    pub(crate) roster: Roster,
    sleep: Sleep,
    policy: Box<dyn StealPolicy>,
    /// Whether the policy's first wrong order was reported.
    has_warned: statistic::AtomicBool,
    pub(crate) topology: Topology,
    pub(crate) memory: Memory,
    pub(crate) heartbeat: Duration,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    on_panic: Option<PanicHandler>,
    pub(crate) inheritance: Option<Inheritance>,
    tenant: Option<Tenant>,
    pub(super) polling: Polling,
    attendance: Attendance,
    /// Spawned futures that are not over.
    pub(crate) pending: Pending,
    /// How many workers have left for good.
    left: AtomicUsize,
    /// Which process its threads are in.
    generation: u64,
    /// Read when the registry was made.
    pub(crate) clock: Clock,
    /// How thieves deal with who works on a region that nothing was chosen for.
    pub(crate) terms: Terms,
    pub(crate) sites: Sites,
    /// What is learned of regions, if anything is.
    pub(crate) regions: Option<Regions>,
    pub(crate) batches: Roll,
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
    pub(crate) learning: Learning,
    /// In a box: kilobytes, which would be moved with the parts on stacks that may be small.
    pub(crate) weights: Option<Box<Network>>,
    /// How many regions of each call site the policy's log keeps.
    pub(crate) policy_log: usize,
    pub(crate) polling: Polling,
}

impl Parts {
    /// Those of a runtime for which nobody asked anything.
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            topology,
            policy: Box::new(Stealing::default()),
            heartbeat: Duration::from_micros(100),
            seed: 0x5eed,
            mode: Mode::OnRequest,
            on_panic: None,
            inheritance: None,
            tenant: None,
            learning: Learning::Static,
            weights: None,
            policy_log: 0,
            polling: Polling::default(),
        }
    }
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
            opened: Opened::new(),
            inbox: Injector::new(),
            serving: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
            isolating: AtomicUsize::new(0),
            entered: Entered::default(),
            note: Note::new(),
            counters: Counters::new(),
            events: Events::new(),
        });
        let clock = Clock::new();
        let rule = Rule::new(&clock, parts.heartbeat);
        let regions = Regions::new(parts.learning, parts.weights, &rule, &clock, &parts.topology, parts.seed)
            .map(|regions| regions.logging(parts.policy_log));
        let sleep = Sleep::new(workers);
        let registry = Self {
            peers: peers.collect(),
            injector: Injector::new(),
            urgent: Injector::new(),
            urgent_sweeps: Sweeps::new(),
            bound: Bound::new(&parts.topology, &sleep),
            roster: Roster::new(workers),
            sleep,
            policy: parts.policy,
            has_warned: statistic::AtomicBool::new(false),
            memory: Memory::of(&parts.topology),
            topology: parts.topology,
            heartbeat: parts.heartbeat,
            seed: parts.seed,
            mode: parts.mode,
            on_panic: parts.on_panic,
            inheritance: parts.inheritance,
            tenant: parts.tenant,
            polling: parts.polling,
            attendance: Attendance::default(),
            pending: Pending::new(),
            left: AtomicUsize::new(0),
            generation: fork::generation(),
            terms: Terms { rule, patience: 0 },
            regions,
            sites: Sites::new(&clock),
            batches: Roll::new(),
            clock,
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
        self.wake_near_current();
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

    /// Whether some queue has a task, or an open scope. Those in rings are found by who watches.
    pub(crate) fn has_public_tasks(&self) -> bool {
        self.has_common_tasks()
            || self.peers.iter().any(|peer| !peer.queue.is_empty() || peer.opened.has_tasks())
    }

    /// The same of the queues that belong to nobody.
    pub(super) fn has_common_tasks(&self) -> bool {
        !self.injector.is_empty() || !self.urgent.is_empty() || self.bound.has_tasks()
    }

    /// Whether a worker other than `but` runs a task, and has done so for `ticks`.
    pub(crate) fn is_anybody_busy_for(&self, ticks: u64, but: usize) -> bool {
        let now = crate::sync::ticks();
        let is_long = |since: u64| since != 0 && now.saturating_sub(since) >= ticks;
        let mut others = self.peers.iter().enumerate().filter(|(index, _)| *index != but);
        others.any(|(_, peer)| is_long(peer.counters.busy_since.load(Ordering::Relaxed)))
    }

    /// How a thief deals with worker `victim` at `now`.
    pub(super) fn terms_of(&self, victim: usize, now: u64) -> &Terms {
        match &self.regions {
            None => &self.terms,
            Some(regions) => regions.terms(self.peers[victim].counters.region.load(Ordering::Relaxed), now),
        }
    }

    /// Fills `order` with the victims that the policy names for `thief`, or with all in random order where it is wrong.
    pub(crate) fn victims(&self, thief: usize, generator: &mut Generator, order: &mut Vec<usize>) {
        order.clear();
        self.policy.victims(thief, &self.topology, generator, order);
        if !is_order(order, thief, self.peers.len()) {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                warn(&format!(
                    "the stealing policy sent worker {thief} to {order:?}; a runtime of {} workers goes on in random order",
                    self.peers.len()
                ));
            }
            order.clear();
            Random.victims(thief, &self.topology, generator, order);
        }
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

    /// Notes a busy stretch that ends now; how long it was, ticks.
    pub(crate) fn end_busy(&self, worker: usize) -> u64 {
        self.end_busy_at(worker, ticks())
    }

    /// Notes a busy stretch that ended at `now`, ticks; how long it was.
    pub(crate) fn end_busy_at(&self, worker: usize, now: u64) -> u64 {
        let counters = &self.peers[worker].counters;
        let since = counters.busy_since.load(Ordering::Relaxed);
        if since == 0 {
            return 0;
        }
        let length = now.saturating_sub(since);
        counters.busy_since.store(0, Ordering::Relaxed);
        count(&counters.busy, length);
        self.peers[worker].events.record(since, now);
        length
    }

    /// Whether worker `index` is in a busy stretch.
    pub(crate) fn is_busy(&self, worker: usize) -> bool {
        self.peers[worker].counters.busy_since.load(Ordering::Relaxed) != 0
    }

    /// Notes that a busy stretch begins.
    pub(crate) fn begin_busy(&self, worker: usize) {
        self.begin_busy_at(worker, ticks());
    }

    /// Notes that a busy stretch began at `now`, ticks.
    pub(crate) fn begin_busy_at(&self, worker: usize, now: u64) {
        self.peers[worker].counters.busy_since.store(now.max(1), Ordering::Relaxed);
    }
}
