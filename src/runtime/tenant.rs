//! Pools with a tenant (`crate::embed`): what a worker may run while it waits, and how long it polls before it sleeps
//! (`src/sleep/README.md`).
//!
//! Our own waits run descendants of what is waited for and nothing else. A tenant's users may rely on more: that a job which
//! somebody waits for by a channel is run by whoever waits for anything. So here a waiter runs any public task at once, and
//! after a while of polling takes part in any join. The price is what the rule was made against: unrelated work on top of the
//! stack, and locks that are met again.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::current::with_current;
use super::registry::Registry;
use super::worker::{pause, Work, WorkerThread, NAP};
use crate::embed::Job;
use crate::observe::counters::Counters;
use crate::sync::{thread, ticks, Ordering, HAS_TIME, SPINS};
use crate::task::frame::Worker;
use crate::task::latch::{Blocking, Latch};
use crate::task::{cancel, isolate, Task, Then};

/// Who built the pool, and its rules.
pub(crate) struct Tenant {
    /// Whether a worker takes the newest of its own tasks first.
    pub(crate) newest_first: bool,
    pub(crate) data: Arc<dyn Any + Send + Sync>,
}

/// How often a caller from outside looks whether its region is over before it sleeps, letting others run in between.
const LOOKS: u32 = 16;

impl Registry {
    /// Makes a tenant's job public, as `submit` does.
    pub(crate) fn submit_job(self: &Arc<Self>, job: Job) {
        let left = with_current(|worker| {
            let own = worker.map(Worker::thread).filter(|thread| Arc::ptr_eq(thread.registry(), self));
            match own {
                Some(thread) if HAS_TIME && !isolate::is_inside() && !self.is_left_behind() => {
                    thread.queue(Task::Job(job));
                    None
                }
                _ => Some(job),
            }
        });
        match left {
            Some(job) => self.submit(Task::Job(job)),
            // No fence, which is a good part of the price of a small job. A visitor, who may go before anybody has seen the task, looks into
            // its queue when it goes.
            None => {
                self.sleep().wake_if_seen();
            }
        }
    }

    /// Waits for `done` on a thread that is no worker. In a pool with a tenant all regions from outside are handed over, and to sleep and
    /// to be woken takes longer than a short one.
    pub(crate) fn wait_outside(&self, done: &Blocking) {
        if self.tenant().is_some() {
            for _ in 0..LOOKS {
                if done.is_set() {
                    return;
                }
                thread::yield_now();
            }
        }
        done.wait();
    }
}

impl WorkerThread {
    /// Waits for `latch`, whose setter wakes this worker, and runs anything meanwhile.
    pub(crate) fn wait_for_latch_as_tenant(&self, latch: &Latch) {
        // Nobody is a guest here, so the setter finds the worker's own thread.
        let nap = |nap| {
            if latch.announce_waiter() {
                thread::park_timeout(nap);
            }
        };
        self.wait_as_tenant(|| latch.is_set(), nap);
    }

    /// Waits and runs anything meanwhile; `nap` sleeps for as long as it is told, or until `is_done` may hold.
    pub(crate) fn wait_as_tenant(&self, is_done: impl Fn() -> bool, nap: impl Fn(Duration)) {
        let sleep = self.registry.sleep();
        let (mut polls, mut length) = (0, NAP);
        while !is_done() {
            if self.run_own_until(&is_done) || self.run_anything(polls >= SPINS / 8) {
                (polls, length) = (0, NAP);
                continue;
            }
            sleep.begin_hunger();
            if polls < SPINS {
                polls += 1;
                pause();
            } else {
                nap(length);
                length = (length * 2).min(NAP * 4);
            }
            sleep.end_hunger();
        }
    }

    /// Runs tasks of this worker's own queue, one after the other, until `is_done` holds or there is a reason to look elsewhere. False
    /// when there was none to run. What all of them need is done once: tasks of tenants may be many and small.
    fn run_own_until(&self, is_done: impl Fn() -> bool) -> bool {
        let urgent = &self.registry.urgent;
        if isolate::is_inside() || !urgent.is_empty() {
            return false;
        }
        let Some(first) = self.pop_own() else { return false };
        let run = || {
            let mut next = Some(first);
            while let Some(task) = next {
                task.run(self, Then::GoOn);
                next = if is_done() || !urgent.is_empty() { None } else { self.pop_own() };
            }
        };
        self.with_foreign(|| cancel::under(None, run));
        true
    }

    /// Polls until then, though another worker watches. A tenant's callers hand each region over, and nobody takes part in one from outside,
    /// so in a row of regions to poll between two is cheaper than to wake for each.
    pub(super) fn linger_until(&self, until: u64) -> Option<Work> {
        let sleep = self.registry.sleep();
        while HAS_TIME
            && sleep.is_watched()
            && self.is_serving()
            && !sleep.is_terminating()
            && ticks() < until
        {
            self.pause_to_watch();
            if let Some(work) = self.find_work() {
                return Some(work);
            }
        }
        None
    }

    /// Between two polls of a worker without work. With a tenant there are more threads than workers: a caller may wait for this very core.
    pub(super) fn pause_to_watch(&self) {
        match self.registry.tenant() {
            Some(_) => thread::yield_now(),
            None => pause(),
        }
    }

    /// Whether a watcher polls on instead of napping: in a pool with a tenant, when another worker has begun or ended something since
    /// `activity` was noted. To wake a watcher for each region of a row is dearer.
    pub(super) fn is_worth_polling_on(&self, activity: &mut u64) -> bool {
        if self.registry.tenant().is_none() {
            return false;
        }
        let others = self.registry.peers.iter().enumerate().filter(|(index, _)| *index != self.index);
        // Relaxed: a change that is seen late is seen at the next look.
        let now = others.fold(0, |sum: u64, (_, peer)| {
            let Counters { busy, busy_since, .. } = &peer.counters;
            sum.wrapping_add(busy.load(Ordering::Relaxed)).wrapping_add(busy_since.load(Ordering::Relaxed))
        });
        std::mem::replace(activity, now) != now
    }

    /// While a join or a scope waits: runs what was sent to this worker, and in a pool with a tenant anything. Called hungry.
    pub(super) fn run_unrelated(&self, polls: u32) -> bool {
        if self.registry.tenant().is_none() && self.registry.peers[self.index].inbox.is_empty() {
            return false;
        }
        if isolate::is_inside() {
            // What is sent here was created outside; it runs when this worker is out again.
            return false;
        }
        let sleep = self.registry.sleep();
        sleep.end_hunger();
        let ran = match self.registry.tenant() {
            Some(_) => self.run_anything(polls >= SPINS),
            None => self.run_sent(),
        };
        sleep.begin_hunger();
        ran
    }

    /// Runs a public task on top of the present one, if there is any; a part of any join too, `with_joins`.
    pub(crate) fn run_anything(&self, with_joins: bool) -> bool {
        if isolate::is_inside() {
            return self.run_one_nested();
        }
        // No bound on nesting (`nest.rs`): a job that somebody waits for may be many levels away, as the tenant's users know it.
        if let Some(task) = self.find_task() {
            self.run_nested(task);
            return true;
        }
        if !with_joins {
            return false;
        }
        let Some(Work::Join(stolen, victim)) = self.steal_join() else { return false };
        self.with_foreign(|| self.run_stolen(stolen, victim));
        // The task's end has counted us as hungry.
        self.registry.sleep().end_hunger();
        true
    }

    /// A task from the queue of worker `victim`, unless those before were too small to be taken (`heartbeat::thrift`).
    pub(super) fn steal_job(&self, victim: usize) -> Option<Task> {
        let rule = &self.registry.terms.rule;
        let mut thief = self.thief.borrow_mut();
        let thrift = thief.thrift(victim);
        let begun = ticks();
        if !thrift.may_take(begun, rule) {
            return None;
        }
        let task = self.registry.peers[victim].queue.steal()?;
        thrift.took(begun, ticks(), rule);
        Some(task)
    }

    /// Runs the oldest task that was sent to this worker.
    fn run_sent(&self) -> bool {
        let task = self.registry.peers[self.index].inbox.steal();
        task.map(|task| self.run_nested(task)).is_some()
    }

    /// Runs a task of this worker's own queue on top of the present one, if there is any.
    pub(crate) fn run_own(&self) -> bool {
        self.pop_own().map(|task| self.run_nested(task)).is_some() || self.run_sent()
    }

    /// Whether the worker has tasks of its own that others could take.
    pub(crate) fn has_own_work(&self) -> bool {
        let peer = &self.registry.peers[self.index];
        !peer.queue.is_empty() || !peer.inbox.is_empty() || !self.ring.is_empty()
    }
}
