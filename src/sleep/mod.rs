//! Who sleeps, who watches, and how work wakes them. The protocol is in `README.md` beside this file.
//!
//! Nothing here is on the path of a join: owners come here from cold code only, sleepers have time.

use std::sync::OnceLock;
use std::time::Duration;

use crate::sync::thread::{park, park_timeout, Thread};
use crate::sync::{
    full_fence, left_out, lock, ordering, statistic, AtomicBool, AtomicUsize, Mutex, Ordering,
};

/// Sleeping workers of one runtime, and the watcher's seat.
pub struct Sleep {
    /// Workers that parked and that nobody has chosen to wake yet, the latest last.
    parked: Mutex<Vec<usize>>,
    /// How many those are; readable without the lock.
    sleeping: AtomicUsize,
    /// Workers that are running a task.
    active: AtomicUsize,
    /// Workers that run nothing: they look for work, or wait for a thief or a scope.
    hungry: statistic::AtomicUsize,
    /// Whether some idle worker watches the busy ones.
    watched: AtomicBool,
    terminate: AtomicBool,
    threads: Vec<OnceLock<Thread>>,
}

/// Why [`Sleep::park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There was something to do, so the worker did not sleep.
    NotSlept,
    /// It slept.
    Slept,
}

impl Sleep {
    /// For `workers` workers, all awake and hungry.
    pub fn new(workers: usize) -> Self {
        Self {
            parked: Mutex::new(Vec::with_capacity(workers)),
            sleeping: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            hungry: statistic::AtomicUsize::new(workers),
            watched: AtomicBool::new(false),
            terminate: AtomicBool::new(false),
            threads: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Tells which thread worker `index` runs on; once, before it parks.
    pub fn register(&self, index: usize, thread: Thread) {
        let first = self.threads[index].set(thread).is_ok();
        debug_assert!(first, "worker {index} registered twice");
    }

    /// Wakes worker `index` if it is parked for a latch; harmless otherwise.
    pub fn unpark(&self, index: usize) {
        if let Some(thread) = self.threads[index].get() {
            thread.unpark();
        }
    }

    /// Wakes one sleeper if there is one. Call after the work was published.
    ///
    /// Returns whether a worker was woken.
    pub fn wake_one(&self) -> bool {
        // Pairs with the fence in `park`: the sleeper sees our work, or we see the sleeper.
        full_fence!("sleep_publish_fence");
        if self.sleeping.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let chosen = {
            let mut parked = lock(&self.parked);
            let chosen = parked.pop();
            self.sleeping.store(parked.len(), Ordering::Relaxed);
            chosen
        };
        match chosen {
            Some(index) => {
                self.unpark(index);
                true
            }
            None => false,
        }
    }

    /// Wakes worker `index` if it sleeps. Call after something for it alone was published.
    pub fn wake(&self, index: usize) {
        // As in `wake_one`.
        full_fence!("sleep_publish_fence");
        if !left_out!("broadcast_wake") {
            self.withdraw(index);
            self.unpark(index);
        }
    }

    /// Puts worker `index` to sleep unless `has_work` after it was announced; for `limit` at most when given.
    pub fn park(&self, index: usize, limit: Option<Duration>, has_work: impl Fn() -> bool) -> Woken {
        {
            let mut parked = lock(&self.parked);
            parked.push(index);
            self.sleeping.store(parked.len(), Ordering::Relaxed);
        }
        // Pairs with the fence in `wake_one`.
        full_fence!("sleep_park_fence");
        if !left_out!("sleep_second_look") && (has_work() || self.is_terminating()) {
            self.withdraw(index);
            return Woken::NotSlept;
        }
        match limit {
            Some(limit) => {
                park_timeout(limit);
                self.withdraw(index);
            }
            // A token left by an earlier wake-up ends a park early; the list says whether this one was meant.
            None => {
                while self.is_listed(index) {
                    park();
                }
            }
        }
        Woken::Slept
    }

    fn is_listed(&self, index: usize) -> bool {
        lock(&self.parked).contains(&index)
    }

    fn withdraw(&self, index: usize) {
        let mut parked = lock(&self.parked);
        parked.retain(|&other| other != index);
        self.sleeping.store(parked.len(), Ordering::Relaxed);
    }

    /// A worker begins to run tasks. Wakes a watcher for it when nobody watches.
    pub fn enter_active(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        // Pairs with `park`: a worker that goes to sleep sees us active, or we see it asleep.
        full_fence!("sleep_active_fence");
        if !self.watched.load(Ordering::Relaxed) {
            self.wake_one();
        }
    }

    /// It has run out of them.
    pub fn leave_active(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether some worker runs a task and nobody watches: a reason not to sleep.
    pub fn needs_watcher(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0 && !self.watched.load(Ordering::Relaxed)
    }

    /// Whether some worker runs a task.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Takes the watcher's seat if it is free.
    pub fn try_watch(&self) -> bool {
        !self.watched.load(Ordering::Relaxed) && !self.watched.swap(true, Ordering::Relaxed)
    }

    /// Leaves the seat; whoever leaves it to work lets the next sleeper take it.
    pub fn stop_watching(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// A worker has nothing to do. Said before anyone can know that its last task is done, so that whoever waited for that task
    /// finds it counted.
    pub fn begin_hunger(&self) {
        self.hungry.fetch_add(1, Ordering::Relaxed);
    }

    /// It has something again.
    pub fn end_hunger(&self) {
        self.hungry.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many workers have nothing to do.
    pub fn hungry(&self) -> usize {
        self.hungry.load(Ordering::Relaxed)
    }

    /// Whether any worker has nothing to do.
    pub fn is_hungry(&self) -> bool {
        self.hungry() > 0
    }

    /// Whether any worker is parked.
    pub fn has_sleepers(&self) -> bool {
        self.sleeping.load(Ordering::Relaxed) > 0
    }

    /// How many workers are parked, or on their way there; what they did before is visible.
    #[cfg(upbeat_loom)]
    pub fn parked(&self) -> usize {
        lock(&self.parked).len()
    }

    /// Tells every worker to leave once there is no work.
    pub fn terminate(&self) {
        self.terminate.store(true, ordering!("terminate_set", Release));
        // A worker that lists itself after this sees the flag, because the lock orders the two; one that did before is
        // taken off the list and woken.
        lock(&self.parked).clear();
        self.sleeping.store(0, Ordering::Relaxed);
        for index in 0..self.threads.len() {
            self.unpark(index);
        }
    }

    /// Whether [`terminate`](Self::terminate) was called; if so, what was published before is visible.
    pub fn is_terminating(&self) -> bool {
        self.terminate.load(ordering!("terminate_read", Acquire))
    }
}
