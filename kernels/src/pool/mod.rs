//! A pool of 64-byte aligned buffers, so that a warm training step asks the system for no memory.
//!
//! Fresh memory costs more than arithmetic (page faults run at 3 GB/s, reuse at memory speed), so freed memory is kept
//! and handed out again: first from a cache of the thread's own (no lock, no shared cache line), then from
//! the heap that all threads share, which cuts blocks from large mappings and joins free neighbours again. Memory
//! from the system is zero, so a reused buffer holds old numbers but never uninitialised bytes.
//!
//! Every byte is accounted for: by [`Tag`], with its peak ([`stats`]), and by what it serves ([`PoolStats::lost_bytes`]).
//! [`trim`] gives idle memory back, [`set_limit`] does so by itself before more than a limit is reserved.
//!
//! With `--cfg upbeat_exact` each buffer is an allocation of the system's, of exactly its size, kept by nobody, so that
//! AddressSanitizer sees one byte too many; `.ci/sanitize` builds so.

mod bins;
mod block;
mod buffer;
mod cache;
mod error;
mod heap;
mod system;
mod tracking;
mod workspace;

pub(crate) use buffer::{as_f32, as_f32_mut};
pub use buffer::{Buffer, Plain};
pub use cache::CACHED_BYTES;
pub use error::PoolError;
pub use tracking::{PoolStats, Tag, Usage, DRIFT};
pub use workspace::Workspace;

/// What every buffer's address is a multiple of: a cache line and an AVX-512 vector.
pub const ALIGN: usize = 64;

/// The pool's counters, all threads' taken together.
///
/// Exact when no other thread allocates or frees meanwhile; [`PoolStats`] says how exact peaks are.
///
/// ```
/// use upbeat_kernels::pool::{self, Tag};
/// use upbeat_kernels::Buffer;
///
/// let gradient = Buffer::<f32>::zeroed_as(Tag::Gradient, 1000);
/// assert!(pool::stats().of(Tag::Gradient).live_bytes >= 4000);
/// # drop(gradient);
/// ```
pub fn stats() -> PoolStats {
    cache::stats()
}

/// Gives idle memory back to the system: what lies in the shared lists and in this thread's cache.
///
/// Other threads empty their caches at their next use of the pool, threads that ended have done so. So at most
/// [`CACHED_BYTES`] of each thread that lives and does not use the pool stay behind (`Runtime::broadcast` with
/// [`trim`] reaches a runtime's workers at once), and of free memory beside live buffers less than a page at
/// each end. Where the system is not Linux, a mapping goes back only when no buffer is left in it.
///
/// ```
/// # use upbeat_kernels::{pool, Buffer};
/// drop(Buffer::<f32>::zeroed(10 << 20));
/// pool::trim();
/// assert!(pool::stats().reserved_bytes < 10 << 20);
/// ```
pub fn trim() {
    trim_to(0);
}

/// Gives idle memory back until no more than `bytes` are reserved, or nothing idle is left; large pieces first.
///
/// Reaches what [`trim`] reaches, and nothing when `bytes` or less are reserved.
pub fn trim_to(bytes: u64) {
    cache::trim_to(usize::try_from(bytes).unwrap_or(usize::MAX));
}

/// Limits [`PoolStats::reserved_bytes`]; `None`, as at the start, for no limit. Returns the old limit.
///
/// A request that would exceed the limit first gives back idle memory, as [`trim_to`] does. When that is not enough,
/// [`Buffer::try_unspecified`] returns [`PoolError::OverLimit`] and the other constructors panic with its message.
/// A limit below what is reserved takes effect with the next request that needs memory from the system.
///
/// ```
/// # use upbeat_kernels::pool::{self, PoolError};
/// # use upbeat_kernels::Buffer;
/// let old = pool::set_limit(Some(64 << 20));
/// assert!(matches!(Buffer::<f32>::try_unspecified(100 << 20), Err(PoolError::OverLimit { .. })));
/// pool::set_limit(old);
/// ```
pub fn set_limit(bytes: Option<u64>) -> Option<u64> {
    heap::lock().set_limit(bytes)
}
