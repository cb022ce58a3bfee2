//! Forming batches without locks: the protocol of one key. States, transitions and what could go wrong are in `README.md`.
//!
//! Producers reserve slots of the current batch with one `fetch_add`, write them, and count them off. Who fills a batch closes it, and
//! so does [`seal`](Former::seal), which ends one that is not full; whoever counts off the last write of a closed batch puts it into the
//! queue of ready ones. What is done with those, and when a batch is sealed, is `batcher.rs`' matter. Proof: `loom-tests/tests/batch.rs`.

use std::mem::MaybeUninit;
use std::vec::Drain;

use super::stack::Stack;
use super::word::{Current, State, BULK, MAX_BATCHES, MAX_CAP};
use crate::sync::{left_out, ordering, AtomicU32, AtomicU64, Bounded, Line, Ordering, UnsafeCell};

/// More than all writes of a batch together: what `pending` holds when the batch is closed and every write was counted off.
const CLOSED: u64 = 1 << 40;

/// What producers change, on one line: who has just reserved a slot still has it when it counts off the write.
struct Words {
    /// How many slots are reserved, the cap, whether it is sealed, and which incarnation this is: [`State`].
    state: AtomicU64,
    /// Minus the writes that were counted off; at the close their number and [`CLOSED`] are added.
    pending: AtomicU64,
}

struct Batch<T> {
    words: Line<Words>,
    /// How many items a closed batch has.
    len: AtomicU32,
    /// The free batch below this one.
    below: AtomicU32,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// A word that each item was added with. Apart from the items, which are so moved all at once.
    labels: Box<[UnsafeCell<u32>]>,
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
/// reserved it, until that write is counted off, and to the batch's taker afterwards.
pub struct Former<T> {
    current: Line<AtomicU64>,
    batches: Box<[Batch<T>]>,
    free: Line<Stack>,
    ready: Bounded<u16>,
    /// Of the batches that are opened from now on.
    cap: AtomicU32,
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
            words: Line(Words {
                state: AtomicU64::new(
                    if index == 0 { State::open(0, slots) } else { State::closed(0) }.word(),
                ),
                pending: AtomicU64::new(0),
            }),
            len: AtomicU32::new(0),
            below: AtomicU32::new(0),
            slots: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            labels: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
        };
        let former = Self {
            current: Line(AtomicU64::new(Current::new(0, 0).word())),
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
        let mut item = Some(item);
        let added = self.reserve(1, label, || item.take());
        match item {
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
            let added = self.reserve(before.min(BULK), label, || items.next());
            all.is_first |= added.first_at == 0;
            all.made_ready |= added.made_ready;
            if items.len() == before {
                break;
            }
        }
        all
    }

    /// Reserves up to `count` slots, at least one, and writes what `next` gives to them; nothing when no batch is free.
    #[inline]
    fn reserve(&self, count: usize, label: u32, mut next: impl FnMut() -> Option<T>) -> Reserved {
        let mut made_ready = false;
        loop {
            // Acquire: what the batch's opener made of it.
            let current = Current::of(self.current.0.load(Ordering::Acquire));
            let batch = &self.batches[current.index()];
            // Relaxed: a look, so that tickets which are refused do not run the count over.
            let mut state = State::of(batch.words.0.state.load(Ordering::Relaxed));
            if !state.is_full() {
                // A ticket is good for whatever incarnation it meets, current or not. Acquire: the taker of the incarnation before is
                // done with the slots; release: for who closes the batch.
                let order = ordering!("batch_reserve", AcqRel);
                state = State::of(batch.words.0.state.fetch_add(count as u64, order));
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
            for slot in at..end {
                let Some(item) = next() else { unreachable!("as many items as slots were asked for") };
                // SAFETY: the slot was reserved by us alone: the count only grows while the batch is open.
                batch.slots[slot].with_mut(|slot| unsafe { (*slot).write(item) });
                // SAFETY: as above.
                batch.labels[slot].with_mut(|at| unsafe { *at = label });
            }
            made_ready |= if end == cap {
                // The last slot is ours, so is the close. Our own writes need not be counted off.
                let closed = self.close(current.index(), at, cap);
                let strayed = self.advance(Current::new(state.generation(), current.index()));
                closed || strayed.unwrap_or(false)
            } else {
                let written = (end - at) as u64;
                // Release: our writes, for the taker; acquire: the others', if we find the batch closed and all written.
                let before = batch.words.0.pending.fetch_sub(written, ordering!("batch_commit", AcqRel));
                before.wrapping_sub(written) == CLOSED && self.deliver(current.index())
            };
            return Reserved { first_at: at, made_ready };
        }
    }

    /// Ends the current batch unless it is empty. Whether it became ready; else it will when those who still write to it are done.
    pub fn seal(&self) -> bool {
        let current = Current::of(self.current.0.load(Ordering::Acquire));
        // Relaxed: a look. Who asks after an item was added has that item's write before it.
        let seen = State::of(self.batches[current.index()].words.0.state.load(Ordering::Relaxed));
        seen.count() > 0 && !seen.is_full() && self.seal_batch(current.index())
    }

    /// Whether the current batch has items and takes more.
    pub fn has_open_items(&self) -> bool {
        let current = Current::of(self.current.0.load(Ordering::Acquire));
        let seen = State::of(self.batches[current.index()].words.0.state.load(Ordering::Relaxed));
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

    /// Whether an item would find a place.
    pub fn has_room(&self) -> bool {
        let current = Current::of(self.current.0.load(Ordering::Acquire));
        !self.free.0.is_empty()
            || !State::of(self.batches[current.index()].words.0.state.load(Ordering::Relaxed)).is_full()
    }

    fn seal_batch(&self, index: usize) -> bool {
        let state = State::of(self.batches[index].words.0.state.fetch_or(State::SEAL, Ordering::AcqRel));
        // Full: who took the last slot closes it. Sealed: somebody else has.
        !state.is_full() && self.close(index, state.count(), state.count())
    }

    /// Closes a batch of `len` items, `others` of which are or will be counted off. Whether it is ready by that.
    fn close(&self, index: usize, others: usize, len: usize) -> bool {
        let batch = &self.batches[index];
        // Relaxed: published by the addition.
        batch.len.store(len as u32, Ordering::Relaxed);
        let more = CLOSED.wrapping_add(others as u64);
        let before = batch.words.0.pending.fetch_add(more, ordering!("batch_close", AcqRel));
        before.wrapping_add(more) == CLOSED && self.deliver(index)
    }

    /// Every write of a closed batch was counted off: it is ready, or free again if nobody wrote to it.
    fn deliver(&self, index: usize) -> bool {
        if self.batches[index].len.load(Ordering::Relaxed) == 0 {
            self.recycle(index);
            return false;
        }
        let pushed = self.ready.push(index as u16);
        debug_assert!(pushed, "each batch is in the queue once");
        true
    }

    /// Puts a free batch in the place of `from`, unless somebody else has, and says whether a batch that was opened in vain became ready
    /// by that. `None` when no batch is free.
    #[cold]
    fn advance(&self, from: Current) -> Option<bool> {
        if self.current.0.load(Ordering::Acquire) != from.word() {
            return Some(false);
        }
        let Some(index) = self.free.0.pop(|index| &self.batches[index as usize].below) else {
            // Somebody may have advanced with the last one.
            return (self.current.0.load(Ordering::Acquire) != from.word()).then_some(false);
        };
        let index = index as usize;
        let state = &self.batches[index].words.0.state;
        let generation = State::of(state.load(Ordering::Relaxed)).generation().wrapping_add(1);
        // A swap and not a store, so that a stale ticket sees through it what `recycle` released: the slots' last taker is done with them.
        // Relaxed: everybody else comes by way of `current`.
        state.swap(State::open(generation, self.cap()).word(), Ordering::Relaxed);
        let next = Current::new(generation, index).word();
        let won =
            self.current.0.compare_exchange(from.word(), next, Ordering::AcqRel, Ordering::Acquire).is_ok();
        // Somebody was faster. A stale ticket may have met this one while it was open, so it goes the way of all batches.
        Some(!won && !left_out!("batch_strays") && self.seal_batch(index))
    }

    /// Moves the items of a ready batch to the end of `items`, and their labels to the end of `labels`; how many, 0 when none is ready.
    pub fn take(&self, items: &mut Vec<T>, labels: &mut Vec<u32>) -> usize {
        let Some(index) = self.ready.pop() else { return 0 };
        let index = usize::from(index);
        let batch = &self.batches[index];
        // Relaxed: we popped what was pushed after every write was seen counted off.
        let len = batch.len.load(Ordering::Relaxed) as usize;
        // SAFETY: the slot was written, and its batch is ours since we popped its index; it is read once.
        items.extend(
            batch.slots[..len].iter().map(|slot| slot.with(|slot| unsafe { (*slot).assume_init_read() })),
        );
        // SAFETY: as above.
        labels.extend(batch.labels[..len].iter().map(|label| label.with(|label| unsafe { *label })));
        self.recycle(index);
        len
    }

    /// A batch without items is free again; its state stays closed until it is opened.
    fn recycle(&self, index: usize) {
        let batch = &self.batches[index];
        // Relaxed, both: nobody adds to `pending` before the next opening. Swaps, for stale tickets add to the state meanwhile.
        batch.words.0.pending.swap(0, Ordering::Relaxed);
        let generation = State::of(batch.words.0.state.load(Ordering::Relaxed)).generation();
        // Release: our reads of the slots, for a stale ticket that meets the next incarnation.
        batch.words.0.state.swap(State::closed(generation).word(), ordering!("batch_recycle", Release));
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
        while self.take(&mut items, &mut labels) > 0 {}
    }
}
