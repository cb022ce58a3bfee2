//! Searching.

use std::ops::{ControlFlow, Range};

use super::drive::{drive, Loop};
use crate::sync::{AtomicUsize, Ordering};

/// An index of `range` for which `f` is true, or `None` if there is none. Which one of several is not determined.
///
/// Once one is found, all workers stop after the few microseconds that they are busy with.
///
/// # Panics
/// When `f` panics.
///
/// ```
/// let words = ["split", "ring", "beat"];
/// assert_eq!(upbeat::par::find_any(0..3, |i| words[i].starts_with('r')), Some(1));
/// assert_eq!(upbeat::par::find_any(0..3, |i| words[i].is_empty()), None);
/// ```
pub fn find_any(mut range: Range<usize>, f: impl Fn(usize) -> bool + Sync) -> Option<usize> {
    if range.len() <= 1 {
        return range.find(|&i| f(i));
    }
    let search = Search { first: range.start, f, found: AtomicUsize::new(NONE) };
    drive(range.len(), &search);
    // Whoever wrote it has ended, and the join has made that visible.
    let found = search.found.load(Ordering::Relaxed);
    (found != NONE).then_some(found)
}

/// No index: a range ends at `usize::MAX` at the latest, so its last index is below.
const NONE: usize = usize::MAX;

struct Search<F> {
    first: usize,
    f: F,
    /// An index that was found. Relaxed: read when all who may write it have ended.
    found: AtomicUsize,
}

impl<F: Fn(usize) -> bool + Sync> Loop for Search<F> {
    type Part = ();

    fn begin(&self, _first: usize) {}

    #[inline]
    fn run(&self, (): &mut (), items: Range<usize>) -> ControlFlow<()> {
        match (self.first + items.start..self.first + items.end).find(|&i| (self.f)(i)) {
            Some(index) => {
                self.found.store(index, Ordering::Relaxed);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn merge(&self, (): (), (): ()) {}
}
