//! Why the pool has no memory for a request.

use std::fmt;

/// A request that the pool cannot serve. Nothing has changed then.
#[derive(Clone, PartialEq, Eq)]
pub enum PoolError {
    /// The size in bytes does not fit `isize`.
    TooLarge {
        /// Elements asked for.
        len: usize,
        /// Bytes of one.
        size: usize,
    },
    /// The limit of [`set_limit`](super::set_limit) does not leave that much, even without idle memory.
    OverLimit {
        /// Bytes that the request needs from the system.
        bytes: usize,
        /// Bytes reserved, after idle memory was given back.
        reserved: usize,
        /// The limit.
        limit: usize,
    },
    /// The system has no more memory, even after idle memory was given back.
    System {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, size } => {
                write!(f, "a buffer's size in bytes overflows: {len} elements of {size} bytes")
            }
            Self::OverLimit { bytes, reserved, limit } => write!(
                f,
                "{bytes} bytes more would exceed the pool's limit of {limit} bytes, of which {reserved} are in use"
            ),
            Self::System { bytes } => write!(f, "the system has no {bytes} bytes for the pool"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolError({self})")
    }
}

impl std::error::Error for PoolError {}
