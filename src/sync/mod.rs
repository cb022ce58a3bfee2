//! The only door to atomics, threads, cells, queues and time.
//!
//! Everything that a protocol's correctness rests on comes from here, so that `--cfg upbeat_loom` can put the model
//! checker's twins in its place. Single-owner state (`std::cell::Cell`) needs no twin.

#[cfg(upbeat_loom)]
mod model;
#[cfg(not(upbeat_loom))]
mod std;

#[cfg(upbeat_loom)]
pub(crate) use self::model::*;
#[cfg(not(upbeat_loom))]
pub(crate) use self::std::*;

/// `strong`, or `Relaxed` in a build that asks for this ordering to be weakened (`--cfg upbeat_weaken="name"`).
///
/// `loom-tests/mutations.sh` builds each weakening and demands that the protocol's model then fails.
macro_rules! ordering {
    ($name:literal, $strong:ident) => {
        if cfg!(upbeat_weaken = $name) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$strong
        }
    };
}

/// `fence(SeqCst)`, or nothing in a build that weakens it.
macro_rules! full_fence {
    ($name:literal) => {
        if !cfg!(upbeat_weaken = $name) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst)
        }
    };
}

pub(crate) use {full_fence, ordering};
