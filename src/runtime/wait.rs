//! How a worker waits: for a thief, for a scope, for anything; and what it may run meanwhile.

use std::sync::Arc;

use super::report::Awaited;
use super::stack;
use super::worker::{pause, Work, WorkerThread, NAP};
use crate::heartbeat::rate::Verdict;
use crate::observe::counters::count;
use crate::sync::{left_out, ordering, thread, ticks, Ordering, SPINS};
use crate::task::cancel;
use crate::task::frame::Stolen;
use crate::task::latch::Latch;
use crate::task::scope::{Drained, Shared as ScopeShared};
use crate::task::unwind::AbortOnUnwind;
use crate::task::{Task, Then};

impl WorkerThread {
    /// A thief has the task that `latch` belongs to. Until it is done, this worker runs what descends from it, and nothing
    /// else: so its stack stays within the program's own depth, and no lock that its caller holds is met again.
    pub(crate) fn wait_for_thief(&self, latch: &Latch) {
        let begun = ticks().max(1);
        self.wait(Awaited::Join(None), latch, || {
            if !stack::has_reserve() {
                return None;
            }
            let runner = latch.runner()?;
            if !self.may_help(runner, begun) {
                return None;
            }
            // Until the latch is set, all that is in the thief's ring descends from our task: the ring was empty when it
            // took it, or else it said that it is not clean before it named itself, and says so until it has set the latch. So
            // clean is asked first: a thief that is clean *again* has set the latch, which we then see. Both are read while
            // the task is still in the ring, so the answer holds for it.
            let peer = &self.registry.peers[runner];
            let task = peer.ring.steal_if(|| {
                if left_out!("wait_clean_first") {
                    return !latch.is_set() && peer.runs_no_foreign_task();
                }
                peer.runs_no_foreign_task() && !latch.is_set()
            });
            if task.is_null() {
                return None;
            }
            // SAFETY: the ring holds tasks of joins that wait for them, and the CAS made this one ours.
            Some(Work::Join(unsafe { Stolen::new(task) }, runner))
        });
        // The thief has nothing to do now.
        self.offer_to_hungry();
    }

    /// Waits for a scope's tasks and runs those that have not begun, and what descends from those that have.
    pub(crate) fn wait_for_scope(&self, scope: &Arc<ScopeShared>) {
        let guard = AbortOnUnwind("waiting for a scope failed");
        let address = Arc::as_ptr(scope) as usize;
        match scope.drain(self) {
            Drained::Alone => return std::mem::forget(guard),
            Drained::Helped => {
                std::mem::forget(guard);
                return self.offer_to_hungry();
            }
            Drained::Waits => {}
        }
        let begun = ticks().max(1);
        self.wait(Awaited::Scope, scope.latch(), || {
            if scope.has_task_for(self) {
                return Some(Work::Task(Task::Scoped(scope.clone())));
            }
            if !stack::has_reserve() {
                return None;
            }
            self.registry.peers.iter().enumerate().find_map(|(index, peer)| {
                if index == self.index
                    || peer.serving.load(Ordering::Relaxed) != address
                    || !self.may_help(index, begun)
                {
                    return None;
                }
                let serves_us =
                    || peer.serving.load(Ordering::Relaxed) == address && peer.runs_no_foreign_task();
                let task = peer.ring.steal_if(serves_us);
                if task.is_null() {
                    return None;
                }
                // SAFETY: the ring holds tasks of joins that wait for them, and the CAS made this one ours.
                Some(Work::Join(unsafe { Stolen::new(task) }, index))
            })
        });
        std::mem::forget(guard);
        // Those who ran the tasks have nothing to do now.
        self.offer_to_hungry();
    }

    /// Whether worker `victim` has shown a task for long enough; asks for one if need be. A waiter that began at `begun` keeps the beat
    /// like any thief: what takes less than that is done before it could help.
    fn may_help(&self, victim: usize, begun: u64) -> bool {
        let peer = &self.registry.peers[victim];
        let mut thief = self.thief.borrow_mut();
        let now = ticks();
        let terms = self.registry.terms_of(victim, now);
        match thief.sight(victim).look(now, begun, peer.ring.oldest(), &terms.rule) {
            Verdict::Wait => false,
            Verdict::Take => true,
            Verdict::Ask => {
                peer.ring.ask();
                false
            }
        }
    }

    /// Waits for `latch`, which is set at the end of `what`: runs what `help` finds, else polls a while, else naps.
    fn wait(&self, what: Awaited, latch: &Latch, mut help: impl FnMut() -> Option<Work>) {
        if latch.is_set() {
            return;
        }
        // In a child of `fork` the thief is in the parent.
        self.registry.require_workers_or_abort();
        let sleep = self.registry.sleep();
        self.registry.end_busy(self.index);
        sleep.begin_hunger();
        let begun = ticks();
        let mut polls = 0;
        let mut nap = NAP;
        while !latch.is_set() {
            if let Some(work) = help() {
                sleep.end_hunger();
                self.offer_to_hungry();
                self.registry.begin_busy(self.index);
                match work {
                    Work::Join(stolen, victim) => {
                        count(&self.registry.peers[self.index].counters.steals[self.distance(victim)], 1);
                        self.run_above(|| self.run_stolen(stolen, victim));
                    }
                    Work::Task(Task::Scoped(scope)) => scope.run_stretch(self),
                    Work::Task(_) => unreachable!("a waiter is offered its own descendants only"),
                }
                self.registry.end_busy(self.index);
                (polls, nap) = (0, NAP);
            } else if self.run_unrelated(polls) {
                (polls, nap) = (0, NAP);
            } else if polls < SPINS {
                polls += 1;
                pause();
            } else {
                // A guest's thread is known to nobody until it may have to be woken; and then before the setter can learn that
                // somebody sleeps here.
                let note = || {
                    if self.is_guest.get() {
                        sleep.note_guest(self.index, Some(thread::current()));
                    }
                };
                let is_late = left_out!("wait_notes_guest_first");
                if !is_late {
                    note();
                }
                if latch.announce_waiter() {
                    if is_late {
                        note();
                    }
                    let report = &self.registry.peers[self.index].note;
                    report.during(what.by(latch), begun, || thread::park_timeout(nap));
                    nap = (nap * 2).min(NAP * 4);
                }
            }
        }
        sleep.end_hunger();
        if self.is_guest.get() {
            sleep.note_guest(self.index, None);
        }
        self.registry.begin_busy(self.index);
    }

    fn distance(&self, other: usize) -> usize {
        self.registry.topology.distance(self.index, other) as usize
    }

    /// Runs a stolen task while waiting. A scope's owner waits with tasks of the joins around the scope in its ring; those do
    /// not descend from the stolen task, so whoever waits for that one must not steal from here.
    fn run_above(&self, run: impl FnOnce()) {
        if self.ring.is_empty() || left_out!("wait_marks_foreign") {
            run();
        } else {
            self.with_foreign(run);
        }
    }

    /// Runs a public task in the middle of another one. Meanwhile the ring holds what does not descend from that other one, so
    /// its waiters must not steal from here.
    pub(super) fn run_nested(&self, task: Task) {
        self.with_foreign(|| cancel::under(None, || task.run(self, Then::GoOn)));
    }

    /// Runs `run`, which does not unwind, and says meanwhile that the ring holds unrelated tasks.
    pub(super) fn with_foreign(&self, run: impl FnOnce()) {
        let foreign = &self.registry.peers[self.index].foreign;
        let depth = foreign.load(Ordering::Relaxed);
        // Relaxed: whoever finds a task in our ring, or our name in a latch, has acquired what we wrote before.
        foreign.store(depth + 1, Ordering::Relaxed);
        run();
        // Release: whoever sees this sees that the task's latch was set before.
        foreign.store(depth, ordering!("foreign_set", Release));
    }
}
