//! The model twin: loom's atomics, threads and cells, and queues simple enough for it to see through.

pub(crate) use loom::sync::atomic::{
    fence, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread_local;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Slots of a worker's ring: few, so that indices wrap within a model.
pub(crate) const RING_SLOTS: usize = 2;
/// Polls before sleeping: the model gains nothing from more than one.
pub(crate) const SPINS: u32 = 1;

/// Locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Waits on a condition variable; a time limit ends at once, as the worst case would.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    match limit {
        Some(_) => {
            loom::thread::yield_now();
            guard
        }
        None => condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
    }
}

/// Threads, as far as the scheduler needs them.
pub(crate) mod thread {
    pub(crate) use loom::thread::{current, park, Thread};

    /// A timed sleep whose time is never up: no protocol may need the time to pass.
    pub(crate) fn park_timeout(_limit: std::time::Duration) {
        park();
    }
}

/// One poll of a loop that waits for another thread.
pub(crate) fn spin() {
    loom::thread::yield_now();
}

/// The model has no time.
pub(crate) fn now() -> u64 {
    0
}

/// A cell whose accesses loom watches.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }
    /// Hands the content's address to `f`, which may write through it if it has exclusive access.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

/// A queue under a lock; stands for crossbeam's, whose inside loom cannot see.
pub(crate) struct Injector<T>(Mutex<VecDeque<T>>);
/// A worker's own queue.
pub(crate) struct Local<T>(Arc<Injector<T>>);
/// The thieves' end of a [`Local`].
pub(crate) struct Stealer<T>(Arc<Injector<T>>);

impl<T> Injector<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
    pub(crate) fn push(&self, task: T) {
        lock(&self.0).push_back(task);
    }
    pub(crate) fn steal(&self) -> Option<T> {
        lock(&self.0).pop_front()
    }
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

impl<T> Local<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Injector::new()))
    }
    pub(crate) fn stealer(&self) -> Stealer<T> {
        Stealer(self.0.clone())
    }
    pub(crate) fn push(&self, task: T) {
        self.0.push(task);
    }
    pub(crate) fn pop(&self) -> Option<T> {
        self.0.steal()
    }
}

impl<T> Stealer<T> {
    pub(crate) fn steal(&self) -> Option<T> {
        self.0.steal()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
