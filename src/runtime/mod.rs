//! Runtimes: building them, the threads they own, and the loop each worker runs.

mod builder;
#[allow(unsafe_code)]
pub(crate) mod current;
#[allow(unsafe_code)]
pub(crate) mod fork;
#[allow(unsafe_code)]
mod global;
mod handle;
mod mode;
mod nest;
#[allow(unsafe_code)]
pub(crate) mod registry;
#[allow(unsafe_code)]
mod stack;
mod sweep;
#[allow(unsafe_code)]
mod wait;
#[allow(unsafe_code)]
pub(crate) mod worker;

pub use builder::{Builder, Pin, MAX_WORKERS};
pub(crate) use global::global;
pub use handle::Runtime;
pub use mode::Mode;
