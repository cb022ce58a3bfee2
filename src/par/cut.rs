//! A slice that the workers of a loop cut up among themselves.

use std::marker::PhantomData;
use std::ops::Range;

use crate::topology::memory::Span;

/// An exclusively borrowed slice, of which several workers hold disjoint parts.
pub(super) struct Cut<'a, T> {
    start: *mut T,
    length: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: all that can be had of a shared `Cut` are parts, which `part`'s callers keep disjoint; so sharing it sends elements to
// other threads and shares none of them.
unsafe impl<T: Send> Sync for Cut<'_, T> {}

impl<'a, T> Cut<'a, T> {
    pub(super) fn new(data: &'a mut [T]) -> Self {
        Self { start: data.as_mut_ptr(), length: data.len(), borrow: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Where element `index` lies; for more than one part at a time.
    pub(super) fn address(&self, index: usize) -> *mut T {
        self.start.wrapping_add(index)
    }

    /// The memory of the elements in `range`, as far as there are some.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let at = |index: usize| self.address(index.min(self.length)).addr();
        Span::new(at(range.start)..at(range.end))
    }

    /// The elements in `range`.
    ///
    /// # Panics
    /// When `range` is not within the slice.
    ///
    /// # Safety
    /// No two calls are for ranges that overlap.
    #[inline]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "a part lies within its slice");
        // SAFETY: within the slice, as just checked.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: the slice is borrowed exclusively for `'a`, and the caller vouches that no other part has these elements.
        unsafe { std::slice::from_raw_parts_mut(start, range.len()) }
    }
}
