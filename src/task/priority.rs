//! How a task is spawned: its priority, the memory node that it is bound for, and the token that cancels it.
//!
//! Tasks of high priority lie in a queue of their own, one a runtime, which workers look into before all others.

use std::future::Future;
use std::sync::Arc;

use super::cancel::CancelToken;
use super::isolate::{self, Region};
use super::spawn::{spawned, JoinHandle};
use super::{future, Task};
use crate::runtime::registry::Registry;
use crate::topology::memory::Span;

/// Which spawned tasks go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// In turn, as they come.
    #[default]
    Normal,
    /// Before all normal tasks that have not begun; in turn among themselves. A worker that looks for a task looks for one of these
    /// first; it does not leave the one that it runs.
    High,
}

/// How to spawn a task; for [`Runtime::spawn_with`](crate::Runtime::spawn_with), [`spawn_with`](crate::spawn_with) and
/// [`Scope::spawn_with`](crate::Scope::spawn_with).
///
/// ```
/// use upbeat::{CancelToken, Priority, Runtime, Spawn};
///
/// let runtime = Runtime::new()?;
/// let token = CancelToken::new();
/// let handle = runtime.spawn_with(Spawn::new().priority(Priority::High).cancel(&token), || 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// # Ok::<(), upbeat::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a task is spawned with them"]
pub struct Spawn {
    priority: Priority,
    cancel: Option<CancelToken>,
    wish: Wish,
}

/// Where a task would rather run.
#[derive(Clone, Copy, Debug, Default)]
enum Wish {
    #[default]
    None,
    /// On this memory node.
    Node(usize),
    /// Where these bytes are.
    Near(Span),
}

/// Which queue a task goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    priority: Priority,
    /// The home that it is bound for, on a machine that has several.
    home: Option<usize>,
}

impl Destination {
    /// The home, where that decides.
    pub(super) fn home(&self) -> Option<usize> {
        self.home
    }

    /// Whether it is the queue of all tasks without options.
    pub(super) fn is_usual(&self) -> bool {
        self.priority == Priority::Normal && self.home.is_none()
    }

    /// Puts a ticket where such tasks wait that were created in `region`.
    pub(super) fn submit(self, registry: &Arc<Registry>, region: Option<Arc<Region>>, task: Task) {
        match (self.priority, self.home) {
            (Priority::High, _) => registry.submit_urgent_from(region, task),
            (Priority::Normal, Some(home)) => registry.submit_bound(region, home, task),
            (Priority::Normal, None) => registry.submit_from(region, task),
        }
    }
}

impl Spawn {
    /// As [`spawn`](crate::spawn) does: normal priority, no token.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which tasks go first.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The token that cancels the task. If it does so before the task begins, the closure is dropped and the handle's `join`
    /// returns [`Cancelled`](crate::Cancelled) as the payload; a task without a handle is dropped in silence. A future is dropped whenever it
    /// is not being polled, or at the end of the poll.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }

    /// The memory node on which the task would best run: it waits for a worker of that node, for others a little longer (10 to 200 µs), so no
    /// worker idles while it waits. A worker is of the node that it was dealt to; where nothing is pinned ([`Pin`](crate::Pin)) the system
    /// may run it elsewhere. A node without workers stands for the nearest one with some; one that the runtime's machine does not
    /// have is no wish, and neither is any on a machine with one node. A task of [high priority](Priority::High) goes to whoever is free
    /// first, and a worker that joins the handle before anybody has begun the task runs it itself.
    ///
    /// ```
    /// use upbeat::topology::Machine;
    /// use upbeat::{Runtime, Spawn};
    ///
    /// let runtime = Runtime::builder().topology(Machine::synthetic("node:2 core:2")?).build()?;
    /// let sums = [0, 1].map(|node| runtime.spawn_with(Spawn::new().on_node(node), move || node + 1));
    /// assert_eq!(sums.map(|sum| sum.join().unwrap()), [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_node(mut self, node: usize) -> Self {
        self.wish = Wish::Node(node);
        self
    }

    /// As [`on_node`](Self::on_node), with the node that has most of `data`'s memory when the task is spawned. Data of which nobody has
    /// written a byte is nowhere yet, and where the system does not tell, that is no wish either. To ask costs a system call, on machines with
    /// several nodes only.
    pub fn near<T: ?Sized>(mut self, data: &T) -> Self {
        self.wish = Wish::Near(Span::of(data));
        self
    }

    /// Where the task goes on the runtime of `registry`.
    pub(super) fn destination(&self, registry: &Registry) -> Destination {
        let topology = &registry.topology;
        let node = || match self.wish {
            Wish::None => None,
            Wish::Node(node) => Some(node),
            Wish::Near(span) => registry.memory.node_of_span(span).ok(),
        };
        // Who is free first has those that go first.
        let has_home = topology.homes() > 1 && self.priority == Priority::Normal;
        let home = if has_home { node().and_then(|node| topology.home_of(node)) } else { None };
        Destination { priority: self.priority, home }
    }

    /// The token that cancels it.
    pub(super) fn token(self) -> Option<CancelToken> {
        self.cancel
    }

    /// Spawns `f` on the runtime of `registry`.
    pub(crate) fn run<F, T>(self, registry: &Arc<Registry>, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let destination = self.destination(registry);
        let (task, handle) = match self.cancel {
            None => spawned(registry, f),
            Some(token) => {
                let own = token.clone();
                let (task, handle) = spawned(registry, move || own.begin(f));
                if !token.register(&task) {
                    return handle;
                }
                (task, handle)
            }
        };
        destination.submit(registry, isolate::current(), Task::Spawned(task));
        handle
    }

    /// Spawns `future` on the runtime of `registry`.
    pub(crate) fn run_future<F>(self, registry: &Arc<Registry>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        future::spawn(registry, self.destination(registry), self.cancel, future)
    }
}
