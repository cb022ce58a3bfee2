//! Jobs that live in the frame of whoever waits for them, and the lifetime erasure of a scope's closures.
//!
//! A [`StackJob`] is published as a pointer to its [`Header`]. Ownership of its content goes with the task: the thread
//! that took it from the ring (the owner's `pop`, or a thief's CAS) is the only one to touch closure and result, until
//! a thief sets the latch. The frame stays until the owner has popped the job or seen the latch set.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::Arc;

use super::latch::{Blocking, Latch};
use super::unwind::{catch, discard};
use super::Then;
use crate::runtime::worker::Worker;
use crate::sync::UnsafeCell;

/// Closures up to this size, bytes, are kept twice by a join; a cache line.
const COPIED: usize = 64;

/// What a thief knows of a join task: how to run it, and the latch that says it is done.
#[repr(C)]
pub(crate) struct Header {
    execute: unsafe fn(*const Header, &Worker) -> bool,
    /// Set after a thief has stored the result.
    pub(crate) latch: Latch,
}

/// The right closure of a join, its result, and its header first so that a pointer to one is a pointer to the other.
#[repr(C)]
pub(crate) struct StackJob<F, R> {
    header: Header,
    content: UnsafeCell<Content<F, R>>,
}

/// The closure until the task is taken, the result after a thief has run it. Which one it is follows from who owns it.
union Content<F, R> {
    closure: ManuallyDrop<F>,
    result: ManuallyDrop<std::thread::Result<R>>,
}

impl<F, R> StackJob<F, R>
where
    F: FnOnce(&Worker) -> R + Send,
    R: Send,
{
    #[inline(always)]
    pub(crate) fn new(closure: F) -> Self {
        Self {
            header: Header { execute: Self::execute, latch: Latch::new() },
            content: UnsafeCell::new(Content { closure: ManuallyDrop::new(closure) }),
        }
    }

    /// The address to publish. What is behind it is written only through cells, so a shared borrow is enough.
    #[inline(always)]
    pub(crate) fn header(&self) -> *mut Header {
        (&raw const *self).cast_mut().cast()
    }

    #[inline(always)]
    pub(crate) fn latch(&self) -> &Latch {
        &self.header.latch
    }

    /// Takes the closure out, for the owner that never published it or has popped it.
    ///
    /// # Safety
    /// The task is the caller's (`Taken::Back`, or never pushed) and its closure was not taken before.
    #[inline(always)]
    pub(crate) unsafe fn take_closure(&self) -> F {
        self.content.with_mut(|content| {
            // SAFETY: the caller owns the content, which still is the closure.
            let closure = unsafe { &mut (*content).closure };
            // SAFETY: the caller vouches that this happens once.
            unsafe { ManuallyDrop::take(closure) }
        })
    }

    /// A second copy of a small closure, inert until [`take_closure_or`](Self::take_closure_or). Made before the job is
    /// published, so that it stays in registers: a closure read back from the published job waits for its own store.
    #[inline(always)]
    pub(crate) fn copy_closure(&self) -> MaybeUninit<F> {
        if size_of::<F>() > COPIED {
            return MaybeUninit::uninit();
        }
        self.content.with_mut(|content| {
            // SAFETY: the job is not published yet and holds its closure; a `MaybeUninit` of it claims nothing.
            unsafe { content.cast::<MaybeUninit<F>>().read() }
        })
    }

    /// [`take_closure`](Self::take_closure), from the copy where there is one.
    ///
    /// # Safety
    /// As `take_closure`; `kept` is the copy made of this job.
    #[inline(always)]
    pub(crate) unsafe fn take_closure_or(&self, kept: MaybeUninit<F>) -> F {
        if size_of::<F>() > COPIED {
            // SAFETY: passed on to the caller.
            return unsafe { self.take_closure() };
        }
        // SAFETY: the copy is of the whole closure, and the one in the job is never used again.
        unsafe { kept.assume_init() }
    }

    /// Takes the result of a task that a thief ran.
    ///
    /// # Safety
    /// The latch was seen set, and the result was not taken before.
    pub(crate) unsafe fn take_result(&self) -> std::thread::Result<R> {
        self.content.with_mut(|content| {
            // SAFETY: the thief stored the result before it set the latch, and no longer touches it.
            let result = unsafe { &mut (*content).result };
            // SAFETY: the caller vouches that this happens once.
            unsafe { ManuallyDrop::take(result) }
        })
    }

    /// What a thief runs. Returns whether the owner sleeps and must be woken.
    ///
    /// # Safety
    /// `header` is the header of a live `StackJob<F, R>` whose task the caller took by a successful CAS.
    unsafe fn execute(header: *const Header, worker: &Worker) -> bool {
        // SAFETY: `header` is the first field of a `#[repr(C)]` job of this very type, alive until the latch is set.
        let job = unsafe { &*header.cast::<Self>() };
        // SAFETY: the CAS made the task ours, and a task is taken once.
        let closure = unsafe { job.take_closure() };
        let result = catch(move || closure(worker));
        job.content.with_mut(|content| {
            // SAFETY: the content is ours until the latch is set, and the closure was moved out.
            unsafe { content.write(Content { result: ManuallyDrop::new(result) }) }
        });
        worker.ending(Then::Rest);
        // The last access: the owner may free the frame from here on.
        job.header.latch.set()
    }
}

/// A join task that the holder has taken from a ring and must run.
pub(crate) struct Stolen(*const Header);

impl Stolen {
    /// # Safety
    /// `header` came from a successful `Ring::steal`, of a ring that holds live jobs only.
    pub(crate) unsafe fn new(header: *const Header) -> Self {
        Self(header)
    }

    /// Runs the task, after which the worker rests; true when its owner sleeps and must be woken.
    pub(crate) fn run(self, worker: &Worker) -> bool {
        // SAFETY: the job is alive: its owner waits for the latch, which is set at the end of `execute` only.
        unsafe { (*self.0).latch.set_runner(worker.index()) };
        // SAFETY: as above, for reading the function pointer.
        let execute = unsafe { (*self.0).execute };
        // SAFETY: `new` vouched that the task was taken by CAS; consuming `self` makes this the only run.
        unsafe { execute(self.0, worker) }
    }
}

/// A closure that a thread outside the runtime waits for, blocked in `Registry::install`.
pub(crate) struct InstallJob<F, R> {
    content: UnsafeCell<Content<F, R>>,
    done: Arc<Blocking>,
}

/// An [`InstallJob`] on its way to a worker.
pub(crate) struct InstallRef {
    job: *const (),
    execute: unsafe fn(*const (), &Worker, Then),
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
        Self { content, done: Arc::new(Blocking::new()) }
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
    unsafe fn execute(job: *const (), worker: &Worker, then: Then) {
        // SAFETY: the caller of `publish` keeps the job alive until `done` is set.
        let job = unsafe { &*job.cast::<Self>() };
        // The job may be freed as soon as `done` is set, so `done` itself must outlive that.
        let done = job.done.clone();
        job.content.with_mut(|content| {
            // SAFETY: the reference is run once, so the content is this thread's and still the closure.
            let closure = unsafe { &mut (*content).closure };
            // SAFETY: as above.
            let closure = unsafe { ManuallyDrop::take(closure) };
            let result = catch(move || closure(worker));
            // SAFETY: the closure was moved out; the content is this thread's until `done` is set.
            unsafe { content.write(Content { result: ManuallyDrop::new(result) }) }
        });
        worker.ending(then);
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
    pub(crate) fn run(self, worker: &Worker, then: Then) {
        // SAFETY: `publish` vouched for the job, and consuming `self` makes this the only run.
        unsafe { (self.execute)(self.job, worker, then) }
    }
}

/// A scope's closure whose borrows the type no longer shows.
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
