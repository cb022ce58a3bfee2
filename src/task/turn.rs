//! Whose turn a spawned future is: waiting, queued, polled, or over. One word; each step is one read-modify-write.
//!
//! ```text
//!                 wake: queue it                  begin                      pause
//!   0 (waiting) ────────────────▶ WOKEN (queued) ───────▶ POLLED ─────────────────────▶ 0
//!                                      ▲                    │ wake
//!                                      │  pause: queue it   ▼
//!                                      └────────────── POLLED | WOKEN
//! ```
//!
//! `OVER` is added to any of them: by the poller when the future is done, or from outside to withdraw it. So at most one ticket is in a
//! queue at any time (there is one exactly while the word is `WOKEN` alone), at most one worker polls, and a wake-up is either
//! seen by the poll that follows it or makes another one follow. Who may touch the future: the poller while `POLLED`, else who added
//! `OVER` first. Models: `loom-tests/tests/future.rs`.

use super::cancel::Cancelled;
use super::unwind::Payload;
use crate::error::ShutDown;
use crate::sync::{left_out, ordering, AtomicU32, Ordering};

/// A wake-up that no poll has answered yet.
const WOKEN: u32 = 1;
/// A worker polls.
const POLLED: u32 = 2;
/// The future is not to be polled any more.
const OVER: u32 = 4;
/// It was a token that withdrew it.
const CANCELLED: u32 = 8;

/// Why a task is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its token was cancelled.
    Cancelled,
    /// Its runtime ended.
    ShutDown,
}

impl Reason {
    /// What its handle gives.
    pub(crate) fn payload(self) -> Payload {
        match self {
            Self::Cancelled => Box::new(Cancelled),
            Self::ShutDown => Box::new(ShutDown),
        }
    }
}

/// The state of one spawned future.
pub(crate) struct Turn(AtomicU32);

/// What follows a poll that did not end the future.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing, until it is woken.
    Wait,
    /// It was woken meanwhile: the caller queues it.
    Again,
    /// It was withdrawn meanwhile: it is the caller's to drop.
    Withdrawn(Reason),
}

/// Whom a withdrawn future belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// The caller drops it.
    Ours,
    /// Its poller drops it, or ends it.
    Pollers,
    /// It was over before.
    Over,
}

impl Turn {
    /// Of a future that the caller queues at once.
    pub(crate) fn queued() -> Self {
        Self(AtomicU32::new(WOKEN))
    }

    /// A wake-up; true when the caller must queue the future.
    pub(crate) fn wake(&self) -> bool {
        // Release, even when the ticket exists already: what the waker did is visible to the poll that answers.
        self.0.fetch_or(WOKEN, ordering!("future_wake", Release)) == 0
    }

    /// Turns the one ticket into the right to poll; false when the future is over.
    pub(crate) fn begin(&self) -> bool {
        // Acquire: the last poll, on whatever worker, and all wake-ups so far.
        self.0.fetch_xor(WOKEN | POLLED, ordering!("future_begin", Acquire)) & OVER == 0
    }

    /// Ends a poll that left the future pending.
    pub(crate) fn pause(&self) -> After {
        // Release: this poll's writes to the future go to the next poller, or to who withdraws it. Acquire: to queue it again is to answer
        // wake-ups that came during this poll.
        let before = self.0.fetch_and(!POLLED, ordering!("future_pause", AcqRel));
        if before & OVER != 0 {
            After::Withdrawn(if before & CANCELLED != 0 { Reason::Cancelled } else { Reason::ShutDown })
        } else if before & WOKEN != 0 && !left_out!("future_again") {
            After::Again
        } else {
            After::Wait
        }
    }

    /// Ends the last poll.
    pub(crate) fn finish(&self) {
        // Relaxed: the future is the poller's, who drops it; nobody learns anything else from this.
        self.0.fetch_or(OVER, Ordering::Relaxed);
    }

    /// Takes the future out of play.
    pub(crate) fn withdraw(&self, reason: Reason) -> Withdrawn {
        let over = match reason {
            Reason::Cancelled => OVER | CANCELLED,
            Reason::ShutDown => OVER,
        };
        // Acquire: the polls so far come before the future is dropped.
        let before = self.0.fetch_or(over, ordering!("future_withdraw", Acquire));
        if before & OVER != 0 {
            Withdrawn::Over
        } else if before & POLLED != 0 {
            Withdrawn::Pollers
        } else {
            Withdrawn::Ours
        }
    }

    /// Whether the future is over; advice.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OVER != 0
    }
}
