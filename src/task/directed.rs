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
use crate::sync::{lock, statistic, ticks, Mutex, MutexGuard, Ordering, HAS_TIME};

/// A task, as the runtime's queues see it.
pub(super) struct Directed {
    scope: Arc<Shared>,
    /// `None` for one that goes first, wherever it is run.
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

/// The scope's lists of them.
pub(super) struct DirectedTasks {
    /// Whether there ever was one, for who should not have to lock. A hint: whoever misses one leaves it to the queues.
    any: statistic::AtomicBool,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    urgent: List,
    bound: List,
}

/// The oldest first.
#[derive(Default)]
struct List {
    tasks: VecDeque<Arc<Directed>>,
    /// At this length it is looked through for what is spent.
    sweep_at: usize,
}

/// Fewer than these are not looked through.
const FEW: usize = 64;

impl List {
    fn push(&mut self, task: Arc<Directed>) {
        if self.tasks.len() >= self.sweep_at.max(FEW) {
            self.tasks.retain(|task| !task.is_spent());
            self.sweep_at = self.tasks.len() * 2;
        }
        self.tasks.push_back(task);
    }

    /// Drops what is spent of the oldest ones; whether there are others.
    fn has_tasks(&mut self) -> bool {
        while self.tasks.front().is_some_and(|task| task.is_spent()) {
            self.tasks.pop_front();
        }
        !self.tasks.is_empty()
    }

    /// Where the oldest one is that `thread` should run.
    fn find_for(&mut self, thread: &WorkerThread) -> Option<usize> {
        if !self.has_tasks() {
            return None;
        }
        let registry = thread.registry();
        // A clock that goes back makes no task wait: then it is taken for old.
        let age = ticks().wrapping_sub(self.tasks[0].at);
        if !HAS_TIME || age >= registry.patience_with_bound() {
            return Some(0);
        }
        // The others are younger still.
        let home = Some(registry.topology.home(thread.index()));
        self.tasks.iter().position(|task| task.home == home && !task.is_spent())
    }
}

impl DirectedTasks {
    pub(super) fn new() -> Self {
        Self { any: statistic::AtomicBool::new(false), lists: Mutex::new(Lists::default()) }
    }

    pub(super) fn push(&self, task: Arc<Directed>) {
        let mut lists = lock(&self.lists);
        let list = if task.home.is_some() { &mut lists.bound } else { &mut lists.urgent };
        list.push(task);
        self.any.store(true, Ordering::Relaxed);
    }

    /// The lists, if there ever was a task.
    fn lists(&self, thread: &WorkerThread) -> Option<MutexGuard<'_, Lists>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        // In a child of `fork` the lock may be held by a thread that is not there.
        thread.registry().require_workers_or_abort();
        Some(lock(&self.lists))
    }

    /// The oldest one that goes first.
    pub(super) fn take_urgent(&self, thread: &WorkerThread) -> Option<Body> {
        let mut lists = self.lists(thread)?;
        std::iter::from_fn(|| lists.urgent.tasks.pop_front()).find_map(|task| task.take())
    }

    /// The oldest one with a node that `thread` should run.
    pub(super) fn take_bound(&self, thread: &WorkerThread) -> Option<Body> {
        let mut lists = self.lists(thread)?;
        loop {
            let at = lists.bound.find_for(thread)?;
            if let Some(body) = lists.bound.tasks.remove(at).and_then(|task| task.take()) {
                return Some(body);
            }
        }
    }

    /// Whether there is one that `thread` should run.
    pub(super) fn has_one_for(&self, thread: &WorkerThread) -> bool {
        let lists = self.lists(thread);
        lists.is_some_and(|mut lists| lists.urgent.has_tasks() || lists.bound.find_for(thread).is_some())
    }

    /// The scope is over: each of them holds it.
    pub(super) fn clear(&self) {
        if self.any.swap(false, Ordering::Relaxed) {
            *lock(&self.lists) = Lists::default();
        }
    }
}
