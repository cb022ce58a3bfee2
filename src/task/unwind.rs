//! Panics: caught where a task ends, carried to who waits for it, and disposed of without a second panic.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Closures and results up to this size, bytes, go through the standard library's `catch_unwind` by value.
const BY_VALUE: usize = 64;

/// Runs `f`, catching a panic.
///
/// State that `f` borrows is either returned to a caller that sees the panic resumed, or dropped.
#[inline(always)]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
    if size_of_val(&f) > BY_VALUE || size_of::<R>() > BY_VALUE {
        return catch_in_place(f);
    }
    let outcome = catch_unwind(AssertUnwindSafe(f));
    #[cfg(upbeat_loom)]
    let outcome = of_the_closure(outcome);
    outcome
}

/// In a model: no panic that loom raises because the run cannot go on. Such a one goes on to whoever checks the model.
#[cfg(upbeat_loom)]
fn of_the_closure<R>(outcome: std::thread::Result<R>) -> std::thread::Result<R> {
    match outcome {
        Err(payload) if crate::sync::ends_the_run(&*payload) => std::panic::resume_unwind(payload),
        outcome => outcome,
    }
}

/// `catch` for what is large. `catch_unwind` keeps the closure and its result in one union; a closure that returns a large
/// capture copies that from one offset of the union to another, and LLVM's SROA then cuts the copy into pieces as long as
/// the distance: compile time grows with the square of the size (16 KiB: a minute). Here they are places of their own.
fn catch_in_place<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
    let (mut f, mut result) = (Some(f), None);
    let outcome = catch_unwind(AssertUnwindSafe(|| result = f.take().map(|f| f())));
    #[cfg(upbeat_loom)]
    let outcome = of_the_closure(outcome);
    outcome?;
    let Some(result) = result else { unreachable!("the closure ran") };
    Ok(result)
}

/// Drops `value`; a panic in its destructor is caught and its payload leaked, so that the caller goes on.
pub(crate) fn discard<T>(value: T) {
    if let Err(payload) = catch(move || drop(value)) {
        // The payload's own destructor may panic as well; leaking it ends the chain.
        std::mem::forget(payload);
    }
}

/// Says why and ends the process: for panics that nobody waits for, and broken invariants.
pub(crate) fn abort(why: &str) -> ! {
    warn(&format!("{why}; aborting"));
    std::process::abort()
}

/// Tells a person what no return value can.
pub(crate) fn warn(what: &str) {
    use std::io::Write;
    // If even stderr is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "upbeat: {what}");
}

/// The message of a panic, where it has one.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// Aborts when dropped by unwinding: code under it has published a frame and must not leave it.
pub(crate) struct AbortOnUnwind(pub(crate) &'static str);

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        // A panic that gets this far in a model is loom's and ends the run: no other thread of it runs again.
        if !cfg!(upbeat_loom) {
            abort(self.0);
        }
    }
}
