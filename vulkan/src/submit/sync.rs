//! What `timeline.rs` synchronises with; its loom model (`loom-tests/tests/timeline.rs`) has loom's in its place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
pub(super) use std::thread::{self, JoinHandle};
