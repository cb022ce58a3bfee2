//! A worker's thread: its end of the ring, the loop it runs, and how it waits.

use std::cell::{Cell, RefCell};
use std::ptr::null;
use std::sync::Arc;
use std::time::Duration;

use super::registry::Registry;
use crate::deque::{OwnerEnd, Taken};
use crate::observe::counters::count;
use crate::sleep::Woken;
use crate::steal::Generator;
use crate::sync::{left_out, now, spin, thread, Local, Ordering, SPINS};
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

/// What a worker's thread owns: its end of the ring, its queue, and how it looks for work.
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
    /// When this worker last woke another one, ns.
    last_wake: Cell<u64>,
    thief: RefCell<Thief>,
    /// The depth of a tree with a leaf for each worker.
    levels: usize,
}

struct Thief {
    generator: Generator,
    order: Vec<usize>,
}

impl WorkerThread {
    pub(crate) fn new(registry: Arc<Registry>, index: usize, queue: Local<Task>) -> Self {
        let generator = Generator::new(registry.seed.wrapping_add(index as u64));
        let order = Vec::with_capacity(registry.peers.len());
        let levels = registry.peers.len().next_power_of_two().ilog2() as usize;
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
            thief: RefCell::new(Thief { generator, order }),
            levels,
        }
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

    /// Somebody asked: the oldest half of the private frames, `newest` being the last of them, becomes public. If any did, a
    /// sleeper is woken, unless this worker woke one less than a heartbeat ago.
    #[cold]
    #[inline(never)]
    pub(crate) fn answer(&self, newest: &Worker) {
        self.ring.ring().begin_answer();
        if self.registry.is_left_behind() {
            // Nobody is there to take anything; the child runs it all.
            return;
        }
        let mut chain = [null(); CHAIN];
        let private = newest.private_chain(&mut chain);
        let mode = self.registry.mode;
        let random = |bound| self.thief.borrow_mut().generator.below(bound);
        let exposed = mode.exposed(private, random).min(self.ring.room());
        let place = self.place();
        let oldest = chain[private - exposed..private].iter().rev();
        // SAFETY: the frames of the chain are private and alive: we are inside all of them.
        self.ring.offer(oldest.map(|&frame| unsafe { Worker::publish(frame, place) }));
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
            if sleep.has_sleepers() {
                let now = now();
                if now.saturating_sub(self.last_wake.get()) >= self.registry.heartbeat.as_nanos() as u64 {
                    self.last_wake.set(now);
                    sleep.wake_one();
                }
            }
        }
        self.yield_if_drawn();
    }

    /// In the mode that draws at random, gives up the processor at some of the moments that this is called.
    fn yield_if_drawn(&self) {
        if self.registry.mode.yields(&mut self.thief.borrow_mut().generator) {
            thread::yield_now();
        }
    }

    /// Takes back a frame that was published and whose younger ones are gone; false when a thief has it.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_back(&self, frame: *const Worker) -> bool {
        let back = match self.ring.pop(frame) {
            Taken::Back => true,
            Taken::Stolen => false,
            // Going on would run a task twice.
            Taken::Misplaced => abort("a Worker was used inside a join that is not its own"),
        };
        if back {
            // A thief that asked for it got nothing: somebody may still be without work, so the next fork offers again.
            self.offer_to_hungry();
        }
        back
    }

    /// Runs `f` at the root of a chain of its own.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&Worker) -> R) -> R {
        // SAFETY: it is this thread's own ring, and `serve`, which we are called from, has made us its owner.
        let root = unsafe { Worker::root(self.ring.ring()) };
        let _guard = AbortInChild(&self.registry);
        root.entered(|| f(&root))
    }

    /// Makes the ring lead to this thread, which stays where it is from now on.
    pub(crate) fn own_ring(&self) {
        self.ring.ring().set_owner((&raw const *self).cast_mut().cast());
    }

    /// The worker's loop: until the runtime shuts down and nothing is left to run.
    pub(crate) fn serve(&self) {
        self.own_ring();
        let guard = AbortOnUnwind("a worker's loop failed");
        let sleep = self.registry.sleep();
        sleep.register(self.index, thread::current());
        while let Some(work) = self.next_work() {
            sleep.enter_active();
            self.registry.begin_busy(self.index);
            self.run(work);
            self.run_all();
            self.registry.end_busy(self.index);
            sleep.leave_active();
        }
        if self.registry.leave() {
            self.close();
        }
        std::mem::forget(guard);
    }

    /// Runs all that can be found.
    pub(super) fn run_all(&self) {
        while let Some(work) = self.find_work() {
            self.run(work);
        }
    }

    /// Runs what a hungry worker found; it is hungry again before the end of it can be seen.
    fn run(&self, work: Work) {
        self.registry.sleep().end_hunger();
        self.offer_to_hungry();
        self.yield_if_drawn();
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
            self.registry.sleep().begin_hunger();
        }
    }

    /// Makes the next fork public if somebody is without work.
    pub(super) fn offer_to_hungry(&self) {
        if self.registry.sleep().is_hungry() || self.registry.tenant().is_some() {
            self.offer_next();
        }
    }

    pub(super) fn run_stolen(&self, stolen: Stolen, victim: usize) {
        self.receive(victim, stolen.place());
        let run = || stolen.run(self);
        // Relaxed: said before the task was made public.
        let is_isolated = self.registry.peers[victim].isolating.load(Ordering::Relaxed) > 0;
        let owner_sleeps = if is_isolated { isolate::within_another(self, run) } else { run() };
        if owner_sleeps {
            self.registry.sleep().unpark(victim);
        }
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

    pub(crate) fn run_scoped(&self, scope: &Arc<ScopeShared>) {
        let serving = &self.registry.peers[self.index].serving;
        // Relaxed: whoever finds a task in our ring has acquired what we wrote before it.
        serving.store(Arc::as_ptr(scope) as usize, Ordering::Relaxed);
        scope.run_one(self, Then::Rest);
        serving.store(0, Ordering::Relaxed);
    }

    pub(super) fn pop_own(&self) -> Option<Task> {
        self.queue.pop()
    }

    /// A task from the public queues: those that go first, our own, what was sent to us, the injector, the others'.
    pub(super) fn find_task(&self) -> Option<Task> {
        let registry = &self.registry;
        let others = || {
            let peers = &registry.peers;
            let mut others = (1..peers.len()).map(|step| &peers[(self.index + step) % peers.len()]);
            others.find_map(|peer| peer.queue.steal())
        };
        let inbox = &registry.peers[self.index].inbox;
        let own = registry.urgent.steal().or_else(|| self.pop_own()).or_else(|| inbox.steal());
        own.or_else(|| registry.injector.steal()).or_else(others)
    }

    /// Something to run from anywhere, for a worker with an empty stack.
    fn find_work(&self) -> Option<Work> {
        if !self.is_serving() {
            return self.find_sent();
        }
        self.find_task().map(Work::Task).or_else(|| self.steal_join())
    }

    /// The oldest join task of the first victim that has one; the others are asked.
    pub(super) fn steal_join(&self) -> Option<Work> {
        let registry = &*self.registry;
        let counters = &registry.peers[self.index].counters;
        let mut thief = self.thief.borrow_mut();
        let Thief { generator, order } = &mut *thief;
        order.clear();
        registry.policy.victims(self.index, &registry.topology, generator, order);
        for &victim in order.iter() {
            // A policy may be wrong about its numbers; it may not make us steal from nobody or ourselves.
            let Some(peer) = registry.peers.get(victim).filter(|_| victim != self.index) else { continue };
            let task = peer.ring.steal();
            if task.is_null() {
                peer.ring.ask();
                continue;
            }
            count(&counters.steals[registry.topology.distance(self.index, victim) as usize], 1);
            // SAFETY: the ring holds tasks of joins that wait for them, and the CAS made this one ours.
            return Some(Work::Join(unsafe { Stolen::new(task) }, victim));
        }
        count(&counters.failed_steals, 1);
        None
    }

    /// One turn of the loop without its sleep.
    #[cfg(upbeat_loom)]
    pub(crate) fn run_something(&self) -> bool {
        self.find_work().map(|work| self.run(work)).is_some()
    }

    /// As above, for joins alone.
    #[cfg(upbeat_loom)]
    pub(crate) fn run_stolen_join(&self) -> bool {
        self.steal_join().map(|work| self.run(work)).is_some()
    }

    /// Waits for work, hungry; `None` when the runtime shuts down and there is none.
    fn next_work(&self) -> Option<Work> {
        let sleep = self.registry.sleep();
        loop {
            self.attend();
            if let Some(work) = self.find_work() {
                return Some(work);
            }
            if sleep.is_terminating() {
                // What was spawned before the end was told may have come after the look above; now it is visible.
                return if left_out!("shutdown_last_look") { None } else { self.find_work() };
            }
            if sleep.is_active() && sleep.try_watch() {
                let work = self.watch();
                sleep.stop_watching();
                if work.is_some() {
                    // `enter_active` finds the seat free and wakes the next watcher.
                    return work;
                }
            }
            let inbox = &self.registry.peers[self.index].inbox;
            let has_work = || {
                !inbox.is_empty()
                    || !self.is_serving()
                    || self.registry.has_public_work()
                    || sleep.needs_watcher()
            };
            if sleep.park(self.index, None, has_work) == Woken::Slept {
                count(&self.registry.peers[self.index].counters.parks, 1);
            }
        }
    }

    /// Watches busy workers: polls for a while, then between naps; `None` when nobody is busy any more.
    fn watch(&self) -> Option<Work> {
        let sleep = self.registry.sleep();
        for _ in 0..SPINS {
            if let Some(work) = self.find_work() {
                return Some(work);
            }
            if !sleep.is_active() || !self.is_serving() {
                return None;
            }
            pause();
        }
        let mut nap = NAP;
        while sleep.is_active() && !sleep.is_terminating() && self.is_serving() {
            let inbox = &self.registry.peers[self.index].inbox;
            let has_work = || !inbox.is_empty() || self.registry.has_public_work();
            if sleep.park(self.index, Some(nap), has_work) == Woken::Slept {
                count(&self.registry.peers[self.index].counters.parks, 1);
            }
            if let Some(work) = self.find_work() {
                return Some(work);
            }
            nap = (nap * 2).min(NAP * 4);
        }
        None
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

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;
    use crate::runtime::registry::Parts;
    use crate::steal::StealPolicy;
    use crate::topology::Topology;

    /// Names nobody, itself, and workers that do not exist, besides the one that it should.
    struct Wrong;

    impl StealPolicy for Wrong {
        fn victims(&self, thief: usize, topology: &Topology, random: &mut Generator, order: &mut Vec<usize>) {
            order.extend([usize::MAX, thief, topology.workers(), random.next_u64() as usize, thief]);
            if random.below(2) == 0 {
                order.extend([1 - thief, 1 - thief]);
            }
        }
    }

    /// Fault 36.
    #[test]
    fn a_policy_may_be_wrong() {
        let (registry, queues) = Registry::new(Parts {
            topology: Topology::flat(2),
            policy: Box::new(Wrong),
            heartbeat: Duration::from_micros(1),
            seed: 1,
            mode: crate::Mode::OnRequest,
            on_panic: None,
            inheritance: None,
            tenant: None,
        });
        std::thread::scope(|threads| {
            for (index, queue) in queues.into_iter().enumerate() {
                let registry = registry.clone();
                threads.spawn(move || WorkerThread::new(registry, index, queue).serve());
            }
            fn count(worker: &crate::Worker, depth: u32) -> u64 {
                if depth == 0 {
                    return 1;
                }
                let (a, b) = worker.join(|w| count(w, depth - 1), |w| count(w, depth - 1));
                a + b
            }
            for _ in 0..100 {
                assert_eq!(registry.install(|worker| count(worker, 12)), 4096);
            }
            registry.terminate();
        });
    }
}
