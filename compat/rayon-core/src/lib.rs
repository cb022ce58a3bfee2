//! The interface of `rayon-core` 1.13 on the runtime [`upbeat`]: a drop-in for programs that use `rayon`.
//!
//! Put one line into the workspace's `Cargo.toml`; no code changes:
//!
//! ```toml
//! [patch.crates-io]
//! rayon-core = { git = "...", package = "rayon-core" } # or path = ".../compat/rayon-core"
//! ```
//!
//! What differs from the original, and how the claim is tested, is in the README beside this crate.

#![deny(missing_debug_implementations)]

mod broadcast;
mod builder;
mod configuration;
mod error;
mod join;
mod registry;
#[allow(unsafe_code)]
mod scope;
mod spawn;
mod thread_builder;
mod thread_pool;
mod unwind;

use std::marker::PhantomData;

pub use broadcast::{broadcast, spawn_broadcast, BroadcastContext};
pub use builder::ThreadPoolBuilder;
#[allow(deprecated)]
pub use configuration::{initialize, Configuration};
pub use error::ThreadPoolBuildError;
pub use join::{join, join_context};
pub use scope::{in_place_scope, in_place_scope_fifo, scope, scope_fifo, Scope, ScopeFifo};
pub use spawn::{spawn, spawn_fifo};
pub use thread_builder::ThreadBuilder;
pub use thread_pool::{
    current_thread_has_pending_tasks, current_thread_index, yield_local, yield_now, ThreadPool, Yield,
};

/// The most threads a pool may have; more are not started.
pub fn max_num_threads() -> usize {
    upbeat::MAX_WORKERS
}

/// How many threads the pool of this thread has, or the global one.
#[inline]
pub fn current_num_threads() -> usize {
    upbeat::embed::current(|worker| match worker {
        Some(worker) => worker.num_workers(),
        None => registry::global().num_threads(),
    })
}

/// What the closures of [`join_context`] learn.
#[derive(Debug)]
pub struct FnContext {
    migrated: bool,
    /// It describes this thread, so it stays here.
    marker: PhantomData<*mut ()>,
}

impl FnContext {
    #[inline]
    pub(crate) fn new(migrated: bool) -> Self {
        Self { migrated, marker: PhantomData }
    }

    /// Whether the closure runs on another thread than the one that called the join.
    #[inline]
    pub fn migrated(&self) -> bool {
        self.migrated
    }
}
