//! Running a closure for every index.

use std::ops::{ControlFlow, Range};

use super::drive::{drive, Loop};

/// Calls `f` for every index of `range`, in parallel when workers are idle.
///
/// # Panics
/// When `f` panics; then some indices may not have been visited.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// let sum = AtomicU64::new(0);
/// upbeat::par::for_each(0..1000, |i| {
///     sum.fetch_add(i as u64, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 499_500);
/// ```
pub fn for_each(range: Range<usize>, f: impl Fn(usize) + Sync) {
    if range.len() <= 1 {
        range.for_each(f);
        return;
    }
    let body = Each { first: range.start, f };
    drive(range.len(), &body);
}

struct Each<F> {
    first: usize,
    f: F,
}

impl<F: Fn(usize) + Sync> Loop for Each<F> {
    type Part = ();

    fn begin(&self, _first: usize) {}

    #[inline]
    fn run(&self, (): &mut (), items: Range<usize>) -> ControlFlow<()> {
        (self.first + items.start..self.first + items.end).for_each(&self.f);
        ControlFlow::Continue(())
    }

    fn merge(&self, (): (), (): ()) {}
}
