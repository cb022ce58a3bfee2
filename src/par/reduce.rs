//! Reductions whose result does not depend on who computed what.
//!
//! The tree is fixed. Its nodes are forks that nobody sees until a worker asks and what is left is worth sharing, so a thief takes the
//! biggest subtree that has not begun; subtrees too short to share are computed without forks. Items inside a leaf are combined from left
//! to right whoever computes them: when they are coarse, idle workers compute them into slots.

use std::array::from_fn;
use std::mem::needs_drop;
use std::ops::Range;

use super::chunks_on;
use super::drive::{offer, under};
use super::pace::{Lap, Rest};
use super::site::{is_alone_allowed, Site};
use crate::sync::statistic::{AtomicBool, AtomicU64};
use crate::sync::Ordering::Relaxed;
use crate::task::cancel::{self, CancelToken};
use crate::task::frame::Worker;

/// Combines `map(i)` for every index of `range`; `identity()` for an empty range.
///
/// The tree is fixed by the length of the range and the type: the range is cut into leaves, each combined from left to right,
/// and the leaves are combined in halves. Small plain results (16 bytes at most, nothing to drop) have 512 indices a leaf, and from 32,768
/// indices on a 64th of them up to 4096; other results have one index a leaf, and at most 4096 leaves. So a floating-point sum has the same
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
    match range.len() {
        0 => identity(),
        1 => map(range.start),
        length => {
            let leaf = leaf::<T>(length);
            let tree = Tree {
                map,
                combine,
                range,
                leaf,
                weight: 1,
                slots: is_light::<T>(),
                token: cancel::current(),
            };
            tree.reduce(length.div_ceil(leaf))
        }
    }
}

/// Combines `map(chunk)` for consecutive chunks of `data`; `identity()` for no data. For elements so cheap that a loop over a slice
/// is much faster than one call for each, as in sums.
///
/// The chunks and the tree that they are combined in are fixed by the length: a 64th of it, but at least 4096 and at most 16,384 elements
/// a chunk. So the result has the same bits for any number of workers.
///
/// # Panics
/// When a closure panics.
///
/// ```
/// let data: Vec<u64> = (0..100_000).collect();
/// let sum = upbeat::par::map_reduce_chunks(&data, |chunk| chunk.iter().sum(), |a: u64, b| a + b, || 0);
/// assert_eq!(sum, 4_999_950_000);
/// ```
pub fn map_reduce_chunks<E: Sync, T: Send>(
    data: &[E],
    map: impl Fn(&[E]) -> T + Sync,
    combine: impl Fn(T, T) -> T + Sync,
    identity: impl Fn() -> T,
) -> T {
    let size = (data.len() / 64).clamp(4096, 16_384);
    if data.is_empty() {
        return identity();
    }
    if data.len() <= size {
        return map(data);
    }
    let map = |i: usize| map(&data[i * size..data.len().min((i + 1) * size)]);
    let chunks = data.len().div_ceil(size);
    let token = cancel::current();
    let tree = Tree { map, combine, range: 0..chunks, leaf: 1, weight: size, slots: false, token };
    tree.reduce(chunks)
}

/// Most leaves of a tree of results that may be costly to combine.
const LEAVES: usize = 4096;
/// Items that are computed into slots at a time.
const SLOTS: usize = 256;
/// Items in the second look at the clock.
const SAMPLE: usize = 16;
/// An item that takes this long, in ticks (about 50 ns), is worth a slot of its own.
const COARSE: f32 = 128.0;
/// One that takes this long, 0.5 to 1 µs, is so from the first look on: a cache miss does not explain it.
const VERY_COARSE: f64 = 2_000.0;

/// What it takes to compute a leaf into slots, in ticks, beside its items: it makes two short ones look coarse.
const IN_SLOTS: u64 = 1_000;

/// Whether combining costs about nothing, so that a leaf's items may be combined by one worker.
const fn is_light<T>() -> bool {
    size_of::<T>() <= 16 && !needs_drop::<T>()
}

/// Indices of a leaf.
const fn leaf<T>(length: usize) -> usize {
    if !is_light::<T>() {
        return length.div_ceil(LEAVES);
    }
    match length / 64 {
        ..512 => 512,
        leaf @ 512..4096 => leaf,
        _ => 4096,
    }
}

struct Tree<M, C> {
    map: M,
    combine: C,
    range: Range<usize>,
    /// Indices of a leaf.
    leaf: usize,
    /// Elements that an index stands for.
    weight: usize,
    /// Whether the items of a leaf may be computed into slots.
    slots: bool,
    /// What may stop it between two leaves.
    token: Option<CancelToken>,
}

/// A subtree that one worker computes from left to right, and how it gets on. What it knows of time are hints.
struct Stretch {
    worker: usize,
    leaves: Range<usize>,
    site: Site,
    since: Lap,
    /// Ticks that a leaf takes; 0 while too little is known.
    each: AtomicU64,
    /// Whether items are worth a slot.
    coarse: AtomicBool,
}

impl<M, C> Tree<M, C> {
    /// Elements of `leaves`, about. Counted by their items: the last leaf, which may be the only one, is smaller than the others.
    fn elements(&self, leaves: &Range<usize>) -> usize {
        let items = self.items(leaves.end - 1).end - self.items(leaves.start).start;
        items.saturating_mul(self.weight)
    }

    fn items(&self, leaf: usize) -> Range<usize> {
        let start = self.range.start + leaf * self.leaf;
        start..self.range.end.min(start.saturating_add(self.leaf))
    }

    /// Continues from left to right.
    #[inline(always)]
    fn fold<T>(&self, sum: T, items: Range<usize>) -> T
    where
        M: Fn(usize) -> T,
        C: Fn(T, T) -> T,
    {
        items.fold(sum, |sum, i| (self.combine)(sum, (self.map)(i)))
    }

    /// The first item of `leaf`, which begins `since`, by the clock, and a few more unless that says enough: a short one says little,
    /// for it may be another kind.
    #[inline(always)]
    fn sample<T>(&self, leaf: usize, since: &Lap) -> Head<T>
    where
        M: Fn(usize) -> T,
        C: Fn(T, T) -> T,
    {
        let items = self.items(leaf);
        let first = (self.map)(items.start);
        let each = since.elapsed() as f64;
        if each >= VERY_COARSE || items.len() == 1 {
            return Head { result: first, items: 1, each };
        }
        let more = SAMPLE.min(items.len() - 1);
        let result = self.fold(first, items.start + 1..items.start + 1 + more);
        Head { result, items: 1 + more, each: (since.elapsed() as f64 - each).max(1.0) / more as f64 }
    }

    /// A leaf of which something may be done.
    #[inline(always)]
    fn rest_of_leaf<T>(&self, leaf: usize, head: Option<Head<T>>) -> T
    where
        M: Fn(usize) -> T,
        C: Fn(T, T) -> T,
    {
        let items = self.items(leaf);
        match head {
            Some(head) => self.fold(head.result, items.start + head.items..items.end),
            None => self.leaf(leaf),
        }
    }

    /// A whole leaf.
    #[inline(always)]
    fn leaf<T>(&self, leaf: usize) -> T
    where
        M: Fn(usize) -> T,
        C: Fn(T, T) -> T,
    {
        let items = self.items(leaf);
        self.fold((self.map)(items.start), items.start + 1..items.end)
    }

    /// A subtree that nobody will help with, of whose first leaf something may be done.
    fn alone<T>(&self, leaves: Range<usize>, head: Option<Head<T>>) -> T
    where
        M: Fn(usize) -> T,
        C: Fn(T, T) -> T,
    {
        if leaves.len() == 1 {
            let result = self.rest_of_leaf(leaves.start, head);
            if let Some(token) = &self.token {
                token.check();
            }
            return result;
        }
        let middle = middle(&leaves);
        let (left, right) = (self.alone(leaves.start..middle, head), self.alone(middle..leaves.end, None));
        (self.combine)(left, right)
    }
}

/// The beginning of a tree's first leaf, computed before it was known whether anybody should help.
struct Head<T> {
    result: T,
    items: usize,
    /// Ticks that an item took.
    each: f64,
}

impl<M, C> Tree<M, C> {
    fn site<T: Send>() -> Site
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        Site::of(Self::begin::<T> as *const ())
    }

    /// The whole tree. One that was short the last times begins where it is called; it is handed to a worker, and shared, when it
    /// turns out longer.
    fn reduce<T: Send>(&self, leaves: usize) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        let site = Self::site::<T>();
        let mut head = None;
        let count = self.range.len();
        if site.is_short(count, self.elements(&(0..leaves))) && is_alone_allowed() {
            let since = Lap::start();
            let sample = self.sample(0, &since);
            if !Rest::of(sample.each, count - sample.items).is_worth_sharing() {
                let result = self.alone(0..leaves, Some(sample));
                // Of all items, so that one whose first items are short is not taken for short again.
                site.note((since.elapsed() as f64 / (count * self.weight) as f64) as f32);
                return result;
            }
            head = Some(sample);
        }
        crate::on_current_worker(|worker| self.begin(worker, 0..leaves, head))
    }

    /// The leaves in `leaves`, as a stretch of this worker; `head` is what is done of them.
    fn begin<T: Send>(&self, worker: &Worker, leaves: Range<usize>, head: Option<Head<T>>) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        let site = Self::site::<T>();
        let each = site.each();
        let offered = leaves.len() > 1 && site.is_offered(worker, self.elements(&leaves));
        let stretch = Stretch {
            worker: worker.index(),
            leaves: leaves.clone(),
            site,
            since: Lap::start(),
            each: AtomicU64::new(0),
            // A loop that nothing is known of is taken for coarse.
            coarse: AtomicBool::new(self.slots && each.is_none_or(|each| each >= COARSE)),
        };
        self.node(worker, &stretch, leaves, offered, head)
    }

    /// A node of a stretch; `offered` if its fork is to be public, `head` what is done of its first leaf.
    fn node<T: Send>(
        &self,
        worker: &Worker,
        stretch: &Stretch,
        leaves: Range<usize>,
        offered: bool,
        head: Option<Head<T>>,
    ) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        if leaves.len() == 1 {
            return self.watched_leaf(worker, stretch, leaves.start, head);
        }
        let each = stretch.each.load(Relaxed);
        if each > 0 && !Rest::of(each as f64, leaves.len()).is_worth_sharing() {
            return worker.entered(|| self.alone(leaves, head));
        }
        let middle = middle(&leaves);
        let (first, second) = (leaves.start..middle, middle..leaves.end);
        let (left, right) = worker.fork(
            offered,
            |worker| self.node(worker, stretch, first, false, head),
            |worker| {
                if worker.index() == stretch.worker {
                    self.node(worker, stretch, second, false, None)
                } else {
                    under(self.token.as_ref(), || self.begin(worker, second, None))
                }
            },
        );
        (self.combine)(left, right)
    }

    /// A leaf, after which the rest is shared if that is asked for and worth it.
    fn watched_leaf<T: Send>(
        &self,
        worker: &Worker,
        stretch: &Stretch,
        leaf: usize,
        head: Option<Head<T>>,
    ) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        let first = leaf == stretch.leaves.start;
        let coarse = stretch.coarse.load(Relaxed);
        let result = if coarse {
            let items = self.items(leaf);
            let (sum, done) = head.map_or((None, 0), |head| (Some(head.result), head.items));
            self.leaf_in_slots(worker, sum, items.start + done..items.end)
        } else if first {
            self.first_leaf(worker, stretch, leaf, head)
        } else {
            worker.entered(|| self.leaf(leaf))
        };
        if let Some(token) = &self.token {
            token.check();
        }
        if worker.is_asked() || (first && coarse) {
            self.look_up(worker, stretch, leaf);
        }
        result
    }

    /// Looks at the clock after `leaf`.
    #[cold]
    #[inline(never)]
    fn look_up(&self, worker: &Worker, stretch: &Stretch, leaf: usize) {
        let done = leaf + 1 - stretch.leaves.start;
        let took = stretch.since.elapsed();
        let each = took as f64 / done as f64;
        let elements = self.elements(&(stretch.leaves.start..leaf + 1));
        let with_slots = stretch.coarse.load(Relaxed);
        let element =
            (took.saturating_sub(if with_slots { IN_SLOTS } else { 0 }) as f64 / elements as f64) as f32;
        if elements >= SAMPLE {
            stretch.each.store((each as u64).max(1), Relaxed);
            stretch.coarse.store(self.slots && element >= COARSE, Relaxed);
        }
        stretch.site.note(element);
        offer(worker, Rest::of(each, stretch.leaves.end - leaf - 1));
    }

    /// The first leaf of a stretch, with a look at the clock after one item, after a few, and at the end.
    fn first_leaf<T: Send>(&self, worker: &Worker, stretch: &Stretch, leaf: usize, head: Option<Head<T>>) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        let items = self.items(leaf);
        let sample = || {
            // Without forks before it, the leaf began with the stretch, and a look at the clock is saved.
            let later = (stretch.leaves.len() > 1).then(Lap::start);
            worker.entered(|| self.sample(leaf, later.as_ref().unwrap_or(&stretch.since)))
        };
        let Head { mut result, items: done, each } = head.unwrap_or_else(sample);
        let element = (each / self.weight as f64) as f32;
        stretch.site.note(element);
        let left = (stretch.leaves.end - leaf).saturating_mul(self.leaf) - done.min(self.leaf);
        offer(worker, Rest::of(each, left));
        let rest = items.start + done..items.end;
        if self.slots && element >= COARSE {
            stretch.coarse.store(true, Relaxed);
            return self.leaf_in_slots(worker, Some(result), rest);
        }
        result = worker.entered(|| self.fold(result, rest));
        if stretch.leaves.len() > 1 && self.elements(&(leaf..leaf + 1)) >= SAMPLE {
            stretch.each.store(stretch.since.elapsed(), Relaxed);
        }
        result
    }

    /// Continues from left to right with items that are computed in any order. Not inlined: the slots would be in every node's frame.
    #[inline(never)]
    fn leaf_in_slots<T: Send>(&self, worker: &Worker, mut sum: Option<T>, mut items: Range<usize>) -> T
    where
        M: Fn(usize) -> T + Sync,
        C: Fn(T, T) -> T + Sync,
    {
        let mut slots: [Option<T>; SLOTS] = from_fn(|_| None);
        while !items.is_empty() {
            let now = &mut slots[..SLOTS.min(items.len())];
            chunks_on(worker, now, 1, &|i, slot| slot[0] = Some((self.map)(items.start + i)));
            items.start += now.len();
            sum = sum.into_iter().chain(now.iter_mut().filter_map(Option::take)).reduce(&self.combine);
        }
        let Some(sum) = sum else { unreachable!("a leaf has items, and each has run") };
        sum
    }
}

fn middle(leaves: &Range<usize>) -> usize {
    leaves.start + leaves.len() / 2
}
