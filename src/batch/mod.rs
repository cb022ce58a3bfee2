//! Many small items as few large batches, formed without locks.
//!
//! A [`Batcher`] takes items from any number of tasks and threads and hands them to its executor in batches; [`Batchers`] keep one for each
//! key. The protocol is in `README.md` and `former.rs`, when batches leave in `core.rs`,
//! what running one means in `execution.rs`. Proof: `loom-tests/tests/batch.rs`, `lease.rs` and `batcher.rs`,
//! `tests/batch.rs`, and the phases of `stress/`. [`pressure`] says how short memory is; caps may follow it
//! ([`BatchOptions::memory`]).

mod batcher;
mod cap;
mod core;
mod error;
mod execution;
#[allow(unsafe_code, unreachable_pub)]
mod former;
#[allow(unsafe_code)]
mod keyed;
pub mod pressure;
mod replies;
pub(crate) mod roll;
#[allow(unsafe_code)]
mod slots;
pub(crate) mod source;
mod stack;
#[allow(unreachable_pub)]
mod thread_id;
mod word;

pub use batcher::{BatchMetrics, BatchOptions, Batcher, Producer, Reply};
pub use error::{BatchError, BatchOptionsError, Refusal, Refused};
#[cfg(upbeat_loom)]
#[doc(hidden)]
pub use former::{Added, Former};
pub use keyed::Batchers;
#[cfg(upbeat_loom)]
#[doc(hidden)]
pub use thread_id::{set_number, Numbers};
