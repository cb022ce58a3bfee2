//! Tasks of a scope that are bound for a memory node, or that go first.
//!
//! Each lies in two places: in the runtime's queue for such tasks, where workers find it that know nothing of the scope, and on its scope's
//! list, for those who run this scope's tasks. Whoever takes its body first runs it; what is left in the other place is spent. Who waits for
//! the scope leaves a task to the node that it is bound for as long as any worker of another node would (`runtime/bound.rs`).
//! Model: `loom-tests/tests/bound.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::body::Body;
use super::priority::Destination;
use super::scope::Shared;
use super::spawn::Spawned;
use super::turn::Reason;
use super::Then;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, statistic, ticks, Mutex, Ordering, HAS_TIME};

/// A task, as the runtime's queues see it.
pub(super) struct Directed {
    scope: Arc<Shared>,
    home: Option<usize>,
    /// When it was spawned, ticks.
    at: u64,
    body: Mutex<Option<Body>>,
}

impl Directed {
    pub(super) fn new(scope: &Arc<Shared>, destination: &Destination, body: Body) -> Arc<Self> {
        let body = Mutex::new(Some(body));
        Arc::new(Self { scope: scope.clone(), home: destination.home(), at: ticks(), body })
    }

    fn take(&self) -> Option<Body> {
        lock(&self.body).take()
    }

    /// Whether `thread`, which runs this scope's tasks, should run this one.
    fn is_for(&self, thread: &WorkerThread) -> bool {
        let registry = thread.registry();
        self.home.is_none_or(|home| home == registry.topology.home(thread.index()))
            || !HAS_TIME
            || ticks().saturating_sub(self.at) >= registry.patience_with_bound()
    }
}

impl Spawned for Directed {
    fn run(self: Arc<Self>, thread: &WorkerThread, then: Then) {
        match self.take() {
            None => thread.ending(then),
            Some(body) if then == Then::Rest => {
                thread.serve_scope(&self.scope, || self.scope.run_taken(body, thread, then));
            }
            Some(body) => self.scope.run_taken(body, thread, then),
        }
    }

    /// It stays on the scope's list, whose owner waits for it.
    fn withdraw(&self, _reason: Reason) {}

    fn is_spent(&self) -> bool {
        lock(&self.body).is_none()
    }
}

/// The scope's list of them, the oldest first.
pub(super) struct DirectedTasks {
    /// Whether there ever was one, for who should not have to lock. A hint: whoever misses one leaves it to the queues.
    any: statistic::AtomicBool,
    tasks: Mutex<VecDeque<Arc<Directed>>>,
}

/// Fewer than these are not looked through for what is spent.
const FEW: usize = 64;

impl DirectedTasks {
    pub(super) fn new() -> Self {
        Self { any: statistic::AtomicBool::new(false), tasks: Mutex::new(VecDeque::new()) }
    }

    pub(super) fn push(&self, task: Arc<Directed>) {
        let mut tasks = lock(&self.tasks);
        // A look through all each time that the list would have to grow.
        if tasks.len() == tasks.capacity() && tasks.len() >= FEW {
            tasks.retain(|task| !task.is_spent());
        }
        tasks.push_back(task);
        self.any.store(true, Ordering::Relaxed);
    }

    /// The oldest one that `thread` should run.
    pub(super) fn take(&self, thread: &WorkerThread) -> Option<Body> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut tasks = lock(&self.tasks);
        while let Some(at) = Self::find(&mut tasks, thread) {
            if let Some(body) = tasks.remove(at).and_then(|task| task.take()) {
                return Some(body);
            }
        }
        None
    }

    /// Whether [`take`](Self::take) would find one.
    pub(super) fn has_one_for(&self, thread: &WorkerThread) -> bool {
        self.any.load(Ordering::Relaxed) && Self::find(&mut lock(&self.tasks), thread).is_some()
    }

    fn find(tasks: &mut VecDeque<Arc<Directed>>, thread: &WorkerThread) -> Option<usize> {
        while tasks.front().is_some_and(|task| task.is_spent()) {
            tasks.pop_front();
        }
        tasks.iter().position(|task| !task.is_spent() && task.is_for(thread))
    }

    /// The scope is over: each of them holds it.
    pub(super) fn clear(&self) {
        if self.any.swap(false, Ordering::Relaxed) {
            lock(&self.tasks).clear();
        }
    }
}
