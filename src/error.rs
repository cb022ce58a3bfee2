//! Why a runtime could not be built, and why a task has no result.

use std::fmt;
use std::io;

use crate::topology::TopologyError;

/// Why [`Builder::build`](crate::Builder::build) failed. Nothing is left behind: workers that had started were joined.
#[non_exhaustive]
pub enum BuildError {
    /// The system refused to start the thread of worker `index`.
    Spawn {
        /// Which worker, from 0.
        index: usize,
        /// What the system said.
        source: io::Error,
    },
    /// `UPBEAT_WORKERS` is not a number from 1 to [`MAX_WORKERS`](crate::MAX_WORKERS).
    Environment {
        /// What it holds.
        value: String,
    },
    /// `UPBEAT_MODE` is none of `never-promote`, `always-promote` and `seed=` with a number below 2⁶⁴.
    Mode {
        /// What it holds.
        value: String,
    },
    /// `UPBEAT_POLICY` is none of `static`, `bandit` and `learned`.
    Policy {
        /// What it holds.
        value: String,
    },
    /// The machine cannot be: `UPBEAT_TOPOLOGY` does not describe one, or one without CPUs was given to
    /// [`Builder::topology`](crate::Builder::topology).
    Topology {
        /// What the variable holds, if it is to blame.
        value: Option<String>,
        /// What is wrong with it.
        source: TopologyError,
    },
    /// More workers than [`MAX_WORKERS`](crate::MAX_WORKERS) were asked for.
    TooManyWorkers {
        /// How many.
        asked: usize,
    },
    /// The stack size is below 64 KiB or above 64 GiB.
    StackSize {
        /// Bytes asked for.
        asked: usize,
    },
    /// The heartbeat is zero or longer than a second.
    Heartbeat,
    /// The name given to worker `index` holds a NUL, which no thread's name can.
    ThreadName {
        /// Which worker, from 0.
        index: usize,
    },
    /// The `on_start` hook of worker `index` panicked.
    StartHook {
        /// Which worker, from 0.
        index: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn { index, source } => {
                write!(f, "the thread of worker {index} could not be started ({source}); ask for fewer workers or a smaller stack")
            }
            Self::Environment { value } => {
                write!(f, "UPBEAT_WORKERS={value:?} is not a number from 1 to {}", crate::MAX_WORKERS)
            }
            Self::Mode { value } => {
                write!(f, "UPBEAT_MODE={value:?} is none of never-promote, always-promote and seed=NUMBER")
            }
            Self::Policy { value } => {
                write!(f, "UPBEAT_POLICY={value:?} is none of static, bandit and learned")
            }
            Self::Topology { value: Some(value), source } => write!(f, "UPBEAT_TOPOLOGY={value:?}: {source}"),
            Self::Topology { value: None, source } => write!(f, "the runtime cannot run there: {source}"),
            Self::TooManyWorkers { asked } => {
                write!(f, "{asked} workers were asked for; the most is {}", crate::MAX_WORKERS)
            }
            Self::StackSize { asked } => {
                write!(f, "a stack of {asked} bytes is not between 64 KiB and 64 GiB")
            }
            Self::Heartbeat => write!(f, "the heartbeat must be longer than zero and at most one second"),
            Self::ThreadName { index } => {
                write!(f, "the thread name of worker {index} holds a NUL character")
            }
            Self::StartHook { index } => write!(f, "the on_start hook of worker {index} panicked"),
        }
    }
}

/// The sentence, for `unwrap` prints this: it names the variable or the call that is to blame.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildError({self})")
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spawn { source, .. } => Some(source),
            Self::Topology { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Payload of the error that a [`JoinHandle`](crate::JoinHandle) gives when the runtime ended while the future was still waiting.
///
/// ```
/// let runtime = upbeat::Runtime::new().unwrap();
/// let handle = runtime.spawn_future(std::future::pending::<()>());
/// runtime.shutdown();
/// assert!(handle.join().unwrap_err().is::<upbeat::ShutDown>());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShutDown;

impl fmt::Display for ShutDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime was shut down before the future was done")
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ShutDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShutDown({self})")
    }
}

impl std::error::Error for ShutDown {}

/// A number of workers that a runtime cannot have; from [`Runtime::resize`](crate::Runtime::resize).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResizeError {
    /// How many were asked for.
    pub asked: usize,
    /// How many the runtime was built with.
    pub most: usize,
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} workers were asked for; this runtime can have from 1 to {}", self.asked, self.most)
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResizeError({self})")
    }
}

impl std::error::Error for ResizeError {}
