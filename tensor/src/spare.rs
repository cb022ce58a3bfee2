//! Blocks of a device's memory that dropped tensors left, for the next ones: a chain of operations goes around among a few.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use upbeat_vulkan::Buffer;

/// Bytes that are kept at most.
const MOST_BYTES: usize = 64 << 20;
/// Blocks are of whole units of so many numbers, so that more of them are of one size.
const UNIT: usize = 64;

#[derive(Default)]
struct Blocks {
    by_len: HashMap<usize, Vec<Buffer<f32>>>,
    bytes: usize,
}

/// What is left, by length.
#[derive(Default)]
pub(crate) struct Spare(Mutex<Blocks>);

/// The length of a block for `len` numbers.
pub(crate) fn rounded(len: usize) -> usize {
    len.max(1).checked_next_multiple_of(UNIT).unwrap_or(len)
}

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of exactly `len` numbers. What is in it is unspecified.
    pub(crate) fn take(&self, len: usize) -> Option<Buffer<f32>> {
        let mut blocks = self.lock();
        let block = blocks.by_len.get_mut(&len)?.pop()?;
        blocks.bytes -= size_of::<f32>() * len;
        Some(block)
    }

    /// Keeps a block, or frees it.
    pub(crate) fn put(&self, block: Buffer<f32>) {
        let bytes = size_of::<f32>() * block.len();
        if bytes > MOST_BYTES {
            return;
        }
        let mut blocks = self.lock();
        // Sizes that nobody asks for would stay for ever: now and then all go.
        let old =
            if blocks.bytes + bytes > MOST_BYTES { std::mem::take(&mut *blocks) } else { Blocks::default() };
        blocks.bytes += bytes;
        blocks.by_len.entry(block.len()).or_default().push(block);
        drop(blocks);
        drop(old);
    }

    /// Frees all.
    pub(crate) fn clear(&self) {
        drop(std::mem::take(&mut *self.lock()));
    }
}
