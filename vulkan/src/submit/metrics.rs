//! What a device has done.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::commands::Recorded;
use crate::pipeline::Kernel;

/// What a device has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Times that work was handed to it.
    pub submissions: u64,
    /// Times that who submitted had to wait, because [`Options::in_flight`](crate::Options::in_flight) were under way.
    pub waits: u64,
    /// Command pools that there are now, one for each submission under way and some that wait for the next.
    pub pools: u64,
    /// Runs of kernels.
    pub dispatches: u64,
    /// Those of them that the device ran as steps of another one.
    pub merged: u64,
    /// Copies and fills.
    pub transfers: u64,
    /// Those of them that went to the queue for copies ([`Options::copy_queue`](crate::Options::copy_queue)).
    pub transfers_beside: u64,
    /// Submissions to one of the two queues that began when one to the other had ended, as both use a buffer.
    pub crossings: u64,
    /// Barriers between pieces of work.
    pub barriers: u64,
    /// The kernels that have been measured, by name: empty without [`Options::timestamps`](crate::Options::timestamps).
    pub kernels: Vec<KernelMetrics>,
}

/// What one kernel has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelMetrics {
    /// Its name.
    pub name: &'static str,
    /// Runs that have ended.
    pub dispatches: u64,
    /// The device's time for them.
    pub time: Duration,
}

/// The counts behind [`Metrics`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    submissions: u64,
    waits: u64,
    crossings: u64,
    dispatches: u64,
    merged: u64,
    transfers: u64,
    barriers: u64,
    kernels: BTreeMap<&'static str, (u64, f64)>,
}

impl Metrics {
    /// Those of both queues; what the other one runs are copies.
    pub(super) fn beside(self, copies: &Self) -> Self {
        Self {
            submissions: self.submissions + copies.submissions,
            waits: self.waits + copies.waits,
            pools: self.pools + copies.pools,
            transfers: self.transfers + copies.transfers,
            transfers_beside: copies.transfers,
            crossings: self.crossings + copies.crossings,
            barriers: self.barriers + copies.barriers,
            ..self
        }
    }
}

impl Counts {
    pub(super) fn submitted(&mut self, recorded: &Recorded, crosses: bool) {
        self.submissions += 1;
        self.crossings += u64::from(crosses);
        self.dispatches += recorded.dispatches;
        self.merged += recorded.merged;
        self.transfers += recorded.transfers;
        self.barriers += recorded.barriers;
    }

    pub(super) fn waited(&mut self) {
        self.waits += 1;
    }

    /// Adds the kernels' ticks: the beginning and the end of each.
    pub(super) fn measured(&mut self, kernels: &[Kernel], ticks: &[u64], tick_ns: f32) {
        for (kernel, ticks) in kernels.iter().zip(ticks.chunks_exact(2)) {
            let entry = self.kernels.entry(kernel.name()).or_default();
            entry.0 += 1;
            entry.1 += ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(tick_ns);
        }
    }

    pub(super) fn metrics(&self, pools: u64) -> Metrics {
        let kernels = self.kernels.iter().map(|(&name, &(dispatches, ns))| KernelMetrics {
            name,
            dispatches,
            time: Duration::from_nanos(ns as u64),
        });
        Metrics {
            submissions: self.submissions,
            waits: self.waits,
            pools,
            dispatches: self.dispatches,
            merged: self.merged,
            transfers: self.transfers,
            transfers_beside: 0,
            crossings: self.crossings,
            barriers: self.barriers,
            kernels: kernels.collect(),
        }
    }
}
