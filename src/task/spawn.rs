//! Spawned closures: public at once, with a handle that can be waited for, awaited, or dropped.
//!
//! How the result reaches the handle is in `outcome.rs`; futures are in `future.rs`.

use std::any::type_name;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::cancel;
use super::inherit::Captured;
use super::outcome::Completion;
use super::turn::Reason;
use super::unwind::{catch, discard};
use super::{Task, Then};
use crate::runtime::current::with_current;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, Mutex};

/// A spawned task, as the queues see it.
pub(crate) trait Spawned: Send + Sync {
    /// Runs the task unless somebody else has begun it.
    fn run(self: Arc<Self>, thread: &WorkerThread, then: Then);

    /// Drops the task unless it has ended or, if it is a closure, begun; its handle gets the reason.
    fn withdraw(&self, reason: Reason);

    /// Whether to run the task does nothing any more.
    fn is_spent(&self) -> bool;
}

/// A spawned task, as its handle sees it.
pub(crate) trait Awaited<T>: Send + Sync {
    fn completion(&self) -> &Completion<T>;

    /// Runs the task here and now if it may be run out of its turn and nobody has begun it.
    fn help(&self, thread: &WorkerThread);
}

struct Packet<F, T> {
    closure: Mutex<Option<F>>,
    completion: Completion<T>,
    context: Option<Captured>,
}

impl<F, T> Packet<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run_once(&self, thread: &WorkerThread, then: Then) {
        let Some(closure) = lock(&self.closure).take() else { return thread.ending(then) };
        let run = || thread.enter(|_| closure());
        let result = catch(|| thread.within(self.context.as_ref(), run));
        thread.ending(then);
        self.completion.complete(result);
    }
}

impl<F, T> Spawned for Packet<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(self: Arc<Self>, thread: &WorkerThread, then: Then) {
        self.run_once(thread, then);
    }

    fn withdraw(&self, reason: Reason) {
        let Some(closure) = lock(&self.closure).take() else { return };
        discard(closure);
        self.completion.complete(Err(reason.payload()));
    }

    fn is_spent(&self) -> bool {
        lock(&self.closure).is_none()
    }
}

impl<F, T> Awaited<T> for Packet<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn completion(&self) -> &Completion<T> {
        &self.completion
    }

    fn help(&self, thread: &WorkerThread) {
        self.run_once(thread, Then::GoOn);
    }
}

/// A spawned task's result, once there is one. Dropping the handle lets the task run on by itself.
///
/// The result is waited for in one of two ways. [`join`](Self::join) blocks the thread. Awaiting the handle blocks nobody: it is a
/// future that wakes any executor, so a service on tokio can hand its heavy work to upbeat and go on serving.
///
/// If the task panics and its handle was dropped, the panic goes to [`Builder::on_panic`](crate::Builder::on_panic); without a
/// handler the process aborts with a message that names the task.
#[must_use = "dropping a handle detaches its task; say `drop` where that is meant"]
pub struct JoinHandle<T> {
    task: Option<Arc<dyn Awaited<T>>>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: Arc<dyn Awaited<T>>) -> Self {
        Self { task: Some(task) }
    }

    /// Waits for the task and returns its result.
    ///
    /// A worker that calls this helps: it runs the task itself if nobody has begun it, else other spawned tasks, which
    /// may nest on its stack (64 at most, and on Linux only while it has a quarter of its stack left). Hold no lock that
    /// those might take, or wait in [`isolate`](crate::isolate). It takes no part in the joins and loops of the task that it waits for, as the
    /// waiter of a [`scope`](crate::scope) does.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::new().unwrap();
    /// let handle = runtime.spawn(|| 6 * 7);
    /// assert_eq!(handle.join().unwrap(), 42);
    /// ```
    ///
    /// # Errors
    /// The payload of the task's panic, which [`JoinError`](crate::JoinError) makes an error for `?`; [`Cancelled`](crate::Cancelled) when it was cancelled before it began, or a future before it
    /// ended; [`ShutDown`](crate::ShutDown) when the runtime ended while a future was waiting.
    pub fn join(mut self) -> std::thread::Result<T> {
        if let Some(task) = &self.task {
            task.completion().registry().require_workers();
        }
        let Some(task) = self.task.take() else { panic!("the result was taken before") };
        let completion = task.completion();
        with_current(|worker| match worker {
            Some(worker) => {
                let thread = worker.thread();
                if Arc::ptr_eq(thread.registry(), completion.registry()) {
                    cancel::under(None, || task.help(thread));
                }
                thread.wait_running_anything(completion.done());
            }
            None => completion.done().wait(),
        });
        completion.take_result()
    }

    /// Whether the task has finished, so that neither [`join`](Self::join) nor awaiting will wait.
    pub fn is_finished(&self) -> bool {
        self.task
            .as_ref()
            .map(|task| task.completion())
            .is_none_or(|completion| !completion.registry().is_left_behind() && completion.done().is_set())
    }
}

/// Awaiting gives the result, or the payload of the task's panic, without blocking the thread that polls.
///
/// Dropping the handle instead, as a timeout or `select!` does, detaches the task: it runs on, and its result is dropped by the
/// worker that made it.
///
/// # Panics
/// When it is polled again after it gave its result.
impl<T> Future for JoinHandle<T> {
    type Output = std::thread::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = &self.task else { panic!("a JoinHandle was polled after it gave its result") };
        task.completion().registry().require_workers();
        let polled = task.completion().poll(context);
        if polled.is_ready() {
            self.task = None;
        }
        polled
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            if task.completion().registry().is_left_behind() {
                // Its locks may be held by threads that are not in this process.
                return std::mem::forget(task);
            }
            task.completion().detach();
        }
    }
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

/// Makes a task of `closure`: the queues' end and the handle.
pub(crate) fn spawned<F, T>(registry: &Arc<Registry>, closure: F) -> (Arc<dyn Spawned>, JoinHandle<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let packet = Arc::new(Packet {
        closure: Mutex::new(Some(closure)),
        completion: Completion::new(registry, type_name::<F>()),
        context: registry.capture(),
    });
    (packet.clone(), JoinHandle::new(packet))
}

/// Spawns `closure` on the runtime of `registry`.
pub(crate) fn spawn<F, T>(registry: &Arc<Registry>, closure: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (task, handle) = spawned(registry, closure);
    registry.submit(Task::Spawned(task));
    handle
}
