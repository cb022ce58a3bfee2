//! Workspaces: several aligned slices of one pooled block, for a kernel's scratch.
//!
//! A kernel's task opens a workspace, takes its slices one after the other, and gives all of it back at once: one
//! request instead of many, from the worker's own cache, and every slice begins at a cache line.

use std::cell::Cell;

use super::buffer::{Buffer, Plain};
use super::tracking::Tag;
use super::ALIGN;

/// Memory that is handed out from front to back; counted under [`Tag::Workspace`].
///
/// ```
/// use upbeat_kernels::pool::Workspace;
///
/// let mut scratch = Workspace::new(Workspace::bytes::<f32>(100) + Workspace::bytes::<f64>(7));
/// let sums = scratch.zeroed::<f64>(7);
/// let rows = scratch.slice::<f32>(100);
/// rows.fill(1.0);
/// sums[0] = rows.iter().map(|&x| f64::from(x)).sum();
/// assert_eq!((sums[0], rows.as_ptr() as usize % 64), (100.0, 0));
/// scratch.reset(); // No slice is in use any more: the memory can be handed out again.
/// ```
pub struct Workspace {
    /// Owns the memory. Never made a slice of: that would be a reference to what slices have been handed out of.
    block: Buffer<u8>,
    /// Bytes of `block`.
    bytes: usize,
    /// Bytes handed out.
    used: Cell<usize>,
}

impl Workspace {
    /// Room for `bytes`: a sum of [`Workspace::bytes`].
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    pub fn new(bytes: usize) -> Self {
        Self { block: Buffer::unspecified_as(Tag::Workspace, bytes), bytes, used: Cell::new(0) }
    }

    /// What a slice of `len` takes: its bytes, up to the next cache line. `usize::MAX` when that overflows, which no
    /// workspace can have.
    pub const fn bytes<T: Plain>(len: usize) -> usize {
        match len.saturating_mul(size_of::<T>()).checked_next_multiple_of(ALIGN) {
            Some(bytes) => bytes,
            None => usize::MAX,
        }
    }

    /// A slice of `len` numbers of unspecified value that no other slice shares memory with.
    ///
    /// # Panics
    /// When less than [`Workspace::bytes`] of it are left.
    #[allow(clippy::mut_from_ref)] // Each call hands out other memory.
    #[inline]
    pub fn slice<T: Plain>(&self, len: usize) -> &mut [T] {
        let (bytes, left) = (Self::bytes::<T>(len), self.remaining());
        assert!(bytes <= left, "a slice needs {bytes} bytes of a workspace that has {left} left");
        let used = self.used.get();
        self.used.set(used + bytes);
        // SAFETY: `used + bytes` are no more than the block has.
        let first = unsafe { self.block.start().add(used) }.cast::<T>();
        // SAFETY: `len` numbers of the block, at a multiple of 64 bytes, initialised as all pooled memory, every pattern
        // a value; only this call returns them until `reset`, whose exclusive borrow outlasts the slice.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), len) }
    }

    /// A slice of `len` zeros. Panics as [`Workspace::slice`].
    #[allow(clippy::mut_from_ref)] // As `slice`.
    pub fn zeroed<T: Plain>(&self, len: usize) -> &mut [T] {
        let slice = self.slice::<T>(len);
        // SAFETY: the slice is this call's own, and all-zero bytes are a value of every plain type.
        unsafe { slice.as_mut_ptr().write_bytes(0, slice.len()) };
        slice
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes - self.used.get()
    }

    /// Takes back all that was handed out.
    pub fn reset(&mut self) {
        self.used.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_hands_out_each_byte_once() {
        let lens = [0, 1, 15, 16, 17, 1000];
        let mut workspace = Workspace::new(lens.iter().map(|&len| Workspace::bytes::<f32>(len)).sum());
        for _ in 0..2 {
            let slices = lens.map(|len| workspace.slice::<f32>(len));
            for (i, slice) in slices.into_iter().enumerate() {
                assert_eq!((slice.len(), slice.as_ptr() as usize % ALIGN), (lens[i], 0));
                slice.fill(i as f32);
            }
            assert_eq!(workspace.remaining(), 0);
            workspace.reset();
            let slices = lens.map(|len| workspace.slice::<f32>(len));
            for (i, slice) in slices.into_iter().enumerate() {
                assert!(slice.iter().all(|&x| x == i as f32), "slice {i} was written by another one");
            }
            workspace.reset();
            assert!(workspace.zeroed::<u64>(500).iter().all(|&x| x == 0));
            workspace.reset();
        }
        for len in [2000, usize::MAX] {
            let slice = std::panic::AssertUnwindSafe(|| workspace.slice::<f64>(len).len());
            assert!(std::panic::catch_unwind(slice).is_err(), "{len} numbers do not fit");
        }
    }
}
