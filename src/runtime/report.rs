//! What each worker does now, for a person who looks at a program that does not go on: `{runtime:?}` says who waits for whom.
//!
//! A worker notes what it waits for when it naps in a wait, and only then; readers may be late, and no decision rests on it. What
//! outside threads wait for is not known here.

use std::fmt;
use std::time::Duration;

use super::registry::Registry;
use crate::sync::statistic::AtomicU64;
use crate::sync::{ticks, Ordering, HAS_TIME};
use crate::task::latch::Latch;

/// What a worker that naps waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The right side of one of its joins, and which worker runs that, if it has said so.
    Join(Option<usize>),
    /// The tasks of one of its scopes.
    Scope,
    /// The end of a task, a future, a broadcast, or of a closure that it installed into another runtime.
    Completion,
    /// The threads of another runtime, which it shuts down.
    Threads,
}

/// The note of one worker.
pub(crate) struct Note {
    /// When the wait began, ticks; 0 while the worker does not nap.
    since: AtomicU64,
    /// 0 to 2 for what has no number, 3 for a join that nobody is known to run, more for one that worker `n - 4` runs.
    what: AtomicU64,
}

impl Awaited {
    /// The same with the worker that `latch` names. A model spends no step on that.
    pub(super) fn by(self, latch: &Latch) -> Self {
        let runner = if HAS_TIME { latch.runner() } else { None };
        runner.map_or(self, |worker| Self::Join(Some(worker)))
    }

    fn encoded(self) -> u64 {
        match self {
            Self::Scope => 0,
            Self::Completion => 1,
            Self::Threads => 2,
            Self::Join(None) => 3,
            Self::Join(Some(worker)) => worker as u64 + 4,
        }
    }

    fn decoded(code: u64) -> Self {
        match code {
            0 => Self::Scope,
            1 => Self::Completion,
            2 => Self::Threads,
            3 => Self::Join(None),
            _ => Self::Join(Some((code - 4) as usize)),
        }
    }
}

impl Note {
    pub(super) fn new() -> Self {
        Self { since: AtomicU64::new(0), what: AtomicU64::new(0) }
    }

    /// Runs `nap`, in a wait for `what` that began at `since`, ticks.
    pub(super) fn during<R>(&self, what: Awaited, since: u64, nap: impl FnOnce() -> R) -> R {
        self.what.store(what.encoded(), Ordering::Relaxed);
        self.since.store(since.max(1), Ordering::Relaxed);
        let result = nap();
        self.since.store(0, Ordering::Relaxed);
        result
    }
}

/// What one worker does.
enum Doing {
    Sleeps,
    Looks,
    Runs(Duration),
    Waits(Awaited, Duration),
}

impl fmt::Debug for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sleeps => write!(f, "sleeps"),
            Self::Looks => write!(f, "looks for work"),
            Self::Runs(time) => write!(f, "runs a task, for {time:.1?}"),
            Self::Waits(Awaited::Join(Some(worker)), time) => {
                write!(f, "waits for the side of a join that worker {worker} runs, for {time:.1?}")
            }
            Self::Waits(Awaited::Join(None), time) => write!(f, "waits for a side of a join, for {time:.1?}"),
            Self::Waits(Awaited::Scope, time) => write!(f, "waits for the tasks of a scope, for {time:.1?}"),
            Self::Waits(Awaited::Completion, time) => write!(f, "waits for a task, for {time:.1?}"),
            Self::Waits(Awaited::Threads, time) => {
                write!(f, "waits for the threads of another runtime, for {time:.1?}")
            }
        }
    }
}

/// What all workers do, as a list.
pub(super) struct Report<'a>(pub(super) &'a Registry);

impl Report<'_> {
    fn doing(&self, worker: usize) -> Doing {
        let Self(registry) = self;
        let (peer, reader, now) = (&registry.peers[worker], registry.clock.reader(), ticks());
        let time = |since: u64| Duration::from_nanos(reader.length(now.saturating_sub(since)));
        let waits_since = peer.note.since.load(Ordering::Relaxed);
        let runs_since = peer.counters.busy_since.load(Ordering::Relaxed);
        if waits_since > 0 {
            let awaited = Awaited::decoded(peer.note.what.load(Ordering::Relaxed));
            Doing::Waits(awaited, time(waits_since))
        } else if runs_since > 0 {
            Doing::Runs(time(runs_since))
        } else if registry.sleep().is_free(worker) {
            Doing::Sleeps
        } else {
            Doing::Looks
        }
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries((0..self.0.peers.len()).map(|worker| (worker, self.doing(worker)))).finish()
    }
}
