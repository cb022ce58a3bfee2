//! Forming batches without locks: the protocol of one key. States, transitions and what could go wrong are in `README.md`.
//!
//! Producers reserve slots of the current batch with one `fetch_add`, write them, and stamp them. Who fills a batch puts it into the queue
//! of ready ones, and so does [`seal`](Former::seal), which ends one that is not full. Who takes a batch in which a stamp is missing puts it aside,
//! and whoever writes the last stamp makes it ready again. What is done with ready ones, and when a batch is sealed, is `core.rs`' matter.
//! Slots that are reserved now and written later are `lease.rs`. Proof: `loom-tests/tests/batch.rs`.

use std::vec::Drain;

use self::lease::{Leased, Leases, Place, GATHERED};
use super::execution::drain_each;
use super::slots;
use super::slots::{stamp, Seen, Slot, Slots};
use super::stack::Stack;
use super::word::{Current, Stamp, State, BULK, MAX_BATCHES, MAX_CAP};
use crate::sync::{
    fence, left_out, ordering, spin, thread, AsymmetricFence, AtomicU32, AtomicU64, Bounded, Line, Ordering,
    HAS_TIME,
};

#[allow(unsafe_code)]
mod lease;
#[cfg(all(test, not(upbeat_loom)))]
mod tests;

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
    /// The incarnation whose leases are honoured, or [`Stamp::NO_GENERATION`].
    honoured: AtomicU32,
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
    leases: Leases,
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
            honoured: AtomicU32::new(0),
            slots: (0..slots).map(|_| Slot::new()).collect(),
        };
        let former = Self {
            read: Line(Read { current: AtomicU64::new(Current::new(0, 0).word()), aside: AtomicU32::new(0) }),
            fence: AsymmetricFence::new(),
            batches: (0..batches).map(batch).collect(),
            leases: Leases::new(),
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
        match self.leases.own() {
            Some(own) => self.add_leased(&own, item, label),
            None => self.add_reserved(item, label, None).map(|(added, _)| added),
        }
    }

    #[inline]
    fn add_reserved(
        &self,
        item: T,
        label: u32,
        wanted: Option<Wanted>,
    ) -> Result<(Added, Option<Leased>), T> {
        let mut item = Some(item).into_iter();
        let reserved = self.reserve(1, wanted, label, |slots| slots.fill(&mut item));
        match item.next() {
            None => {
                if reserved.first_at == GATHERED && self.fence.is_free() {
                    self.leases.make();
                }
                let added = Added { is_first: reserved.first_at == 0, made_ready: reserved.made_ready };
                Ok((added, reserved.lease))
            }
            Some(item) => Err(item),
        }
    }

    /// After a stamp was written: whether it made a batch ready that was put aside.
    #[inline]
    fn look_aside(&self, index: usize, generation: u32) -> bool {
        // Pairs with the one in `put_aside`: either we see the batch put aside, or who has put it aside sees our stamps.
        if !left_out!("batch_light") {
            self.fence.light();
        }
        self.read.0.aside.load(Ordering::Relaxed) != 0 && self.finish(index, generation)
    }

    /// Adds items from the front of `items`, all with the same label and up to 64 with one reservation; those that found no free batch
    /// stay. Whether a batch became ready, and whether one got its first item.
    pub fn add_many(&self, items: &mut Drain<'_, T>, label: u32) -> Added {
        let mut all = Added { is_first: false, made_ready: false };
        while items.len() > 0 {
            let before = items.len();
            let added = self.reserve(before.min(BULK), None, label, |slots| slots.move_from(items));
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
    fn reserve(
        &self,
        count: usize,
        wanted: Option<Wanted>,
        label: u32,
        write: impl FnOnce(Slots<'_, T>),
    ) -> Reserved {
        let mut made_ready = false;
        loop {
            // Acquire: what the batch's opener made of it.
            let current = Current::of(self.read.0.current.load(Ordering::Acquire));
            let batch = &self.batches[current.index()];
            // Relaxed: a look, so that tickets which are refused do not run the count over.
            let mut state = State::of(batch.state.0.load(Ordering::Relaxed));
            let mut spare = 0;
            if !state.is_full() {
                // The last slot is not leased: who gets it closes the batch.
                let most = state.cap() - state.count();
                spare = wanted.as_ref().map_or(0, |wanted| wanted.spare.min(most.saturating_sub(count + 1)));
                // A ticket is good for whatever incarnation it meets, current or not. Acquire: the taker of the incarnation before is
                // done with the slots.
                let order = ordering!("batch_reserve", AcqRel);
                state = State::of(batch.state.0.fetch_add((count + spare) as u64, order));
            }
            if state.is_full() {
                let Some(strayed) = self.advance(current) else {
                    return Reserved { first_at: usize::MAX, made_ready, lease: None };
                };
                made_ready |= strayed;
                continue;
            }
            let (at, cap) = (state.count(), state.cap());
            let end = (at + count).min(cap);
            let slots = &batch.slots[at..end];
            // SAFETY: the ticket is ours alone, for the count only grows while the batch is open; the taker before was done before it was opened.
            write(unsafe { Slots::new(slots) });
            let mut leased = None;
            if let (Some(wanted), 1.., true) = (&wanted, spare, end + spare < cap) {
                slots::lease(&batch.slots[end..end + spare], state.generation(), wanted.number);
                let from = Place::new(state.generation(), current.index(), end);
                leased = Some(Leased { from, count: spare });
            }
            stamp(slots, state.generation(), label);
            if end + spare >= cap {
                // The last slot is ours, so is the close; what there is between is left out.
                made_ready |= self.close(current.index(), end);
                made_ready |=
                    self.advance(Current::new(state.generation(), current.index())).unwrap_or(false);
            }
            made_ready |= self.look_aside(current.index(), state.generation());
            return Reserved { first_at: at, made_ready, lease: leased };
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
        let is_ours =
            self.is_written(index, generation, &mut Seen::default()) && self.claim(batch, generation);
        if is_ours {
            self.deliver(index);
        }
        is_ours
    }

    /// Whether every item of a closed batch whose leases are not honoured was written, but for holes.
    fn is_written(&self, index: usize, generation: u32, seen: &mut Seen) -> bool {
        let writes = |number, slot| self.leases.names(number, Place::new(generation, index, slot));
        seen.all_but_holes(self.batches[index].items(), generation, writes)
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
        // Relaxed: a lease of that incarnation comes after the swap.
        self.batches[index].honoured.store(generation, Ordering::Relaxed);
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
            if !(0..=POLLS).any(&mut poll) && !self.put_aside(index, generation, &mut seen) {
                continue;
            }
            // SAFETY: all were seen, and the batch is ours since we popped its index or claimed it.
            let count = unsafe { seen.move_to(slots, items, labels) };
            self.recycle(index);
            return count;
        }
        0
    }

    /// Ends the leases of a batch and leaves it to those who still write to it; true if that is nobody, and the batch is the caller's all the same.
    #[cold]
    fn put_aside(&self, index: usize, generation: u32, seen: &mut Seen) -> bool {
        let batch = &self.batches[index];
        // Relaxed: the fence.
        batch.honoured.store(Stamp::NO_GENERATION, Ordering::Relaxed);
        // Pairs with the one in `add_leased`: what is leased is being written, and announced, or never will be.
        while !left_out!("lease_heavy") && !self.fence.heavy() {
            // Without it nobody knows who writes, so only those who do can end this.
            if seen.all(batch.items(), generation) {
                return true;
            }
            thread::yield_now();
        }
        if self.is_written(index, generation, seen) {
            return true;
        }
        // First the number, so that it is never less than there are: who claims the batch takes one off.
        self.read.0.aside.fetch_add(1, Ordering::Relaxed);
        // Release: the length, for who finishes it.
        batch.aside.store(u64::from(generation), Ordering::Release);
        // Pairs with the one in `reserve`.
        if !left_out!("batch_heavy") && !self.fence.heavy() {
            // Those who write may not see that it is aside, so it must not be left to them.
            while !self.is_written(index, generation, seen) {
                thread::yield_now();
            }
        }
        self.is_written(index, generation, seen) && self.claim(batch, generation)
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
    /// Slots that were leased, if any.
    lease: Option<Leased>,
}

/// Slots that a thread would lease beside those that it writes at once.
struct Wanted {
    number: usize,
    spare: usize,
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
