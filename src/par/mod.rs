//! Parallel loops that find their own grain, and sorting.
//!
//! A loop runs its range in order on one worker, in chunks that grow until one lasts a few microseconds. What it has not
//! begun lies in a word from which an idle worker may take the upper half; between two chunks the loop looks whether somebody
//! asked for work, and shares if what is left is worth it. A loop that nobody helps with is a sequential loop. The protocol and
//! its numbers are in `src/par/README.md`.
//!
//! Items must not wait for each other: one worker may run all of them, in order. The loops take index ranges, and `chunks` and
//! the like slices; `0..data.len()` with `data[i]` in the closure is a loop over a slice. How many elements a chunk has decides what `f` sees, not
//! what a worker takes: a few hundred cheap ones keep the cost of calling `f` small, and [`map_reduce_chunks`], whose chunks have 4096 at
//! least, is for cheap ones only.
//!
//! A loop under a [`CancelToken`](crate::CancelToken) stops between two chunks when that is cancelled.
//!
//! On a machine with several memory nodes a loop over a slice begins each part on the node that has its data, where these are large and lie on
//! several: first touch does that, and `bind` of [`Runtime::memory`](crate::Runtime::memory). [`for_each_near`] names the data of a loop over indices.
//!
//! Which worker runs which index is not determined. [`map_reduce`] combines in a tree that depends on the range
//! alone, so its result has the same bits for any number of workers.

#[allow(unsafe_code)]
mod chunks;
#[allow(unsafe_code)]
mod cut;
mod drive;
mod find;
mod for_each;
#[allow(unsafe_code)]
mod map;
mod pace;
mod placed;
mod reduce;
// `pub` in here is for the models alone, which reach it through `model` under `--cfg upbeat_loom`.
#[allow(unreachable_pub)]
pub(crate) mod share;
mod site;
mod sort;

use chunks::chunks_on;
pub use chunks::{chunks, chunks_mut, chunks_pair_mut};
pub use find::find_any;
pub use for_each::{for_each, for_each_near};
pub use map::map;
pub use reduce::{map_reduce, map_reduce_chunks};
pub use sort::{sort, sort_by, sort_by_key, sort_unstable, sort_unstable_by, sort_unstable_by_key};
