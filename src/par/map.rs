//! Collecting the results of a closure for every index.

use std::marker::PhantomData;
use std::mem::{forget, MaybeUninit};
use std::ops::{ControlFlow, Range};

use super::cut::Cut;
use super::drive::{drive, Loop};

/// The results of `f` for every index of `range`, in order.
///
/// # Panics
/// When `f` panics; results already there are dropped.
///
/// ```
/// let squares = upbeat::par::map(0..5, |i| i * i);
/// assert_eq!(squares, [0, 1, 4, 9, 16]);
/// ```
pub fn map<T: Send>(range: Range<usize>, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let count = range.len();
    if count <= 1 {
        return range.map(f).collect();
    }
    let mut results = Vec::with_capacity(count);
    let body = Map { results: Cut::new(&mut results.spare_capacity_mut()[..count]), first: range.start, f };
    let filled = drive(count, &body);
    assert_eq!((filled.first, filled.count), (0, count), "a loop that returns has run every index");
    forget(filled);
    // SAFETY: the capacity is `count` at least, and that many were filled from the first on.
    unsafe { results.set_len(count) };
    results
}

struct Map<'a, T, F> {
    results: Cut<'a, MaybeUninit<T>>,
    first: usize,
    f: F,
}

/// Results that lie side by side, `first` being the index of the first one; dropped with it.
struct Filled<'a, T> {
    start: *mut T,
    first: usize,
    count: usize,
    results: PhantomData<&'a mut [T]>,
}

// SAFETY: it owns its results, and nobody else reaches them as long as it lives.
unsafe impl<T: Send> Send for Filled<'_, T> {}

impl<T> Drop for Filled<'_, T> {
    fn drop(&mut self) {
        let results = std::ptr::slice_from_raw_parts_mut(self.start, self.count);
        // SAFETY: they were all written, lie side by side, and are this value's own.
        unsafe { results.drop_in_place() }
    }
}

impl<'a, T: Send, F: Fn(usize) -> T + Sync> Loop for Map<'a, T, F> {
    type Part = Filled<'a, T>;

    fn begin(&self, first: usize) -> Self::Part {
        Filled { start: self.results.address(first).cast(), first, count: 0, results: PhantomData }
    }

    #[inline]
    fn run(&self, part: &mut Self::Part, items: Range<usize>) -> ControlFlow<()> {
        // SAFETY: the driver runs each index once.
        let slots = unsafe { self.results.part(items.clone()) };
        let mut filled = Count { total: &mut part.count, new: 0 };
        for (slot, i) in slots.iter_mut().zip(items) {
            slot.write((self.f)(self.first + i));
            filled.new += 1;
        }
        ControlFlow::Continue(())
    }

    fn merge(&self, mut left: Self::Part, right: Self::Part) -> Self::Part {
        // There is a gap only when the loop panics: then both are dropped.
        if left.first + left.count == right.first {
            left.count += right.count;
            forget(right);
        }
        left
    }
}

/// Counts in a register, and says so at the end, or when `f` panics.
struct Count<'a> {
    total: &'a mut usize,
    new: usize,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        *self.total += self.new;
    }
}
