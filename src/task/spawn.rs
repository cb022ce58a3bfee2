//! Spawned tasks: public at once, with a handle that can be waited for or dropped.

use std::any::type_name;
use std::sync::Arc;

use super::cancel::{self, Cancelled};
use super::latch::Blocking;
use super::unwind::{catch, discard, Payload};
use super::Then;
use crate::runtime::current::with_current;
use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, Mutex};

/// A spawned task, as the queues see it.
pub(crate) trait Spawned: Send + Sync {
    /// Runs the task unless somebody else has begun it.
    fn run(&self, thread: &WorkerThread, then: Then);

    /// Drops the task unless somebody has begun it; its handle gets [`Cancelled`].
    fn withdraw(&self);

    /// Whether the task has begun or was withdrawn, so that to run it does nothing.
    fn is_spent(&self) -> bool;
}

/// A spawned task, as its handle sees it.
trait Awaited<T>: Spawned {
    fn done(&self) -> &Blocking;
    fn registry(&self) -> &Arc<Registry>;
    fn take_result(&self) -> std::thread::Result<T>;
    fn detach(&self);
}

/// Where the result is, or what shall become of it.
enum Outcome<T> {
    Pending,
    /// Nobody will ask.
    Detached,
    Ready(std::thread::Result<T>),
    Delivered,
}

struct Packet<F, T> {
    closure: Mutex<Option<F>>,
    outcome: Mutex<Outcome<T>>,
    done: Blocking,
    registry: Arc<Registry>,
}

impl<F, T> Packet<F, T> {
    /// A panic that nobody will ask about goes to the runtime's handler. To be cancelled is not a panic.
    fn unhandled(&self, payload: Payload) {
        if payload.is::<Cancelled>() {
            return;
        }
        self.registry.unhandled_panic(type_name::<F>(), payload);
    }

    /// Keeps the result for the handle, or disposes of it if there is none any more.
    fn deliver(&self, result: std::thread::Result<T>) {
        let unclaimed = {
            let mut outcome = lock(&self.outcome);
            match *outcome {
                Outcome::Detached => Some(result),
                _ => {
                    *outcome = Outcome::Ready(result);
                    None
                }
            }
        };
        match unclaimed {
            Some(Err(payload)) => self.unhandled(payload),
            Some(Ok(value)) => self.drop_unclaimed(value),
            None => {}
        }
    }

    /// Drops a result that nobody takes. A destructor that panics is the task's panic, whoever runs it.
    fn drop_unclaimed(&self, value: T) {
        if let Err(payload) = catch(move || drop(value)) {
            self.unhandled(payload);
        }
    }
}

impl<F, T> Spawned for Packet<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&self, thread: &WorkerThread, then: Then) {
        let Some(closure) = lock(&self.closure).take() else { return thread.ending(then) };
        self.deliver(catch(|| thread.enter(|_| closure())));
        thread.ending(then);
        self.done.set();
    }

    fn withdraw(&self) {
        let Some(closure) = lock(&self.closure).take() else { return };
        discard(closure);
        self.deliver(Err(Box::new(Cancelled)));
        self.done.set();
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
    fn done(&self) -> &Blocking {
        &self.done
    }

    fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    fn take_result(&self) -> std::thread::Result<T> {
        match std::mem::replace(&mut *lock(&self.outcome), Outcome::Delivered) {
            Outcome::Ready(result) => result,
            _ => unreachable!("a task is done when its result is ready, and its only handle asks once"),
        }
    }

    fn detach(&self) {
        let late = {
            let mut outcome = lock(&self.outcome);
            match *outcome {
                Outcome::Pending => std::mem::replace(&mut *outcome, Outcome::Detached),
                _ => std::mem::replace(&mut *outcome, Outcome::Delivered),
            }
        };
        match late {
            Outcome::Ready(Err(payload)) => self.unhandled(payload),
            Outcome::Ready(Ok(value)) => self.drop_unclaimed(value),
            _ => {}
        }
    }
}

/// Waits for a spawned task. Dropping the handle detaches the task: it runs all the same.
///
/// If a detached task panics, the runtime's [`on_panic`](crate::Builder::on_panic) handler gets the payload; without a
/// handler the process aborts with a message that names the task.
pub struct JoinHandle<T> {
    task: Option<Arc<dyn Awaited<T>>>,
}

impl<T> JoinHandle<T> {
    /// Waits for the task and returns its result.
    ///
    /// A worker that calls this helps: it runs the task itself if nobody has begun it, else other spawned tasks, which
    /// may nest on its stack (64 at most, and on Linux only while it has a quarter of its stack left). Hold no lock that those might take.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::new().unwrap();
    /// let handle = runtime.spawn(|| 6 * 7);
    /// assert_eq!(handle.join().unwrap(), 42);
    /// ```
    ///
    /// # Errors
    /// The payload of the task's panic; [`Cancelled`] when it was cancelled before it began.
    pub fn join(mut self) -> std::thread::Result<T> {
        if let Some(task) = &self.task {
            task.registry().require_workers();
        }
        let Some(task) = self.task.take() else { unreachable!("join consumes the handle") };
        with_current(|worker| match worker {
            Some(worker) => {
                let thread = worker.thread();
                if Arc::ptr_eq(thread.registry(), task.registry()) {
                    cancel::under(None, || task.run(thread, Then::GoOn));
                }
                thread.wait_running_anything(task.done());
            }
            None => task.done().wait(),
        });
        task.take_result()
    }

    /// Whether the task has finished, so that [`join`](Self::join) will not wait.
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.registry().is_left_behind() && task.done().is_set())
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            if task.registry().is_left_behind() {
                // Its locks may be held by threads that are not in this process.
                return std::mem::forget(task);
            }
            task.detach();
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
        outcome: Mutex::new(Outcome::Pending),
        done: Blocking::new(),
        registry: registry.clone(),
    });
    (packet.clone(), JoinHandle { task: Some(packet) })
}
