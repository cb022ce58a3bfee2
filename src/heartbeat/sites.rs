//! Call sites: how long a caller's regions last, learned one by one, to decide whether one is worth waking a worker for.
//!
//! A wake-up costs the waker about 5 µs. A table of fixed size, written with plain stores: two callers that collide, or race, spoil an
//! estimate, which costs time and nothing else.

use std::cell::Cell;
use std::time::Duration;

use crate::observe::clock::Clock;
use crate::sync::statistic::{AtomicU64, AtomicUsize};
use crate::sync::Ordering;

const SITES: usize = 256;
/// A region is worth a wake-up when it lasts this much longer than it takes until the woken worker runs: what both sides pay for
/// the wake-up and the first steal.
const COST: Duration = Duration::from_micros(15);

/// A region of a row is worth a wake-up when it lasts this long by itself: a worker that is awake already helps with those.
const LEAST: Duration = Duration::from_micros(20);
/// Regions less than this apart are a row.
const PAUSE: Duration = Duration::from_micros(20);

/// The regions in one seat that follow one another almost without a pause: who is woken for one comes in time for the later ones.
#[derive(Default)]
pub(crate) struct Row {
    since: Cell<u64>,
    until: Cell<u64>,
}

impl Row {
    /// A region begins at `now`, in the same row if the last one ended less than `pause` ago; how long the row has lasted.
    fn enter(&self, now: u64, pause: u64) -> u64 {
        if now.saturating_sub(self.until.get()) > pause {
            self.since.set(now);
        }
        now.saturating_sub(self.since.get())
    }

    /// A region ends at `now`.
    pub(crate) fn leave(&self, now: u64) {
        self.until.set(now);
    }
}

/// A call site: the address of the function that was compiled for its closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(usize);

impl Key {
    pub(crate) fn new(function: *const ()) -> Self {
        Self(function as usize)
    }

    pub(crate) fn address(self) -> usize {
        self.0
    }

    /// Fibonacci hashing (Knuth, volume 3, 6.4): the upper bits are the good ones, so they are the lower ones here.
    pub(crate) fn hash(self) -> u64 {
        (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(8)
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
    least: u64,
    pause: u64,
}

impl Sites {
    pub(crate) fn new(clock: &Clock) -> Self {
        let site = || Site { key: AtomicUsize::new(0), mean: AtomicU64::new(0) };
        Self {
            sites: (0..SITES).map(|_| site()).collect(),
            cost: clock.ticks(COST),
            least: clock.ticks(LEAST),
            pause: clock.ticks(PAUSE),
        }
    }

    fn site(&self, key: Key) -> &Site {
        &self.sites[key.hash() as usize % SITES]
    }

    /// How long this site's regions have lasted, ticks, if one was seen.
    pub(crate) fn usual(&self, key: Key) -> Option<u64> {
        let site = self.site(key);
        (site.key.load(Ordering::Relaxed) == key.0).then(|| site.mean.load(Ordering::Relaxed))
    }

    /// Whether a region of this site is expected to be worth a wake-up that takes `latency` ticks. One that was never seen is.
    pub(crate) fn is_worth(&self, key: Key, latency: u64) -> bool {
        self.is_worth_after(0, key, latency)
    }

    /// The same of a region that begins at `now` in the seat of `row`: also one that is too short by itself, when the row has lasted long
    /// enough.
    pub(crate) fn is_worth_in(&self, row: &Row, now: u64, key: Key, latency: u64) -> bool {
        self.is_worth_after(row.enter(now, self.pause), key, latency)
    }

    /// The same when the regions just before have taken `lasted`.
    fn is_worth_after(&self, lasted: u64, key: Key, latency: u64) -> bool {
        let (site, enough) = (self.site(key), latency.saturating_add(self.cost));
        let mean = site.mean.load(Ordering::Relaxed);
        site.key.load(Ordering::Relaxed) != key.0 || mean >= enough || lasted >= enough && mean >= self.least
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

    #[test]
    fn a_row_of_regions_is_worth_what_none_of_them_is() {
        let clock = Clock::new();
        let sites = Sites::new(&clock);
        let micros = |micros| clock.ticks(Duration::from_micros(micros));
        // A row of regions, `apart` from each other: whether the last one is worth a wake-up of 45 µs.
        let last = |key, length, apart, count| {
            let row = Row::default();
            let mut now = micros(1_000_000);
            sites.record(key, length);
            for _ in 1..count {
                sites.is_worth_in(&row, now, key, micros(45));
                row.leave(now + length);
                now += length + apart;
            }
            sites.is_worth_in(&row, now, key, micros(45))
        };
        let (middle, tiny) = (Key(0x1000), Key(0x2340));
        assert!(!last(middle, micros(30), micros(1), 1) && !last(middle, micros(30), micros(1), 2));
        assert!(last(middle, micros(30), micros(1), 3));
        assert!(!last(middle, micros(30), micros(100), 50), "no row");
        assert!(!last(tiny, micros(1), micros(1), 1000), "too short to be helped with");
    }
}
