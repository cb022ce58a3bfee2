//! Pools with a tenant (`crate::embed`): what a worker may run while it waits.
//!
//! Our own waits run descendants of what is waited for and nothing else. A tenant's users may rely on more: that a job which
//! somebody waits for by a channel is run by whoever waits for anything. So here a waiter runs any public task at once, and
//! after a while of polling takes part in any join. The price is what the rule was made against: unrelated work on top of the
//! stack, and locks that are met again.

use std::any::Any;
use std::sync::Arc;

use super::worker::{pause, Work, WorkerThread, NAP};
use crate::sync::SPINS;
use crate::task::isolate;
use crate::task::latch::Blocking;

/// Who built the pool, and its rules.
pub(crate) struct Tenant {
    /// Whether a worker takes the newest of its own tasks first.
    pub(crate) newest_first: bool,
    pub(crate) data: Arc<dyn Any + Send + Sync>,
}

impl WorkerThread {
    /// Waits for `done` and runs anything meanwhile.
    pub(crate) fn wait_as_tenant(&self, done: &Blocking) {
        let sleep = self.registry.sleep();
        let (mut polls, mut nap) = (0, NAP);
        while !done.is_set() {
            if self.run_anything(polls >= SPINS / 8) {
                (polls, nap) = (0, NAP);
                continue;
            }
            sleep.begin_hunger();
            if polls < SPINS {
                polls += 1;
                pause();
            } else {
                done.wait_briefly(nap);
                nap = (nap * 2).min(NAP * 4);
            }
            sleep.end_hunger();
        }
    }

    /// While a join or a scope waits: runs what was sent to this worker, and in a pool with a tenant anything. Called hungry.
    pub(super) fn run_unrelated(&self, polls: u32) -> bool {
        if self.registry.tenant().is_none() && self.registry.peers[self.index].inbox.is_empty() {
            return false;
        }
        if isolate::current().is_some() {
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
        if isolate::current().is_some() {
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
