//! Running a closure for every chunk of a slice, or of two.

use std::ops::{ControlFlow, Range};

use super::cut::Cut;
use super::drive::{drive, drive_on, Loop};
use crate::task::frame::Worker;
use crate::topology::memory::Span;

/// Calls `f(i, chunk)` for every chunk of `size` elements of `data`, the last one maybe shorter, in parallel when workers
/// are idle. `i` counts chunks from 0.
///
/// # Panics
/// When `size` is 0, and when `f` panics.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let longest = AtomicUsize::new(0);
/// upbeat::par::chunks(&["to", "steal", "a", "beat"], 2, |_, words| {
///     longest.fetch_max(words.concat().len(), Ordering::Relaxed);
/// });
/// assert_eq!(longest.into_inner(), 7);
/// ```
pub fn chunks<T: Sync>(data: &[T], size: usize, f: impl Fn(usize, &[T]) + Sync) {
    assert!(size > 0, "a chunk must have at least one element");
    super::for_each_near(0..data.len().div_ceil(size), data, |i| {
        let from = i * size;
        f(i, &data[from..data.len().min(from.saturating_add(size))]);
    });
}

/// Calls `f(i, chunk)` for every chunk of `size` elements of `data`, the last one maybe shorter, in parallel when workers
/// are idle. `i` counts chunks from 0.
///
/// # Panics
/// When `size` is 0, and when `f` panics.
///
/// ```
/// let mut data = vec![0usize; 10];
/// upbeat::par::chunks_mut(&mut data, 4, |i, chunk| chunk.fill(i));
/// assert_eq!(data, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
/// ```
pub fn chunks_mut<T: Send>(data: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    assert!(size > 0, "a chunk must have at least one element");
    if data.len() <= size {
        if !data.is_empty() {
            f(0, data);
        }
        return;
    }
    let count = data.len().div_ceil(size);
    drive(count, &Chunks { data: Cut::new(data), size, f: &f });
}

/// [`chunks_mut`] on a worker that is at hand, for chunks that are not short.
pub(super) fn chunks_on<T: Send>(
    worker: &Worker,
    data: &mut [T],
    size: usize,
    f: &(impl Fn(usize, &mut [T]) + Sync),
) {
    let count = data.len().div_ceil(size);
    drive_on(worker, count, &Chunks { data: Cut::new(data), size, f });
}

/// Calls `f(i, to, from)` for every pair of chunks of `size` elements of two slices of the same length, the last pair maybe
/// shorter, in parallel when workers are idle. `i` counts pairs from 0.
///
/// # Panics
/// When the lengths differ, when `size` is 0, and when `f` panics.
///
/// ```
/// let (mut y, x) = ([1.0; 5], [0.0, 1.0, 2.0, 3.0, 4.0]);
/// upbeat::par::chunks_pair_mut(&mut y, &x, 2, |_, y, x| {
///     for (y, x) in y.iter_mut().zip(x) {
///         *y += 2.0 * x;
///     }
/// });
/// assert_eq!(y, [1.0, 3.0, 5.0, 7.0, 9.0]);
/// ```
pub fn chunks_pair_mut<T: Send, U: Sync>(
    to: &mut [T],
    from: &[U],
    size: usize,
    f: impl Fn(usize, &mut [T], &[U]) + Sync,
) {
    assert_eq!(to.len(), from.len(), "the slices of a pair have the same length");
    chunks_mut(to, size, |i, to| {
        let start = i * size;
        f(i, to, &from[start..start + to.len()]);
    });
}

struct Chunks<'a, T, F> {
    data: Cut<'a, T>,
    size: usize,
    f: &'a F,
}

impl<T: Send, F: Fn(usize, &mut [T]) + Sync> Loop for Chunks<'_, T, F> {
    type Part = ();

    fn weight(&self) -> usize {
        self.size
    }

    fn data(&self, items: Range<usize>) -> Option<Span> {
        Some(self.data.span(items.start.saturating_mul(self.size)..items.end.saturating_mul(self.size)))
    }

    fn begin(&self, _first: usize) {}

    #[inline]
    fn run(&self, (): &mut (), items: Range<usize>) -> ControlFlow<()> {
        let end = self.data.len().min(items.end.saturating_mul(self.size));
        // SAFETY: the driver runs each index once, and no element is in the chunks of two indices.
        let data = unsafe { self.data.part(items.start * self.size..end) };
        data.chunks_mut(self.size).enumerate().for_each(|(i, chunk)| (self.f)(items.start + i, chunk));
        ControlFlow::Continue(())
    }

    fn merge(&self, (): (), (): ()) {}
}
