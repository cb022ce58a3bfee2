//! Blocks: how a mapping is cut, and the header in front of each piece.
//!
//! A segment (one mapping) is a row of blocks without gaps, each a header of 64 bytes and a payload, and behind them
//! a header that ends the row. A header knows the size of its own block and of the one before, so both neighbours
//! are found and free ones joined (boundary tags; Knuth, The Art of Computer Programming 1, 2.5).
//!
//! The invariant that every `unsafe` here rests on: a [`Block`] is used under the heap's lock only, and only while its
//! header stands (from [`Block::lay_out`] or [`Block::split`] until [`Block::absorb_next`] takes it into the block
//! before, or the segment is unmapped); [`super::heap`] and [`super::bins`] keep no other ones.

use std::ptr::NonNull;

use super::system;

/// Bytes of a header, and what all sizes are multiples of: payloads are aligned to it.
pub(super) const HEADER: usize = super::ALIGN;

/// What stands in front of a payload.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Header {
    /// Bytes of the block, this header among them; 0 in the header that ends a segment.
    pub(super) total: usize,
    /// `total` of the block before, 0 in a segment's first one.
    pub(super) previous: usize,
    /// Bytes that count as taken from the system: a beginning of the block; the rest was never touched, or given
    /// back. All of a block that is not free.
    pub(super) committed: usize,
    /// Whether the block is in a bin.
    pub(super) free: bool,
    /// Neighbours in the bin's list, while free.
    pub(super) links: [Option<Block>; 2],
}

const _: () = assert!(size_of::<Header>() == HEADER);

/// A block, by its header's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block(NonNull<Header>);

// SAFETY: the memory has no thread affinity, and the heap's lock orders all accesses to headers.
unsafe impl Send for Block {}

impl Block {
    /// One free block, and the end, in a new segment.
    ///
    /// # Safety
    /// `start` is [`system::map`]'s of `bytes`, and nobody uses the memory.
    pub(super) unsafe fn lay_out(start: NonNull<u8>, bytes: usize, committed: usize) -> Self {
        let total = bytes - HEADER;
        let first = Self(start.cast());
        first.set(Header { total, previous: 0, committed, free: false, links: [None; 2] });
        let end = Header { total: 0, previous: total, committed: 0, free: false, links: [None; 2] };
        first.at(total as isize).set(end);
        first
    }

    /// The block with this payload.
    ///
    /// # Safety
    /// `payload` is what [`Block::payload`] returned for a block that is not free.
    pub(super) unsafe fn of(payload: NonNull<u8>) -> Self {
        Self(payload.cast()).at(-(HEADER as isize))
    }

    /// The header.
    pub(super) fn get(self) -> Header {
        // SAFETY: the header stands, and the lock makes this the only access.
        unsafe { self.0.read() }
    }

    /// Replaces the header.
    pub(super) fn set(self, header: Header) {
        // SAFETY: the place is a header's, inside the segment and aligned, and the lock makes this the only access.
        unsafe { self.0.write(header) };
    }

    /// Changes the header.
    pub(super) fn change(self, change: impl FnOnce(&mut Header)) {
        let mut header = self.get();
        change(&mut header);
        self.set(header);
    }

    fn at(self, offset: isize) -> Self {
        // SAFETY: offsets are sizes of blocks or of a header, and the row of blocks lies inside the segment.
        Self(unsafe { self.0.byte_offset(offset) })
    }

    /// The block behind, maybe the end.
    pub(super) fn next(self) -> Self {
        self.at(self.get().total as isize)
    }

    /// The block before.
    pub(super) fn previous(self) -> Option<Self> {
        let previous = self.get().previous;
        (previous > 0).then(|| self.at(-(previous as isize)))
    }

    /// What follows the header.
    pub(super) fn payload(self) -> NonNull<u8> {
        self.at(HEADER as isize).0.cast()
    }

    /// Cuts the block: it keeps `total` bytes, and what is returned, which must have room for a header, is behind.
    pub(super) fn split(self, total: usize) -> Self {
        let header = self.get();
        let (rest, size) = (self.at(total as isize), header.total - total);
        rest.set(Header { total: size, previous: total, committed: 0, free: false, links: [None; 2] });
        self.set(Header { total, ..header });
        rest.next().change(|end| end.previous = size);
        rest
    }

    /// Takes the block behind into this one.
    pub(super) fn absorb_next(self) {
        let total = self.get().total + self.next().get().total;
        self.change(|header| header.total = total);
        self.next().change(|end| end.previous = total);
    }

    /// Whether there is no other block in the segment.
    pub(super) fn is_alone(self) -> bool {
        self.get().previous == 0 && self.next().get().total == 0
    }

    /// Unmaps the segment of a block that is alone in it and free.
    pub(super) fn unmap(self) {
        debug_assert!(self.is_alone());
        let bytes = self.get().total + HEADER;
        // SAFETY: the first header is at the mapping's start and the end is 64 bytes from its end; the block is
        // free, so nobody has its payload, and the caller forgets it.
        unsafe { system::unmap(self.0.cast(), bytes) };
    }

    /// Gives back the whole pages of a free block's payload that are in its committed beginning. Returns how much is
    /// committed still.
    pub(super) fn discard(self) -> usize {
        let Header { total, committed, .. } = self.get();
        let address = self.0.as_ptr() as usize;
        let start = (address + HEADER).next_multiple_of(system::PAGE);
        let end = (address + total) / system::PAGE * system::PAGE;
        let kept = total - end.saturating_sub(start);
        if committed <= kept {
            return committed;
        }
        let end = end.min((address + committed).next_multiple_of(system::PAGE));
        let first = self.at((start - address) as isize).0.cast();
        // SAFETY: whole pages between this header and the next one, of a payload that nobody has.
        if unsafe { system::discard(first, end - start) } {
            kept
        } else {
            committed
        }
    }
}
