//! Counters of each worker. A worker writes only its own, with plain stores, and only in cold code.

use std::time::Duration;

use crate::observe::clock::Reader;
use crate::runtime::SiteMetrics;
use crate::sync::statistic::AtomicU64;
use crate::sync::Ordering;
use crate::topology::Distance;

/// One worker's counters, alone on their cache lines.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) beats: AtomicU64,
    pub(crate) promotions: AtomicU64,
    pub(crate) steals: [AtomicU64; Distance::ALL.len()],
    pub(crate) failed_steals: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) on_node: AtomicU64,
    pub(crate) off_node: AtomicU64,
    /// Ticks, as are all times here.
    pub(crate) busy: AtomicU64,
    /// When the current busy stretch began, 0 while idle.
    pub(crate) busy_since: AtomicU64,
    /// What was chosen for the region that it works on (`runtime/regions.rs`). Thieves read it with the one above.
    pub(crate) region: AtomicU64,
    /// How long the tasks took that it stole, by distance.
    pub(crate) stolen: [AtomicU64; Distance::ALL.len()],
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            beats: AtomicU64::new(0),
            promotions: AtomicU64::new(0),
            steals: std::array::from_fn(|_| AtomicU64::new(0)),
            failed_steals: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            on_node: AtomicU64::new(0),
            off_node: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            stolen: std::array::from_fn(|_| AtomicU64::new(0)),
            region: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self, now: u64, reader: &Reader) -> WorkerMetrics {
        let since = self.busy_since.load(Ordering::Relaxed);
        let running = if since == 0 { 0 } else { now.saturating_sub(since) };
        WorkerMetrics {
            beats: self.beats.load(Ordering::Relaxed),
            promotions: self.promotions.load(Ordering::Relaxed),
            steals: std::array::from_fn(|i| self.steals[i].load(Ordering::Relaxed)),
            failed_steals: self.failed_steals.load(Ordering::Relaxed),
            parks: self.parks.load(Ordering::Relaxed),
            on_node: self.on_node.load(Ordering::Relaxed),
            off_node: self.off_node.load(Ordering::Relaxed),
            busy: Duration::from_nanos(reader.length(self.busy.load(Ordering::Relaxed) + running)),
        }
    }
}

/// Adds to a counter that only the calling thread writes.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// What one worker has done since the runtime started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerMetrics {
    /// Requests of idle workers that this one answered while it worked.
    pub beats: u64,
    /// Join tasks that it made public.
    pub promotions: u64,
    /// Join tasks that it stole, by [`Distance`] of the victim, nearest first.
    pub steals: [u64; Distance::ALL.len()],
    /// Rounds over all victims that found nothing.
    pub failed_steals: u64,
    /// Times it went to sleep.
    pub parks: u64,
    /// Tasks with a wish for this worker's memory node ([`Spawn::on_node`](crate::Spawn::on_node)) that it took. None on a machine with one
    /// node, where there is nothing to choose. Its node is the one that it was dealt to: where nothing is pinned ([`Pin`](crate::Pin)) the
    /// system may have run it elsewhere.
    pub on_node: u64,
    /// Tasks with a wish for another node that it took, because they had waited there.
    pub off_node: u64,
    /// Time in which it ran tasks. Waiting does not count, for whatever it is: a thief, a scope, a
    /// [`JoinHandle`](crate::JoinHandle), [`block_on`](crate::block_on).
    pub busy: Duration,
}

/// What a runtime has done since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// One entry a worker.
    pub workers: Vec<WorkerMetrics>,
    /// What was learned at each call site since the runtime was built, most regions first; empty where nothing is
    /// ([`Learning`](crate::Learning)).
    pub sites: Vec<SiteMetrics>,
    /// Time since the runtime was built.
    pub uptime: Duration,
}

impl WorkerMetrics {
    /// Two readings number by number.
    fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            beats: with(self.beats, other.beats),
            promotions: with(self.promotions, other.promotions),
            steals: std::array::from_fn(|i| with(self.steals[i], other.steals[i])),
            failed_steals: with(self.failed_steals, other.failed_steals),
            parks: with(self.parks, other.parks),
            on_node: with(self.on_node, other.on_node),
            off_node: with(self.off_node, other.off_node),
            busy: Duration::from_nanos(with(self.busy.as_nanos() as u64, other.busy.as_nanos() as u64)),
        }
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    /// A busy stretch that ended between two loads may be missing from either reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}

impl Metrics {
    /// The sums over all workers.
    pub fn total(&self) -> WorkerMetrics {
        self.workers.iter().fold(WorkerMetrics::default(), |sum, worker| sum.plus(worker))
    }

    /// What happened between `earlier` and `self`, two readings of one runtime.
    pub fn since(&self, earlier: &Metrics) -> Metrics {
        let workers = self.workers.iter().zip(&earlier.workers).map(|(now, then)| now.since(then));
        // Of what was learned there is no difference: it is a state.
        Metrics {
            workers: workers.collect(),
            sites: self.sites.clone(),
            uptime: self.uptime.saturating_sub(earlier.uptime),
        }
    }
}
