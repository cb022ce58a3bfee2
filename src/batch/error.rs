//! Why a batcher could not be made, why it took no item, and why an item has no result.

use std::fmt;
use std::sync::Arc;

use super::word::{MAX_BATCHES, MAX_CAP};

/// Why a [`Batcher`](super::Batcher) could not be made.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchOptionsError {
    /// The cap is 0 or above 4096.
    Cap {
        /// Items asked for.
        asked: usize,
    },
    /// The backlog is 0 or above 65,534.
    Backlog {
        /// Batches asked for.
        asked: usize,
    },
    /// No batch may run.
    Running,
}

impl fmt::Display for BatchOptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cap { asked } => write!(f, "a batch of at most {asked} items; take 1 to {MAX_CAP}"),
            Self::Backlog { asked } => {
                write!(f, "a backlog of {asked} batches; take 1 to {}", MAX_BATCHES - 2)
            }
            Self::Running => write!(f, "no batch may run at a time; allow at least one"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for BatchOptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchOptionsError({self})")
    }
}

impl std::error::Error for BatchOptionsError {}

/// An item that a batcher did not take, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused<T> {
    /// The item.
    pub item: T,
    /// The reason.
    pub reason: Refusal,
}

/// Why a batcher took no item.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// As many batches as the backlog allows wait to be run: more comes in than the executor gets done.
    Full,
    /// The batcher's runtime has ended.
    ShutDown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the backlog is full; try again later, or refuse the request"),
            Self::ShutDown => write!(f, "the batcher's runtime has ended"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({self})")
    }
}

impl std::error::Error for Refusal {}

impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<T> std::error::Error for Refused<T> {}

/// Why an item that was taken has no result.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// The executor panicked in the item's batch. Each item of the batch is told.
    Panicked {
        /// The panic's message.
        message: Arc<str>,
    },
    /// The executor gave another number of results than there were items, so none can be told whose it is.
    Results {
        /// Items of the batch.
        items: usize,
        /// Results it gave.
        results: usize,
    },
    /// The runtime ended before the item's batch was run.
    ShutDown,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { message } => write!(f, "the batch's executor panicked: {message}"),
            Self::Results { items, results } => {
                write!(f, "the batch's executor gave {results} results for {items} items; it must push one for each, in their order")
            }
            Self::ShutDown => write!(f, "the batcher's runtime ended before the item was run"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchError({self})")
    }
}

impl std::error::Error for BatchError {}
