//! Panics: stopped where a job ends, carried on where somebody waits for it.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

pub(crate) use std::panic::resume_unwind as resume_unwinding;

/// Runs `f` and stops a panic. What `f` borrows is used again only by who sees the panic go on.
pub(crate) fn halt_unwinding<F: FnOnce() -> R, R>(f: F) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Ends the process when dropped: for code out of which no panic may come.
pub(crate) struct AbortIfPanic;

impl Drop for AbortIfPanic {
    fn drop(&mut self) {
        use std::io::Write;
        // If even stderr is gone there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "rayon-core on upbeat: an unhandled panic in a job; aborting");
        std::process::abort();
    }
}
