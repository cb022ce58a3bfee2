//! Model checking for programs that use this crate: every run of a model has a small runtime of its own, on loom's threads.
//!
//! Exists under `--cfg upbeat_loom` only. How to write such models, what they cost and what they cannot see:
//! `docs/loom.md`. The models of the runtime's own protocols are in `loom-tests/` and use `crate::model`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::model::{set_naps, Naps, Pool};
use crate::runtime::in_model;
use crate::runtime::registry::Parts;
use crate::steal::Nearest;
use crate::task::unwind::{catch, discard, Payload};
use crate::topology::Topology;
use crate::Mode;

/// Runs `f` in every interleaving of its threads that two preemptions reach (`LOOM_MAX_PREEMPTIONS`, where set, says how many),
/// each time on a fresh runtime of two workers: the thread that runs `f`, and one that takes work from it.
///
/// Inside `f` the free functions ([`join`](crate::join), [`scope`](crate::scope), [`spawn`](crate::spawn), [`par`](crate::par))
/// use that runtime. It is shut down at the end of each run: what was spawned has run by then.
///
/// # Panics
/// When a run panics, deadlocks, has a data race on one of loom's cells, or is longer than [`Builder::max_branches`]. A task
/// that panics with its handle dropped counts as well.
///
/// ```
/// use loom::sync::atomic::{AtomicUsize, Ordering};
///
/// upbeat::loom::model(|| {
///     let sum = AtomicUsize::new(0);
///     upbeat::join(|| sum.fetch_add(1, Ordering::Relaxed), || sum.fetch_add(2, Ordering::Relaxed));
///     assert_eq!(sum.load(Ordering::Relaxed), 3);
/// });
/// ```
pub fn model(f: impl Fn() + Sync + Send + 'static) {
    Builder::new().check(f);
}

/// A [`model`] with other bounds.
///
/// ```
/// upbeat::loom::Builder::new().workers(3).preemption_bound(1).check(|| {
///     assert_eq!(upbeat::current_num_workers(), 3);
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `check`"]
pub struct Builder {
    workers: usize,
    preemption_bound: usize,
    max_branches: usize,
}

impl Builder {
    /// Two workers, two preemptions, 10,000 branches.
    pub fn new() -> Self {
        Self { workers: 2, preemption_bound: 2, max_branches: 10_000 }
    }

    /// How many workers each run has, the model's own thread being the first. 1 leaves that one alone, which is all that a
    /// model with a [`Runtime`](crate::Runtime) of its own needs. Loom allows five threads at most, whoever starts them.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How often a thread may be preempted in one run; `LOOM_MAX_PREEMPTIONS`, where set, goes before.
    pub fn preemption_bound(mut self, bound: usize) -> Self {
        self.preemption_bound = bound;
        self
    }

    /// How many steps one run may have before it is taken for endless.
    pub fn max_branches(mut self, branches: usize) -> Self {
        self.max_branches = branches;
        self
    }

    /// Checks the model.
    ///
    /// # Panics
    /// As [`model`] does, and when there are fewer than 1 or more than 4 workers.
    pub fn check(self, f: impl Fn() + Sync + Send + 'static) {
        assert!((1..::loom::MAX_THREADS).contains(&self.workers), "a model has 1 to 4 workers");
        // The runtime needs no nap to pass, so none does: fewer runs.
        set_naps(Naps::Endless);
        let mut builder = ::loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(self.preemption_bound));
        builder.max_branches = self.max_branches;
        builder.check(move || run(self.workers, &f));
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// One run: the runtime, `f` on its first worker, and the end of both.
fn run(workers: usize, f: &impl Fn()) {
    let unhandled = Arc::new(Mutex::new(None::<Payload>));
    let kept = unhandled.clone();
    let pool = Arc::new(Pool::with(Parts {
        policy: Box::new(Nearest),
        // No time passes in a model, so every wake-up must be due at once.
        heartbeat: Duration::ZERO,
        seed: 1,
        // Which side of a join is stolen shall depend on the interleaving and on no heuristic.
        mode: Mode::AlwaysPromote,
        on_panic: Some(Box::new(move |payload| {
            let mut first = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match *first {
                None => *first = Some(payload),
                Some(_) => discard(payload),
            }
        })),
        ..Parts::new(Topology::flat(workers))
    }));
    ::loom::stop_exploring();
    in_model::start(&pool, workers);
    let outcome = catch(|| pool.work(0, |_| f()));
    // After a failure loom itself may refuse to go on; the failure is what counts.
    let ended = catch(in_model::shut_down);
    let first = unhandled.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    if let Some(payload) = outcome.err().or(first).or(ended.err()) {
        std::panic::resume_unwind(payload);
    }
}
