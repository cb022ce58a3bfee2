//! Call sites: what a wake-up has been worth to a caller's regions, learned one by one, to decide whether the next one is worth it.
//!
//! It is what a wake-up gains that is averaged, and not how long regions last: a long one now and then may pay for all the short ones
//! between, and one that only the operating system made long must not. Numbers: `README.md`.
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
/// What a wake-up costs that comes too late.
const LOSS: Duration = Duration::from_micros(5);
/// A region counts as if no wake-up had gained more: one that lost its core for a while then outweighs fewer than `MEMORY` short ones.
const MOST: Duration = Duration::from_micros(150);
/// About how many regions an average is of.
const MEMORY: u32 = 32;

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
    /// [`Gain`] as bits.
    gain: AtomicU64,
}

/// What a wake-up at the beginning of a region would have gained.
#[derive(Clone, Copy)]
struct Gain {
    /// The mean, ticks; negative where it would have come too late too often.
    mean: f32,
    /// How many regions that is the mean of, up to `MEMORY`.
    regions: u32,
}

impl Gain {
    fn of(bits: u64) -> Self {
        Self { mean: f32::from_bits(bits as u32), regions: (bits >> 32) as u32 }
    }

    fn bits(self) -> u64 {
        u64::from(self.regions) << 32 | u64::from(self.mean.to_bits())
    }

    /// With one region more.
    fn and(self, gain: f32) -> Self {
        let regions = self.regions.saturating_add(1).min(MEMORY);
        Self { mean: self.mean + (gain - self.mean) / regions as f32, regions }
    }
}

pub(crate) struct Sites {
    sites: Box<[Site]>,
    cost: u64,
    loss: u64,
    most: u64,
    least: u64,
    pause: u64,
}

impl Sites {
    pub(crate) fn new(clock: &Clock) -> Self {
        let site = || Site { key: AtomicUsize::new(0), mean: AtomicU64::new(0), gain: AtomicU64::new(0) };
        Self {
            sites: (0..SITES).map(|_| site()).collect(),
            cost: clock.ticks(COST),
            loss: clock.ticks(LOSS),
            most: clock.ticks(MOST),
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
        site.key.load(Ordering::Relaxed) != key.0
            || Gain::of(site.gain.load(Ordering::Relaxed)).mean > 0.0
            || lasted >= enough && site.mean.load(Ordering::Relaxed) >= self.least
    }

    /// A region took `ticks`, while a wake-up takes `latency`, with the help of somebody who was woken for it or without.
    pub(crate) fn record(&self, key: Key, ticks: u64, latency: u64, has_woken: bool) {
        let site = self.site(key);
        let (mean, known) = if site.key.load(Ordering::Relaxed) == key.0 {
            let mean = site.mean.load(Ordering::Relaxed);
            (mean - mean / 4 + ticks / 4, Gain::of(site.gain.load(Ordering::Relaxed)))
        } else {
            site.key.store(key.0, Ordering::Relaxed);
            (ticks, Gain { mean: 0.0, regions: 0 })
        };
        site.mean.store(mean, Ordering::Relaxed);
        site.gain.store(known.and(self.gain(ticks, latency, has_woken)).bits(), Ordering::Relaxed);
    }

    /// What a wake-up of `latency` gained for a region that took `ticks`, or would have: half of what is left of it when the woken worker has begun. Where
    /// one was woken, the other half is what is seen, or less.
    fn gain(&self, ticks: u64, latency: u64, has_woken: bool) -> f32 {
        match ticks.checked_sub(latency.saturating_add(self.cost)) {
            None => -(self.loss as f32),
            Some(rest) => (if has_woken { rest } else { rest / 2 }).clamp(1, self.most.max(1)) as f32,
        }
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
        sites.record(key, short, 0, false);
        assert!(!sites.is_worth(key, 0) && sites.is_worth(other, 0));
        sites.record(key, long, 0, false);
        assert!(sites.is_worth(key, 0));
        for _ in 0..60 {
            sites.record(key, short, 0, false);
        }
        assert!(!sites.is_worth(key, 0));
        for _ in 0..60 {
            sites.record(key, middle, micros(3), false);
        }
        assert!(sites.is_worth(key, micros(3)));
        for _ in 0..200 {
            sites.record(key, middle, micros(45), false);
        }
        assert!(!sites.is_worth(key, micros(45)));
    }

    /// Time of all regions with wake-ups where they are said to be worth it, beside the time if each had been foreseen. A wake-up takes 30 µs.
    fn beside_foreseen(length: impl Fn(usize) -> f64) -> f64 {
        let clock = Clock::new();
        let (sites, key) = (Sites::new(&clock), Key(0x1000));
        let ticks = |us: f64| clock.ticks(Duration::from_nanos((us * 1e3) as u64));
        let (mut took, mut least) = (0.0, 0.0);
        for region in 0..10_000 {
            let alone = length(region);
            let shared = if alone <= 45.0 { alone + 5.0 } else { 5.0 + (alone + 45.0) / 2.0 };
            let is_shared = sites.is_worth(key, ticks(30.0));
            let time = if is_shared { shared } else { alone };
            took += time;
            least += shared.min(alone);
            sites.record(key, ticks(time), ticks(30.0), is_shared);
        }
        took / least
    }

    #[test]
    fn wake_ups_follow_what_they_gain() {
        let mut generator = crate::steal::Generator::new(7);
        let draws: Vec<usize> = (0..10_000).map(|_| generator.below(1000)).collect();
        // What the mean length over 4 regions gave: 1.00, 1.00, 1.00, 1.59, 1.20, 1.04.
        let all = [
            (beside_foreseen(|_| 2.0), 1.01, "short"),
            (beside_foreseen(|_| 1000.0), 1.01, "long"),
            (beside_foreseen(|region| [2.0, 400.0][region / 500 % 2]), 1.01, "turns of 500"),
            (beside_foreseen(|region| if draws[region] < 50 { 2000.0 } else { 3.0 }), 1.4, "one in 20 long"),
            (beside_foreseen(|region| 200.0 / f64::from(1 << (draws[region] % 8))), 1.11, "halves of halves"),
            (beside_foreseen(|region| [2.0, 200.0][region % 2]), 1.05, "short and long in turn"),
        ];
        for (ratio, most, name) in all {
            assert!(ratio <= most, "{name}: {ratio}");
        }
    }

    #[test]
    fn one_region_that_lost_its_core_wakes_nobody() {
        let clock = Clock::new();
        let (sites, key) = (Sites::new(&clock), Key(0x1000));
        let micros = |micros| clock.ticks(Duration::from_micros(micros));
        for _ in 0..100 {
            sites.record(key, micros(20), micros(30), false);
        }
        sites.record(key, micros(10_000), micros(30), false);
        assert!(!sites.is_worth(key, micros(30)));
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
            sites.record(key, length, micros(45), false);
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
