//! A stack of indices without locks (Treiber, 1986): free batches, free cells. The last one that was used comes first, for it is in the
//! cache.
//!
//! Whoever uses it keeps a word for each index, which says what lies below it. The top carries a tag that changes with every pop, so that
//! an index which was popped and pushed again is not mistaken for one that was there all the time.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// `tag:32 | top + 1:32`.
pub(super) struct Stack(AtomicU64);

impl Stack {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn is_empty(&self) -> bool {
        // Relaxed: a look.
        self.0.load(Ordering::Relaxed) as u32 == 0
    }

    /// Takes the top; `below` names the word of an index.
    pub(super) fn pop<'a>(&self, below: impl Fn(u32) -> &'a AtomicU32) -> Option<u32> {
        // Acquire: who pushed it is done with what it names.
        let mut top = self.0.load(Ordering::Acquire);
        loop {
            let index = (top as u32).checked_sub(1)?;
            // Relaxed: if it is old, the tag is as well.
            let next = u64::from(below(index).load(Ordering::Relaxed));
            let next = (top >> 32).wrapping_add(1) << 32 | next;
            match self.0.compare_exchange(top, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => top = now,
            }
        }
    }

    /// Puts `first` on the top and the old top below `last`; the indices in between lie on each other already.
    pub(super) fn push<'a>(&self, first: u32, last: u32, below: impl Fn(u32) -> &'a AtomicU32) {
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            below(last).store(top as u32, Ordering::Relaxed);
            let next = top >> 32 << 32 | u64::from(first + 1);
            // Release: what we did with what the indices name.
            match self.0.compare_exchange(top, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}
