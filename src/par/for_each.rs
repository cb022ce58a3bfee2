//! Running a closure for every index.

use std::ops::{ControlFlow, Range};

use super::drive::{drive, Loop};
use crate::topology::memory::Span;

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
    drive(range.len(), &Each { first: range.start, f, near: None });
}

/// [`for_each`] of a loop that works on `data`, the indices on equal parts of it in order. Where several memory nodes have these, each part of the
/// loop begins on the node that has its data; who falls idle helps the others. On a machine with one node, and with data of less than 1 MiB a
/// node, this is [`for_each`].
///
/// # Panics
/// When `f` panics; then some indices may not have been visited.
///
/// ```
/// use upbeat::topology::Machine;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// let runtime = upbeat::Runtime::builder().topology(Machine::synthetic("node:2 core:2")?).build()?;
/// let (rows, row) = (1024, 1024);
/// let matrix = vec![1.0_f32; rows * row];
/// runtime.memory().bind(&matrix[..512 * row], 0)?;
/// runtime.memory().bind(&matrix[512 * row..], 1)?;
/// let sum = AtomicU64::new(0);
/// runtime.install(|_| {
///     upbeat::par::for_each_near(0..rows, &matrix[..], |i| {
///         let row = &matrix[i * row..][..row];
///         sum.fetch_add(row.iter().sum::<f32>() as u64, Ordering::Relaxed);
///     })
/// });
/// assert_eq!(sum.into_inner(), 1024 * 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn for_each_near<T: ?Sized>(range: Range<usize>, data: &T, f: impl Fn(usize) + Sync) {
    if range.len() <= 1 {
        range.for_each(f);
        return;
    }
    drive(range.len(), &Each { first: range.start, f, near: Some((Span::of(data), range.len())) });
}

struct Each<F> {
    first: usize,
    f: F,
    /// What all indices work on, and how many they are.
    near: Option<(Span, usize)>,
}

impl<F: Fn(usize) + Sync> Loop for Each<F> {
    type Part = ();

    fn data(&self, items: Range<usize>) -> Option<Span> {
        self.near.map(|(data, count)| data.share(items, count))
    }

    fn begin(&self, _first: usize) {}

    #[inline]
    fn run(&self, (): &mut (), items: Range<usize>) -> ControlFlow<()> {
        (self.first + items.start..self.first + items.end).for_each(&self.f);
        ControlFlow::Continue(())
    }

    fn merge(&self, (): (), (): ()) {}
}
