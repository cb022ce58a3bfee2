//! Call sites: how long a caller's regions last, learned one by one, to decide whether one is worth waking a worker for.
//!
//! A wake-up costs the waker about 5 µs. A table of fixed size, written with plain stores: two callers that collide, or race, spoil an
//! estimate, which costs time and nothing else.

use std::time::Duration;

use crate::observe::clock::Clock;
use crate::sync::statistic::{AtomicU64, AtomicUsize};
use crate::sync::Ordering;

const SITES: usize = 256;
/// A region is worth a wake-up when it lasts this much longer than it takes until the woken worker runs: what both sides pay for
/// the wake-up and the first steal.
const COST: Duration = Duration::from_micros(15);

/// A call site: the address of the function that was compiled for its closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(usize);

impl Key {
    pub(crate) fn new(function: *const ()) -> Self {
        Self(function as usize)
    }
}

struct Site {
    key: AtomicUsize,
    /// The running mean of its regions' lengths, ticks.
    mean: AtomicU64,
}

pub(crate) struct Sites {
    sites: Box<[Site]>,
    cost: u64,
}

impl Sites {
    pub(crate) fn new(clock: &Clock) -> Self {
        let site = || Site { key: AtomicUsize::new(0), mean: AtomicU64::new(0) };
        Self { sites: (0..SITES).map(|_| site()).collect(), cost: clock.ticks(COST) }
    }

    fn site(&self, key: Key) -> &Site {
        // Fibonacci hashing (Knuth, volume 3, 6.4).
        let hash = (key.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        &self.sites[hash as usize % SITES]
    }

    /// Whether a region of this site is expected to be worth a wake-up that takes `latency` ticks. One that was never seen is.
    pub(crate) fn is_worth(&self, key: Key, latency: u64) -> bool {
        let site = self.site(key);
        site.key.load(Ordering::Relaxed) != key.0
            || site.mean.load(Ordering::Relaxed) >= latency.saturating_add(self.cost)
    }

    /// A region took `ticks`.
    pub(crate) fn record(&self, key: Key, ticks: u64) {
        let site = self.site(key);
        let mean = if site.key.load(Ordering::Relaxed) == key.0 {
            let mean = site.mean.load(Ordering::Relaxed);
            mean - mean / 4 + ticks / 4
        } else {
            site.key.store(key.0, Ordering::Relaxed);
            ticks
        };
        site.mean.store(mean, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_worth_it_until_it_is_known_to_be_short_and_again_when_it_grows() {
        let clock = Clock::new();
        let sites = Sites::new(&clock);
        let (key, other) = (Key(0x1000), Key(0x2340));
        let micros = |micros| clock.ticks(Duration::from_micros(micros));
        let (short, middle, long) = (micros(2), micros(40), micros(5000));
        assert!(sites.is_worth(key, 0));
        sites.record(key, short);
        assert!(!sites.is_worth(key, 0) && sites.is_worth(other, 0));
        sites.record(key, long);
        assert!(sites.is_worth(key, 0));
        for _ in 0..40 {
            sites.record(key, short);
        }
        assert!(!sites.is_worth(key, 0));
        for _ in 0..40 {
            sites.record(key, middle);
        }
        assert!(sites.is_worth(key, micros(3)) && !sites.is_worth(key, micros(45)));
    }
}
