//! The part of a loop that nobody has begun: one word that its worker takes chunks from, at the front, and a helper the upper
//! half, at the back.
//!
//! Every change is a read-modify-write of that word, so no index is taken twice or lost. The word orders nothing else: the loop's
//! body was published with the frame, its effects come back through the latch. Model: `loom-tests/tests/share.rs`.

use std::ops::Range;

use crate::sync::{left_out, AtomicU64, Ordering};

/// Indices that nobody has begun: the low half of the word is the first, the high half the end.
#[derive(Debug)]
pub struct Share(AtomicU64);

/// What [`Share::take_front`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The indices, at least one.
    pub items: Range<u32>,
    /// Where the share ended when they were taken.
    pub end: u32,
}

impl Share {
    /// All of `range`, which is not empty.
    pub fn new(range: Range<u32>) -> Self {
        Self(AtomicU64::new(pack(range)))
    }

    /// Takes the first `most` indices, or as many as there are; `None` when there are none. For the loop's worker.
    #[inline]
    pub fn take_front(&self, most: u32) -> Option<Chunk> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let Range { start, end } = unpack(word);
            if start >= end {
                return None;
            }
            let middle = start + most.min(end - start);
            match self.replace(word, middle..end, left_out!("share_front_is_atomic")) {
                Ok(()) => return Some(Chunk { items: start..middle, end }),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the upper half, the larger one of an odd number; `None` when nothing is left. For a helper.
    pub fn take_half(&self) -> Option<Range<u32>> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let Range { start, end } = unpack(word);
            if start >= end {
                return None;
            }
            let middle = start + (end - start) / 2;
            match self.replace(word, start..middle, left_out!("share_half_is_atomic")) {
                Ok(()) => return Some(middle..end),
                Err(now) => word = now,
            }
        }
    }

    /// Relaxed: one word decides who has what, and nothing else goes with it.
    fn replace(&self, word: u64, by: Range<u32>, torn: bool) -> Result<(), u64> {
        if torn {
            self.0.store(pack(by), Ordering::Relaxed);
            return Ok(());
        }
        self.0.compare_exchange_weak(word, pack(by), Ordering::Relaxed, Ordering::Relaxed).map(drop)
    }
}

fn pack(range: Range<u32>) -> u64 {
    u64::from(range.start) | u64::from(range.end) << 32
}

fn unpack(word: u64) -> Range<u32> {
    word as u32..(word >> 32) as u32
}
