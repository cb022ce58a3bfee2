//! Which worker the current thread is, if any.

use std::cell::Cell;
use std::ptr::null;

use crate::sync::thread_local;
use crate::task::frame::Worker;

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
    // SAFETY: null, or set by `entered` below, which puts the old one back before the worker goes.
    f(unsafe { worker.as_ref() })
}

/// This thread is no worker any more: it is the only one of a child process.
#[cfg(all(target_os = "linux", not(upbeat_loom)))]
pub(super) fn forget_worker() {
    let _ = CURRENT.try_with(|current| current.set(null()));
}

impl Worker {
    /// Runs `f` with this worker as the one that the free functions fork from.
    #[inline]
    pub(crate) fn entered<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore(*const Worker);
        impl Drop for Restore {
            // Said, because it is no generic function, so that no other crate could inline it.
            #[inline]
            fn drop(&mut self) {
                #[cfg(upbeat_loom)]
                if crate::sync::unwinds_from_deadlock() {
                    return;
                }
                CURRENT.with(|current| current.set(self.0));
            }
        }
        let _restore = Restore(CURRENT.with(|current| current.replace(self)));
        f()
    }
}
