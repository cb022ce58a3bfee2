//! Tasks that are bound for a memory node: an injector for each node that has workers, and who takes from which.
//!
//! A worker takes from its own node's queue at once, and from another's, the nearest first, only what has waited for longer than it takes
//! to wake somebody there: a wish is no order, and no worker idles while a task waits. On a machine with one node there are no such queues,
//! and to look for them is one comparison. Publishing and going to sleep meet as for every queue (`src/sleep/README.md`).
//! Models: `loom-tests/tests/bound.rs`; decisions on synthetic machines: `tests/placement.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::current::with_current;
use super::registry::Registry;
use super::sweep::Sweeps;
use super::worker::WorkerThread;
use crate::observe::counters::count;
use crate::sleep::{Group, Sleep};
use crate::sync::{ticks, Injector, HAS_TIME};
use crate::task::frame::Worker;
use crate::task::isolate::{self, Region};
use crate::task::Task;
use crate::topology::Topology;

/// How long a task waits at least before another node's worker takes it. To read memory of another node for longer than that costs more
/// than to wait; and at most, for a wake-up that once came late says little.
const PATIENCE: [Duration; 2] = [Duration::from_micros(10), Duration::from_micros(200)];

/// The queues, one a home; none where there is one home.
pub(super) struct Bound(Box<[Home]>);

struct Home {
    queue: Injector<Task>,
    workers: Group,
    sweeps: Sweeps,
}

impl Bound {
    pub(super) fn new(topology: &Topology, sleep: &Sleep) -> Self {
        let home = |home| Home {
            queue: Injector::new(),
            workers: sleep.group(topology.members(home)),
            sweeps: Sweeps::new(),
        };
        Self(match topology.homes() {
            0 | 1 => Box::default(),
            homes => (0..homes).map(home).collect(),
        })
    }

    /// Whether there is one home, or none.
    #[inline]
    pub(super) fn is_trivial(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn has_tasks(&self) -> bool {
        self.0.iter().any(|home| !home.queue.is_empty())
    }

    /// Any task, for who empties all queues.
    pub(super) fn steal_any(&self) -> Option<Task> {
        self.0.iter().find_map(|home| home.queue.steal())
    }
}

impl Registry {
    /// Makes a task public that was created in `region` and is bound for `home`.
    pub(crate) fn submit_bound(self: &Arc<Self>, region: Option<Arc<Region>>, home: usize, task: Task) {
        self.require_workers();
        let task = isolate::enclose(self, region, task);
        let home = &self.bound.0[home];
        home.queue.push(task);
        let wake = || self.sleep().wake_one_of(&home.workers);
        wake();
        // A worker that joins what it has spawned leaves spent tasks here.
        if self.is_current() {
            home.sweeps.pushed(&home.queue, wake);
        }
    }

    /// Whether this thread is one of our workers.
    fn is_current(&self) -> bool {
        with_current(|worker| worker.is_some_and(|worker| std::ptr::eq(&**worker.thread().registry(), self)))
    }

    /// Makes a task public that goes before all others.
    pub(crate) fn submit_urgent_from(&self, region: Option<Arc<Region>>, task: Task) {
        self.urgent.push(isolate::enclose(self, region, task));
        let wake = || self.sleep().wake_one();
        wake();
        if self.is_current() {
            self.urgent_sweeps.pushed(&self.urgent, wake);
        }
    }

    /// How long a task waits for a worker of its node before one of another node takes it, ticks.
    pub(crate) fn patience_with_bound(&self) -> u64 {
        let [least, most] = PATIENCE.map(|time| self.clock.ticks(time));
        self.sleep().wake_latency().saturating_mul(2).clamp(least, most.max(least))
    }

    /// Wakes one sleeper for a task that this thread has made public, if it is a worker one of its own node first.
    pub(crate) fn wake_near_current(self: &Arc<Self>) {
        let own = || {
            let is_ours = |worker: &&Worker| Arc::ptr_eq(worker.thread().registry(), self);
            with_current(|worker| worker.filter(is_ours).map(Worker::index))
        };
        match if self.bound.is_trivial() { None } else { own() } {
            Some(index) => self.wake_near(index),
            None => self.sleep().wake_one(),
        };
    }

    /// Wakes one sleeper for a task of worker `index`, if possible one of its node.
    pub(super) fn wake_near(&self, index: usize) -> bool {
        match self.bound.0.get(self.topology.home(index)) {
            Some(home) => self.sleep().wake_one_of(&home.workers),
            None => self.sleep().wake_one(),
        }
    }
}

impl WorkerThread {
    /// A task that is bound for this worker's node.
    #[inline]
    pub(super) fn find_bound_here(&self) -> Option<Task> {
        if self.registry.bound.is_trivial() {
            return None;
        }
        let own = self.registry.topology.home(self.index);
        let task = self.take_bound(own)?;
        count(&self.registry.peers[self.index].counters.on_node, 1);
        Some(task)
    }

    /// A task that is bound for another node and has waited there for long enough.
    #[inline]
    pub(super) fn find_bound_elsewhere(&self) -> Option<Task> {
        if self.registry.bound.is_trivial() {
            return None;
        }
        let topology = &self.registry.topology;
        let mut homes = topology.homes_from(topology.home(self.index));
        homes.find_map(|home| self.find_bound_off_node(home).said()).flatten()
    }

    /// A task from the common queues in turn: at even turns the injector, at odd ones the homes, beginning with each in turn. Who looks here
    /// before all else now and then forgets none, however full the others are. More often, work that is balanced would not stay where it
    /// is: the homes' turn is one look in 32, so less than 95 % on their nodes have other reasons.
    #[cold]
    pub(super) fn find_in_turn(&self, turn: usize) -> Option<Task> {
        let homes = self.registry.bound.0.len();
        if turn.is_multiple_of(2) || homes == 0 {
            return self.registry.injector.steal();
        }
        let own = self.registry.topology.home(self.index);
        let find = |home: usize| match home == own {
            true => self.find_bound_here().map(Some),
            false => self.find_bound_off_node(home).said(),
        };
        (0..homes).find_map(|step| find((turn / 2 + step) % homes)).flatten()
    }

    fn find_bound_off_node(&self, home: usize) -> Look {
        let look = self.find_bound_at(home);
        if matches!(look, Look::Ripe(_)) {
            count(&self.registry.peers[self.index].counters.off_node, 1);
        }
        look
    }

    fn find_bound_at(&self, home: usize) -> Look {
        if self.registry.bound.0[home].queue.is_empty() {
            self.thief.borrow_mut().see_bound(home, None);
            return Look::Empty;
        }
        let sleep = self.registry.sleep();
        // Who leaves looks for the last time. Where no time passes there is none to wait for.
        if HAS_TIME && !sleep.is_terminating() {
            let now = ticks();
            let since = self.thief.borrow_mut().see_bound(home, Some(now));
            if now.saturating_sub(since) < self.registry.patience_with_bound() {
                return Look::Waits;
            }
        }
        self.take_bound(home).map_or(Look::Empty, Look::Ripe)
    }

    /// The oldest task in a home's queue that is not spent.
    fn take_bound(&self, home: usize) -> Option<Task> {
        let queue = &self.registry.bound.0[home].queue;
        std::iter::from_fn(|| queue.steal()).find(|task| !task.retire())
    }
}

/// What a look at another node's queue finds.
enum Look {
    Empty,
    /// A task, but somebody there may still come for it.
    Waits,
    Ripe(Task),
}

impl Look {
    /// `None` where there was nothing, and so a reason to look farther.
    fn said(self) -> Option<Option<Task>> {
        match self {
            Self::Empty => None,
            Self::Waits => Some(None),
            Self::Ripe(task) => Some(Some(task)),
        }
    }
}
