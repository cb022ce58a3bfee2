//! How a worker without work looks for some: the loop of its thread, and the watch over busy workers.
//!
//! The rules are in `src/sleep/README.md` (who is awake) and `src/heartbeat/README.md` (how often work is shared).

use std::time::Duration;

use super::opened::Look;
use super::seat::Seats;
use super::worker::{Work, WorkerThread, NAP};
use crate::heartbeat::rate::{Sight, Verdict};
use crate::heartbeat::thrift::Thrift;
use crate::observe::counters::count;
use crate::sleep::Woken;
use crate::steal::Generator;
use crate::sync::{left_out, thread, ticks, Ordering, HAS_TIME};
use crate::task::frame::Stolen;
use crate::task::unwind::AbortOnUnwind;
use crate::task::Task;
use crate::topology::Distance;

/// How long a watcher polls before it naps, and after a nap that found somebody busy.
pub(super) const POLL: Duration = Duration::from_micros(30);
/// The longest nap while somebody is busy, and while nobody is.
const LONGEST_NAP: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(4)];
/// A watcher stays this long after the last work, so that one of many short regions which turns out long is noticed.
const LINGER: Duration = Duration::from_millis(100);

/// Each so many looks for a task one looks at scopes first.
const SCOPES_EVERY: u32 = 16;
/// As often, but never in the same look, one begins with a common queue, each in turn.
const TURN_AT: u32 = SCOPES_EVERY / 2;

/// What a worker remembers as a thief.
pub(crate) struct Thief {
    generator: Generator,
    order: Vec<usize>,
    sights: Vec<Sight>,
    /// The same of their queues.
    thrifts: Vec<Thrift>,
    looks: Vec<Look>,
    /// Since when it has had nothing to do, ticks; 0 where nobody is patient.
    idle_since: u64,
    /// Since when each home's queue had a task at every look, ticks; 0 when it had none. As many as are needed.
    bound: Vec<u64>,
}

impl Thief {
    /// What it remembers of worker `victim`.
    pub(super) fn sight(&mut self, victim: usize) -> &mut Sight {
        &mut self.sights[victim]
    }

    /// What it remembers of the queue of worker `victim`.
    pub(super) fn thrift(&mut self, victim: usize) -> &mut Thrift {
        &mut self.thrifts[victim]
    }

    /// When it looked at the scopes of worker `index`.
    pub(super) fn look_at_scopes(&mut self, index: usize) -> &mut Look {
        &mut self.looks[index]
    }

    /// Notes whether the queue of `home` has a task `now`; since when it had one at every look.
    pub(super) fn see_bound(&mut self, home: usize, now: Option<u64>) -> u64 {
        self.bound.resize(self.bound.len().max(home + 1), 0);
        let since = &mut self.bound[home];
        *since = match now {
            None => 0,
            // A clock that goes back would make all that comes look young.
            Some(now) if *since == 0 || now < *since => now.max(1),
            Some(_) => *since,
        };
        *since
    }

    /// It has nothing to do from now on.
    pub(super) fn begin_idling(&mut self) {
        self.idle_since = ticks();
    }

    pub(super) fn generator(&mut self) -> &mut Generator {
        &mut self.generator
    }

    pub(super) fn new(seed: u64, workers: usize) -> Self {
        Self {
            generator: Generator::new(seed),
            order: Vec::with_capacity(workers),
            sights: vec![Sight::default(); workers],
            thrifts: vec![Thrift::default(); workers],
            looks: vec![Look::default(); workers],
            idle_since: 0,
            bound: Vec::new(),
        }
    }
}

/// The loop of worker `index`'s own thread: until the runtime shuts down and nothing is left to run.
pub(crate) fn serve(seats: &Seats, index: usize) {
    let sleep = seats.registry().sleep();
    sleep.register(index, thread::current());
    sleep.wait_for_seat(index, None);
    // SAFETY: the seat is ours, and again each time that `rest` returns.
    unsafe { seats.worker(index) }.serve();
}

/// As [`serve`], with `start` and `exit` before and after, as the worker.
pub(crate) fn serve_between(seats: &Seats, index: usize, start: impl FnOnce(), exit: impl FnOnce()) {
    let sleep = seats.registry().sleep();
    sleep.register(index, thread::current());
    sleep.take_seat(index);
    // SAFETY: as in `serve`.
    let worker = unsafe { seats.worker(index) };
    worker.enter(|_| start());
    worker.serve();
    worker.enter(|_| exit());
}

impl WorkerThread {
    /// The loop, for the seat's own thread, which is hungry.
    fn serve(&self) {
        let guard = AbortOnUnwind("a worker's loop failed");
        let sleep = self.registry.sleep();
        while let Some(work) = self.next_work() {
            // A task that never forks needs no watcher, and one that is woken competes with whoever the task wakes.
            if !sleep.enter_active(self.index, matches!(work, Work::Task(_))) {
                self.wake_at_next_fork();
            }
            self.run(work);
            // While there is more, nobody else need learn that we were without for a moment.
            self.run_all();
        }
        if self.registry.leave() {
            self.close();
        }
        std::mem::forget(guard);
    }

    pub(super) fn pop_own(&self) -> Option<Task> {
        self.queue.pop()
    }

    /// Whether its own queue has a task.
    pub(super) fn has_queued(&self) -> bool {
        self.queue.len() > 0
    }

    /// Whether a queue has a task for this worker.
    fn has_tasks(&self) -> bool {
        !self.registry.peers[self.index].inbox.is_empty()
            || self.registry.has_public_tasks()
            || self.has_batches()
    }

    /// A task from the public queues: those that go first, our own, what was sent to us, the injector, full batches, the others'; else a
    /// scope.
    pub(super) fn find_task(&self) -> Option<Task> {
        let registry = &self.registry;
        let others = || {
            let peers = &registry.peers;
            let mut others = (1..peers.len()).map(|step| (self.index + step) % peers.len());
            // Now and then in an order that knows no distance, so that nobody's queue is forgotten.
            let is_near = !registry.bound.is_trivial() && !self.searches.get().is_multiple_of(SCOPES_EVERY);
            match registry.tenant() {
                Some(_) => others.find_map(|victim| self.steal_job(victim)),
                None if is_near => self.steal_queued_nearby(),
                None => others.find_map(|victim| peers[victim].queue.steal()),
            }
        };
        let inbox = &registry.peers[self.index].inbox;
        let scope = || self.find_scope().map(Task::Scoped);
        let searches = self.searches.get().wrapping_add(1);
        self.searches.set(searches);
        let urgent = registry.urgent.steal().or_else(|| self.find_late_batch());
        // Now and then scopes and batches come before the queues: a future that wakes itself keeps a queue from being ever empty.
        let early = match searches % SCOPES_EVERY {
            0 => urgent
                .or_else(scope)
                .or_else(|| self.find_ready_batch())
                .or_else(|| self.find_open_batch(false)),
            // And the common queues before those that a flood of tasks keeps full. A tenant has an order of its own.
            TURN_AT if registry.tenant().is_none() => {
                urgent.or_else(|| self.find_in_turn((searches / SCOPES_EVERY) as usize))
            }
            _ => urgent,
        };
        let own =
            early.or_else(|| self.pop_own()).or_else(|| inbox.steal()).or_else(|| self.find_bound_here());
        let common = own.or_else(|| registry.injector.steal()).or_else(|| self.find_ready_batch());
        common.or_else(others).or_else(|| self.find_bound_elsewhere()).or_else(scope)
    }

    /// A task from another worker's queue, the nearest first.
    fn steal_queued_nearby(&self) -> Option<Task> {
        let registry = &*self.registry;
        let mut found = None;
        registry.topology.outward(self.index, |members, _| {
            // Each thief begins at another one of them.
            let (before, after) = members.split_at(self.index % members.len().max(1));
            let mut turn = after.iter().chain(before);
            found = found.take().or_else(|| turn.find_map(|&victim| registry.peers[victim].queue.steal()));
        });
        found
    }

    /// Something to run from anywhere, for a worker with an empty stack.
    pub(super) fn find_work(&self) -> Option<Work> {
        if !self.is_serving() {
            return self.find_sent();
        }
        let task = self.find_task().map(Work::Task).or_else(|| self.steal_join());
        task.or_else(|| self.find_open_batch(false).map(Work::Task))
    }

    /// As [`find_work`](Self::find_work), for who will not look again: batches that would wait for more items are found, too.
    pub(super) fn find_last_work(&self) -> Option<Work> {
        self.find_work().or_else(|| self.find_open_batch(true).map(Work::Task))
    }

    /// The oldest join task of the first victim that has shown one for long enough; others are asked, as often as the beat allows.
    pub(super) fn steal_join(&self) -> Option<Work> {
        let registry = &*self.registry;
        let counters = &registry.peers[self.index].counters;
        let mut thief = self.thief.borrow_mut();
        let Thief { generator, order, sights, idle_since, .. } = &mut *thief;
        registry.victims(self.index, generator, order);
        let now = ticks();
        for &victim in order.iter() {
            let peer = &registry.peers[victim];
            let sight = &mut sights[victim];
            let since = peer.counters.busy_since.load(Ordering::Relaxed);
            let terms = registry.terms_of(victim, now);
            let is_remote = || registry.topology.distance(self.index, victim) == Distance::Remote;
            if now.saturating_sub(*idle_since) < terms.patience && is_remote() {
                continue;
            }
            match sight.look(now, since, peer.ring.oldest(), &terms.rule) {
                Verdict::Wait => (),
                Verdict::Ask => peer.ring.ask(),
                Verdict::Take => {
                    let task = peer.ring.steal();
                    if !task.is_null() {
                        sight.took();
                        if registry.tenant().is_some() && peer.ring.oldest().is_none() {
                            // It may be in a long step without a fork: there should be another one when we are done with this.
                            peer.ring.ask();
                        }
                        count(&counters.steals[registry.topology.distance(self.index, victim) as usize], 1);
                        // SAFETY: the ring holds tasks of joins that wait for them, and the CAS made this one ours.
                        return Some(Work::Join(unsafe { Stolen::new(task) }, victim));
                    }
                }
            }
        }
        count(&counters.failed_steals, 1);
        None
    }

    /// Waits for work, hungry; `None` when the runtime shuts down and there is none.
    fn next_work(&self) -> Option<Work> {
        let sleep = self.registry.sleep();
        loop {
            self.attend();
            if let Some(work) = self.find_work() {
                self.end_gap();
                return Some(work);
            }
            if sleep.is_terminating() {
                // What was spawned before the end was told may have come after the look above; now it is visible.
                return if left_out!("shutdown_last_look") { None } else { self.find_last_work() };
            }
            if sleep.try_watch(self.index) {
                let work = self.watch();
                sleep.stop_watching(self.index);
                if work.is_some() {
                    self.end_gap();
                    return work;
                }
                self.gaps.borrow_mut().break_off(ticks());
            } else if let Some(work) = self.linger() {
                self.end_gap();
                return Some(work);
            }
            self.rest(None, || !self.is_serving() || self.has_tasks() || sleep.needs_watcher(self.index));
        }
    }

    fn rest(&self, limit: Option<Duration>, has_work: impl Fn() -> bool) -> Woken {
        self.touch();
        let woken = self.registry.sleep().rest(self.index, limit, has_work);
        self.touch();
        if woken == Woken::ByOthers {
            self.gaps.borrow_mut().end(self.registry.sleep().granted_at(self.index));
        }
        if woken != Woken::NotSlept {
            count(&self.registry.peers[self.index].counters.parks, 1);
        }
        woken
    }

    /// Watches the others: polls for a while, then between naps. `None` when there was nothing for a long time, or when a guest
    /// took the seat and with it the watch.
    fn watch(&self) -> Option<Work> {
        let registry = &*self.registry;
        let (sleep, clock) = (registry.sleep(), &registry.clock);
        let mut poll_until = ticks() + clock.ticks(POLL);
        let mut nap = NAP;
        let mut idle_since = None;
        let mut activity = 0;
        while sleep.is_watcher(self.index) && self.is_serving() {
            if let Some(work) = self.find_work() {
                return Some(work);
            }
            if sleep.is_terminating() {
                return None;
            }
            let now = ticks();
            let is_active = sleep.others_awake(self.index);
            if is_active {
                idle_since = None;
            } else if now.saturating_sub(*idle_since.get_or_insert(now)) >= clock.ticks(LINGER) || !HAS_TIME {
                return None;
            }
            let until = if is_active { None } else { self.poll_gap_until(now) };
            if HAS_TIME && now < until.unwrap_or(poll_until) {
                self.pause_to_watch();
                continue;
            }
            if self.is_worth_polling_on(&mut activity) {
                poll_until = now + clock.ticks(POLL);
                continue;
            }
            nap = nap.min(LONGEST_NAP[usize::from(!is_active)]);
            let woken = self.rest(Some(nap), || self.has_tasks());
            nap = if woken == Woken::ByOthers { NAP } else { nap * 2 };
            let is_worth_polling = woken == Woken::ByOthers
                || registry.is_anybody_busy_for(registry.terms.rule.visible, self.index);
            poll_until = ticks() + if is_worth_polling { clock.ticks(POLL) } else { 0 };
        }
        None
    }

    /// Until when to poll while this worker has nothing to do, where that is not fixed.
    pub(super) fn poll_gap_until(&self, now: u64) -> Option<u64> {
        let registry = &self.registry;
        self.gaps.borrow_mut().poll_until(registry.polling, now, registry.sleep().wake_latency())
    }

    /// It has something to do again.
    fn end_gap(&self) {
        let mut gaps = self.gaps.borrow_mut();
        if gaps.is_open() {
            gaps.end(ticks());
        }
    }

    /// What a worker does before it sleeps though another one watches.
    fn linger(&self) -> Option<Work> {
        let now = ticks();
        match self.registry.tenant() {
            Some(_) => self.linger_until(now + self.registry.clock.ticks(POLL)),
            None => self.poll_gap_until(now).and_then(|until| self.linger_until(until)),
        }
    }

    /// One turn of the loop without its sleep.
    #[cfg(upbeat_loom)]
    pub(crate) fn run_something(&self) -> bool {
        self.run_found(|| self.find_work())
    }

    /// As above, for joins alone.
    #[cfg(upbeat_loom)]
    pub(crate) fn run_stolen_join(&self) -> bool {
        self.run_found(|| self.steal_join())
    }

    #[cfg(upbeat_loom)]
    fn run_found(&self, find: impl FnOnce() -> Option<Work>) -> bool {
        self.registry.sleep().begin_hunger();
        let found = find().map(|work| self.run(work)).is_some();
        self.registry.sleep().end_hunger();
        found
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;
    use crate::runtime::registry::{Parts, Registry};
    use crate::sleep::polling::Polling;
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

    #[test]
    fn a_clock_that_goes_back_begins_a_wait_anew() {
        let mut thief = Thief::new(1, 1);
        let mut see = |now| thief.see_bound(2, now);
        assert_eq!([see(Some(100)), see(Some(200)), see(Some(50)), see(Some(60))], [100, 100, 50, 50]);
        assert_eq!([see(None), see(Some(0)), see(Some(70))], [0, 1, 1]);
    }

    /// Runs `check` beside `workers` workers of a registry made of this.
    fn serve_while(
        workers: usize,
        policy: impl StealPolicy + 'static,
        polling: Polling,
        check: impl FnOnce(&Seats),
    ) {
        let (registry, queues) = Registry::new(Parts {
            policy: Box::new(policy),
            heartbeat: Duration::from_micros(1),
            polling,
            ..Parts::new(Topology::flat(workers))
        });
        let seats = Seats::new(registry.clone(), queues, false, None);
        std::thread::scope(|threads| {
            for index in 0..workers {
                let seats = &seats;
                threads.spawn(move || serve(seats, index));
            }
            check(&seats);
            registry.terminate();
        });
    }

    fn leaves(worker: &crate::Worker, depth: u32) -> u64 {
        if depth == 0 {
            return 1;
        }
        let (a, b) = worker.join(|w| leaves(w, depth - 1), |w| leaves(w, depth - 1));
        a + b
    }

    /// Fault 36.
    #[test]
    fn a_policy_may_be_wrong() {
        serve_while(2, Wrong, Polling::default(), |seats| {
            for _ in 0..100 {
                assert_eq!(seats.install(|worker| leaves(worker, 12)), 4096);
            }
        });
    }

    #[test]
    fn however_long_idle_workers_poll_everything_is_run() {
        for polling in [Polling::Fixed, Polling::Never, Polling::SkiRental, Polling::Learned] {
            serve_while(3, crate::steal::Nearest, polling, |seats| {
                for round in 0..60 {
                    std::thread::sleep(Duration::from_micros([0, 20, 300][round % 3]));
                    assert_eq!(seats.install(|worker| leaves(worker, 10)), 1024, "{polling:?}");
                }
            });
        }
    }
}
