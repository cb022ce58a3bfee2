//! Forming batches without locks: the protocol of one key. States, transitions and what could go wrong are in `README.md`.
//!
//! Producers reserve slots of the current batch with one `fetch_add`, write them, and stamp them. Who fills a batch puts it into the queue
//! of ready ones, and so does [`seal`](Former::seal), which ends one that is not full. Who takes a batch in which a stamp is missing puts it aside,
//! and whoever writes the last stamp makes it ready again. What is done with ready ones, and when a batch is sealed, is `core.rs`' matter.
//! Proof: `loom-tests/tests/batch.rs`.

use std::vec::Drain;

use super::execution::drain_each;
use super::slots::{stamp, Seen, Slot, Slots};
use super::stack::Stack;
use super::word::{Current, Stamp, State, BULK, MAX_BATCHES, MAX_CAP};
use crate::sync::{
    fence, left_out, ordering, spin, thread, AsymmetricFence, AtomicU32, AtomicU64, Bounded, Line, Ordering,
    HAS_TIME,
};

/// No incarnation.
const NOT_ASIDE: u64 = u64::MAX;

/// Polls of a batch whose last writes are under way, before it is put aside: a write takes nanoseconds, unless its thread was stopped.
const POLLS: u32 = if HAS_TIME { 32 } else { 0 };

struct Batch<T> {
    /// How many slots are reserved, the cap, whether it is sealed, and which incarnation this is: [`State`].
    state: Line<AtomicU64>,
    /// How many items a closed batch has.
    len: AtomicU32,
    /// The free batch below this one.
    below: AtomicU32,
    /// Which incarnation of it is put aside, if any: a [`Stamp`] without a label, or [`NOT_ASIDE`].
    aside: AtomicU64,
    slots: Box<[Slot<T>]>,
}

impl<T> Batch<T> {
    /// The slots of a closed batch that have items, or will have.
    fn items(&self) -> &[Slot<T>] {
        // Relaxed: published by who made the batch ready.
        &self.slots[..self.len.load(Ordering::Relaxed) as usize]
    }
}

/// What became of an item that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// It is the first of its batch.
    pub is_first: bool,
    /// A batch became ready by it.
    pub made_ready: bool,
}

/// One key's batches: one is current and takes items, some are closed and ready, the others are free.
///
/// A batch belongs to whoever popped its index: from `free` to who opens it, from `ready` to who takes its items. A slot belongs to who
/// reserved it, until it is stamped, and to the batch's taker afterwards.
pub struct Former<T> {
    read: Line<Read>,
    fence: AsymmetricFence,
    batches: Box<[Batch<T>]>,
    free: Line<Stack>,
    ready: Bounded<u16>,
    /// Of the batches that are opened from now on.
    cap: AtomicU32,
}

/// What every addition reads, and few things change.
struct Read {
    /// Which batch takes items: [`Current`].
    current: AtomicU64,
    /// How many batches are put aside.
    aside: AtomicU32,
}

// SAFETY: a slot is used by its reserver or by its batch's taker, one at a time (`README.md`), so items only move between threads.
unsafe impl<T: Send> Sync for Former<T> {}
// SAFETY: it owns its items.
unsafe impl<T: Send> Send for Former<T> {}

impl<T> Former<T> {
    /// `batches` batches of at most `slots` items each.
    ///
    /// # Panics
    /// When there are no slots or fewer than two batches, or more than a word has room for; the builder says so in an error first.
    pub fn new(slots: usize, batches: usize) -> Self {
        assert!((1..=MAX_CAP).contains(&slots) && (2..=MAX_BATCHES).contains(&batches));
        let batch = |index| Batch {
            state: Line(AtomicU64::new(
                if index == 0 { State::open(0, slots) } else { State::closed(0) }.word(),
            )),
            len: AtomicU32::new(0),
            below: AtomicU32::new(0),
            aside: AtomicU64::new(NOT_ASIDE),
            slots: (0..slots).map(|_| Slot::new()).collect(),
        };
        let former = Self {
            read: Line(Read { current: AtomicU64::new(Current::new(0, 0).word()), aside: AtomicU32::new(0) }),
            fence: AsymmetricFence::new(),
            batches: (0..batches).map(batch).collect(),
            free: Line(Stack::new()),
            ready: Bounded::new(batches),
            cap: AtomicU32::new(slots as u32),
        };
        (1..batches).rev().for_each(|index| former.put(index));
        former
    }

    fn put(&self, index: usize) {
        self.free.0.push(index as u32, index as u32, |index| &self.batches[index as usize].below);
    }

    /// How many items a batch may have at most, whatever the cap.
    pub fn slots(&self) -> usize {
        self.batches[0].slots.len()
    }

    /// How many items the batches that are opened from now on take.
    pub fn cap(&self) -> usize {
        // Relaxed: a number, under which nothing is published.
        self.cap.load(Ordering::Relaxed) as usize
    }

    /// Sets the [`cap`](Self::cap), to at least one item and at most all slots. The current batch keeps its own.
    pub fn set_cap(&self, cap: usize) {
        self.cap.store(cap.clamp(1, self.slots()) as u32, Ordering::Relaxed);
    }

    /// Adds an item to the current batch, with a label; gives it back when there is none and no free one either.
    #[inline]
    pub fn add(&self, item: T, label: u32) -> Result<Added, T> {
        let mut item = Some(item).into_iter();
        let added = self.reserve(1, label, |slots| slots.fill(&mut item));
        match item.next() {
            None => Ok(Added { is_first: added.first_at == 0, made_ready: added.made_ready }),
            Some(item) => Err(item),
        }
    }

    /// Adds items from the front of `items`, all with the same label and up to 64 with one reservation; those that found no free batch
    /// stay. Whether a batch became ready, and whether one got its first item.
    pub fn add_many(&self, items: &mut Drain<'_, T>, label: u32) -> Added {
        let mut all = Added { is_first: false, made_ready: false };
        while items.len() > 0 {
            let before = items.len();
            let added = self.reserve(before.min(BULK), label, |slots| slots.move_from(items));
            all.is_first |= added.first_at == 0;
            all.made_ready |= added.made_ready;
            if items.len() == before {
                break;
            }
        }
        all
    }

    /// Reserves up to `count` slots, at least one, and has `write` fill them all; does nothing when no batch is free.
    #[inline]
    fn reserve(&self, count: usize, label: u32, write: impl FnOnce(Slots<'_, T>)) -> Reserved {
        let mut made_ready = false;
        loop {
            // Acquire: what the batch's opener made of it.
            let current = Current::of(self.read.0.current.load(Ordering::Acquire));
            let batch = &self.batches[current.index()];
            // Relaxed: a look, so that tickets which are refused do not run the count over.
            let mut state = State::of(batch.state.0.load(Ordering::Relaxed));
            if !state.is_full() {
                // A ticket is good for whatever incarnation it meets, current or not. Acquire: the taker of the incarnation before is
                // done with the slots.
                let order = ordering!("batch_reserve", AcqRel);
                state = State::of(batch.state.0.fetch_add(count as u64, order));
            }
            if state.is_full() {
                let Some(strayed) = self.advance(current) else {
                    return Reserved { first_at: usize::MAX, made_ready };
                };
                made_ready |= strayed;
                continue;
            }
            let (at, cap) = (state.count(), state.cap());
            let end = (at + count).min(cap);
            let slots = &batch.slots[at..end];
            // SAFETY: the ticket is ours alone, for the count only grows while the batch is open; the taker before was done before it was opened.
            write(unsafe { Slots::new(slots) });
            stamp(slots, state.generation(), label);
            if end == cap {
                // The last slot is ours, so is the close.
                made_ready |= self.close(current.index(), cap);
                made_ready |=
                    self.advance(Current::new(state.generation(), current.index())).unwrap_or(false);
            }
            // Pairs with the one in `put_aside`: either we see the batch put aside, or who has put it aside sees our stamps.
            if !left_out!("batch_light") {
                self.fence.light();
            }
            if self.read.0.aside.load(Ordering::Relaxed) != 0 {
                made_ready |= self.finish(current.index(), state.generation());
            }
            return Reserved { first_at: at, made_ready };
        }
    }

    /// Ends the current batch unless it is empty. Whether it became ready; else it will when those who still write to it are done.
    pub fn seal(&self) -> bool {
        let current = Current::of(self.read.0.current.load(Ordering::Acquire));
        // Relaxed: a look. Who asks after an item was added has that item's write before it.
        let seen = State::of(self.batches[current.index()].state.0.load(Ordering::Relaxed));
        seen.count() > 0 && !seen.is_full() && self.seal_batch(current.index())
    }

    /// Whether the current batch has items and takes more.
    pub fn has_open_items(&self) -> bool {
        let current = Current::of(self.read.0.current.load(Ordering::Acquire));
        let seen = State::of(self.batches[current.index()].state.0.load(Ordering::Relaxed));
        seen.count() > 0 && !seen.is_full()
    }

    /// How many batches are ready.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether a batch is ready.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a batch waits for somebody who still writes to it.
    pub fn has_aside(&self) -> bool {
        // Relaxed: a look.
        self.read.0.aside.load(Ordering::Relaxed) > 0
    }

    /// Whether an item would find a place.
    pub fn has_room(&self) -> bool {
        let current = Current::of(self.read.0.current.load(Ordering::Acquire));
        !self.free.0.is_empty()
            || !State::of(self.batches[current.index()].state.0.load(Ordering::Relaxed)).is_full()
    }

    fn seal_batch(&self, index: usize) -> bool {
        let state = State::of(self.batches[index].state.0.fetch_or(State::SEAL, Ordering::AcqRel));
        // Full: who took the last slot closes it. Sealed: somebody else has.
        !state.is_full() && self.close(index, state.count())
    }

    /// Makes a batch ready that takes no more items, of which it has `len`; or free, if it has none. Whether it is ready.
    fn close(&self, index: usize, len: usize) -> bool {
        if len == 0 {
            self.recycle(index);
            return false;
        }
        // Relaxed: published by the push.
        self.batches[index].len.store(len as u32, Ordering::Relaxed);
        self.deliver(index);
        true
    }

    fn deliver(&self, index: usize) {
        let pushed = self.ready.push(index as u16);
        debug_assert!(pushed, "each batch is in the queue once");
    }

    /// After a stamp was written: makes the batch ready again if it was put aside and this was the last one that it lacked.
    #[cold]
    fn finish(&self, index: usize, generation: u32) -> bool {
        let batch = &self.batches[index];
        // Acquire: the batch's length.
        if batch.aside.load(Ordering::Acquire) != u64::from(generation) {
            return false;
        }
        // Of several that write at the same time, one sees the stamps of all. The models cannot miss it: their light fence is one, too.
        fence(Ordering::SeqCst);
        let is_ours = Seen::default().all(batch.items(), generation) && self.claim(batch, generation);
        if is_ours {
            self.deliver(index);
        }
        is_ours
    }

    /// Of all who find that a batch which was put aside is complete, one gets it.
    fn claim(&self, batch: &Batch<T>, generation: u32) -> bool {
        let claimed = batch
            .aside
            .compare_exchange(u64::from(generation), NOT_ASIDE, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if claimed {
            self.read.0.aside.fetch_sub(1, Ordering::Relaxed);
        }
        claimed
    }

    /// Puts a free batch in the place of `from`, unless somebody else has, and says whether a batch that was opened in vain became ready
    /// by that. `None` when no batch is free.
    #[cold]
    fn advance(&self, from: Current) -> Option<bool> {
        if self.read.0.current.load(Ordering::Acquire) != from.word() {
            return Some(false);
        }
        let Some(index) = self.free.0.pop(|index| &self.batches[index as usize].below) else {
            // Somebody may have advanced with the last one.
            return (self.read.0.current.load(Ordering::Acquire) != from.word()).then_some(false);
        };
        let index = index as usize;
        let state = &self.batches[index].state.0;
        let mut generation = State::of(state.load(Ordering::Relaxed)).generation() + 1;
        if generation == Stamp::NO_GENERATION {
            // From the beginning again: an old stamp would be taken for a new one. Relaxed: a ticket comes after the swap.
            self.batches[index].slots.iter().for_each(Slot::clear_stamp);
            generation = 0;
        }
        // Release: the slots' last taker is done with them, which we have from the index, and the stamps, if they are new; for tickets, one of which
        // may come by an old `current`.
        state.swap(State::open(generation, self.cap()).word(), ordering!("batch_open", Release));
        let next = Current::new(generation, index).word();
        let won = self
            .read
            .0
            .current
            .compare_exchange(from.word(), next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        // Somebody was faster. A stale ticket may have met this one while it was open, so it goes the way of all batches.
        Some(!won && !left_out!("batch_strays") && self.seal_batch(index))
    }

    /// Moves the items of a ready batch to the end of `items`, and their labels to the end of `labels` unless nobody waits for any of them
    /// ([`NO_LABEL`](super::word::NO_LABEL)); how many items, 0 when none is ready.
    pub fn take(&self, items: &mut Vec<T>, labels: &mut Vec<u32>) -> usize {
        while let Some(index) = self.ready.pop() {
            let index = usize::from(index);
            let batch = &self.batches[index];
            let slots = batch.items();
            // Relaxed: only who takes it changes the generation.
            let generation = State::of(batch.state.0.load(Ordering::Relaxed)).generation();
            let mut seen = Seen::default();
            let mut poll = |number| {
                if number > 0 {
                    spin();
                }
                seen.all(slots, generation)
            };
            if !(0..=POLLS).any(&mut poll) && !self.put_aside(batch, generation, &mut seen) {
                continue;
            }
            let count = slots.len();
            // SAFETY: all were seen, and the batch is ours since we popped its index or claimed it.
            unsafe { seen.move_to(slots, items, labels) };
            self.recycle(index);
            return count;
        }
        0
    }

    /// Leaves a batch to those who still write to it; true if that is nobody, and the batch is the caller's all the same.
    #[cold]
    fn put_aside(&self, batch: &Batch<T>, generation: u32, seen: &mut Seen) -> bool {
        // First the number, so that it is never less than there are: who claims the batch takes one off.
        self.read.0.aside.fetch_add(1, Ordering::Relaxed);
        // Release: the length, for who finishes it.
        batch.aside.store(u64::from(generation), Ordering::Release);
        // Pairs with the one in `reserve`.
        if !left_out!("batch_heavy") && !self.fence.heavy() {
            // Those who write may not see that it is aside, so it must not be left to them.
            while !seen.all(batch.items(), generation) {
                thread::yield_now();
            }
        }
        seen.all(batch.items(), generation) && self.claim(batch, generation)
    }

    /// A batch without items is free again; its state stays closed until it is opened.
    fn recycle(&self, index: usize) {
        let batch = &self.batches[index];
        // Relaxed: nobody else opens it meanwhile.
        let generation = State::of(batch.state.0.load(Ordering::Relaxed)).generation();
        // A swap, for stale tickets add to it. Relaxed: our reads of the slots go to who opens it with its index.
        batch.state.0.swap(State::closed(generation).word(), Ordering::Relaxed);
        self.put(index);
    }
}

/// What [`Former::reserve`] got.
struct Reserved {
    /// The first slot.
    first_at: usize,
    made_ready: bool,
}

impl<T> Drop for Former<T> {
    fn drop(&mut self) {
        // Nobody writes any more, so a sealed batch is a ready one.
        self.seal();
        let (mut items, mut labels) = (Vec::new(), Vec::new());
        while self.take(&mut items, &mut labels) > 0 {
            drain_each(&mut items);
        }
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use std::iter::from_fn;
    use std::sync::mpsc::channel;

    use super::super::word::NO_LABEL;
    use super::*;

    fn take(former: &Former<u32>) -> Vec<u32> {
        let (mut items, mut labels) = (Vec::new(), Vec::new());
        former.take(&mut items, &mut labels);
        assert!(labels.iter().zip(&items).all(|(label, item)| *label == item + 100));
        items
    }

    /// A producer stops between its ticket and its stamp.
    #[test]
    fn a_batch_whose_writer_was_stopped_is_put_aside_and_found_again() {
        for fence in [AsymmetricFence::new(), AsymmetricFence::Both] {
            let mut former = Former::new(3, 4);
            former.fence = fence;
            let former = &former;
            let ((has_ticket, wait_for_ticket), (go_on, wait_to_go_on)) = (channel(), channel());
            std::thread::scope(|scope| {
                let writer = scope.spawn(move || {
                    let stops = || {
                        has_ticket.send(()).unwrap();
                        wait_to_go_on.recv().unwrap()
                    };
                    former.reserve(1, 101, |slots| slots.fill(&mut from_fn(stops))).made_ready
                });
                wait_for_ticket.recv().unwrap();
                assert_eq!(former.add(0, 100), Ok(Added { is_first: false, made_ready: false }));
                assert!(former.seal(), "a batch that takes no more is ready");
                // Twice: what was put aside is not looked at again.
                assert_eq!((take(former), take(former)), (vec![], vec![]));
                // Others go on meanwhile.
                for item in 2..5 {
                    assert!(former.add(item, item + 100).is_ok());
                }
                assert_eq!(take(former), [2, 3, 4]);
                go_on.send(Some(1)).unwrap();
                assert!(writer.join().unwrap(), "the last stamp makes it ready");
            });
            assert_eq!(take(former), [1, 0]);
            assert!(!former.has_aside());
        }
    }

    /// One by one and in bulk, over the end of a batch.
    #[test]
    fn each_item_comes_with_its_label_and_no_label_comes_where_nobody_waits() {
        let former = Former::new(70, 8);
        let take = || {
            let (mut items, mut labels) = (Vec::new(), Vec::new());
            former.take(&mut items, &mut labels);
            (items, labels)
        };
        let mut many: Vec<u32> = (0..100).collect();
        assert!(former.add_many(&mut many.drain(..), NO_LABEL).made_ready);
        assert_eq!(take(), ((0..70).collect(), vec![]));
        // Thirty that nobody waits for are in the next one.
        assert!(former.add(100, 7).is_ok() && former.add(101, NO_LABEL).is_ok());
        let mut many: Vec<u32> = (102..142).collect();
        assert!(former.add_many(&mut many.drain(..), 9).made_ready);
        let (items, labels) = take();
        assert_eq!(items, (70..140).collect::<Vec<_>>());
        assert_eq!(labels[..32], [[NO_LABEL; 30].as_slice(), &[7, NO_LABEL]].concat());
        assert_eq!(labels[32..], [9; 38]);
        assert!(former.seal());
        assert_eq!(take(), (vec![140, 141], vec![9, 9]));
    }

    #[test]
    fn generations_begin_again_and_no_old_stamp_is_taken_for_a_new_one() {
        let former = Former::new(2, 2);
        // The one that is free.
        let closed = State::closed(Stamp::NO_GENERATION - 2);
        former.batches[1].state.0.store(closed.word(), Ordering::Relaxed);
        for item in (0..20).step_by(2) {
            assert!(former.add(item, item + 100).is_ok() && former.add(item + 1, item + 101).is_ok());
            assert_eq!(take(&former), [item, item + 1]);
        }
        let generation = State::of(former.batches[1].state.0.load(Ordering::Relaxed)).generation();
        assert!((1..20).contains(&generation), "{generation}");
    }
}
