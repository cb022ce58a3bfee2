//! Sorting slices, with the order that a plain sort gives.
//!
//! Leaves are sorted by the standard library. The stable sorts merge them (`merge.rs`), the unstable ones partition first
//! (`partition.rs`). A slice too short to share goes to the standard library as it is.
//!
//! When a comparison panics, the panic comes out after all workers have stopped, and the slice has each of its elements once, in some
//! order. A comparison that is no total order may make any of them panic, or leave the slice in any order.

#[allow(unsafe_code)]
mod merge;
mod partition;

use std::cmp::Ordering;

/// Slices up to this length are sorted by one worker, 50 to 100 µs of work.
const ALONE: usize = 8192;
/// No leaf is shorter than this.
const SHORTEST: usize = 2048;
/// Leaves for each worker: some take longer than others.
const LEAVES: usize = 4;

/// Sorts `data`, keeping the order of equal elements.
///
/// # Panics
/// When a comparison panics, and it may if the order is not total; the slice then has all its elements, in some order.
///
/// ```
/// let mut data = [3, 1, 2];
/// upbeat::par::sort(&mut data);
/// assert_eq!(data, [1, 2, 3]);
/// ```
pub fn sort<T: Ord + Send>(data: &mut [T]) {
    stable(data, &T::cmp);
}

/// [`sort`] in the order that `compare` says.
///
/// # Panics
/// As [`sort`].
///
/// ```
/// let mut data = [1.5f64, -2.0, 0.0];
/// upbeat::par::sort_by(&mut data, |a, b| b.total_cmp(a));
/// assert_eq!(data, [1.5, 0.0, -2.0]);
/// ```
pub fn sort_by<T: Send>(data: &mut [T], compare: impl Fn(&T, &T) -> Ordering + Sync) {
    stable(data, &compare);
}

/// [`sort`] in the order of `key`, which is computed at each comparison.
///
/// # Panics
/// As [`sort`].
///
/// ```
/// let mut words = ["steal", "to", "ask", "be"];
/// upbeat::par::sort_by_key(&mut words, |word| word.len());
/// assert_eq!(words, ["to", "be", "ask", "steal"]);
/// ```
pub fn sort_by_key<T: Send, K: Ord>(data: &mut [T], key: impl Fn(&T) -> K + Sync) {
    stable(data, &|a: &T, b: &T| key(a).cmp(&key(b)));
}

/// Sorts `data` in place; equal elements may change places.
///
/// # Panics
/// As [`sort`].
///
/// ```
/// let mut data = [3, 1, 2];
/// upbeat::par::sort_unstable(&mut data);
/// assert_eq!(data, [1, 2, 3]);
/// ```
pub fn sort_unstable<T: Ord + Send>(data: &mut [T]) {
    unstable(data, &T::cmp);
}

/// [`sort_unstable`] in the order that `compare` says.
///
/// # Panics
/// As [`sort`].
pub fn sort_unstable_by<T: Send>(data: &mut [T], compare: impl Fn(&T, &T) -> Ordering + Sync) {
    unstable(data, &compare);
}

/// [`sort_unstable`] in the order of `key`, which is computed at each comparison.
///
/// # Panics
/// As [`sort`].
pub fn sort_unstable_by_key<T: Send, K: Ord>(data: &mut [T], key: impl Fn(&T) -> K + Sync) {
    unstable(data, &|a: &T, b: &T| key(a).cmp(&key(b)));
}

fn stable<T: Send>(data: &mut [T], compare: &(impl Fn(&T, &T) -> Ordering + Sync)) {
    if data.len() <= ALONE || size_of::<T>() == 0 {
        return data.sort_by(compare);
    }
    crate::on_current_worker(|worker| match worker.num_workers() {
        1 => worker.entered(|| data.sort_by(compare)),
        workers => merge::sort(worker, data, leaf(data.len(), workers), compare),
    });
}

fn unstable<T: Send>(data: &mut [T], compare: &(impl Fn(&T, &T) -> Ordering + Sync)) {
    if data.len() <= ALONE || size_of::<T>() == 0 {
        return data.sort_unstable_by(compare);
    }
    crate::on_current_worker(|worker| match worker.num_workers() {
        1 => worker.entered(|| data.sort_unstable_by(compare)),
        workers => partition::sort(worker, data, leaf(data.len(), workers), compare),
    });
}

/// The length of a leaf.
fn leaf(length: usize, workers: usize) -> usize {
    (length / (workers * LEAVES)).max(SHORTEST)
}
