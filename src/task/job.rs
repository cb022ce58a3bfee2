//! Tasks from outside a worker's stack: a closure whose caller is blocked until it is done, and the lifetime erasure of a
//! scope's closures.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::cancel::{self, CancelToken};
use super::frame::Worker;
use super::latch::Blocking;
use super::unwind::{catch, discard};
use super::Then;
use crate::heartbeat::sites::Key;
use crate::runtime::regions::Region;
use crate::runtime::worker::WorkerThread;
use crate::sync::{ticks, UnsafeCell};

/// The closure until it is called, the result from then on.
union Content<F, R> {
    closure: ManuallyDrop<F>,
    result: ManuallyDrop<std::thread::Result<R>>,
}

/// A closure that a thread outside the runtime waits for, blocked in `Registry::install`.
pub(crate) struct InstallJob<F, R> {
    content: UnsafeCell<Content<F, R>>,
    done: Arc<Blocking>,
    /// What the caller is under, and so is the closure.
    token: Option<CancelToken>,
}

/// An [`InstallJob`] on its way to a worker.
pub(crate) struct InstallRef {
    job: *const (),
    execute: unsafe fn(*const (), &WorkerThread, Then),
}

// SAFETY: `InstallJob::publish` demands that closure and result are Send; the reference is used by one thread.
unsafe impl Send for InstallRef {}

impl<F, R> InstallJob<F, R>
where
    F: FnOnce(&Worker) -> R + Send,
    R: Send,
{
    pub(crate) fn new(closure: F) -> Self {
        let content = UnsafeCell::new(Content { closure: ManuallyDrop::new(closure) });
        Self { content, done: Arc::new(Blocking::new()), token: cancel::current() }
    }

    pub(crate) fn done(&self) -> &Blocking {
        &self.done
    }

    /// A reference for the injector.
    ///
    /// # Safety
    /// The job must not move nor be dropped until `done` is set, and the reference must be run exactly once.
    pub(crate) unsafe fn publish(&self) -> InstallRef {
        InstallRef { job: (&raw const *self).cast(), execute: Self::execute }
    }

    /// # Safety
    /// `job` points to a live job of this type that no other thread runs.
    unsafe fn execute(job: *const (), thread: &WorkerThread, then: Then) {
        // SAFETY: the caller of `publish` keeps the job alive until `done` is set.
        let job = unsafe { &*job.cast::<Self>() };
        // The job may be freed as soon as `done` is set, so `done` itself must outlive that.
        let done = job.done.clone();
        job.content.with_mut(|content| {
            // SAFETY: the reference is run once, so the content is this thread's and still the closure.
            let closure = unsafe { &mut (*content).closure };
            // SAFETY: as above.
            let closure = unsafe { ManuallyDrop::take(closure) };
            let region = Handed::begin(thread, Key::new(Self::execute as *const ()));
            let result = catch(move || cancel::under(job.token.clone(), || thread.enter(closure)));
            region.end(thread, result.is_err());
            // SAFETY: the closure was moved out; the content is this thread's until `done` is set.
            unsafe { content.write(Content { result: ManuallyDrop::new(result) }) }
        });
        thread.ending(then);
        done.set();
    }

    /// Takes the result.
    ///
    /// # Safety
    /// `done` was seen set, and the result was not taken before.
    pub(crate) unsafe fn take_result(&self) -> std::thread::Result<R> {
        self.content.with_mut(|content| {
            // SAFETY: the worker stored the result before it set `done`.
            let result = unsafe { &mut (*content).result };
            // SAFETY: the caller vouches that this happens once.
            unsafe { ManuallyDrop::take(result) }
        })
    }
}

impl InstallRef {
    /// Runs the closure and sets its latch.
    pub(crate) fn run(self, thread: &WorkerThread, then: Then) {
        // SAFETY: `publish` vouched for the job, and consuming `self` makes this the only run.
        unsafe { (self.execute)(self.job, thread, then) }
    }
}

/// The region that a closure from outside is, where regions are learned from.
struct Handed(Option<Region>);

impl Handed {
    fn begin(thread: &WorkerThread, key: Key) -> Self {
        Self(thread.registry().regions.is_some().then(|| thread.begin_region(key, ticks())))
    }

    fn end(self, thread: &WorkerThread, panicked: bool) {
        if let Some(region) = self.0 {
            thread.end_region(&region, ticks(), panicked);
        }
    }
}

/// A closure whose borrows the type no longer shows.
pub(crate) type ErasedClosure = Box<dyn FnOnce(&Worker) + Send + 'static>;

/// Forgets that `closure` borrows from `'env`.
///
/// # Safety
/// The closure must be run or dropped before `'env` ends.
pub(crate) unsafe fn erase<'env>(closure: Box<dyn FnOnce(&Worker) + Send + 'env>) -> ErasedClosure {
    // SAFETY: only the lifetime changes; the caller vouches that it is respected.
    unsafe { std::mem::transmute(closure) }
}

/// Drops the closure of a task that was withdrawn; a panic in a destructor is contained.
pub(crate) fn withdraw<F>(closure: F) {
    discard(closure);
}
