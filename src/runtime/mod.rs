//! Runtimes: building them, who holds a worker's seat, and the loop each worker runs.

pub(crate) mod bound;
#[allow(unsafe_code)]
pub(crate) mod broadcast;
mod builder;
#[allow(unsafe_code)]
pub(crate) mod current;
#[allow(unsafe_code)]
pub(crate) mod fork;
#[cfg(not(upbeat_loom))]
#[allow(unsafe_code)]
mod global;
mod handle;
#[cfg(upbeat_loom)]
pub(crate) mod in_model;
#[cfg(all(test, not(upbeat_loom)))]
mod lines;
mod mode;
mod nest;
// `pub` in here is for the models alone, as in `crate::deque`.
#[allow(unreachable_pub)]
pub(crate) mod once;
pub(crate) mod opened;
pub(crate) mod pending;
mod pinning;
pub(crate) mod regions;
pub(crate) mod registry;
mod report;
mod roster;
#[allow(unsafe_code)]
pub(crate) mod search;
#[allow(unsafe_code)]
pub(crate) mod seat;
#[allow(unsafe_code)]
mod stack;
mod sweep;
pub(crate) mod tenant;
pub(crate) mod thread_body;
pub(crate) mod visit;
#[allow(unsafe_code)]
mod wait;
#[allow(unsafe_code)]
pub(crate) mod worker;

pub use builder::{Builder, MAX_WORKERS};
#[cfg(not(upbeat_loom))]
pub(crate) use global::global;
pub use handle::Runtime;
#[cfg(upbeat_loom)]
pub(crate) use in_model::global;
pub use mode::Mode;
pub use pinning::Pin;
pub use regions::SiteMetrics;

/// The runtime whose worker this thread is, or the global one.
pub(crate) fn current_registry() -> std::sync::Arc<registry::Registry> {
    let current = current::with_current(|worker| worker.map(|worker| worker.thread().registry().clone()));
    current.unwrap_or_else(|| global().registry().clone())
}
