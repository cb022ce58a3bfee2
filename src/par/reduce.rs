//! Reductions whose result does not depend on who computed what.

use std::ops::Range;

use super::pace::Pace;
use crate::task::cancel::{self, CancelToken};
use crate::task::frame::Worker;

/// Most leaves of a tree; ranges up to this have one index a leaf.
const LEAVES: usize = 4096;

/// Combines `map(i)` for every index of `range`; `identity()` for an empty range.
///
/// The tree is fixed by the length of the range: it is cut into leaves of `length / 4096` indices (at least one),
/// each combined from left to right, and the leaves are combined in halves. So a floating-point sum has the same
/// bits for any number of workers, and on every run.
///
/// # Panics
/// When a closure panics.
///
/// ```
/// let sum = upbeat::par::map_reduce(0..1001, |i| i as f64 * 0.1, |a, b| a + b, || 0.0);
/// assert!((sum - 50_050.0).abs() < 1e-9);
/// ```
pub fn map_reduce<T: Send>(
    range: Range<usize>,
    map: impl Fn(usize) -> T + Sync,
    combine: impl Fn(T, T) -> T + Sync,
    identity: impl Fn() -> T,
) -> T {
    if range.is_empty() {
        return identity();
    }
    let leaf = range.len().div_ceil(LEAVES);
    let tree = Tree { map, combine, range: range.clone(), leaf, token: cancel::current() };
    let leaves = range.len().div_ceil(leaf);
    if leaves == 1 {
        return tree.fold(0);
    }
    crate::on_current_worker(|worker| tree.run(worker, 0..leaves, &mut Pace::new(tree.token.as_ref())))
}

struct Tree<M, C> {
    map: M,
    combine: C,
    range: Range<usize>,
    leaf: usize,
    token: Option<CancelToken>,
}

impl<M, C> Tree<M, C> {
    /// One leaf, from left to right.
    fn fold<T>(&self, leaf: usize) -> T
    where
        M: Fn(usize) -> T,
        C: Fn(T, T) -> T,
    {
        let start = self.range.start + leaf * self.leaf;
        let end = self.range.end.min(start.saturating_add(self.leaf));
        (start + 1..end).fold((self.map)(start), |sum, i| (self.combine)(sum, (self.map)(i)))
    }

    /// The leaves in `leaves`, halved down to single ones; on this worker unless somebody asks.
    fn run<T: Send>(&self, worker: &Worker, leaves: Range<usize>, pace: &mut Pace<'_>) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        if leaves.len() == 1 {
            let result = worker.entered(|| self.fold(leaves.start));
            pace.leaf();
            return result;
        }
        let middle = leaves.start + leaves.len() / 2;
        let (left, right) = (leaves.start..middle, middle..leaves.end);
        let (a, b) = if worker.is_asked() || pace.is_coarse() {
            if pace.is_coarse() {
                worker.offer_next();
            }
            worker.join(
                |worker| self.run(worker, left, &mut Pace::new(self.token.as_ref())),
                |worker| self.run(worker, right, &mut Pace::new(self.token.as_ref())),
            )
        } else {
            (self.run(worker, left, pace), self.run(worker, right, pace))
        };
        (self.combine)(a, b)
    }
}
