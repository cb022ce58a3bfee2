//! How long the watcher polls while nobody else is awake, before its first nap: a fixed time, ski rental's, or what it has learned.
//!
//! A *gap* begins when the watcher finds nobody awake, and ends when it finds work or is woken for some. Regions too short to be shared do
//! not end it: to have polled through the time before them was of no use. Pure; the watch is in `src/runtime/search.rs`. What was measured:
//! `docs/benchmarks/2026-11-22-spin-or-park.md`.

use std::time::Duration;

use crate::observe::clock::Clock;
use crate::steal::learned::hedge::Hedge;

/// What sleeping and waking cost besides the time until the woken runs: the waker's call, the switches, caches that went cold. As
/// `heartbeat::sites` has it; with 5 µs gaps of 15 µs were slept through, which took more time and more of the CPU than to poll.
const SWITCH: Duration = Duration::from_micros(15);

/// How the time is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polling {
    /// 30 µs after whatever the watcher did last.
    #[default]
    Fixed,
    /// Not at all.
    Never,
    /// As long as it takes to be woken.
    SkiRental,
    /// What [`Hedge`] draws.
    Learned,
}

/// The gaps of one worker. Times are ticks.
#[derive(Debug)]
pub(crate) struct Gaps {
    hedge: Hedge,
    switch: u64,
    since: Option<u64>,
    until: u64,
}

impl Gaps {
    pub(crate) fn new(clock: &Clock, seed: u64) -> Self {
        let switch = clock.ticks(SWITCH);
        let hedge = Hedge::new(switch, clock.ticks(Duration::from_micros(1)), seed);
        Self { hedge, switch, since: None, until: 0 }
    }

    /// Nobody else is awake `now`, and a waking takes `latency`: until when to poll; `None` where `polling` leaves that to the watch.
    pub(crate) fn poll_until(&mut self, polling: Polling, now: u64, latency: u64) -> Option<u64> {
        if polling == Polling::Fixed {
            return None;
        }
        if self.since.is_none() {
            let park = latency.saturating_add(self.switch);
            let budget = match polling {
                Polling::Learned => {
                    self.hedge.set_park(park);
                    self.hedge.budget()
                }
                Polling::SkiRental => park,
                _ => 0,
            };
            (self.since, self.until) = (Some(now), now.saturating_add(budget));
        }
        Some(self.until)
    }

    /// Whether there is a gap now.
    pub(crate) fn is_open(&self) -> bool {
        self.since.is_some()
    }

    /// There is work, or was when the worker was woken for it.
    pub(crate) fn end(&mut self, at: u64) {
        if let Some(since) = self.since.take() {
            self.hedge.ended(at.saturating_sub(since));
        }
    }

    /// The watch is over, and no work has come.
    pub(crate) fn break_off(&mut self, at: u64) {
        if let Some(since) = self.since.take() {
            self.hedge.broken_off(at.saturating_sub(since));
        }
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    fn gaps() -> (Gaps, u64) {
        let clock = Clock::new();
        (Gaps::new(&clock, 1), clock.ticks(Duration::from_micros(1)))
    }

    #[test]
    fn a_gap_has_one_time_however_often_it_is_asked() {
        let (mut gaps, us) = gaps();
        for polling in [Polling::Never, Polling::SkiRental, Polling::Learned] {
            let first = gaps.poll_until(polling, 1_000, 45 * us);
            assert_eq!(gaps.poll_until(polling, 9_000 * us, 45 * us), first, "{polling:?}");
            gaps.end(1_000);
        }
        assert_eq!(gaps.poll_until(Polling::Never, 70, 45 * us), Some(70));
        gaps.end(80);
        assert_eq!(gaps.poll_until(Polling::SkiRental, 70, 45 * us), Some(70 + 45 * us + gaps.switch));
        gaps.end(80);
        assert_eq!(gaps.poll_until(Polling::Fixed, 70, 45 * us), None);
    }

    #[test]
    fn long_gaps_are_slept_through_and_short_ones_polled_through() {
        let (mut gaps, us) = gaps();
        let mut polled = |length: u64| {
            let mut gap = |at: u64| {
                let until = gaps.poll_until(Polling::Learned, at, 45 * us).unwrap();
                gaps.end(at + length * us);
                until - at
            };
            let all: Vec<u64> = (0..400).map(|i| gap(i * 10_000 * us)).collect();
            all[200..].iter().sum::<u64>() / 200 / us
        };
        assert!(polled(1_000) <= 2);
        let short = polled(15);
        assert!((15..=40).contains(&short), "{short} µs");
        assert!(polled(1_000) <= 2);
    }

    /// A clock that goes back ends a gap of no length.
    #[test]
    fn times_may_come_in_any_order() {
        let (mut gaps, us) = gaps();
        gaps.end(5);
        gaps.break_off(5);
        for (now, end) in [(u64::MAX, 0), (100, 50), (0, u64::MAX)] {
            assert!(gaps.poll_until(Polling::Learned, now, u64::MAX).unwrap() >= now);
            gaps.end(end);
            assert!(gaps.poll_until(Polling::Learned, now, 45 * us).unwrap() >= now);
            gaps.break_off(end);
        }
    }
}
