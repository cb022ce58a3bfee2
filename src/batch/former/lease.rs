//! Leases: slots that a thread has reserved with one ticket and writes one by one later, without a locked instruction. The protocol is in
//! `README.md`. Proof: `loom-tests/tests/lease.rs`.

use std::marker::PhantomData;

use super::super::slots::{stamp, Slots};
use super::super::thread_id::{number, THREADS};
use super::super::word::Stamp;
use super::{Added, Former, Wanted};
use crate::sync::{left_out, ordering, AtomicU64, Line, OnceLock, Ordering, UnsafeCell};

/// The most slots of a lease.
const MOST: u32 = if cfg!(upbeat_loom) { 2 } else { 16 };
/// Additions by single tickets after a lease was taken away, at first and at most.
const PATIENCE: (u32, u32) = if cfg!(upbeat_loom) { (0, 0) } else { (16, 4096) };

/// A former makes its lines when one of its batches has as many items before another one: 8 KiB, which those whose batches are always small do
/// without.
pub(super) const GATHERED: usize = 16;

/// No slot.
const NOTHING: u64 = u64::MAX;

/// A slot of an incarnation: `generation:32 | index:16 | slot:12`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    pub(super) fn new(generation: u32, index: usize, slot: usize) -> Self {
        Self(u64::from(generation) << 28 | (index as u64) << 12 | slot as u64)
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 28) as u32
    }

    pub(super) fn index(self) -> usize {
        (self.0 >> 12) as usize & 0xffff
    }

    pub(super) fn slot(self) -> usize {
        self.0 as usize & 0xfff
    }
}

/// Of a lease: `count` slots from `from` on.
#[derive(Clone, Copy)]
pub(super) struct Leased {
    pub(super) from: Place,
    pub(super) count: usize,
}

/// The lines of a former, one for each thread number.
pub(super) struct Leases(OnceLock<Box<[Line<Lease>]>>);

/// One thread's line.
struct Lease {
    /// The slot that it writes or has written.
    intent: AtomicU64,
    /// The thread's own.
    terms: UnsafeCell<Terms>,
}

/// What a thread knows of its lease in a former.
struct Terms {
    lease: Leased,
    /// How many slots the last one had, with the one that was written at once.
    size: u32,
    /// Additions until there is a next one.
    wait: u32,
    /// Those after the last one was lost.
    patience: u32,
}

impl Lease {
    fn new() -> Self {
        let terms =
            Terms { lease: Leased { from: Place(0), count: 0 }, size: 0, wait: PATIENCE.0, patience: 0 };
        Self { intent: AtomicU64::new(NOTHING), terms: UnsafeCell::new(terms) }
    }
}

/// The calling thread's own line: nobody else has its number, and this value does not leave it.
pub(super) struct Own<'a> {
    pub(super) number: usize,
    line: &'a Lease,
    stays: PhantomData<*const ()>,
}

impl Own<'_> {
    fn terms<R>(&self, f: impl FnOnce(&mut Terms) -> R) -> R {
        // SAFETY: the line is this thread's, and what is called in here (all of it is in this file) comes here no second time.
        self.line.terms.with_mut(|terms| f(unsafe { &mut *terms }))
    }

    /// The slot that is to be written next, if any is leased.
    #[inline]
    pub(super) fn next(&self) -> Option<Place> {
        self.terms(|terms| (terms.lease.count > 0).then_some(terms.lease.from))
    }

    /// That slot is used.
    #[inline]
    pub(super) fn advance(&self) {
        self.terms(|terms| {
            // No lease has the last slot of a batch, so the slot does not run over.
            terms.lease.from.0 += 1;
            terms.lease.count -= 1;
        });
    }

    /// How many slots to lease beside the one that is wanted, now that none are left.
    #[inline]
    pub(super) fn spare(&self) -> usize {
        self.terms(|terms| {
            if terms.wait > 0 {
                terms.wait -= 1;
                return 0;
            }
            terms.size = (2 * terms.size).clamp(2, MOST);
            terms.size as usize - 1
        })
    }

    pub(super) fn begin(&self, lease: Leased) {
        self.terms(|terms| terms.lease = lease);
    }

    /// The lease is honoured no more.
    pub(super) fn lose(&self) {
        self.terms(|terms| {
            terms.lease.count = 0;
            terms.size = 0;
            terms.patience = (2 * terms.patience).clamp(PATIENCE.0, PATIENCE.1);
            terms.wait = terms.patience;
        });
    }

    /// Says that a slot is about to be written.
    #[inline]
    pub(super) fn announce(&self, place: Place) {
        // Release: the stamp of the slot before, for who sees that we are there no more. (The models cannot miss it: their light fence
        // stands between the two.)
        self.line.intent.store(place.0, Ordering::Release);
    }

    /// It will not be.
    pub(super) fn retract(&self) {
        if !left_out!("lease_retract") {
            self.line.intent.store(NOTHING, Ordering::Release);
        }
    }
}

impl Leases {
    pub(super) fn new() -> Self {
        let leases = Self(OnceLock::new());
        if cfg!(upbeat_loom) {
            leases.make();
        }
        leases
    }

    /// The calling thread's line, if it has a number and there are lines.
    #[inline]
    pub(super) fn own(&self) -> Option<Own<'_>> {
        let lines = self.0.get()?;
        let number = number();
        lines.get(number).map(|line| Own { number, line: &line.0, stays: PhantomData })
    }

    /// From now on threads may have leases.
    #[cold]
    pub(super) fn make(&self) {
        let _lines = self.0.get_or_init(|| (0..THREADS).map(|_| Line(Lease::new())).collect());
    }

    /// Whether thread `number` may be writing to a slot, after a fence for all threads.
    pub(super) fn names(&self, number: usize, place: Place) -> bool {
        // Acquire: the stamp, if it has been there.
        let intent = |line: &Lease| line.intent.load(ordering!("lease_names", Acquire));
        self.0.get().is_some_and(|lines| intent(&lines[number].0) == place.0)
    }
}

impl<T> Former<T> {
    /// Adds an item to the calling thread's lease, if it has one that is honoured; else it gets a new one, perhaps.
    #[inline]
    pub(super) fn add_leased(&self, own: &Own<'_>, item: T, label: u32) -> Result<Added, T> {
        let Some(place) = own.next() else { return self.add_and_lease(own, item, label) };
        let (generation, index, at) = (place.generation(), place.index(), place.slot());
        let batch = &self.batches[index];
        own.announce(place);
        // Pairs with the one in `put_aside`: either we see that the lease is honoured no more, or who takes the batch sees that we write.
        if !left_out!("lease_light") {
            self.fence.light();
        }
        // Relaxed: the fence. Another incarnation's number is a refusal, too.
        let honoured = batch.honoured.load(Ordering::Relaxed);
        if honoured != generation && !(left_out!("lease_generation") && honoured != Stamp::NO_GENERATION) {
            own.lose();
            return self.add_refused(own, place, item, label);
        }
        own.advance();
        let slots = &batch.slots[at..=at];
        // SAFETY: it was reserved with a ticket of ours, and who takes the batch waits until it is stamped.
        unsafe { Slots::new(slots) }.fill(&mut Some(item).into_iter());
        stamp(slots, generation, label);
        Ok(Added { is_first: false, made_ready: self.look_aside(index, generation) })
    }

    /// Adds an item with a ticket, which may be for a lease, too.
    #[inline(never)]
    fn add_and_lease(&self, own: &Own<'_>, item: T, label: u32) -> Result<Added, T> {
        let wanted = Wanted { number: own.number, spare: own.spare() };
        let (added, lease) = self.add_reserved(item, label, Some(wanted))?;
        if let Some(lease) = lease {
            own.begin(lease);
        }
        Ok(added)
    }

    /// Adds an item for which a slot was announced that is leased no more.
    #[cold]
    fn add_refused(&self, own: &Own<'_>, place: Place, item: T, label: u32) -> Result<Added, T> {
        own.retract();
        // The batch may have been put aside for what we had announced.
        let made_ready = self.look_aside(place.index(), place.generation());
        let (added, _) = self.add_reserved(item, label, None)?;
        Ok(Added { made_ready: added.made_ready || made_ready, ..added })
    }
}
