//! The split ring: a fixed ring of pointers to join tasks, its older part public, its newer part private.
//!
//! The owner pushes and pops private tasks with plain stores; thieves take public ones by CAS and ask for more by
//! raising `signal`. States, transitions and the bad interleavings are in `README.md`; the models are
//! `loom-tests/tests/ring.rs`. This file moves pointers and never follows one.

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::Arc;

use crate::sync::{full_fence, ordering, AtomicPtr, AtomicU32, AtomicU64, Ordering, RING_SLOTS};

const MASK: u64 = RING_SLOTS as u64 - 1;
/// Private tasks at most. Together with the public ones they are fewer than the slots, so a ring is never full and a push need
/// not read `top`.
const PRIVATE_LIMIT: u64 = RING_SLOTS as u64 / 2;
/// Public tasks at most.
const PUBLIC_LIMIT: u64 = RING_SLOTS as u64 / 4;

/// Keeps what different threads write on different cache lines (128: the neighbour is prefetched too).
#[repr(align(128))]
struct Line<T>(T);

/// The shared half of a ring.
///
/// | field | written by | read by |
/// |---|---|---|
/// | `top` | thieves and the owner, by CAS, only upwards | all |
/// | `split` | the owner | thieves |
/// | `slots[i]` | the owner, for `i` outside `[top, bottom)` | thieves, for `i` in `[top, split)` |
/// | `signal` | thieves raise, the owner clears | the owner, at each push |
pub struct Ring<T> {
    top: Line<AtomicU64>,
    split: Line<AtomicU64>,
    signal: Line<AtomicU32>,
    slots: [AtomicPtr<T>; RING_SLOTS],
}

/// What became of the task that [`OwnerEnd::pop`] was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the owner's again; nobody else will touch it.
    Back,
    /// A thief has it.
    Stolen,
}

impl<T> Ring<T> {
    /// An empty ring.
    pub fn new() -> Self {
        Self {
            top: Line(AtomicU64::new(0)),
            split: Line(AtomicU64::new(0)),
            signal: Line(AtomicU32::new(0)),
            slots: std::array::from_fn(|_| AtomicPtr::new(null_mut())),
        }
    }

    /// Takes the oldest public task if there is one and `allowed` holds while it is still in the ring.
    ///
    /// Null when nothing was public, when `allowed` said no, or when another thread was faster.
    pub fn steal_if(&self, allowed: impl FnOnce() -> bool) -> *mut T {
        let top = self.top.0.load(ordering!("ring_steal_top", Acquire));
        // Pairs with the owner's fence in `pop_public`: one of the two sees the other's move.
        full_fence!("ring_steal_fence");
        if top >= self.split.0.load(ordering!("ring_steal_split", Acquire)) {
            return null_mut();
        }
        let task = self.slots[(top & MASK) as usize].load(Ordering::Relaxed);
        // From here to the CAS slot `top` cannot change: the owner reuses it only after `top` has moved.
        if !allowed() {
            return null_mut();
        }
        match self.top.0.compare_exchange(top, top + 1, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => task,
            Err(_) => null_mut(),
        }
    }

    /// Takes the oldest public task, if any.
    pub fn steal(&self) -> *mut T {
        self.steal_if(|| true)
    }

    /// Whether a thief would find something now.
    pub fn has_public(&self) -> bool {
        self.top.0.load(Ordering::Relaxed) < self.split.0.load(Ordering::Relaxed)
    }

    /// Asks the owner to make its oldest tasks public at its next push.
    pub fn ask(&self) {
        if self.signal.0.load(Ordering::Relaxed) == 0 {
            self.signal.0.store(1, Ordering::Relaxed);
        }
    }

    /// Whether somebody has asked and got no answer yet.
    #[inline(always)]
    pub fn is_asked(&self) -> bool {
        self.signal.0.load(Ordering::Relaxed) != 0
    }
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The owner's half: indices that no other thread reads.
pub struct OwnerEnd<T> {
    bottom: Cell<u64>,
    /// What `ring.split` holds; only the owner writes that, so its copy is exact.
    split: Cell<u64>,
    ring: Arc<Ring<T>>,
}

impl<T> OwnerEnd<T> {
    /// The owner's end of `ring`, which must be fresh: a ring has one owner.
    pub fn new(ring: Arc<Ring<T>>) -> Self {
        Self { bottom: Cell::new(0), split: Cell::new(0), ring }
    }

    /// The shared half.
    #[inline(always)]
    pub fn ring(&self) -> &Ring<T> {
        &self.ring
    }

    /// How many tasks are public now; thieves may make it fewer at any time.
    pub fn public_len(&self) -> u64 {
        self.split.get().saturating_sub(self.ring.top.0.load(Ordering::Relaxed))
    }

    /// How many tasks are in the ring now, public or private.
    pub fn depth(&self) -> u64 {
        self.bottom.get().saturating_sub(self.ring.top.0.load(Ordering::Relaxed))
    }

    /// Pushes `task`; false, and nothing pushed, when the private part is full.
    #[inline(always)]
    pub fn push(&self, task: *mut T) -> bool {
        let bottom = self.bottom.get();
        if bottom - self.split.get() >= PRIVATE_LIMIT {
            return false;
        }
        self.ring.slots[(bottom & MASK) as usize].store(task, Ordering::Relaxed);
        self.bottom.set(bottom + 1);
        true
    }

    /// Takes back the newest task, the one whose push this pop ends. `reclaimed` is called when the task was public and
    /// yet came back: a thief that asked for it got nothing.
    #[inline(always)]
    pub fn pop(&self, reclaimed: impl FnOnce()) -> Taken {
        let bottom = self.bottom.get() - 1;
        self.bottom.set(bottom);
        if self.split.get() <= bottom {
            return Taken::Back;
        }
        let taken = self.pop_public(bottom);
        if taken == Taken::Back {
            reclaimed();
        }
        taken
    }

    /// The newest task is public: Chase and Lev's pop, against the thieves.
    #[cold]
    #[inline(never)]
    fn pop_public(&self, bottom: u64) -> Taken {
        self.ring.split.0.store(bottom, Ordering::Relaxed);
        // Pairs with the thief's fence: it sees the lower `split`, or we see its `top`.
        full_fence!("ring_pop_fence");
        let top = self.ring.top.0.load(Ordering::Relaxed);
        if top < bottom {
            self.split.set(bottom);
            return Taken::Back;
        }
        let won = top == bottom
            && self
                .ring
                .top
                .0
                .compare_exchange(bottom, bottom + 1, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok();
        // Either way index `bottom` is used up: the ring is empty above it.
        self.ring.split.0.store(bottom + 1, Ordering::Relaxed);
        self.split.set(bottom + 1);
        self.bottom.set(bottom + 1);
        if won {
            Taken::Back
        } else {
            Taken::Stolen
        }
    }

    /// Answers thieves: the oldest half of the private tasks becomes public, as far as the public part has room.
    ///
    /// Returns how many did.
    pub fn expose(&self) -> u64 {
        self.ring.signal.0.store(0, Ordering::Relaxed);
        let (split, bottom) = (self.split.get(), self.bottom.get());
        // `top` may have moved on since, so there may be more room than this, never less.
        let room = PUBLIC_LIMIT - self.public_len().min(PUBLIC_LIMIT);
        let count = (bottom - split).div_ceil(2).min(room);
        if count == 0 {
            return 0;
        }
        self.split.set(split + count);
        self.ring.split.0.store(split + count, ordering!("ring_expose", Release));
        count
    }
}
