//! Which worker the current thread is, if any.

use std::cell::Cell;
use std::ptr::null;

use super::worker::Worker;
use crate::sync::thread_local;

#[cfg(not(upbeat_loom))]
thread_local! {
    static CURRENT: Cell<*const Worker> = const { Cell::new(null()) };
}
#[cfg(upbeat_loom)]
thread_local! {
    static CURRENT: Cell<*const Worker> = Cell::new(null());
}

/// Calls `f` with this thread's worker; `None` on other threads, and while the thread's locals are being destroyed.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    let worker = CURRENT.try_with(Cell::get).unwrap_or(null());
    // SAFETY: null, or set by `serve` below, which clears it before the worker goes.
    f(unsafe { worker.as_ref() })
}

/// Runs `f` with `worker` as this thread's worker.
pub(crate) fn serve<R>(worker: &Worker, f: impl FnOnce() -> R) -> R {
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            CURRENT.with(|current| current.set(null()));
        }
    }
    CURRENT.with(|current| current.set(worker));
    let _clear = Clear;
    f()
}
