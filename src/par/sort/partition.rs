//! The unstable sort: elements are partitioned around a pivot until the parts are short enough for a worker.
//!
//! All of it moves elements by swapping, so whatever happens in a comparison, each element is there once. One worker partitions a
//! part, because elements may be sent to another thread but not shared, and all are compared with the pivot. It goes block by block
//! (Edelkamp and Weiß, "BlockQuicksort", 2016): what is on the wrong side is noted without a branch, then swapped.

use std::cmp::Ordering;

use crate::task::frame::Worker;

/// Elements of a block; places in it are bytes.
const BLOCK: usize = 128;
/// Elements that a pivot is the median of.
const SAMPLE: usize = 63;
/// Partitions in a row that may leave nearly all elements on one side.
const UNLUCKY: u32 = 4;

/// Sorts `data`, in leaves of `leaf` elements at most.
pub(super) fn sort<T: Send>(
    worker: &Worker,
    data: &mut [T],
    leaf: usize,
    compare: &(impl Fn(&T, &T) -> Ordering + Sync),
) {
    // The standard library takes a run that is as long as the slice for what it is.
    if worker.entered(|| is_run(data, compare)) {
        return worker.entered(|| data.sort_unstable_by(compare));
    }
    parts(worker, data, leaf, UNLUCKY, compare);
}

/// Whether `data` ascends, or strictly descends.
fn is_run<T>(data: &[T], compare: &impl Fn(&T, &T) -> Ordering) -> bool {
    let descends = compare(&data[1], &data[0]).is_lt();
    data.windows(2).all(|pair| compare(&pair[1], &pair[0]).is_lt() == descends)
}

fn parts<T: Send>(
    worker: &Worker,
    data: &mut [T],
    leaf: usize,
    luck: u32,
    compare: &(impl Fn(&T, &T) -> Ordering + Sync),
) {
    if data.len() <= leaf || luck == 0 {
        return worker.entered(|| data.sort_unstable_by(compare));
    }
    let (below, equal) = worker.entered(|| split(data, compare));
    let (left, right) = data.split_at_mut(below);
    let right = &mut right[equal..];
    let lopsided = left.len().max(right.len()) > (left.len() + right.len()) / 8 * 7;
    let luck = if lopsided { luck - 1 } else { UNLUCKY };
    worker.join(
        |worker| parts(worker, left, leaf, luck, compare),
        |worker| parts(worker, right, leaf, luck, compare),
    );
}

/// Puts what is below a pivot first, then what is equal to it, at least one, then the others; the lengths of the first two. Not all equal
/// ones are looked for when plenty are below.
fn split<T>(data: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let middle = median(data, compare);
    data.swap(0, middle);
    let few = data.len() / 8;
    let Some((pivot, rest)) = data.split_first_mut() else { return (0, 0) };
    let below = partition(rest, &|x: &T| compare(x, pivot).is_lt());
    data.swap(0, below);
    if below >= few {
        return (below, 1);
    }
    // Maybe many are equal.
    let Some((pivot, rest)) = data[below..].split_first_mut() else { return (below, 0) };
    (below, 1 + partition(rest, &|x: &T| compare(pivot, x).is_ge()))
}

/// Where the median of a sample lies.
fn median<T>(data: &[T], compare: &impl Fn(&T, &T) -> Ordering) -> usize {
    let step = data.len() / SAMPLE;
    let mut sample: [usize; SAMPLE] = std::array::from_fn(|i| i * step + (i * 7) % step.max(1));
    sample.sort_unstable_by(|&i, &j| compare(&data[i], &data[j]));
    sample[SAMPLE / 2]
}

/// Puts the elements that are `first` before the others; how many they are.
fn partition<T>(data: &mut [T], first: &impl Fn(&T) -> bool) -> usize {
    let (mut start, mut end) = (0, data.len());
    let (mut left, mut right) = (Misplaced::new(), Misplaced::new());
    while end - start > 2 * BLOCK {
        if left.count == 0 {
            left.note(data[start..start + BLOCK].iter().map(|x| !first(x)));
        }
        if right.count == 0 {
            right.note(data[end - BLOCK..end].iter().rev().map(first));
        }
        for (i, j) in left.places().zip(right.places()) {
            data.swap(start + i, end - 1 - j);
        }
        let swapped = left.count.min(right.count);
        left.swapped(swapped);
        right.swapped(swapped);
        start += if left.count == 0 { BLOCK } else { 0 };
        end -= if right.count == 0 { BLOCK } else { 0 };
    }
    // The rest, with a block that is not done.
    let mut split = start;
    for i in start..end {
        let is_first = first(&data[i]);
        data.swap(split, i);
        split += usize::from(is_first);
    }
    split
}

/// Places in a block, counted from its outer end, of elements that belong to the other side.
struct Misplaced {
    places: [u8; BLOCK],
    next: usize,
    count: usize,
}

impl Misplaced {
    fn new() -> Self {
        Self { places: [0; BLOCK], next: 0, count: 0 }
    }

    /// Notes where `misplaced` is true, for a whole block.
    #[inline]
    fn note(&mut self, misplaced: impl Iterator<Item = bool>) {
        let mut count = 0;
        for (place, misplaced) in misplaced.enumerate() {
            self.places[count % BLOCK] = place as u8;
            count += usize::from(misplaced);
        }
        (self.next, self.count) = (0, count);
    }

    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.places[self.next..self.next + self.count].iter().map(|&place| usize::from(place))
    }

    fn swapped(&mut self, count: usize) {
        self.next += count;
        self.count -= count;
    }
}
