//! Running a closure for every chunk of a slice, and collecting results.

use std::ops::Range;

use super::pace::Pace;
use crate::task::cancel::{self, CancelToken};
use crate::task::frame::Worker;

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
    let token = cancel::current();
    crate::on_current_worker(|worker| run(worker, 0, data, size, &f, token.as_ref()));
}

fn run<T: Send>(
    worker: &Worker,
    mut first: usize,
    mut data: &mut [T],
    size: usize,
    f: &(impl Fn(usize, &mut [T]) + Sync),
    token: Option<&CancelToken>,
) {
    let mut pace = Pace::new(token);
    while !data.is_empty() {
        let chunks = data.len().div_ceil(size);
        if chunks > 1 && (worker.is_asked() || pace.is_coarse()) {
            if pace.is_coarse() {
                worker.offer_next();
            }
            let (left, right) = data.split_at_mut(chunks / 2 * size);
            let middle = first + chunks / 2;
            worker.join(
                |worker| run(worker, first, left, size, f, token),
                |worker| run(worker, middle, right, size, f, token),
            );
            return;
        }
        let now = chunks.min(pace.chunk());
        let (head, tail) = data.split_at_mut(now.saturating_mul(size).min(data.len()));
        worker.entered(|| head.chunks_mut(size).enumerate().for_each(|(i, chunk)| f(first + i, chunk)));
        (first, data) = (first + now, tail);
        pace.step();
    }
}

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
    let mut results = Vec::with_capacity(range.len());
    // Blocks are collected one by one and then moved together: one copy of the results, and no need to mark which are there.
    let block = range.len().div_ceil(BLOCKS).max(1);
    let mut blocks: Vec<Vec<T>> = Vec::new();
    blocks.resize_with(range.len().div_ceil(block), Vec::new);
    chunks_mut(&mut blocks, 1, |i, results| {
        let from = range.start + i * block;
        results[0] = (from..range.end.min(from.saturating_add(block))).map(&f).collect();
    });
    for mut block in blocks {
        results.append(&mut block);
    }
    results
}

/// Most blocks of a `map`: enough to balance, few enough for their number not to matter.
const BLOCKS: usize = 1024;
