//! How the loom models are run, and data that they watch. The models are under `tests/`, one file a protocol; all
//! compile to nothing without `--cfg upbeat_loom`.
#![cfg(upbeat_loom)]

#[allow(unsafe_code)]
mod datum;

pub use datum::Datum;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use loom::thread::{spawn, JoinHandle};
use upbeat::model::Pool;

/// Explores `model` with at most `preemptions` preemptions, and as many more as `UPBEAT_TEST_MORE_PREEMPTIONS` says
/// (`LOOM_MAX_PREEMPTIONS`, where set, goes before).
///
/// # Panics
/// When an execution breaks a promise.
pub fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let more =
        std::env::var("UPBEAT_TEST_MORE_PREEMPTIONS").map_or(0, |text| text.parse().expect("a number"));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions + more));
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A thread that is worker `index` of `pool`, awake from the start.
pub fn start(pool: &Arc<Pool>, index: usize) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || pool.serve(index))
}

/// Counts outside the model: costs no steps and orders nothing.
#[derive(Debug, Default)]
pub struct Tally(AtomicUsize);

impl Tally {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// One more.
    pub fn hit(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// Hits its tally when dropped: what must be dropped once carries one.
#[derive(Debug)]
pub struct CountedDrop(pub std::sync::Arc<Tally>);

impl Drop for CountedDrop {
    fn drop(&mut self) {
        self.0.hit();
    }
}

/// The examples of the chapter for users, compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/loom.md")]
struct Chapter;
