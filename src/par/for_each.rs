//! Running a closure for every index.

use std::ops::Range;

use super::pace::Pace;
use crate::task::cancel::{self, CancelToken};
use crate::task::frame::Worker;

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
    let token = cancel::current();
    crate::on_current_worker(|worker| run(worker, range, &f, token.as_ref()));
}

fn run(worker: &Worker, mut range: Range<usize>, f: &(impl Fn(usize) + Sync), token: Option<&CancelToken>) {
    let mut pace = Pace::new(token);
    while !range.is_empty() {
        if range.len() > 1 && (worker.is_asked() || pace.is_coarse()) {
            if pace.is_coarse() {
                worker.offer_next();
            }
            let middle = range.start + range.len() / 2;
            let (left, right) = (range.start..middle, middle..range.end);
            worker.join(|worker| run(worker, left, f, token), |worker| run(worker, right, f, token));
            return;
        }
        let end = range.end.min(range.start.saturating_add(pace.chunk()));
        worker.entered(|| (range.start..end).for_each(f));
        range.start = end;
        pace.step();
    }
}
