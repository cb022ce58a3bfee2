//! How much of a loop to run before looking up, found by reading the clock once a chunk.
//!
//! All times are ticks of `sync::ticks`, 0.25 to 1 ns: how long anything takes is known well enough.

use crate::sync::{ticks, PACE};

/// Reading the clock takes 20 to 40, and what is under way when it is read blurs the rest: what is measured may be shorter by this.
const BLUR: u64 = 64;
/// A chunk lasts at least this long, about 1 µs: to take it and to read the clock costs about 15 ns.
const SHORT: f64 = 3_000.0;
/// And at most this long, 5 to 10 µs: that is how late a request for work is heard.
const LONG: f64 = 20_000.0;
/// Chunks that a rest is cut into when it is short, so that two workers end at about the same time.
const SHARES: f64 = 8.0;
/// A rest that is worth waking somebody for, 20 to 40 µs: a sleeper takes 5 to begin, and costs its waker as much.
const WORTH_WAKING: f64 = 80_000.0;
/// One item says how long this many take, if they are too short to measure.
const SAMPLE: u32 = 64;

/// The pace of one stretch of a loop on one worker.
pub(super) struct Pace {
    since: Lap,
    chunk: u32,
}

/// What a look at the clock says.
pub(super) struct Look {
    /// Ticks that an item of the last chunk took.
    pub(super) each: f64,
    /// How long the rest would take at that.
    pub(super) rest: Rest,
    /// Whether that is more than a guess.
    pub(super) known: bool,
}

/// How long the rest of a loop would take one worker, in ticks.
#[derive(Clone, Copy)]
pub(super) struct Rest(f64);

impl Rest {
    /// `items` more of what takes `each`.
    #[inline]
    pub(super) fn of(each: f64, items: usize) -> Self {
        Self(each * items as f64)
    }

    /// Whether a worker that looks for work should have half of it.
    #[inline]
    pub(super) fn is_worth_sharing(self) -> bool {
        self.0 >= PACE.0
    }

    /// Whether a worker should be woken for half of it.
    #[inline]
    pub(super) fn is_worth_waking(self) -> bool {
        self.0 >= WORTH_WAKING
    }
}

impl Pace {
    /// Starts the clock.
    #[inline]
    pub(super) fn new() -> Self {
        Self { since: Lap::start(), chunk: 1 }
    }

    /// How many items to run next.
    #[inline]
    pub(super) fn chunk(&self) -> u32 {
        self.chunk
    }

    /// `done` items are done since the last look at the clock and `left` are left: adapts the next chunk.
    #[inline]
    pub(super) fn step(&mut self, done: u32, left: u32) -> Look {
        let took = self.since.lap();
        let each = took as f64 / f64::from(done);
        let rest = Rest::of(each, left as usize);
        let known = took > BLUR || left / SAMPLE <= done;
        self.chunk = if known && !rest.is_worth_sharing() {
            left
        } else {
            let target = (rest.0 / SHARES).clamp(SHORT, LONG);
            ((target / each) as u32).min(done.saturating_mul(PACE.1)).max(1)
        };
        Look { each, rest, known }
    }
}

/// A moment on the clock.
pub(super) struct Lap(u64);

impl Lap {
    /// Now.
    #[inline]
    pub(super) fn start() -> Self {
        Self(ticks())
    }

    /// Ticks since then, at least one; the next ones count from now.
    #[inline]
    fn lap(&mut self) -> u64 {
        let now = ticks();
        let took = now.saturating_sub(self.0).saturating_sub(BLUR).max(1);
        self.0 = now;
        took
    }

    /// Ticks since then, at least one.
    #[inline]
    pub(super) fn elapsed(&self) -> u64 {
        ticks().saturating_sub(self.0).saturating_sub(BLUR).max(1)
    }
}
