//! How many items a batch takes: as many as may be done within the latency that the user wants.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain, 1989), a step a batch: one that was full and done in time makes the cap one
//! sixteenth of the most larger, one that took too long halves it. Without a target the cap is what the user said.
//! Of that, as much is left as the pressure on memory leaves (`pressure.rs`), if the user named a gauge.

use std::time::Duration;

use super::pressure::{Gauge, Level};
use super::BatchOptions;
use crate::observe::clock::Clock;
use crate::sync::{statistic, ticks, Ordering};

/// How old a reading of the gauge may be.
const FRESH: Duration = Duration::from_millis(100);

/// What a batcher's cap follows.
pub(super) struct Caps {
    most: usize,
    target: Option<Duration>,
    /// What the latency allows.
    allowed: statistic::AtomicUsize,
    memory: Option<Watched>,
}

struct Watched {
    gauge: Gauge,
    /// When it was read, ticks.
    read_at: statistic::AtomicU64,
    /// Which of [`Level::ALL`] it said.
    level: statistic::AtomicUsize,
}

impl Watched {
    fn read(&self) {
        let level = self.gauge.read().level();
        let place = Level::ALL.iter().position(|known| *known == level).unwrap_or(0);
        self.level.store(place, Ordering::Relaxed);
    }
}

impl Caps {
    pub(super) fn new(options: &BatchOptions) -> Self {
        // A batch that is too long harms those that are in it; a short one costs little.
        let first = if options.latency.is_some() { options.cap.div_ceil(4) } else { options.cap };
        let memory = options.memory.clone().map(|gauge| {
            let (read_at, level) = (statistic::AtomicU64::new(ticks()), statistic::AtomicUsize::new(0));
            let watched = Watched { gauge, read_at, level };
            watched.read();
            watched
        });
        Self {
            most: options.cap,
            target: options.latency,
            allowed: statistic::AtomicUsize::new(first),
            memory,
        }
    }

    /// Whether a cap may change after a batch.
    pub(super) fn may_change(&self) -> bool {
        self.target.is_some() || self.memory.is_some()
    }

    pub(super) fn level(&self) -> Level {
        self.memory.as_ref().map_or(Level::Calm, |memory| Level::ALL[memory.level.load(Ordering::Relaxed)])
    }

    /// The cap of the next batch.
    pub(super) fn now(&self) -> usize {
        self.level().scaled(self.allowed.load(Ordering::Relaxed))
    }

    /// The same after a batch of `items` items that has run since `begun`, ticks.
    pub(super) fn after(&self, items: usize, begun: u64, clock: &Clock) -> usize {
        let now = ticks();
        if let Some(target) = self.target {
            let took = Duration::from_nanos(clock.reader().length(now.saturating_sub(begun)));
            // Batches that run at the same time may each miss what the other one says.
            let allowed = self.allowed.load(Ordering::Relaxed);
            self.allowed.store(next(allowed, self.most, items, took, target), Ordering::Relaxed);
        }
        if let Some(memory) = &self.memory {
            let read_at = memory.read_at.load(Ordering::Relaxed);
            let is_old = now.saturating_sub(read_at) >= clock.ticks(FRESH);
            // One of those that find it old reads.
            let is_ours = || {
                memory.read_at.compare_exchange(read_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            };
            if is_old && is_ours() {
                memory.read();
            }
        }
        self.now()
    }
}

/// The next cap after a batch of `items` items took `took`.
///
/// A batch that was in time and not full says nothing: nobody knows how long a larger one takes.
pub(super) fn next(cap: usize, most: usize, items: usize, took: Duration, target: Duration) -> usize {
    if took > target {
        // What was too long may have been a smaller one than the cap allows.
        (items.min(cap) / 2).max(1)
    } else if items >= cap {
        (cap + most.div_ceil(16)).min(most)
    } else {
        cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An executor that takes a millisecond an item, and a target of 20: the cap settles around 20, from above and from below.
    #[test]
    fn the_cap_settles_where_the_target_is() {
        let target = Duration::from_millis(20);
        for start in [1, 64] {
            let mut cap = start;
            let mut seen = Vec::new();
            for step in 0..200 {
                cap = next(cap, 64, cap, Duration::from_millis(cap as u64), target);
                assert!((1..=64).contains(&cap));
                if step >= 20 {
                    seen.push(cap);
                }
            }
            assert!(*seen.iter().max().unwrap() <= 24 && *seen.iter().min().unwrap() >= 10, "{seen:?}");
        }
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let (ms, target) = (Duration::from_millis(1), Duration::from_millis(2));
        assert_eq!(next(8, 64, 3, ms, target), 8);
        assert_eq!(next(64, 64, 64, ms, target), 64);
        assert_eq!(next(1, 64, 1, target * 2, target), 1, "one item is the least");
        assert_eq!(
            next(64, 64, 8, target * 2, target),
            4,
            "a small batch that was slow halves itself, not the cap"
        );
    }
}
