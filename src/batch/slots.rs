//! The slots of one batch: who reserved some writes items to them and stamps them, who takes the batch looks for the stamps and moves the
//! items out. Who may do what, and when, is in `README.md` and `former.rs`. Proof: `loom-tests/tests/batch.rs`, whose cells watch every
//! access.

use std::iter::repeat_n;
use std::mem::{forget, MaybeUninit};
use std::ptr;
use std::vec::Drain;

use super::word::{Stamp, NO_LABEL};
use crate::sync::{ordering, AtomicU64, Ordering, UnsafeCell};

/// Room for one item. Its stamp is beside it, so that producers that take turns fight for one line and not for two.
pub(super) struct Slot<T> {
    /// The incarnation of the batch in which a run of slots, from this one on, was last written, and their label: [`Stamp`]. Slots in the
    /// middle of a run have old ones, at which nobody looks.
    stamp: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self { stamp: AtomicU64::new(Stamp::NEVER), item: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Before the batch is opened: no old stamp is taken for a new one.
    pub(super) fn clear_stamp(&self) {
        // Relaxed: published with the batch.
        self.stamp.store(Stamp::NEVER, Ordering::Relaxed);
    }
}

/// Slots that this thread has reserved, one to [`BULK`](super::word::BULK), and has to write.
pub(super) struct Slots<'a, T>(&'a [Slot<T>]);

impl<'a, T> Slots<'a, T> {
    /// # Safety
    /// The caller alone has reserved them, and all that others did with them happened before.
    pub(super) unsafe fn new(slots: &'a [Slot<T>]) -> Self {
        Self(slots)
    }

    /// Writes what `items` gives, one to each.
    #[inline]
    pub(super) fn fill(self, items: &mut impl Iterator<Item = T>) {
        for slot in self.0 {
            let Some(item) = items.next() else { unreachable!("as many items as slots were asked for") };
            // SAFETY: the slot is ours, as `new` demands.
            slot.item.with_mut(|place| unsafe { (*place).write(item) });
        }
    }

    /// Moves as many from the front of `items`.
    pub(super) fn move_from(self, items: &mut Drain<'_, T>) {
        let count = self.0.len();
        for (slot, item) in self.0.iter().zip(&items.as_slice()[..count]) {
            // SAFETY: the slot is ours, as `new` demands; the item is forgotten below, before anybody looks at this copy.
            slot.item.with_mut(|place| unsafe { ptr::copy_nonoverlapping(item, place.cast(), 1) });
        }
        items.take(count).for_each(forget);
    }
}

/// Says that all of `slots` were written, one run of them.
#[inline]
pub(super) fn stamp<T>(slots: &[Slot<T>], generation: u32, label: u32) {
    let stamp = Stamp::new(generation, label, slots.len());
    // Release: the items, for the taker.
    slots[0].stamp.store(stamp.word(), ordering!("batch_stamp", Release));
}

/// Says that `slots` are leased to the thread with that number.
pub(super) fn lease<T>(slots: &[Slot<T>], generation: u32, number: usize) {
    // Relaxed: published by the stamp of the slot before them.
    slots.iter().for_each(|slot| {
        slot.stamp.store(Stamp::leased(generation, number).word(), Ordering::Relaxed);
    });
}

/// What was seen of the stamps of a batch that takes no more.
#[derive(Default)]
pub(super) struct Seen {
    /// The slots before this one were written.
    written: usize,
    /// One of them has a label, as far as is known.
    has_labels: bool,
    /// One of them may be a hole: leased, not written, and never to be. If not, it has been written since, with a label or without.
    may_have_holes: bool,
}

impl Seen {
    /// Whether all `slots` were written in that incarnation; looks at those of which it is not known.
    pub(super) fn all<T>(&mut self, slots: &[Slot<T>], generation: u32) -> bool {
        // Acquire: the items. Who claims the batch by this hands that on.
        let stamp = |slot: &Slot<T>| Stamp::of(slot.stamp.load(Ordering::Acquire));
        let usual = Stamp::new(generation, NO_LABEL, 1);
        loop {
            // Who finishes a batch that another one has taken meanwhile may find it shorter than a run that it has seen.
            let rest = slots.get(self.written..).unwrap_or_default();
            // Looked for by itself, for then no stamp has to be there before the next one can be read.
            self.written += rest.iter().take_while(|slot| stamp(slot) == usual).count();
            let Some(first) = slots.get(self.written) else { return true };
            let stamp = stamp(first);
            if stamp.generation() != generation || stamp.lessee().is_some() {
                return false;
            }
            self.has_labels |= stamp.label() != NO_LABEL;
            self.written += stamp.run();
        }
    }

    /// The same where leases of that incarnation are honoured no more; `writes` says whether the thread with a number may be writing to a slot.
    pub(super) fn all_but_holes<T>(
        &mut self,
        slots: &[Slot<T>],
        generation: u32,
        writes: impl Fn(usize, usize) -> bool,
    ) -> bool {
        while !self.all(slots, generation) {
            let stamp = Stamp::of(slots[self.written].stamp.load(Ordering::Acquire));
            match stamp.lessee() {
                _ if stamp.generation() != generation => return false,
                Some(number) if writes(number, self.written) => return false,
                Some(_) => {
                    // Its thread is not at it: it has been there, or it will not come. Which of the two, `move_to` sees.
                    self.may_have_holes = true;
                    self.written += 1;
                }
                // Just now.
                None => {}
            }
        }
        true
    }

    /// Moves all items to the end of `items`, and their labels to the end of `labels` unless all are [`NO_LABEL`]; how many items.
    ///
    /// # Safety
    /// [`all`](Self::all) of these were written, and the caller is the only one who has their batch; it does this once.
    pub(super) unsafe fn move_to<T>(
        self,
        slots: &[Slot<T>],
        items: &mut Vec<T>,
        labels: &mut Vec<u32>,
    ) -> usize {
        // SAFETY: it was written, it is ours, and it is read once, all of which the caller vouches for.
        let read = |slot: &Slot<T>| slot.item.with(|item| unsafe { (*item).assume_init_read() });
        if !self.may_have_holes {
            items.extend(slots.iter().map(read));
            if !self.has_labels {
                return slots.len();
            }
        }
        let (first_item, first_label) = (items.len(), labels.len());
        let mut at = 0;
        while at < slots.len() {
            // Relaxed: it was looked at, or who was to write it.
            let stamp = Stamp::of(slots[at].stamp.load(Ordering::Relaxed));
            let run = at..at + stamp.run();
            at = run.end;
            if stamp.lessee().is_none() {
                labels.extend(repeat_n(stamp.label(), run.len()));
                if self.may_have_holes {
                    items.extend(slots[run].iter().map(read));
                }
            }
        }
        if !self.may_have_holes {
            return slots.len();
        }
        if labels[first_label..].iter().all(|&label| label == NO_LABEL) {
            labels.truncate(first_label);
        }
        items.len() - first_item
    }
}
