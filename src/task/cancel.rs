//! Cancellation: a token that is cancelled once, tasks that are dropped if they have not begun by then, and loops that stop
//! between chunks.
//!
//! A task that has begun is never interrupted: it ends by itself, or looks at the token. What it waits for, and when a spawned task
//! begins, is in `spawn.rs` and `scope.rs`. Model: `loom-tests/tests/cancel.rs`.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::{Arc, Weak};

use super::spawn::Spawned;
use super::turn::Reason;
use super::unwind::{catch, discard};
use crate::sync::{left_out, lock, ordering, thread_local, AtomicBool, Mutex};

/// What became of a task that was cancelled before it began, or of a loop that stopped: the payload in the `Err` of
/// [`JoinHandle::join`](crate::JoinHandle::join), and the error of [`CancelToken::run`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cancelled")
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl std::fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancelled({self})")
    }
}

impl std::error::Error for Cancelled {}

/// A request to stop, shared by who makes it and who heeds it. Clones are the same token.
///
/// Given to a spawned task ([`Spawn::cancel`](crate::Spawn::cancel)), a scope ([`scope_with`](crate::scope_with)) or a stretch of
/// code ([`run`](Self::run)):
///
/// - what has not begun when the token is cancelled is dropped and never begins;
/// - what runs goes on; it can ask [`is_cancelled`](Self::is_cancelled);
/// - the loops of [`par`](crate::par) that run under the token stop between two chunks, by unwinding with [`Cancelled`] as the payload.
///
/// Cancelling twice does nothing, nor does dropping a token.
///
/// ```
/// use upbeat::{CancelToken, Cancelled, Runtime, Spawn};
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// let token = CancelToken::new();
/// token.cancel();
/// let handle = runtime.spawn_with(Spawn::new().cancel(&token), || unreachable!());
/// assert!(handle.join().unwrap_err().is::<Cancelled>());
/// # Ok::<(), upbeat::BuildError>(())
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<Shared>);

struct Shared {
    cancelled: AtomicBool,
    /// Spawned tasks that were not done when last looked at.
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    list: Vec<Weak<dyn Spawned>>,
    /// At this length those that are gone are taken off the list, so that a long-lived token does not keep their memory.
    prune_at: usize,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self(Arc::new(Shared { cancelled: AtomicBool::new(false), tasks: Mutex::new(Tasks::default()) }))
    }

    /// Cancels: no worker takes up a task with this token any more. Closures of spawned tasks that nobody has taken up are
    /// dropped here, and their handles are told.
    pub fn cancel(&self) {
        let tasks = {
            let mut tasks = lock(&self.0.tasks);
            // Under the lock: a task is put on the list before, or finds the token cancelled. Release: who finds it cancelled sees
            // what was done before.
            self.0.cancelled.store(true, ordering!("cancel_set", Release));
            std::mem::take(&mut tasks.list)
        };
        for task in tasks.into_iter().filter(|_| !left_out!("cancel_withdraws")) {
            if let Some(task) = task.upgrade() {
                task.withdraw(Reason::Cancelled);
            }
        }
    }

    /// Whether it was cancelled; if so, what was done before that is visible.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(ordering!("cancel_read", Acquire))
    }

    /// Runs `f` under this token: loops in it stop between two chunks when the token is cancelled, and `f` is unwound from there.
    ///
    /// ```
    /// let token = upbeat::CancelToken::new();
    /// let outcome = token.run(|| {
    ///     upbeat::par::for_each(0..usize::MAX, |i| {
    ///         if i == 1000 {
    ///             token.cancel();
    ///         }
    ///     })
    /// });
    /// assert_eq!(outcome, Err(upbeat::Cancelled));
    /// ```
    ///
    /// # Errors
    /// [`Cancelled`] when the token was cancelled before, or a loop stopped.
    ///
    /// # Panics
    /// When `f` panics.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> Result<R, Cancelled> {
        if self.is_cancelled() {
            discard(f);
            return Err(Cancelled);
        }
        match catch(|| under(Some(self.clone()), f)) {
            Ok(result) => Ok(result),
            Err(payload) if payload.is::<Cancelled>() => Err(Cancelled),
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Unwinds with [`Cancelled`] if it was cancelled: what a loop calls between two chunks.
    pub(crate) fn check(&self) {
        if self.is_cancelled() {
            resume_unwind(Box::new(Cancelled));
        }
    }

    /// Begins a task that was given the token: under it, or not at all.
    pub(crate) fn begin<R>(self, f: impl FnOnce() -> R) -> R {
        if self.is_cancelled() {
            discard(f);
            resume_unwind(Box::new(Cancelled));
        }
        under(Some(self), f)
    }

    /// Puts a task on the list of those to withdraw; withdraws it when the token was cancelled before, and says so with `false`.
    pub(crate) fn register(&self, task: &Arc<dyn Spawned>) -> bool {
        let mut tasks = lock(&self.0.tasks);
        if self.is_cancelled() && !left_out!("cancel_register_looks") {
            drop(tasks);
            task.withdraw(Reason::Cancelled);
            return false;
        }
        if tasks.list.len() >= tasks.prune_at {
            tasks.list.retain(|task| task.upgrade().is_some_and(|task| !task.is_spent()));
            tasks.prune_at = (2 * tasks.list.len()).max(FEW);
        }
        tasks.list.push(Arc::downgrade(task));
        true
    }
}

/// Tasks that a token may list without looking whether they are gone.
const FEW: usize = 64;

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

#[cfg(not(upbeat_loom))]
thread_local! {
    static CURRENT: RefCell<Option<CancelToken>> = const { RefCell::new(None) };
}
#[cfg(upbeat_loom)]
thread_local! {
    static CURRENT: RefCell<Option<CancelToken>> = RefCell::new(None);
}

/// The token that what this thread runs is under, if any. A loop asks once and hands it to its halves.
pub(crate) fn current() -> Option<CancelToken> {
    CURRENT.try_with(|current| current.borrow().clone()).unwrap_or(None)
}

/// Runs `f` under `token`, or under none.
pub(crate) fn under<R>(token: Option<CancelToken>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<CancelToken>);
    impl Drop for Restore {
        fn drop(&mut self) {
            replace(self.0.take());
        }
    }
    let _restore = Restore(replace(token));
    f()
}

/// Puts `token` in the current one's place. A thread whose locals are gone has none, and keeps none.
fn replace(token: Option<CancelToken>) -> Option<CancelToken> {
    CURRENT.try_with(|current| current.replace(token)).unwrap_or(None)
}
