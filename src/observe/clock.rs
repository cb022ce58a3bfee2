//! The rate of `sync::ticks`, measured against the clock that counts nanoseconds.

use std::time::Duration;

use crate::sync::statistic::AtomicU64;
use crate::sync::{now, ticks, Ordering, HAS_TIME};

/// How long the first measurement of the rate takes, ns.
const CALIBRATION: u64 = 50_000;

/// A pair of readings of both clocks, and the rate that was measured when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ticks: u64,
    nanos: u64,
    ticks_per_micro: u64,
}

impl Clock {
    /// Reads both clocks. The first call in a process takes 50 µs to measure the rate.
    pub(crate) fn new() -> Self {
        // Not a `OnceLock`: a child of `fork` would wait for ever for a thread of its parent that was measuring.
        static RATE: AtomicU64 = AtomicU64::new(0);
        let ticks_per_micro = match RATE.load(Ordering::Relaxed) {
            0 if HAS_TIME => {
                let rate = measured();
                RATE.store(rate, Ordering::Relaxed);
                rate
            }
            0 => 1,
            rate => rate,
        };
        Self { ticks: ticks(), nanos: now(), ticks_per_micro }
    }

    /// A time as ticks, within a percent.
    pub(crate) fn ticks(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(self.ticks_per_micro) / 1000
    }

    /// The time since this clock was made.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.nanos))
    }

    /// A reader of ticks as exact as the time since this clock was made allows.
    pub(crate) fn reader(&self) -> Reader {
        let (elapsed_ticks, elapsed) = (ticks().saturating_sub(self.ticks), now().saturating_sub(self.nanos));
        let nanos_per_tick = match elapsed < CALIBRATION || elapsed_ticks == 0 {
            true => 1000.0 / self.ticks_per_micro as f64,
            false => elapsed as f64 / elapsed_ticks as f64,
        };
        Reader { origin: *self, nanos_per_tick }
    }
}

/// Turns ticks into nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    origin: Clock,
    nanos_per_tick: f64,
}

impl Reader {
    /// A length in ticks as nanoseconds.
    pub(crate) fn length(&self, ticks: u64) -> u64 {
        (ticks as f64 * self.nanos_per_tick) as u64
    }

    /// A moment in ticks as nanoseconds of `sync::now`.
    pub(crate) fn moment(&self, ticks: u64) -> u64 {
        self.origin.nanos + self.length(ticks.saturating_sub(self.origin.ticks))
    }
}

/// Ticks in a microsecond.
fn measured() -> u64 {
    let (first, from) = (ticks(), now());
    loop {
        let (last, to) = (ticks(), now());
        if to - from >= CALIBRATION {
            return (last.saturating_sub(first) * 1000 / (to - from)).max(1);
        }
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds_at_the_measured_rate() {
        let clock = Clock { ticks: 1_000_000, nanos: 500, ticks_per_micro: 3000 };
        assert_eq!(clock.ticks(Duration::from_micros(2)), 6000);
        assert_eq!(clock.ticks(Duration::MAX), u64::MAX / 1000);
        let reader = Reader { origin: clock, nanos_per_tick: 1.0 / 3.0 };
        assert_eq!(reader.length(6000), 2000);
        assert_eq!(reader.moment(1_006_000), 2500);
        assert_eq!(reader.moment(7), 500, "before the clock was made");
    }

    #[test]
    fn the_clocks_of_this_machine_run() {
        let clock = Clock::new();
        assert!(clock.ticks_per_micro > 0);
        assert!(clock.reader().nanos_per_tick > 0.0);
    }
}
