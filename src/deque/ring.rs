//! The split ring: a fixed ring of pointers to join tasks, its older part public, its newer part private.
//!
//! The owner pushes and pops private tasks with plain stores; thieves take public ones by CAS and ask for more by
//! lowering `limit`. States, transitions and the bad interleavings are in `README.md`; the models are
//! `loom-tests/tests/ring.rs`. This file moves pointers and never follows one.

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::Arc;

use crate::sync::{full_fence, ordering, AtomicPtr, AtomicU64, Ordering, RING_SLOTS};

const MASK: u64 = RING_SLOTS as u64 - 1;
/// Private tasks at most. Together with the public ones they are fewer than the slots, so a ring is never full and a push need
/// not read `top`.
const PRIVATE_LIMIT: u64 = RING_SLOTS as u64 / 2;
/// Public tasks at most.
const PUBLIC_LIMIT: u64 = RING_SLOTS as u64 / 4;

/// What thieves store in `limit`: every index is at or above it, so the owner's one comparison finds both a full ring and a
/// thief that waits.
const ASKED: u64 = 0;

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
/// | `limit` | the owner: where the private part is full; thieves: [`ASKED`] | the owner, at each push |
pub struct Ring<T> {
    top: Line<AtomicU64>,
    split: Line<AtomicU64>,
    limit: Line<AtomicU64>,
    slots: [AtomicPtr<T>; RING_SLOTS],
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The task is in the ring at this index, which `pop` wants.
    At(u64),
    /// Nothing was pushed: a thief has asked, or the private part is full. `push_slowly` tells.
    Stopped,
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
            limit: Line(AtomicU64::new(PRIVATE_LIMIT)),
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
        if !self.is_asked() {
            self.limit.0.store(ASKED, Ordering::Relaxed);
        }
    }

    /// Whether somebody has asked and got no answer yet.
    #[inline(always)]
    pub fn is_asked(&self) -> bool {
        self.limit.0.load(Ordering::Relaxed) == ASKED
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

    /// Pushes `task`, unless there is a reason to stop and look.
    #[inline(always)]
    pub fn push(&self, task: *mut T) -> Pushed {
        let index = self.bottom.get();
        if index >= self.ring.limit.0.load(Ordering::Relaxed) {
            return Pushed::Stopped;
        }
        self.place(index, task)
    }

    #[inline(always)]
    fn place(&self, index: u64, task: *mut T) -> Pushed {
        self.ring.slots[(index & MASK) as usize].store(task, Ordering::Relaxed);
        self.bottom.set(index + 1);
        Pushed::At(index)
    }

    /// Pushes `task` and answers a thief that has asked: the oldest half of the private tasks, maybe this one, becomes
    /// public. The second result is their number.
    ///
    /// [`Pushed::Stopped`] when the private part is full all the same.
    #[cold]
    #[inline(never)]
    pub fn push_slowly(&self, task: *mut T) -> (Pushed, u64) {
        // A thief that asks from here on finds its request in place at the next push; one that asked before is answered now.
        self.ring.limit.0.store(self.split.get() + PRIVATE_LIMIT, Ordering::Relaxed);
        let index = self.bottom.get();
        let full = index - self.split.get() >= PRIVATE_LIMIT;
        let pushed = if full { Pushed::Stopped } else { self.place(index, task) };
        (pushed, self.expose())
    }

    /// Moves the owner's idea of `split`, and with it the limit; a request that waits stays.
    fn move_split(&self, split: u64) {
        self.split.set(split);
        if self.ring.limit.0.swap(split + PRIVATE_LIMIT, Ordering::Relaxed) == ASKED {
            self.ring.limit.0.store(ASKED, Ordering::Relaxed);
        }
    }

    /// Takes back the newest task, the one whose push gave `index`. `reclaimed` is called when the task was public and
    /// yet came back: a thief that asked for it got nothing.
    ///
    /// On the common path `bottom` is only stored, never loaded, so that joins do not wait for each other's stores.
    #[inline(always)]
    pub fn pop(&self, index: u64, reclaimed: impl FnOnce()) -> Taken {
        if self.split.get() <= index {
            self.bottom.set(index);
            return Taken::Back;
        }
        let taken = self.pop_public();
        if taken == Taken::Back {
            reclaimed();
        }
        taken
    }

    /// The newest task is public, or was: Chase and Lev's pop, against the thieves. When the task to pop was stolen, so were all
    /// before it; then the ring is empty and `bottom` may be anywhere at or above the task's index.
    #[cold]
    #[inline(never)]
    fn pop_public(&self) -> Taken {
        let bottom = self.bottom.get() - 1;
        self.bottom.set(bottom);
        self.ring.split.0.store(bottom, Ordering::Relaxed);
        // Pairs with the thief's fence: it sees the lower `split`, or we see its `top`.
        full_fence!("ring_pop_fence");
        let top = self.ring.top.0.load(Ordering::Relaxed);
        if top < bottom {
            self.move_split(bottom);
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
        self.move_split(bottom + 1);
        self.bottom.set(bottom + 1);
        if won {
            Taken::Back
        } else {
            Taken::Stolen
        }
    }

    /// Makes the oldest half of the private tasks public, as far as the public part has room. Returns how many.
    fn expose(&self) -> u64 {
        let (split, bottom) = (self.split.get(), self.bottom.get());
        // `top` may have moved on since, so there may be more room than this, never less.
        let room = PUBLIC_LIMIT - self.public_len().min(PUBLIC_LIMIT);
        let count = (bottom - split).div_ceil(2).min(room);
        if count == 0 {
            return 0;
        }
        self.ring.split.0.store(split + count, ordering!("ring_expose", Release));
        self.move_split(split + count);
        count
    }
}
