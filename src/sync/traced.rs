//! What ThreadSanitizer must be told, for builds with `--cfg upbeat_tsan`: it does not see fences. So a fence is a read-modify-write
//! here. Nothing but that build uses this file; see `docs/nightly.md`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A read-modify-write of one word that all fences share: like fences these are in one order, and what is before one of them
/// happens before what is after a later one. That is more than a fence promises, so the models have to look for what it hides.
pub(crate) fn fence(ordering: Ordering) {
    static FENCES: AtomicU64 = AtomicU64::new(0);
    FENCES.fetch_add(1, ordering);
}
