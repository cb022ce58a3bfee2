//! The only door to atomics, threads, cells, queues and time.
//!
//! Everything that a protocol's correctness rests on comes from here, so that `--cfg upbeat_loom` can put the model
//! checker's twins in its place. Single-owner state (`std::cell::Cell`) needs no twin.

#[cfg(not(upbeat_loom))]
#[allow(unsafe_code)]
mod asymmetric;
#[cfg(upbeat_loom)]
mod model;
#[cfg(not(upbeat_loom))]
mod std;
#[cfg(not(upbeat_loom))]
#[allow(unsafe_code)]
mod ticks;
#[cfg(upbeat_tsan)]
mod traced;

#[cfg(not(upbeat_loom))]
pub(crate) use self::asymmetric::AsymmetricFence;
#[cfg(upbeat_loom)]
pub(crate) use self::model::*;
#[cfg(not(upbeat_loom))]
pub(crate) use self::std::*;
#[cfg(not(upbeat_loom))]
pub(crate) use self::ticks::ticks;

/// Keeps what different threads write on different cache lines (128: the neighbour is prefetched too).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// Atomics that no protocol's correctness rests on: counters, and hints whose old value costs time and nothing else. They are
/// the same in both twins, so the models spend no steps on them.
pub(crate) mod statistic {
    pub(crate) use ::std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
}

/// What belongs to the process and outlives every runtime. A model has no process of its own.
#[cfg(not(upbeat_loom))]
pub(crate) mod process {
    pub(crate) use ::std::sync::atomic::{AtomicPtr, AtomicU64};
}
#[cfg(upbeat_loom)]
pub(crate) mod process {
    pub(crate) use super::AtomicU64;
}

/// `strong`, or `Relaxed` in a model that runs with this name in `UPBEAT_TEST_WEAKEN`.
///
/// `loom-tests/mutations.sh` runs the models with each name and demands that one fails. Outside the models
/// the name is nothing and the ordering a constant.
macro_rules! ordering {
    ($name:literal, $strong:ident) => {
        if $crate::sync::is_weakened($name) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$strong
        }
    };
}

/// `fence(SeqCst)`, or nothing in a model that runs with this name in `UPBEAT_TEST_WEAKEN`.
macro_rules! full_fence {
    ($name:literal) => {
        if !$crate::sync::is_weakened($name) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst)
        }
    };
}

/// [`full_fence`] for a place where an atomic read-modify-write has just been made, which on x86 is a full barrier by itself: there
/// only the compiler has to be told.
macro_rules! fence_after_rmw {
    ($name:literal) => {
        if !$crate::sync::is_weakened($name) {
            $crate::sync::barrier_after_rmw()
        }
    };
}

/// Whether the model runs with this step of a protocol left out. `false`, a constant, outside the models.
macro_rules! left_out {
    ($name:literal) => {
        $crate::sync::is_weakened($name)
    };
}

pub(crate) use {fence_after_rmw, full_fence, left_out, ordering};
