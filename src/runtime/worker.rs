//! What a worker owns, and what it does when a thief asks it for tasks. How it looks for work is in `search`, how it waits in `wait`.
//!
//! Whoever holds the worker's seat uses it, the worker's own thread or a caller from outside; see `seat`.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::mode::Mode;
use super::opened::Opened;
use super::registry::Registry;
use super::search::Thief;
use crate::deque::{Front, OwnerEnd, Taken};
use crate::heartbeat::sites::Row;
use crate::observe::counters::{count, Counters};
use crate::sleep::polling::Gaps;
use crate::sync::{spin, thread, ticks, Local, Ordering, HAS_TIME};
use crate::task::frame::{Stolen, Worker};
use crate::task::inherit::Captured;
use crate::task::isolate;
use crate::task::scope::Shared as ScopeShared;
use crate::task::unwind::{abort, AbortOnUnwind};
use crate::task::{Task, Then};

/// Private frames that an answer looks at. In a deeper chain the oldest ones stay private until it is shorter.
const CHAIN: usize = 256;
/// First sleep of a worker that watches or waits while others work; it doubles up to four times that.
pub(super) const NAP: Duration = Duration::from_micros(50);

/// How long a worker that helps a scope runs tasks of it before it looks what else there is.
const STRETCH: Duration = Duration::from_micros(20);

/// What the holder of a worker's seat owns: its end of the ring, its queue, and how it looks for work.
pub(crate) struct WorkerThread {
    pub(super) ring: OwnerEnd<Worker>,
    pub(super) index: usize,
    pub(super) registry: Arc<Registry>,
    pub(super) queue: Local<Task>,
    /// Pushes to it until it is looked through for what is spent.
    pub(super) until_sweep: Cell<usize>,
    /// Unrelated tasks on this worker's stack, each in the middle of the one below.
    pub(super) nested: Cell<u32>,
    /// Which of its contexts the task that runs has, and the one of a stolen task that is about to run.
    pub(crate) place: Cell<u32>,
    pub(crate) received: Cell<Option<Captured>>,
    /// When this worker last woke another one, ticks.
    last_wake: Cell<u64>,
    pub(super) thief: RefCell<Thief>,
    pub(super) gaps: RefCell<Gaps>,
    /// What an answer walks over; kept, for to make room for it costs more than the rest of an answer.
    chain: RefCell<Vec<*const Worker>>,
    /// How often it looked for a task.
    pub(super) searches: Cell<u32>,
    /// How long it was busy the last time, ticks.
    last_stretch: Cell<u64>,
    /// What the last scope has left, for the next one.
    pub(crate) spare_scope: Cell<Option<Arc<ScopeShared>>>,
    /// The seat is held by a caller from outside.
    pub(super) is_guest: Cell<bool>,
    /// The regions of such callers.
    pub(super) row: Row,
    /// The depth of a tree with a leaf for each worker.
    levels: usize,
    /// Whether forks in a root are offered without a request: not in the modes that decide otherwise.
    offers: bool,
    /// What such forks look at.
    standing: Front,
    #[cfg(upbeat_loom)]
    held: crate::sync::UnsafeCell<()>,
}

impl WorkerThread {
    pub(crate) fn new(registry: Arc<Registry>, index: usize, queue: Local<Task>) -> Self {
        let thief = Thief::new(registry.seed.wrapping_add(index as u64), registry.peers.len());
        let gaps = Gaps::new(&registry.clock, registry.seed.wrapping_add(index as u64));
        let levels = registry.peers.len().next_power_of_two().ilog2() as usize;
        let offers = registry.mode == Mode::OnRequest && registry.peers.len() > 1;
        Self {
            ring: OwnerEnd::new(registry.peers[index].ring.clone()),
            index,
            registry,
            queue,
            until_sweep: Cell::new(Self::FIRST_SWEEP),
            nested: Cell::new(0),
            place: Cell::new(0),
            received: Cell::new(None),
            last_wake: Cell::new(0),
            thief: RefCell::new(thief),
            gaps: RefCell::new(gaps),
            chain: RefCell::new(Vec::with_capacity(CHAIN)),
            searches: Cell::new(0),
            last_stretch: Cell::new(0),
            spare_scope: Cell::new(None),
            is_guest: Cell::new(false),
            row: Row::default(),
            levels,
            offers,
            standing: Front::standing(),
            #[cfg(upbeat_loom)]
            held: crate::sync::UnsafeCell::new(()),
        }
    }

    /// In a model an access by the seat's holder, which loom compares with those of all others; nothing elsewhere.
    #[inline(always)]
    pub(super) fn touch(&self) {
        #[cfg(upbeat_loom)]
        self.held.with_mut(|_| ());
    }

    #[inline(always)]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Makes the next fork answer as if somebody had asked: for work so coarse that to offer it costs nothing.
    pub(crate) fn offer_next(&self) {
        self.ring.ring().ask();
    }

    /// Makes the next fork wake a sleeper, for nobody is awake but this worker.
    pub(super) fn wake_at_next_fork(&self) {
        self.last_wake.set(0);
        self.offer_next();
    }

    /// Somebody asked, or has nothing to do: the oldest half of the private frames, `newest` being the last of them, becomes public. If any did, a
    /// sleeper is woken, unless this worker woke one less than a heartbeat ago.
    #[cold]
    #[inline(never)]
    pub(crate) fn answer(&self, newest: &Worker) {
        if newest.is_private() {
            // In a root a fork comes here whether somebody asked or not; what is inside of it waits until somebody asks.
            newest.set_front(self.front());
        }
        if !self.is_wanted() {
            return;
        }
        self.ring.ring().begin_answer();
        if self.registry.is_left_behind() {
            // Nobody is there to take anything; the child runs it all.
            return;
        }
        let (private, exposed) = self.expose(newest);
        // More are hungry than there is on offer: the next fork is offered at once as well, for it may be the last one for a
        // long time. Deeper than a tree with a leaf for each worker, work is too fine for that.
        let sleep = self.registry.sleep();
        if private - exposed + self.ring.len() < self.levels && sleep.hungry() > self.ring.len() {
            self.offer_next();
        }
        if exposed > 0 {
            let counters = &self.registry.peers[self.index].counters;
            count(&counters.beats, 1);
            count(&counters.promotions, exposed as u64);
            // A watcher finds what is public by itself, and passes the watch on when it takes it. Where no time passes it may nap
            // for ever.
            if (!sleep.is_watched() || !HAS_TIME) && sleep.has_sleepers() {
                let now = ticks();
                if now.saturating_sub(self.last_wake.get())
                    >= self.registry.clock.ticks(self.registry.heartbeat)
                {
                    self.last_wake.set(now);
                    self.registry.wake_near(self.index);
                }
            }
        }
        self.yield_if_drawn();
    }

    /// Makes the oldest of the private frames up to `newest` public; how many are private, and how many of them were made public.
    #[inline]
    fn expose(&self, newest: &Worker) -> (usize, usize) {
        let (mode, place) = (self.registry.mode, self.place());
        if newest.is_outermost() && mode == Mode::OnRequest && self.ring.room() > 0 {
            // A fork in a root, which is offered whenever somebody is without work: the common case, and no chain to walk.
            // SAFETY: the frame is private and alive.
            self.ring.offer(std::iter::once(unsafe { Worker::publish(newest, place) }));
            return (1, 1);
        }
        let mut chain = self.chain.borrow_mut();
        newest.private_chain(&mut chain, CHAIN);
        let private = chain.len();
        let random = |bound| self.thief.borrow_mut().generator().below(bound);
        let exposed = mode.exposed(private, random).min(self.ring.room());
        let oldest = chain[private - exposed..].iter().rev();
        // SAFETY: the frames of the chain are private and alive: we are inside all of them.
        self.ring.offer(oldest.map(|&frame| unsafe { Worker::publish(frame, place) }));
        (private, exposed)
    }

    /// In the mode that draws at random, gives up the processor at some of the moments that this is called.
    fn yield_if_drawn(&self) {
        if self.registry.mode.yields(self.thief.borrow_mut().generator()) {
            thread::yield_now();
        }
    }

    /// Takes back a frame of a join in `parent` that was published and whose younger ones are gone, and returns what its right side
    /// forks from; `None` when a thief has it.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_back<'a>(&self, frame: &'a Worker, parent: &'a Worker) -> Option<&'a Worker> {
        match self.ring.pop(frame) {
            Taken::Back => (),
            Taken::Stolen => return None,
            // Going on would run a task twice.
            Taken::Misplaced => abort("a Worker was used inside a join that is not its own"),
        }
        if !parent.is_root() {
            return Some(parent);
        }
        frame.become_root(self.root_front());
        Some(frame)
    }

    /// What forks in a root look at. A thief can only ask, and the next fork there may be the last one for a long time, so each is offered
    /// to whoever has nothing to do.
    fn root_front(&self) -> &Front {
        match self.offers {
            true => &self.standing,
            false => self.front(),
        }
    }

    /// What forks look at that answer requests alone.
    #[inline]
    pub(crate) fn front(&self) -> &Front {
        self.ring.ring().front()
    }

    /// Whether somebody has asked this worker for work, or has nothing to do.
    pub(crate) fn is_wanted(&self) -> bool {
        self.ring.ring().is_asked() || self.is_anybody_hungry()
    }

    fn is_anybody_hungry(&self) -> bool {
        self.registry.sleep().is_hungry() || self.registry.tenant().is_some()
    }

    /// Runs `f` at the root of a chain of its own.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&Worker) -> R) -> R {
        self.touch();
        // SAFETY: the front is of the seat which this thread holds, and leads to `self` since the seats were made.
        let root = unsafe { Worker::root(self.root_front()) };
        let _guard = AbortInChild(&self.registry);
        root.entered(|| f(&root))
    }

    /// Makes the fronts lead to this, which stays where it is from now on.
    pub(crate) fn own_ring(&self) {
        for front in [self.front(), &self.standing] {
            front.set_owner((&raw const *self).cast_mut().cast());
        }
    }

    /// Runs all that can be found, hungry.
    pub(super) fn run_all(&self) {
        while let Some(work) = self.find_work() {
            self.run(work);
        }
    }

    /// Runs what a hungry worker found; it is hungry again before the end of it can be seen.
    pub(super) fn run(&self, work: Work) {
        let sleep = self.registry.sleep();
        sleep.end_hunger();
        // The first fork finds the request; if it is a long time before the next one, somebody has work meanwhile.
        self.offer_to_hungry();
        self.yield_if_drawn();
        self.registry.begin_busy(self.index);
        match work {
            Work::Join(stolen, victim) => self.run_stolen(stolen, victim),
            Work::Task(task) => task.run(self, Then::Rest),
        }
    }

    pub(crate) fn run_job(&self, job: crate::embed::Job, then: Then) {
        let guard = AbortOnUnwind("a job panicked");
        self.enter(job);
        std::mem::forget(guard);
        self.ending(then);
    }

    /// Called by a task that is done, before it says so.
    pub(crate) fn ending(&self, then: Then) {
        if then == Then::Rest {
            self.last_stretch.set(self.registry.end_busy(self.index));
            self.registry.sleep().begin_hunger();
            if self.registry.regions.is_some() {
                // Patience begins anew with each task that is done.
                self.thief.borrow_mut().begin_idling();
            }
        }
    }

    /// Makes the next fork public if somebody is without work.
    pub(super) fn offer_to_hungry(&self) {
        if self.is_anybody_hungry() {
            self.offer_next();
        }
    }

    pub(super) fn run_stolen(&self, stolen: Stolen, victim: usize) {
        self.receive(victim, stolen.place());
        let run = || stolen.run(self);
        // Relaxed: said before the task was made public.
        let is_isolated = self.registry.peers[victim].isolating.load(Ordering::Relaxed) > 0;
        let outer = self.join_region_of(victim);
        let owner_sleeps = if is_isolated { isolate::within_another(self, run) } else { run() };
        if let Some(outer) = outer {
            self.counters().region.store(outer, Ordering::Relaxed);
        }
        if owner_sleeps {
            self.registry.sleep().unpark(victim);
        }
        let length = self.last_stretch.get();
        self.thief.borrow_mut().sight(victim).ran(length);
        count(&self.counters().stolen[self.registry.topology.distance(self.index, victim) as usize], length);
    }

    /// Goes on under the settings of worker `victim`'s region; what its own were. `None` where all have the same.
    fn join_region_of(&self, victim: usize) -> Option<u64> {
        self.registry.regions.as_ref()?;
        let own = &self.counters().region;
        let outer = own.load(Ordering::Relaxed);
        own.store(self.registry.peers[victim].counters.region.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(outer)
    }

    fn counters(&self) -> &Counters {
        &self.registry.peers[self.index].counters
    }

    /// Begins to run in a region of isolation.
    pub(crate) fn enter_region(&self) {
        let isolating = &self.registry.peers[self.index].isolating;
        // Relaxed, as a counter of this thread's alone: who steals what was made public inside has acquired it.
        isolating.store(isolating.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Ends it. Who stole what was made public inside is done with that.
    pub(crate) fn leave_region(&self) {
        let isolating = &self.registry.peers[self.index].isolating;
        isolating.store(isolating.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    /// Runs what `run` takes of the tasks of `scope`.
    pub(crate) fn serve_scope(&self, scope: &Arc<ScopeShared>, run: impl FnOnce()) {
        let serving = &self.registry.peers[self.index].serving;
        // Relaxed: whoever finds a task in our ring has acquired what we wrote before it.
        serving.store(Arc::as_ptr(scope) as usize, Ordering::Relaxed);
        run();
        serving.store(0, Ordering::Relaxed);
    }

    /// The scopes that this worker has open.
    pub(crate) fn opened(&self) -> &Opened {
        &self.registry.peers[self.index].opened
    }

    /// When a stretch of a scope's tasks that begins now is to end, ticks.
    pub(crate) fn end_of_stretch(&self) -> u64 {
        ticks() + self.registry.clock.ticks(STRETCH)
    }

    /// Between two tasks of a stretch: whether the worker has other things to do than the next one. Else that is taken up like any other.
    pub(crate) fn has_to_attend(&self, end_of_stretch: u64) -> bool {
        let registry = &self.registry;
        if !self.is_serving() || !registry.urgent.is_empty() || !registry.peers[self.index].inbox.is_empty() {
            return true;
        }
        if HAS_TIME && ticks() >= end_of_stretch {
            return true;
        }
        self.offer_to_hungry();
        self.yield_if_drawn();
        false
    }
}

/// Ends a child of `fork` that comes back from the task that forked it: who waits for that is in the parent.
struct AbortInChild<'a>(&'a Registry);

impl Drop for AbortInChild<'_> {
    fn drop(&mut self) {
        self.0.require_workers_or_abort();
    }
}

/// What a worker runs next.
pub(super) enum Work {
    /// A join task, and the worker it was stolen from.
    Join(Stolen, usize),
    /// A public task.
    Task(Task),
}

/// Between two polls: about 0.1 µs, so that polling leaves the victim's cache lines alone.
pub(super) fn pause() {
    for _ in 0..4 {
        spin();
    }
}
