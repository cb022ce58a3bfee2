//! The words of the batch former's protocol, taken apart and put together. Pure; what they mean is in `README.md`.

use super::thread_id::THREADS;

/// Items that one reservation takes at most: so many that its cost is spread, so few that the count never runs over.
pub(super) const BULK: usize = 64;
/// The label of an item that nobody waits for, and the greatest there is: 26 bits of a stamp.
pub(crate) const NO_LABEL: u32 = (1 << 26) - 1;
/// The labels from here on, but for the last, say which thread has leased a slot that is not written.
pub(super) const LEASED: u32 = NO_LABEL - THREADS as u32;
/// The most items of a batch: 12 bits of the state.
pub(crate) const MAX_CAP: usize = 1 << 12;
/// The most batches of a former: 16 bits of the current word.
pub(crate) const MAX_BATCHES: usize = 1 << 16;

/// Bits of the count. Each thread that looked at a state before it was full may add [`BULK`] to it afterwards, once, so it does not run
/// over with fewer than (2^19 - 2^12) / 64 = 8128 threads that are all stopped between their look and their ticket.
const COUNT_BITS: u32 = 19;

/// `generation:32 | index:16`: which batch takes items. The generation tells an old word from a new one of the same batch; it returns
/// after 2³² - 1 incarnations of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current(u64);

impl Current {
    pub(super) fn new(generation: u32, index: usize) -> Self {
        let generation = if crate::sync::left_out!("batch_generation") { 0 } else { generation };
        Self(u64::from(generation) << 16 | index as u64)
    }

    pub(super) fn of(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// `generation:32 | cap - 1:12 | SEAL:1 | count:19`: one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u64);

impl State {
    /// Takes no more tickets.
    pub(super) const SEAL: u64 = 1 << COUNT_BITS;

    /// A batch that takes `cap` items.
    pub(super) fn open(generation: u32, cap: usize) -> Self {
        Self(u64::from(generation) << 32 | (cap as u64 - 1) << (COUNT_BITS + 1))
    }

    /// One that takes none.
    pub(super) fn closed(generation: u32) -> Self {
        Self(u64::from(generation) << 32 | Self::SEAL)
    }

    pub(super) fn of(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn cap(self) -> usize {
        (self.0 >> (COUNT_BITS + 1)) as usize % MAX_CAP + 1
    }

    /// Tickets so far, those that came too late among them.
    pub(super) fn count(self) -> usize {
        (self.0 & (Self::SEAL - 1)) as usize
    }

    /// Whether it takes no more: sealed, or every slot reserved.
    pub(super) fn is_full(self) -> bool {
        self.0 & Self::SEAL != 0 || self.count() >= self.cap()
    }
}

/// `run - 1:6 | label:26 | generation:32`: so many slots, of which this is the first, were written in that incarnation of their batch, by somebody
/// who gave them that label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// No batch has this incarnation.
    pub(super) const NO_GENERATION: u32 = u32::MAX;
    /// Of a slot that was never written.
    pub(super) const NEVER: u64 = Self::NO_GENERATION as u64;

    /// Of 1 to [`BULK`] slots; the label is [`NO_LABEL`] at most.
    #[inline]
    pub(super) fn new(generation: u32, label: u32, run: usize) -> Self {
        debug_assert!((1..=BULK).contains(&run) && label <= NO_LABEL);
        Self((run as u64 - 1) << 58 | u64::from(label) << 32 | u64::from(generation))
    }

    /// The slot is leased to the thread with that number.
    pub(super) fn leased(generation: u32, number: usize) -> Self {
        Self::new(generation, LEASED + number as u32, 1)
    }

    /// Whom an unwritten slot is leased to.
    pub(super) fn lessee(self) -> Option<usize> {
        (LEASED..NO_LABEL).contains(&self.label()).then(|| (self.label() - LEASED) as usize)
    }

    pub(super) fn of(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn generation(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn label(self) -> u32 {
        (self.0 >> 32) as u32 & NO_LABEL
    }

    pub(super) fn run(self) -> usize {
        (self.0 >> 58) as usize + 1
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_is_put_into_them() {
        for generation in [0, 1, u32::MAX] {
            for cap in [1, 2, 100, MAX_CAP] {
                let state = State::open(generation, cap);
                assert_eq!((state.generation(), state.cap(), state.count()), (generation, cap, 0));
                assert!(!state.is_full());
                let almost = State::of(state.word() + cap as u64 - 1);
                assert!(!almost.is_full() && almost.count() == cap - 1);
                // The bound that `COUNT_BITS` states: late tickets reach neither the seal nor the cap.
                let late = State::of(state.word() + (cap + 8000 * BULK) as u64);
                assert!(late.is_full() && late.cap() == cap && late.word() & State::SEAL == 0);
            }
            let closed = State::closed(generation);
            assert!(closed.is_full() && closed.generation() == generation);
            let current = Current::new(generation, MAX_BATCHES - 1);
            assert_eq!(current.index(), MAX_BATCHES - 1);
            assert_ne!(current, Current::new(generation.wrapping_add(1), MAX_BATCHES - 1));
            for (label, run) in [(0, 1), (7, 2), (NO_LABEL - 1, BULK), (NO_LABEL, 1), (NO_LABEL, BULK)] {
                let stamp = Stamp::of(Stamp::new(generation, label, run).word());
                assert_eq!((stamp.generation(), stamp.label(), stamp.run()), (generation, label, run));
            }
        }
    }
}
