//! The stable sort: halves are sorted side by side and merged side by side.
//!
//! A merge reads both runs where they are and writes copies of their bits into spare memory, from where they go back once all comparisons
//! are done. So a comparison that panics finds every element in its place, and the copies are forgotten: no element is
//! dropped twice or lost. An element is never compared after its copy was made, so what a comparison changes inside it is copied too.

use std::cmp::Ordering;
use std::mem::MaybeUninit;

use crate::task::frame::Worker;

/// Two runs up to this many elements are merged by one worker.
const MERGED_ALONE: usize = 16_384;
/// Elements that one worker copies at a time.
const COPIED: usize = 65_536;

/// Sorts `data`, in leaves of `leaf` elements at most.
pub(super) fn sort<T: Send>(
    worker: &Worker,
    data: &mut [T],
    leaf: usize,
    compare: &(impl Fn(&T, &T) -> Ordering + Sync),
) {
    let mut spare = Vec::with_capacity(data.len());
    let spare = &mut spare.spare_capacity_mut()[..data.len()];
    halves(worker, data, spare, leaf, compare);
}

fn halves<T: Send>(
    worker: &Worker,
    data: &mut [T],
    spare: &mut [MaybeUninit<T>],
    leaf: usize,
    compare: &(impl Fn(&T, &T) -> Ordering + Sync),
) {
    if data.len() <= leaf {
        return worker.entered(|| data.sort_by(compare));
    }
    let middle = data.len() / 2;
    let (left, right) = data.split_at_mut(middle);
    let (left_spare, right_spare) = spare.split_at_mut(middle);
    worker.join(
        |worker| halves(worker, left, left_spare, leaf, compare),
        |worker| halves(worker, right, right_spare, leaf, compare),
    );
    if worker.entered(|| compare(&left[middle - 1], &right[0])).is_le() {
        return;
    }
    merge(worker, left, right, spare, compare);
    copy_back(worker, spare, data);
}

/// Merges two sorted runs into `into`, as copies of their bits; of equal elements those of `left` come first.
fn merge<T: Send>(
    worker: &Worker,
    left: &mut [T],
    right: &mut [T],
    into: &mut [MaybeUninit<T>],
    compare: &(impl Fn(&T, &T) -> Ordering + Sync),
) {
    if into.len() <= MERGED_ALONE {
        return worker.entered(|| merge_alone(left, right, into, compare));
    }
    // The longer run is cut in the middle, the other one where that element would go.
    let (i, j) = worker.entered(|| {
        if left.len() >= right.len() {
            let i = left.len() / 2;
            (i, right.partition_point(|x| compare(x, &left[i]).is_lt()))
        } else {
            let j = right.len() / 2;
            (left.partition_point(|x| compare(x, &right[j]).is_le()), j)
        }
    });
    let (left, left_above) = left.split_at_mut(i);
    let (right, right_above) = right.split_at_mut(j);
    let (into, into_above) = into.split_at_mut(i + j);
    worker.join(
        |worker| merge(worker, left, right, into, compare),
        |worker| merge(worker, left_above, right_above, into_above, compare),
    );
}

fn merge_alone<T>(
    left: &[T],
    right: &[T],
    into: &mut [MaybeUninit<T>],
    compare: &impl Fn(&T, &T) -> Ordering,
) {
    let (mut i, mut j) = (0, 0);
    for slot in &mut *into {
        // What is taken next follows from a comparison without a branch: its outcome cannot be predicted.
        let (Some(a), Some(b)) = (left.get(i), right.get(j)) else { break };
        let from_right = compare(b, a).is_lt();
        copy(if from_right { b } else { a }, slot);
        i += usize::from(!from_right);
        j += usize::from(from_right);
    }
    let rest = if i < left.len() { &left[i..] } else { &right[j..] };
    for (element, slot) in rest.iter().zip(&mut into[i + j..]) {
        copy(element, slot);
    }
}

/// Copies an element's bits.
#[inline(always)]
fn copy<T>(element: &T, slot: &mut MaybeUninit<T>) {
    // SAFETY: a `MaybeUninit` may hold any bits, and claims nothing of them; what is behind a reference can be read.
    *slot = unsafe { std::ptr::from_ref(element).cast::<MaybeUninit<T>>().read() };
}

/// Moves the bits in `from`, which are those of all elements of `data`, each once, over `data`.
fn copy_back<T: Send>(worker: &Worker, from: &mut [MaybeUninit<T>], data: &mut [T]) {
    assert_eq!(from.len(), data.len(), "a merge has as many elements as its runs");
    if data.len() > COPIED {
        let middle = data.len() / 2;
        let (left, right) = data.split_at_mut(middle);
        let (left_from, right_from) = from.split_at_mut(middle);
        worker
            .join(|worker| copy_back(worker, left_from, left), |worker| copy_back(worker, right_from, right));
        return;
    }
    // SAFETY: both have the same length and do not overlap; the bits are a permutation of the elements', none of which is used in
    // between, so afterwards each element is in the slice once.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr().cast::<T>(), data.as_mut_ptr(), data.len());
    }
}
