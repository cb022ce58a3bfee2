//! Parallel loops that split when an idle worker asks.
//!
//! A loop runs its range in order on one worker, in chunks that grow until one lasts a few microseconds. Between two chunks
//! it looks whether somebody asked for work; then the rest of the range is halved by a [`join`](crate::Worker::join). So the
//! grain is found while running, and a loop that nobody helps with is a sequential loop.
//!
//! A loop under a [`CancelToken`](crate::CancelToken) stops between two chunks when that is cancelled.
//!
//! Which worker runs which index is not determined. [`map_reduce`] combines in a tree that depends on the range
//! alone, so its result has the same bits for any number of workers.

mod chunks;
mod for_each;
mod pace;
mod reduce;

pub use chunks::{chunks_mut, map};
pub use for_each::for_each;
pub use reduce::map_reduce;
