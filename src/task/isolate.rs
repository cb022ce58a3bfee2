//! Isolation: while code runs inside, its waits run nothing that was not created inside.
//!
//! Each call of [`isolate`] is a *region*. What is made public inside a region goes to the region's own queue, one a runtime, and a
//! *ticket* for it to where it would have gone. A wait inside looks into the region's queue alone; any other worker takes a ticket and
//! runs one task from there, inside the region as well. Regions nest: a ticket of the inner one lies in the outer one's queue.
//!
//! A scope's tasks belong to the region that the scope was opened in, whoever spawns them. A join task does not know its region. So what is stolen from a worker that is inside any region runs in a new one of its own: that
//! keeps out at least as much. Waits for joins and scopes run descendants only and need none of this.
//!
//! Proof: `loom-tests/tests/isolate.rs`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Task, Then};
use crate::runtime::current::with_current;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, thread_local, Mutex};
use crate::task::frame::Worker;

/// A stretch of code and all that it creates.
pub(crate) struct Region {
    parent: Option<Arc<Region>>,
    queues: Mutex<Vec<Queue>>,
}

/// A region's tasks for one runtime, known by the address of its registry; the oldest first.
struct Queue {
    registry: usize,
    tasks: VecDeque<Task>,
    /// How many tickets there are: at least as many as tasks, so that none is left behind.
    tickets: usize,
    /// Tasks at which it is looked through for what is spent.
    sweep_at: usize,
}

/// Tasks that a queue may hold before it is looked through.
const FEW: usize = 64;

impl Region {
    /// A region inside the one that this thread is in, if it is in any.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { parent: current(), queues: Mutex::new(Vec::new()) })
    }

    /// Adds a task, for which the caller makes a ticket.
    fn push(&self, registry: usize, task: Task) {
        let mut queues = lock(&self.queues);
        let known = queues.iter().position(|queue| queue.registry == registry);
        let index = known.unwrap_or(queues.len());
        if index == queues.len() {
            queues.push(Queue { registry, tasks: VecDeque::new(), tickets: 0, sweep_at: FEW });
        }
        let queue = &mut queues[index];
        queue.tasks.push_back(task);
        queue.tickets += 1;
        if queue.tasks.len() >= queue.sweep_at {
            queue.tasks.retain(|task| !task.retire());
            queue.sweep_at = (2 * queue.tasks.len()).max(FEW);
        }
    }

    /// Looks into the queue for one runtime; `None` when nothing was ever put there.
    fn with_queue<R>(&self, registry: usize, f: impl FnOnce(&mut Queue) -> R) -> Option<R> {
        lock(&self.queues).iter_mut().find(|queue| queue.registry == registry).map(f)
    }
}

/// Stands for one task in a region's queue. It is run, or dropped after `retire` said so.
pub(crate) struct Ticket {
    region: Arc<Region>,
    registry: usize,
}

impl Ticket {
    /// Runs one task of the region, if one is left.
    pub(crate) fn run(self, thread: &WorkerThread, then: Then) {
        let take = |queue: &mut Queue| {
            queue.tickets -= 1;
            queue.tasks.pop_front()
        };
        match self.region.with_queue(self.registry, take).flatten() {
            Some(task) => within(self.region, Some(thread), || task.run(thread, then)),
            None => thread.ending(then),
        }
    }

    /// Whether there are tickets enough without this one, as the tasks were run by other means. It is no longer counted then.
    pub(crate) fn retire(&self) -> bool {
        let retire = |queue: &mut Queue| {
            while queue.tasks.front().is_some_and(Task::retire) {
                queue.tasks.pop_front();
            }
            let is_spare = queue.tickets > queue.tasks.len();
            queue.tickets -= usize::from(is_spare);
            is_spare
        };
        self.region.with_queue(self.registry, retire).unwrap_or(true)
    }
}

#[cfg(not(upbeat_loom))]
thread_local! {
    static CURRENT: RefCell<Option<Arc<Region>>> = const { RefCell::new(None) };
}
#[cfg(upbeat_loom)]
thread_local! {
    static CURRENT: RefCell<Option<Arc<Region>>> = RefCell::new(None);
}

/// The region that this thread is in.
pub(crate) fn current() -> Option<Arc<Region>> {
    CURRENT.try_with(|current| current.borrow().clone()).unwrap_or(None)
}

/// Whether this thread is in one.
pub(crate) fn is_inside() -> bool {
    CURRENT.try_with(|current| current.borrow().is_some()).unwrap_or(false)
}

/// The task to make public instead of `task`, which is for the runtime of `registry` and was created in `region`: `task` itself, or a
/// ticket.
pub(crate) fn enclose(registry: &Registry, region: Option<Arc<Region>>, task: Task) -> Task {
    let registry = &raw const *registry as usize;
    let (mut task, mut around) = (task, region);
    while let Some(region) = around {
        region.push(registry, task);
        around = region.parent.clone();
        task = Task::Isolated(Ticket { region, registry });
    }
    task
}

impl Registry {
    /// The oldest task for this runtime that was created in the region that this thread is in.
    pub(crate) fn find_isolated_task(&self) -> Option<Task> {
        current()?.with_queue(&raw const *self as usize, |queue| queue.tasks.pop_front()).flatten()
    }
}

/// Runs `f` in a region of its own, for what was stolen from a worker that is in one.
pub(crate) fn within_another<R>(thread: &WorkerThread, f: impl FnOnce() -> R) -> R {
    within(Region::new(), Some(thread), f)
}

/// Runs `f` on `thread`, which the calling thread has just become. If it is in a region, what others steal from it is too.
pub(crate) fn as_guest<R>(thread: &WorkerThread, f: impl FnOnce() -> R) -> R {
    match current() {
        None => f(),
        Some(region) => within(region, Some(thread), f),
    }
}

/// Runs `f` in `region`; `thread` is the worker that this thread is, if it is one.
pub(crate) fn within<R>(region: Arc<Region>, thread: Option<&WorkerThread>, f: impl FnOnce() -> R) -> R {
    struct Leave<'a>(Option<&'a WorkerThread>, Option<Arc<Region>>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            replace(self.1.take());
            if let Some(thread) = self.0 {
                thread.leave_region();
            }
        }
    }
    if let Some(thread) = thread {
        thread.enter_region();
    }
    let _leave = Leave(thread, replace(Some(region)));
    f()
}

/// Puts `region` in the current one's place. A thread whose locals are gone is in none.
fn replace(region: Option<Arc<Region>>) -> Option<Arc<Region>> {
    CURRENT.try_with(|current| current.replace(region)).unwrap_or(None)
}

/// Runs `f`; while anything inside waits, its worker runs nothing that was not created inside.
///
/// A worker that waits for a [`JoinHandle`](crate::JoinHandle), for another runtime or in [`yield_now`](crate::yield_now) may otherwise run any
/// task that is on offer, on top of its stack. Such a task may want a lock that the code below it holds. Tasks that are created
/// inside, on whatever worker, and the very task that is waited for still run.
///
/// Joins and scopes need no isolation: they run only what descends from them.
///
/// ```
/// use std::sync::Mutex;
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
/// let runtime = upbeat::Runtime::new()?;
/// let tasks: Vec<_> = (1..=10)
///     .map(|i| {
///         runtime.spawn(move || {
///             let mut total = TOTAL.lock().unwrap();
///             // Without isolation the wait could run another one of these tasks, which would wait for the lock for ever.
///             *total += upbeat::isolate(|| upbeat::spawn(move || i).join().unwrap());
///         })
///     })
///     .collect();
/// tasks.into_iter().for_each(|task| task.join().unwrap());
/// assert_eq!(*TOTAL.lock().unwrap(), 55);
/// # Ok::<(), upbeat::BuildError>(())
/// ```
///
/// # Panics
/// When `f` panics.
pub fn isolate<R>(f: impl FnOnce() -> R) -> R {
    with_current(|worker| within(Region::new(), worker.map(Worker::thread), f))
}
