//! How a task is spawned: its priority and the token that cancels it.
//!
//! Tasks of high priority lie in a queue of their own, one a runtime, which workers look into before all others.

use std::future::Future;
use std::sync::Arc;

use super::cancel::CancelToken;
use super::isolate::{self, Region};
use super::spawn::{spawned, JoinHandle};
use super::{future, Task};
use crate::runtime::registry::Registry;

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

/// How to spawn a task; for [`Runtime::spawn_with`](crate::Runtime::spawn_with) and [`spawn_with`](crate::spawn_with).
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
}

impl Priority {
    /// Puts a ticket where tasks of this priority wait that were created in `region`.
    pub(super) fn submit(self, registry: &Arc<Registry>, region: Option<Arc<Region>>, task: Task) {
        match self {
            Self::Normal => registry.submit_from(region, task),
            Self::High => registry.submit_urgent_from(region, task),
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

    /// Spawns `f` on the runtime of `registry`.
    pub(crate) fn run<F, T>(self, registry: &Arc<Registry>, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
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
        self.priority.submit(registry, isolate::current(), Task::Spawned(task));
        handle
    }

    /// Spawns `future` on the runtime of `registry`.
    pub(crate) fn run_future<F>(self, registry: &Arc<Registry>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        future::spawn(registry, self.priority, self.cancel, future)
    }
}
