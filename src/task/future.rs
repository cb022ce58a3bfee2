//! Spawned futures: polled by workers, one at a time, each time that somebody woke them.
//!
//! One allocation holds the future, its turn (`turn.rs`), and its end (`outcome.rs`); wakers, the handle and the ticket in a queue
//! share it. The runtime knows its futures weakly (`runtime/pending.rs`): one that nothing can wake any more is dropped at once,
//! and those that still wait when the runtime ends are withdrawn.

use std::any::type_name;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use super::cancel::{self, CancelToken};
use super::inherit::Captured;
use super::isolate::{self, Region};
use super::outcome::Completion;
use super::priority::Destination;
use super::spawn::{Awaited, JoinHandle, Spawned};
use super::turn::{After, Reason, Turn, Withdrawn};
use super::unwind::catch;
use super::{Task, Then};
use crate::runtime::pending::Entry;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::UnsafeCell;

/// Where the future lives, pinned, until it is over.
struct Place<F>(UnsafeCell<Option<F>>);

// SAFETY: the turn lets one thread at a time at the future, each after the one before, and the future is Send.
unsafe impl<F: Send> Sync for Place<F> {}

impl<F: Future> Place<F> {
    /// # Safety
    /// The turn is the caller's, the future is not over, and the place never moves again.
    unsafe fn poll(&self, context: &mut Context<'_>) -> Poll<F::Output> {
        self.0.with_mut(|place| {
            // SAFETY: the turn is the caller's, so this is the only reference.
            let place = unsafe { &mut *place };
            let Some(future) = place.as_mut() else { unreachable!("a future is polled before it is over") };
            // SAFETY: the place does not move, and the future is dropped where it is.
            unsafe { Pin::new_unchecked(future) }.poll(context)
        })
    }

    /// Drops the future where it is.
    ///
    /// # Safety
    /// The turn is the caller's, for good.
    unsafe fn clear(&self) {
        // SAFETY: the turn is the caller's, so this is the only reference.
        self.0.with_mut(|place| unsafe { *place = None });
    }
}

/// A spawned future.
struct FutureTask<F: Future> {
    turn: Turn,
    place: Place<F>,
    completion: Completion<F::Output>,
    /// Goes before others, or to a node, each time that it is woken; and is withdrawn by a token.
    destination: Destination,
    token: Option<CancelToken>,
    /// Where it was spawned: whoever wakes it, it runs there.
    region: Option<Arc<Region>>,
    /// What each poll runs in.
    context: Option<Captured>,
    /// How the runtime finds it; empty until it is listed.
    entry: OnceLock<Entry>,
}

impl<F: Future> FutureTask<F> {
    /// Takes the future off the runtime's list and drops it; the error is its destructor's panic.
    ///
    /// # Safety
    /// The turn is the caller's, for good.
    unsafe fn clear(&self) -> std::thread::Result<()> {
        if let Some(&entry) = self.entry.get() {
            self.completion.registry().pending.remove(entry);
        }
        // SAFETY: passed on to the caller.
        catch(|| unsafe { self.place.clear() })
    }
}

impl<F> Spawned for FutureTask<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn run(self: Arc<Self>, thread: &WorkerThread, then: Then) {
        if !self.turn.begin() {
            return thread.ending(then);
        }
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        // SAFETY: `begin` gave the turn to us, and the place is inside an `Arc` for as long as it lives.
        let poll = || thread.enter(|_| unsafe { self.place.poll(&mut context) });
        let poll = || thread.within(self.context.as_ref(), poll);
        let polled = catch(|| cancel::under(self.token.clone(), poll));
        let result = match polled {
            Ok(Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(payload),
            Ok(Poll::Pending) => match self.turn.pause() {
                After::Wait => return thread.ending(then),
                After::Again => {
                    self.queue();
                    return thread.ending(then);
                }
                After::Withdrawn(reason) => Err(reason.payload()),
            },
        };
        self.turn.finish();
        // SAFETY: the turn is ours, for good.
        let result = match thread.enter(|_| unsafe { self.clear() }) {
            Ok(()) => result,
            // The destructor's panic is the task's.
            Err(payload) => Err(payload),
        };
        thread.ending(then);
        self.completion.complete(result);
    }

    fn withdraw(&self, reason: Reason) {
        if self.turn.withdraw(reason) == Withdrawn::Ours {
            // SAFETY: it was withdrawn, and is ours.
            let cleared = unsafe { self.clear() };
            self.completion.complete(Err(cleared.err().unwrap_or_else(|| reason.payload())));
        }
    }

    fn is_spent(&self) -> bool {
        self.turn.is_over()
    }
}

impl<F> FutureTask<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Puts the ticket into a queue; called by who was told to, once for each time that the future begins to be `WOKEN`.
    fn queue(self: &Arc<Self>) {
        let registry = self.completion.registry();
        self.destination.submit(registry, self.region.clone(), Task::Spawned(self.clone()));
        // A ticket that comes after the last worker left would keep the registry, which holds the queue, for ever.
        if self.entry.get().is_some_and(|&entry| registry.pending.is_closed(entry)) {
            registry.drop_late_tickets();
        }
    }
}

impl<F> Wake for FutureTask<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.turn.wake() {
            self.queue();
        }
    }
}

impl<F> Awaited<F::Output> for FutureTask<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn completion(&self) -> &Completion<F::Output> {
        &self.completion
    }

    /// A future has its ticket in a queue, or nobody may poll it: the caller's wait finds it there.
    fn help(&self, _thread: &WorkerThread) {}
}

/// Nobody can wake it and nobody asks for it any more.
impl<F: Future> Drop for FutureTask<F> {
    fn drop(&mut self) {
        if self.completion.registry().is_left_behind() {
            // Its locks may be held by threads that are not in this process.
            return;
        }
        if self.turn.withdraw(Reason::ShutDown) == Withdrawn::Ours {
            // SAFETY: it was withdrawn, and is ours.
            if let Err(payload) = unsafe { self.clear() } {
                self.completion.unhandled(payload);
            }
        }
    }
}

/// Spawns `future` on the runtime of `registry`.
pub(crate) fn spawn<F>(
    registry: &Arc<Registry>,
    destination: Destination,
    token: Option<CancelToken>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = Arc::new(FutureTask {
        turn: Turn::queued(),
        place: Place(UnsafeCell::new(Some(future))),
        completion: Completion::new(registry, type_name::<F>()),
        destination,
        token,
        region: isolate::current(),
        context: registry.capture(),
        entry: OnceLock::new(),
    });
    let weak = Arc::downgrade(&task);
    match registry.pending.insert(weak) {
        Some(entry) => {
            let first = task.entry.set(entry).is_ok();
            debug_assert!(first, "a future is listed once");
            let listed: Arc<dyn Spawned> = task.clone();
            if task.token.as_ref().is_none_or(|token| token.register(&listed)) {
                task.queue();
            }
        }
        // The runtime has ended: a destructor that its end ran spawns.
        None => task.withdraw(Reason::ShutDown),
    }
    JoinHandle::new(task)
}
