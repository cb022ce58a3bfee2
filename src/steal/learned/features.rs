//! What a network is told of a region: numbers that the workers' own counters give, scaled to about −1 to 1.

use super::numbers::ln;

/// How many there are.
pub const FEATURES: usize = 16;

/// A region as the network sees it.
pub type Features = [f32; FEATURES];

/// What was counted while a region ran with arm 0: sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    /// Workers, and the memory nodes that they are on.
    pub workers: u32,
    /// Memory nodes that the workers are on.
    pub nodes: u32,
    /// How long the region took, ns.
    pub time: u64,
    /// Time in which workers ran tasks, ns.
    pub busy: u64,
    /// Steals from the same core, cache, node, and from other nodes.
    pub steals: [u64; 4],
    /// How long the tasks took that were stolen, by the same distances, ns.
    pub stolen: [u64; 4],
    /// Rounds over all victims that found nothing.
    pub failed: u64,
    /// Requests that busy workers answered.
    pub answers: u64,
    /// Tasks that were made public.
    pub promotions: u64,
    /// Times that a worker went to sleep.
    pub parks: u64,
    /// Variance of the log time from region to region.
    pub variance: f32,
}

impl Observed {
    /// The features; 0 where nothing was counted.
    pub fn features(&self) -> Features {
        let workers = self.workers.max(1) as f32;
        let per_worker = |count: f32| logarithm(count / workers);
        let sum = |counts: &[u64]| counts.iter().fold(0, |sum: u64, &count| sum.saturating_add(count)) as f32;
        let steals = sum(&self.steals);
        let near = sum(&self.steals[..3]);
        let share = |part: f32, of: f32| if of > 0.0 { (part / of).clamp(0.0, 2.0) } else { 0.0 };
        let from_near = sum(&self.stolen[..3]) / near.max(1.0);
        let from_far = self.stolen[3] as f32 / self.steals[3].max(1) as f32;
        let far = match near > 0.0 && self.steals[3] > 0 && from_near > 0.0 && from_far > 0.0 {
            true => (ln(from_far) - ln(from_near)) / 3.0,
            false => 0.0,
        };
        let all = [
            1.0,
            logarithm(workers) / 5.0,
            if self.nodes > 1 { 1.0 } else { 0.0 },
            logarithm(self.nodes.max(1) as f32) / 2.0,
            logarithm(self.time as f32 / 10_000.0) / 4.0,
            1.0 - share(self.busy as f32, workers * self.time as f32),
            per_worker(steals) / 3.0,
            share(sum(&self.steals[..2]), steals),
            share(self.steals[3] as f32, steals),
            logarithm(self.failed as f32 / (steals + 1.0)) / 4.0,
            logarithm(self.busy as f32 / (steals + 1.0) / 1_000.0) / 4.0,
            per_worker(self.answers as f32) / 3.0,
            logarithm(self.promotions as f32 / (self.answers as f32 + 1.0)),
            per_worker(self.parks as f32) / 2.0,
            far,
            logarithm(100.0 * self.variance.max(0.0).sqrt()) / 3.0,
        ];
        all.map(|feature| if feature.is_finite() { feature.clamp(-4.0, 4.0) } else { 0.0 })
    }
}

/// ln (1 + x).
fn logarithm(x: f32) -> f32 {
    ln(1.0 + x.clamp(0.0, 1e30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counted_is_nothing_to_fear() {
        let features = Observed::default().features();
        assert!(features.iter().all(|feature| feature.is_finite()));
        assert_eq!(features[0], 1.0);
        let extreme = Observed {
            workers: u32::MAX,
            nodes: u32::MAX,
            time: u64::MAX,
            busy: u64::MAX,
            steals: [u64::MAX / 8; 4],
            stolen: [u64::MAX / 8; 4],
            failed: u64::MAX,
            answers: u64::MAX,
            promotions: u64::MAX,
            parks: u64::MAX,
            variance: f32::NAN,
        };
        assert!(extreme.features().iter().all(|feature| feature.abs() <= 4.0));
    }

    #[test]
    fn idle_workers_and_far_tasks_are_seen() {
        let half = Observed { workers: 4, nodes: 2, time: 1_000_000, busy: 2_000_000, ..Observed::default() };
        assert_eq!(half.features()[5], 0.5);
        let far = Observed { steals: [0, 0, 10, 10], stolen: [0, 0, 10_000, 20_000], ..half };
        assert!((far.features()[14] - std::f32::consts::LN_2 / 3.0).abs() < 1e-4);
        assert_eq!(far.features()[8], 0.5);
    }
}
