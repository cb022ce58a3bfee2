//! Waits that run unrelated tasks on top of the one that waits, and what bounds that.
//!
//! A wait of this kind (`JoinHandle::join`, `install` into another runtime, dropping one) may depend on any public task, so it runs
//! whatever it finds. What it ran may wait in the same way, and so on; each level keeps the stack of the one below.
//! Two bounds, therefore: a number of levels, and a part of the stack (`stack.rs`). Beyond them a worker only waits. Waits for a stolen
//! join or a scope are not of this kind; they are in `wait.rs`.

use std::time::Duration;

use super::report::Awaited;
use super::stack;
use super::worker::{WorkerThread, NAP};
use crate::sync::{left_out, thread, ticks};
use crate::task::isolate;
use crate::task::latch::Blocking;
use crate::task::Task;

/// Unrelated tasks that may be open on one stack, each in the middle of the one below. Enough for any mix of runtimes that call each
/// other; few enough for tasks of 100 KiB each on the smallest part of a default stack.
const MOST: u32 = 64;

impl WorkerThread {
    /// Waits for `done` and meanwhile runs public tasks: for waits whose end may depend on one.
    pub(crate) fn wait_running_anything(&self, done: &Blocking) {
        self.wait_helping(done, || false);
    }

    /// The same; asks `help` as well, which says whether it did something.
    pub(crate) fn wait_helping(&self, done: &Blocking, help: impl Fn() -> bool) {
        self.serve_until(Awaited::Completion, || done.is_set(), help, |nap| done.wait_briefly(nap));
    }

    /// The same for threads that end.
    pub(crate) fn wait_for_threads(&self, threads: &[thread::JoinHandle<()>]) {
        let have_ended = || threads.iter().all(thread::has_ended);
        self.serve_until(Awaited::Threads, have_ended, || false, thread::park_timeout);
    }

    fn serve_until(
        &self,
        what: Awaited,
        is_done: impl Fn() -> bool,
        help: impl Fn() -> bool,
        sleep: impl Fn(Duration),
    ) {
        self.registry.require_workers_or_abort();
        let begun = ticks();
        let mut nap = NAP;
        while !is_done() {
            if self.run_one_nested() || help() {
                nap = NAP;
            } else {
                // What it naps is not work. Who was not busy before, a visitor between two calls, is not afterwards.
                let was_busy = self.registry.is_busy(self.index);
                self.registry.end_busy(self.index);
                self.registry.peers[self.index].note.during(what, begun, || sleep(nap));
                if was_busy {
                    self.registry.begin_busy(self.index);
                }
                nap = (nap * 2).min(NAP * 4);
            }
        }
    }

    /// Runs one public task in the middle of another one, if any waits and there is room for it.
    pub(crate) fn run_one_nested(&self) -> bool {
        let Some(task) = self.find_task_to_nest() else { return false };
        self.run_on_top(task);
        true
    }

    /// Runs `task` in the middle of another one.
    pub(crate) fn run_on_top(&self, task: Task) {
        self.nested.set(self.nested.get() + 1);
        self.run_nested(task);
        self.nested.set(self.nested.get() - 1);
    }

    fn find_task_to_nest(&self) -> Option<Task> {
        if !stack::has_reserve() {
            return None;
        }
        let is_bounded = self.nested.get() < MOST;
        if isolate::is_inside() && !left_out!("isolated_wait") {
            return if is_bounded { self.registry.find_isolated_task() } else { None };
        }
        if is_bounded {
            return self.find_task().or_else(|| self.find_open_batch(true));
        }
        // A worker of another runtime that waits for this one may be what this stack waits for.
        // So may a broadcast, which nobody else can run.
        self.registry.urgent.steal().or_else(|| self.registry.peers[self.index].inbox.steal())
    }
}
