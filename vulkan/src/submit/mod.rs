//! Handing work to the device, and learning that it is done. States and the bad interleavings are in `README.md`.

mod batched;
mod metrics;
mod queue;
mod queues;
mod role;
mod semaphore;
mod sync;
#[cfg(test)]
mod tests;
mod timeline;
mod trace;

pub use batched::{Batched, Pending};
pub use metrics::{KernelMetrics, Metrics};
pub(crate) use queue::Queue;
pub(crate) use queues::CopyQueue;
pub(crate) use role::{AtomicUses, Role, Uses};
pub use semaphore::Done;
pub(crate) use semaphore::Timelines;
