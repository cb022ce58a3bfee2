//! What all threads share: segments, the search for a block that fits, joining free neighbours, giving memory back.
//!
//! Owns the count of bytes that are taken from the system, and their limit. One lock guards everything here; threads
//! come here when their [`super::cache`] does not have what they need or does not keep what they free. Nothing here
//! uses the global allocator.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

use super::bins::{self, Bins};
use super::block::{Block, HEADER};
use super::error::PoolError;
use super::system::{self, HUGE_PAGE, LAZY, PAGE};

/// Address space of a usual segment. Untouched parts of it cost nothing where mappings are lazy.
const SEGMENT: usize = if LAZY { 32 << 20 } else { 4 << 20 };
/// What a segment's end costs: the page that it is in, or itself where all of the segment counts.
const END: usize = if LAZY { PAGE } else { HEADER };

/// From this size on a block is longer than what it holds by [`STAGGER`].
const STAGGERED: usize = 256 << 10;
/// Keeps equal blocks of whole pages from beginning a cache line or two apart, modulo 4 KiB and larger powers of two: a kernel that
/// reads one and writes the next would load, right after a store, from an address that a processor takes for the store's, and
/// wait for it (GELU took 2 to 3.5 times as long on a Sapphire Rapids). With the header 1536: of eight neighbours no two lie less than 512
/// bytes apart modulo 4 KiB, which is longer than what is under way between a load and a store.
const STAGGER: usize = 1536 - HEADER;

/// The shared part of the pool.
pub(super) struct Heap {
    bins: Bins,
    /// Bytes taken from the system.
    pub(super) reserved: usize,
    /// Of these, bytes that lie in free blocks, for anyone's use.
    pub(super) idle: usize,
    /// Requests that needed memory from the system.
    pub(super) fresh: u64,
    limit: Option<usize>,
}

static HEAP: Mutex<Heap> = Mutex::new(Heap::new());

/// The heap, for this thread alone while the guard lives.
pub(super) fn lock() -> MutexGuard<'static, Heap> {
    // Nothing here panics between two steps that belong together.
    HEAP.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Bytes of a free block's committed part that a request can have.
fn usable(committed: usize) -> usize {
    committed - HEADER
}

impl Heap {
    const fn new() -> Self {
        Self { bins: Bins::new(), reserved: 0, idle: 0, fresh: 0, limit: None }
    }

    pub(super) fn set_limit(&mut self, bytes: Option<u64>) -> Option<u64> {
        let limit = bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        std::mem::replace(&mut self.limit, limit).map(|bytes| bytes as u64)
    }

    /// Whether the limit leaves `bytes` more.
    fn check(&self, bytes: usize) -> Result<(), PoolError> {
        match self.limit {
            Some(limit) if self.reserved.saturating_add(bytes) > limit => {
                Err(PoolError::OverLimit { bytes, reserved: self.reserved, limit })
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, block: Block) {
        self.idle += usable(block.get().committed);
        self.bins.insert(block);
    }

    fn take_out(&mut self, block: Block) {
        self.idle -= usable(block.get().committed);
        self.bins.remove(block);
    }

    /// A payload of `bytes`, a multiple of the alignment. Idle memory that does not fit is left alone, so an error
    /// may go away after [`Heap::make_room`].
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<NonNull<u8>, PoolError> {
        if bytes > bins::LARGEST - HUGE_PAGE {
            return Err(PoolError::System { bytes });
        }
        let total = bytes + HEADER + if bytes < STAGGERED { 0 } else { STAGGER };
        let block = match self.bins.find(total) {
            Some(block) => block,
            None => self.grow(total)?,
        };
        let whole = block.get();
        // A rest without room for a payload stays with the block.
        let splits = whole.total - total >= 2 * HEADER;
        let (taken, rest) = if splits {
            (total, whole.committed.saturating_sub(total).max(HEADER))
        } else {
            (whole.total, 0)
        };
        let fresh = taken + rest - whole.committed;
        self.check(fresh)?;
        self.take_out(block);
        self.reserved += fresh;
        self.fresh += u64::from(fresh > HEADER); // The rest's header alone is not what was asked for.
        if splits {
            let behind = block.split(total);
            behind.change(|header| header.committed = rest);
            self.file(behind);
        }
        block.change(|header| header.committed = taken);
        Ok(block.payload())
    }

    /// A new segment with room for a block of `total` bytes, which is returned, filed.
    fn grow(&mut self, total: usize) -> Result<Block, PoolError> {
        let bytes = (total + HEADER).max(SEGMENT).next_multiple_of(HUGE_PAGE);
        let committed = if LAZY { PAGE } else { bytes - HEADER };
        self.check(committed.max(total) + END)?;
        let start = system::map(bytes).ok_or(PoolError::System { bytes: total })?;
        // SAFETY: the mapping is new.
        let block = unsafe { Block::lay_out(start, bytes, committed) };
        self.reserved += committed + END;
        self.file(block);
        Ok(block)
    }

    /// Takes a payload back.
    ///
    /// # Safety
    /// `payload` came from [`Heap::allocate`] and nobody uses it any more.
    pub(super) unsafe fn free(&mut self, payload: NonNull<u8>) {
        // SAFETY: it is an allocated block's.
        let mut block = unsafe { Block::of(payload) };
        let next = block.next();
        let behind = next.get();
        if behind.free {
            self.take_out(next);
            block.absorb_next();
            block.change(|header| header.committed += behind.committed);
        }
        if let Some(previous) = block.previous().filter(|previous| previous.get().free) {
            let (before, committed) = (previous.get(), block.get().committed);
            self.take_out(previous);
            // Pages that were given back in the middle count again, until the next time: only a block's beginning
            // can be committed.
            self.reserved += before.total - before.committed;
            previous.absorb_next();
            previous.change(|header| header.committed = before.total + committed);
            block = previous;
        }
        self.file(block);
    }

    /// As [`Heap::allocate`], of exactly `bytes`, from the global allocator.
    pub(super) fn allocate_exact(&mut self, bytes: usize) -> Result<NonNull<u8>, PoolError> {
        if bytes > bins::LARGEST {
            return Err(PoolError::System { bytes });
        }
        self.check(bytes)?;
        let start = system::exact(bytes).ok_or(PoolError::System { bytes })?;
        self.reserved += bytes;
        self.fresh += 1;
        Ok(start)
    }

    /// Frees what [`Heap::allocate_exact`] returned.
    ///
    /// # Safety
    /// `start` came from there, with the same `bytes`, and nobody uses it any more.
    pub(super) unsafe fn free_exact(&mut self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller says so.
        unsafe { system::free_exact(start, bytes) };
        self.reserved -= bytes;
    }

    /// Gives idle memory back until at most `target` bytes are reserved.
    pub(super) fn trim_to(&mut self, target: usize) {
        let Self { bins, reserved, idle, .. } = self;
        bins.visit(|bins, block| {
            if *reserved <= target {
                return false;
            }
            let before = block.get().committed;
            if block.is_alone() {
                bins.remove(block);
                block.unmap();
                *reserved -= before + END;
                *idle -= usable(before);
            } else {
                let kept = block.discard();
                block.change(|header| header.committed = kept);
                *reserved -= before - kept;
                *idle -= before - kept;
            }
            true
        });
    }

    /// After `error` of [`Heap::allocate`]: gives back what may help.
    pub(super) fn make_room(&mut self, error: &PoolError) {
        match *error {
            PoolError::OverLimit { bytes, limit, .. } => self.trim_to(limit.saturating_sub(bytes)),
            _ => self.trim_to(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first block of the segment that `block` is in.
    fn first(mut block: Block) -> Block {
        while let Some(previous) = block.previous() {
            block = previous;
        }
        block
    }

    /// Walks all segments: sizes chain, no two free blocks touch, and the sums are those that the heap keeps.
    fn check(heap: &mut Heap, live: &[NonNull<u8>]) {
        // SAFETY: all of them are allocated.
        let mut segments: Vec<Block> =
            live.iter().map(|&payload| first(unsafe { Block::of(payload) })).collect();
        let mut idle = 0;
        heap.bins.visit(|_, block| {
            idle += usable(block.get().committed);
            segments.push(first(block));
            true
        });
        segments.sort_by_key(|block| block.payload());
        segments.dedup();
        let (mut reserved, mut taken) = (0, 0);
        for &segment in &segments {
            let (mut block, mut before) = (segment, (0, false));
            while block.get().total > 0 {
                let header = block.get();
                assert_eq!(header.previous, before.0);
                assert!(!(header.free && before.1), "free neighbours are joined");
                assert!((HEADER..=header.total).contains(&header.committed));
                assert!(header.free || header.committed == header.total);
                reserved += header.committed;
                taken += usize::from(!header.free);
                before = (header.total, header.free);
                block = block.next();
            }
            reserved += END;
        }
        assert_eq!((heap.reserved, heap.idle, taken), (reserved, idle, live.len()));
    }

    #[test]
    fn blocks_join_again_and_sums_stay_right() {
        let mut heap = Heap::new();
        let mut live = Vec::new();
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for step in 0..if cfg!(miri) { 200 } else { 4000 } {
            if live.len() > 200 || (!live.is_empty() && next(2) == 0) {
                let payload = live.swap_remove(next(live.len()));
                // SAFETY: it is allocated, and forgotten here.
                unsafe { heap.free(payload) };
            } else {
                let size = 1 << next(18);
                live.push(heap.allocate((1 + next(size)).next_multiple_of(HEADER)).unwrap());
            }
            if step % 500 == 250 {
                heap.trim_to(heap.reserved / 2);
            }
            if step % 10 == 0 {
                check(&mut heap, &live);
            }
        }
        for payload in live.drain(..) {
            // SAFETY: as above.
            unsafe { heap.free(payload) };
        }
        check(&mut heap, &live);
        let mut blocks = 0;
        heap.bins.visit(|_, block| {
            blocks += 1;
            assert!(block.is_alone(), "a segment without live blocks is one free block");
            true
        });
        assert!(blocks > 0);
        heap.trim_to(0);
        assert_eq!((heap.reserved, heap.idle), (0, 0));
    }

    #[test]
    fn equal_blocks_begin_far_apart_modulo_a_page() {
        let mut heap = Heap::new();
        let blocks = [(); 8].map(|()| heap.allocate(1 << 20).unwrap());
        for (i, a) in blocks.iter().enumerate() {
            for b in &blocks[i + 1..] {
                let apart = (b.as_ptr() as usize).wrapping_sub(a.as_ptr() as usize) % 4096;
                assert!((512..=4096 - 512).contains(&apart), "{apart} bytes");
            }
        }
        for block in blocks {
            // SAFETY: allocated above, freed once.
            unsafe { heap.free(block) };
        }
        heap.trim_to(0);
    }

    #[test]
    fn a_block_that_fits_exactly_is_found_before_a_larger_one() {
        let mut heap = Heap::new();
        let sizes = [1 << 20, 64, (1 << 20) - 64, 64, (1 << 20) - 128, 64];
        let blocks = sizes.map(|size| heap.allocate(size).unwrap());
        for i in [0, 2, 4] {
            // SAFETY: allocated above, freed once.
            unsafe { heap.free(blocks[i]) };
        }
        assert_eq!(heap.allocate(sizes[2]).unwrap(), blocks[2]);
        assert_eq!(heap.allocate(sizes[4]).unwrap(), blocks[4]);
        for i in [1, 2, 3, 4, 5] {
            // SAFETY: allocated above, freed once.
            unsafe { heap.free(blocks[i]) };
        }
        heap.trim_to(0);
        assert_eq!(heap.reserved, 0);
    }
}
