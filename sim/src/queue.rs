//! When each worker has its next event: a tournament tree with one leaf a worker, so a push, a change and a cancellation are the same.
//!
//! A worker has one next event at most, so the queue never grows, and moving an event costs no search. The key is the time with the
//! slot below it: of events at one time the lowest slot's comes first, whatever was pushed when. Its slow twin, a binary heap, is in the
//! tests; `benches/events.rs` measures both.

/// A slot without an event.
pub const NEVER: u64 = u64::MAX >> SLOT_BITS;

const SLOT_BITS: u32 = 11;
/// The most slots: workers, and one for what comes from outside.
pub const MOST_SLOTS: usize = 1 << SLOT_BITS;

/// The next event of each slot.
#[derive(Clone, Debug)]
pub struct Queue {
    leaves: usize,
    /// `keys[1]` is the least of all; the children of `i` are `2 i` and `2 i + 1`.
    keys: Vec<u64>,
}

impl Queue {
    /// `slots` slots without events. Panics above [`MOST_SLOTS`].
    pub fn new(slots: usize) -> Self {
        assert!(slots <= MOST_SLOTS, "a queue has {MOST_SLOTS} slots at most");
        let leaves = slots.next_power_of_two();
        Self { leaves, keys: vec![u64::MAX; 2 * leaves] }
    }

    /// The slot's next event is at `time`, below [`NEVER`] (53 bits: a hundred days of ns), or there is none.
    #[inline]
    pub fn set(&mut self, slot: usize, time: u64) {
        let key = if time >= NEVER { u64::MAX } else { time << SLOT_BITS | slot as u64 };
        let mut at = self.leaves + slot;
        self.keys[at] = key;
        while at > 1 {
            at /= 2;
            let least = self.keys[2 * at].min(self.keys[2 * at + 1]);
            if self.keys[at] == least {
                // Nothing above can change, unless the winner itself was moved, and then it would differ here.
                return;
            }
            self.keys[at] = least;
        }
    }

    /// When the slot's next event is; [`NEVER`] without one.
    pub fn at(&self, slot: usize) -> u64 {
        self.keys[self.leaves + slot] >> SLOT_BITS
    }

    /// The next event of all: its time and slot. It stays until its slot is [set](Self::set).
    #[inline]
    pub fn next(&self) -> Option<(u64, usize)> {
        let key = self.keys[1];
        (key != u64::MAX).then_some((key >> SLOT_BITS, (key & (MOST_SLOTS as u64 - 1)) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BinaryHeap;
    use upbeat::Generator;

    /// The slow twin: a heap of all events that ever were, the outdated ones skipped.
    struct Twin {
        heap: BinaryHeap<std::cmp::Reverse<(u64, usize)>>,
        times: Vec<u64>,
    }

    impl Twin {
        fn set(&mut self, slot: usize, time: u64) {
            self.times[slot] = time;
            if time != NEVER {
                self.heap.push(std::cmp::Reverse((time, slot)));
            }
        }

        fn next(&mut self) -> Option<(u64, usize)> {
            while let Some(&std::cmp::Reverse((time, slot))) = self.heap.peek() {
                if self.times[slot] == time {
                    return Some((time, slot));
                }
                self.heap.pop();
            }
            None
        }
    }

    #[test]
    fn is_its_slow_twin_for_any_number_of_slots() {
        for slots in [1, 2, 3, 7, 64, 257] {
            let mut generator = Generator::new(slots as u64);
            let mut queue = Queue::new(slots);
            let mut twin = Twin { heap: BinaryHeap::new(), times: vec![NEVER; slots] };
            for _ in 0..if cfg!(miri) { 200 } else { 20_000 } {
                // Few times, so that many are equal; sometimes any slot, sometimes the winner itself.
                let time = if generator.below(8) == 0 { NEVER } else { generator.below(50) as u64 };
                let slot = match queue.next() {
                    Some((_, slot)) if generator.below(2) == 0 => slot,
                    _ => generator.below(slots),
                };
                queue.set(slot, time);
                twin.set(slot, time);
                assert_eq!(queue.next(), twin.next());
                assert_eq!(queue.at(slot), time);
            }
        }
    }

    #[test]
    fn the_lowest_slot_wins_a_tie_and_an_empty_queue_has_nothing() {
        let mut queue = Queue::new(5);
        assert_eq!(queue.next(), None);
        for slot in [4, 2, 3] {
            queue.set(slot, 7);
        }
        assert_eq!(queue.next(), Some((7, 2)));
        queue.set(2, NEVER);
        assert_eq!(queue.next(), Some((7, 3)));
    }
}
