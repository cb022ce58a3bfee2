//! What ThreadSanitizer must be told, for builds with `--cfg upbeat_tsan`: it sees neither fences nor the inside of a standard
//! library that was built without it. So a fence is a read-modify-write here, and each lock carries an atomic that is written
//! when it is let go and read when it is taken. Nothing but that build uses this file; see `ci/tsan.txt` and `docs/nightly.md`.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use std::sync::Condvar;

/// A read-modify-write of one word that all fences share: like fences these are in one order, and what is before one of them
/// happens before what is after a later one. That is more than a fence promises, so the models have to look for what it hides.
pub(crate) fn fence(ordering: Ordering) {
    static FENCES: AtomicU64 = AtomicU64::new(0);
    FENCES.fetch_add(1, ordering);
}

/// The standard library's, with a trace of who had it before.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    trace: AtomicU64,
    lock: std::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { trace: AtomicU64::new(0), lock: std::sync::Mutex::new(value) }
    }
}

/// Access to what a [`Mutex`] guards. `None` only within `wait`.
pub(crate) struct MutexGuard<'a, T> {
    guard: Option<std::sync::MutexGuard<'a, T>>,
    trace: &'a AtomicU64,
}

impl<'a, T> MutexGuard<'a, T> {
    fn taken(guard: std::sync::MutexGuard<'a, T>, trace: &'a AtomicU64) -> Self {
        trace.fetch_add(1, Ordering::Acquire);
        Self { guard: Some(guard), trace }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // The guard itself goes after this.
        self.trace.fetch_add(1, Ordering::Release);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_deref().expect("a guard outside `wait`")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("a guard outside `wait`")
    }
}

/// Locks; a poisoned lock is taken all the same.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    let guard = mutex.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    MutexGuard::taken(guard, &mutex.trace)
}

/// Waits on a condition variable, for `limit` at most when one is given.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    let trace = guard.trace;
    let inner = guard.guard.take().expect("a guard outside `wait`");
    // Lets go of it, as far as the trace tells.
    drop(guard);
    let inner = match limit {
        Some(limit) => condvar.wait_timeout(inner, limit).unwrap_or_else(|poisoned| poisoned.into_inner()).0,
        None => condvar.wait(inner).unwrap_or_else(|poisoned| poisoned.into_inner()),
    };
    MutexGuard::taken(inner, trace)
}
