//! The public ring: join tasks that thieves may take, oldest first.
//!
//! A fixed ring of pointers after Chase and Lev (2005; orderings after Lê et al., 2013). The owner adds tasks when a thief has
//! asked, and takes the newest back; thieves take the oldest by CAS. States, transitions and the bad interleavings are in
//! `README.md`; the models are `loom-tests/tests/ring.rs`. This file moves pointers and never follows one.

use std::cell::Cell;
use std::ptr::{self, null_mut};
use std::sync::Arc;

use crate::sync::{full_fence, ordering, AtomicBool, AtomicPtr, AtomicU64, Line, Ordering, RING_SLOTS};

const MASK: u64 = RING_SLOTS as u64 - 1;

/// What becomes of a thief's request; chosen when the ring is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// It stands until the owner's next fork answers it.
    Answered,
    /// It is not heard: nothing is ever asked of the owner.
    Ignored,
    /// One always stands: each fork answers.
    Standing,
}

/// What a fork looks at: whether to answer, and the way to the owner.
#[repr(C)] // `asked` first: the one word that a fork reads is at the front's own address
pub struct Front {
    asked: Line<AtomicBool>,
    /// An address of the owner's choosing, so that a pointer to the front leads to it.
    owner: AtomicPtr<()>,
}

impl Front {
    /// A front without a ring behind it, where a request always stands.
    pub fn standing() -> Self {
        Self::new(true)
    }

    fn new(asked: bool) -> Self {
        Self { asked: Line(AtomicBool::new(asked)), owner: AtomicPtr::new(null_mut()) }
    }

    /// Notes who owns it; for the owner.
    pub fn set_owner(&self, owner: *mut ()) {
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// What [`set_owner`](Self::set_owner) noted; null before that.
    #[inline(always)]
    pub fn owner(&self) -> *mut () {
        self.owner.load(Ordering::Relaxed)
    }

    /// Whether somebody has asked and got no answer yet.
    #[inline(always)]
    pub fn is_asked(&self) -> bool {
        self.asked.0.load(Ordering::Relaxed)
    }
}

/// The shared half of a ring.
///
/// | field | written by | read by |
/// |---|---|---|
/// | `front.asked` | thieves raise, the owner clears | the owner, at each fork |
/// | `front.owner` | the owner, once | the owner |
/// | `requests` | nobody | all |
/// | `top` | thieves and the owner, by CAS, only upwards | all |
/// | `bottom` | the owner | thieves |
/// | `slots[i]` | the owner, for `i` outside `[top, bottom)` | thieves, for `i` in `[top, bottom)` |
pub struct Ring<T> {
    front: Front,
    requests: Requests,
    top: Line<AtomicU64>,
    bottom: Line<AtomicU64>,
    slots: [AtomicPtr<T>; RING_SLOTS],
}

/// What became of the task that [`OwnerEnd::pop`] was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the owner's again; nobody else will touch it.
    Back,
    /// A thief has it.
    Stolen,
    /// The owner asked for a task that is not the newest; the ring can no longer be used.
    Misplaced,
}

impl<T> Ring<T> {
    /// An empty ring whose owner answers requests.
    pub fn new() -> Self {
        Self::with_requests(Requests::Answered)
    }

    /// An empty ring.
    pub fn with_requests(requests: Requests) -> Self {
        Self {
            front: Front::new(requests == Requests::Standing),
            requests,
            top: Line(AtomicU64::new(0)),
            bottom: Line(AtomicU64::new(0)),
            slots: std::array::from_fn(|_| AtomicPtr::new(null_mut())),
        }
    }

    /// The addresses of what different threads write.
    #[cfg(all(test, not(upbeat_loom)))]
    pub(crate) fn words(&self) -> [usize; 4] {
        let slots = (&raw const self.slots).addr();
        [
            (&raw const self.front.asked).addr(),
            (&raw const self.top).addr(),
            (&raw const self.bottom).addr(),
            slots,
        ]
    }

    /// What forks look at.
    #[inline(always)]
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Takes the oldest task if there is one and `allowed` holds while it is still in the ring.
    ///
    /// Null when there was none, when `allowed` said no, or when another thread was faster.
    pub fn steal_if(&self, allowed: impl FnOnce() -> bool) -> *mut T {
        let top = self.top.0.load(Ordering::Relaxed);
        // Pairs with the owner's fence in `pop`: one of the two sees the other's move. It acquires as well, so the load
        // above need not.
        full_fence!("ring_steal_fence");
        if top >= self.bottom.0.load(ordering!("ring_steal_bottom", Acquire)) {
            return null_mut();
        }
        let task = self.slots[(top & MASK) as usize].load(Ordering::Relaxed);
        // From here to the CAS slot `top` cannot change: the owner reuses it only after `top` has moved.
        if !allowed() {
            return null_mut();
        }
        // Release: the slot was read before; pairs with the acquire in `len`, without which the owner could reuse the slot first.
        match self.top.0.compare_exchange(top, top + 1, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => task,
            Err(_) => null_mut(),
        }
    }

    /// Takes the oldest task, if any.
    pub fn steal(&self) -> *mut T {
        self.steal_if(|| true)
    }

    /// The index of the task that a thief would find now: another one means another task.
    pub fn oldest(&self) -> Option<u64> {
        let top = self.top.0.load(Ordering::Relaxed);
        (top < self.bottom.0.load(Ordering::Relaxed)).then_some(top)
    }

    /// Asks the owner to make its oldest tasks public at its next fork.
    pub fn ask(&self) {
        if !self.is_asked() && self.requests != Requests::Ignored {
            self.front.asked.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody has asked and got no answer yet.
    #[inline(always)]
    pub fn is_asked(&self) -> bool {
        self.front.is_asked()
    }

    /// The owner begins to answer: who asks from here on finds its request in place at the next fork.
    pub fn begin_answer(&self) {
        if self.requests != Requests::Standing {
            self.front.asked.0.store(false, Ordering::Relaxed);
        }
    }
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The owner's half.
pub struct OwnerEnd<T> {
    /// What `ring.bottom` holds; only the owner writes that, so its copy is exact.
    bottom: Cell<u64>,
    ring: Arc<Ring<T>>,
}

impl<T> OwnerEnd<T> {
    /// The owner's end of `ring`, which must be fresh: a ring has one owner.
    pub fn new(ring: Arc<Ring<T>>) -> Self {
        Self { bottom: Cell::new(0), ring }
    }

    /// The shared half.
    #[inline(always)]
    pub fn ring(&self) -> &Ring<T> {
        &self.ring
    }

    /// How many tasks are in the ring now; thieves may make it fewer at any time.
    ///
    /// Acquire: thieves have read the slots of what they took, so `offer` may reuse as many as `room` says.
    pub fn len(&self) -> usize {
        self.bottom.get().saturating_sub(self.ring.top.0.load(Ordering::Acquire)) as usize
    }

    /// Whether no task is in the ring.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tasks may be added now.
    pub fn room(&self) -> usize {
        RING_SLOTS - self.len()
    }

    /// Makes `tasks` public, the oldest first. All are younger than those in the ring.
    ///
    /// # Panics
    /// When there are more than [`room`](Self::room).
    pub fn offer(&self, tasks: impl ExactSizeIterator<Item = *mut T>) {
        assert!(tasks.len() <= self.room(), "the ring has no room for {} tasks", tasks.len());
        let mut bottom = self.bottom.get();
        for task in tasks {
            self.ring.slots[(bottom & MASK) as usize].store(task, Ordering::Relaxed);
            bottom += 1;
        }
        self.bottom.set(bottom);
        // Publishes the slots and all that was written to the tasks.
        self.ring.bottom.0.store(bottom, ordering!("ring_offer", Release));
    }

    /// Takes the newest task back. Called for a task that was offered and whose younger ones are all gone; when that task was
    /// stolen, so were all older ones, and the ring is empty.
    ///
    /// [`Taken::Misplaced`] when another task than `expected` is the newest one: forks and joins were not nested.
    #[cold]
    #[inline(never)]
    pub fn pop(&self, expected: *const T) -> Taken {
        let bottom = self.bottom.get() - 1;
        // Only the owner writes slots, so this is exact.
        let misplaced = !ptr::eq(self.ring.slots[(bottom & MASK) as usize].load(Ordering::Relaxed), expected);
        // The last task is taken as a thief takes it: cheaper than a fence, and index `bottom` is used up, as below.
        if self.ring.top.0.load(Ordering::Relaxed) == bottom && !misplaced {
            return self.take_last(bottom);
        }
        // Release: a thief may meet `bottom` for the first time here, and this store must show what `offer` showed.
        self.ring.bottom.0.store(bottom, ordering!("ring_pop_lower", Release));
        // Pairs with the thief's fence: it sees the lower `bottom`, or we see its `top`.
        full_fence!("ring_pop_fence");
        let top = self.ring.top.0.load(Ordering::Relaxed);
        if top <= bottom && misplaced {
            return Taken::Misplaced;
        }
        if top < bottom {
            self.bottom.set(bottom);
            return Taken::Back;
        }
        let taken = if top == bottom { self.take_last(bottom) } else { Taken::Stolen };
        // Either way index `bottom` is used up, and the ring is empty.
        self.ring.bottom.0.store(bottom + 1, Ordering::Relaxed);
        taken
    }

    /// Takes the last task, at index `last`, as a thief takes it.
    fn take_last(&self, last: u64) -> Taken {
        // Relaxed: one word decides who wins, and nothing of ours goes with it.
        match self.ring.top.0.compare_exchange(last, last + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Taken::Back,
            Err(_) => Taken::Stolen,
        }
    }
}
