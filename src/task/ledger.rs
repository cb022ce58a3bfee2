//! What a scope or a broadcast still waits for: its owner's own tasks by plain stores, everybody else's in one word.
//!
//! While the ledger is *open*, the owner's thread counts in `own` what it has spawned, and remembers by itself what it has run; all
//! others add to the word what they spawn, and take off it what they have run, many tasks at once. Nobody but the owner can tell whether
//! anything is left, so the word is kept far from 0. When the owner has nothing to run any more it settles: either the word shows
//! that all is done, and nothing was ever added to it where nobody helped, or it *closes* the ledger: its own share goes to the word, and
//! from then on whoever brings that to 0 is the last one. Model: `loom-tests/tests/scope.rs`.

use crate::sync::{ordering, statistic, AtomicUsize, Ordering};

/// What an open ledger's word has on top; more than there can be tasks.
const OPEN: usize = 1 << (usize::BITS - 2);
/// In `own`: closed.
const CLOSED: usize = usize::MAX;

/// The tasks of a scope that have not ended.
#[derive(Debug)]
pub struct Ledger {
    /// How many the owner's thread has spawned. Only that thread touches it.
    own: statistic::AtomicUsize,
    /// `OPEN` while it is open, and what others have spawned, less what they have run. When closed, how many are left.
    word: AtomicUsize,
}

impl Ledger {
    /// Nothing to wait for.
    pub fn new() -> Self {
        Self { own: statistic::AtomicUsize::new(0), word: AtomicUsize::new(OPEN) }
    }

    /// One more; called by the owner's thread, or by somebody who is counted and says `is_owner` false.
    pub fn add(&self, is_owner: bool) {
        let own = if is_owner { self.own.load(Ordering::Relaxed) } else { CLOSED };
        if own == CLOSED {
            // Relaxed: who adds runs a task that is not counted off yet, so nobody takes this one's end for the last.
            self.word.fetch_add(1, Ordering::Relaxed);
        } else {
            self.own.store(own + 1, Ordering::Relaxed);
        }
    }

    /// `ran` less; true for the last one, after the ledger was closed, to whom the others' writes are visible.
    pub fn finish(&self, ran: usize) -> bool {
        self.word.fetch_sub(ran, ordering!("ledger_finish", AcqRel)) == ran
    }

    /// Whether nothing is left, `ran` of which the owner has run and not counted off. If so, the others' writes are visible. Asked by the
    /// owner while it is open and runs none.
    pub fn is_settled(&self, ran: usize) -> bool {
        let own = self.own.load(Ordering::Relaxed).wrapping_sub(ran);
        self.word.load(ordering!("ledger_settled", Acquire)).wrapping_add(own) == OPEN
    }

    /// Closes it; true when nothing is left, and then the others' writes are visible. Else somebody will be told so by
    /// [`finish`](Self::finish).
    pub fn close(&self, ran: usize) -> bool {
        let more = self.own.load(Ordering::Relaxed).wrapping_sub(ran).wrapping_sub(OPEN);
        self.own.store(CLOSED, Ordering::Relaxed);
        self.word.fetch_add(more, ordering!("ledger_close", Acquire)).wrapping_add(more) == 0
    }

    /// Whether the owner ran all tasks and spawned them, so far.
    pub fn is_owners_alone(&self, ran: usize) -> bool {
        self.own.load(Ordering::Relaxed) == ran
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}
