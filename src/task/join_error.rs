//! `JoinError`: what went wrong with a task, as an error, for functions that use `?`.
//!
//! A handle gives what `std::thread` gives, the payload of a panic. This names the payloads that the runtime itself uses.

use std::any::Any;
use std::error::Error;
use std::fmt;

use super::cancel::Cancelled;
use super::unwind::{message, Payload};
use crate::error::ShutDown;
use crate::sync::{lock, Mutex};

/// Why a task has no result: it panicked, was cancelled, or its runtime ended.
///
/// A [`JoinHandle`](crate::JoinHandle) gives `std::thread::Result`, whose error is a panic's payload and no [`Error`]. It becomes one by `?`
/// in a function that returns a `JoinError`, and by `map_err(JoinError::from)` in one that returns any other error:
///
/// ```
/// use upbeat::{JoinError, Runtime};
///
/// fn double(runtime: &Runtime, text: &'static str) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
///     let handle = runtime.spawn(move || text.parse::<i32>().unwrap() * 2);
///     Ok(handle.join().map_err(JoinError::from)?)
/// }
///
/// let runtime = Runtime::new()?;
/// assert_eq!(double(&runtime, "21")?, 42);
/// let error = double(&runtime, "x").unwrap_err();
/// assert!(error.to_string().starts_with("the task panicked: called `Result::unwrap()`"), "{error}");
/// assert!(error.downcast::<JoinError>()?.is_panic());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct JoinError(Reason);

enum Reason {
    /// The payload is `Send` and need not be `Sync`.
    Panic(Mutex<Payload>),
    Cancelled(Cancelled),
    ShutDown(ShutDown),
}

impl JoinError {
    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Reason::Panic(_))
    }

    /// Whether the task was cancelled: by its [`CancelToken`](crate::CancelToken), before it began, or between two chunks of a loop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Reason::Cancelled(_))
    }

    /// Whether the runtime ended while the future was waiting.
    pub fn is_shut_down(&self) -> bool {
        matches!(self.0, Reason::ShutDown(_))
    }

    /// The payload, as the handle gave it: for [`resume_unwind`](std::panic::resume_unwind), or to look into a panic.
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.0 {
            Reason::Panic(payload) => payload.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()),
            Reason::Cancelled(cancelled) => Box::new(cancelled),
            Reason::ShutDown(shut_down) => Box::new(shut_down),
        }
    }
}

impl From<Box<dyn Any + Send>> for JoinError {
    fn from(payload: Box<dyn Any + Send>) -> Self {
        let payload = match payload.downcast() {
            Ok(cancelled) => return Self(Reason::Cancelled(*cancelled)),
            Err(payload) => payload,
        };
        Self(match payload.downcast() {
            Ok(shut_down) => Reason::ShutDown(*shut_down),
            Err(payload) => Reason::Panic(Mutex::new(payload)),
        })
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Panic(payload) => write!(f, "the task panicked: {}", message(&**lock(payload))),
            Reason::Cancelled(_) => f.write_str("the task was cancelled"),
            Reason::ShutDown(shut_down) => shut_down.fmt(f),
        }
    }
}

/// The sentence, for `unwrap` prints this.
impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

/// The source is [`Cancelled`](crate::Cancelled) or [`ShutDown`](crate::ShutDown) where that is the reason.
impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Reason::Panic(_) => None,
            Reason::Cancelled(cancelled) => Some(cancelled),
            Reason::ShutDown(shut_down) => Some(shut_down),
        }
    }
}
