//! An open service: jobs come from outside at random times, whether the last ones are done or not.

use super::{below, block, hash};
use crate::program::{Cost, Next, Program, Region, Start, Step, Task};

/// Tiles of a job, and what one takes, ns.
const TILES: u32 = 40;
const TILE: u64 = 5_000;
/// Jobs for each worker.
const JOBS: u32 = 40;
/// The share of the workers' time that the jobs are, in percent.
const LOAD: u64 = 70;

/// Jobs of 40 tiles of about 5 µs, half of which wait for the memory of one node.
#[derive(Clone, Debug)]
pub struct Service {
    arrivals: Vec<u64>,
    nodes: u32,
    seed: u64,
}

impl Service {
    /// 40 jobs for each of `workers` workers, with times between them as of a Poisson process.
    pub fn new(workers: u32, nodes: u32, seed: u64) -> Self {
        let mean = u64::from(TILES) * TILE * 100 / u64::from(workers) / LOAD;
        let mut now = 0;
        let arrivals = (0..JOBS * workers)
            .map(|job| {
                now += exponential(mean, hash(seed ^ 0x5e41, u64::from(job)));
                now
            })
            .collect();
        Self { arrivals, nodes, seed }
    }
}

/// An exponentially distributed number of this mean: −mean · ln u, with the logarithm in whole numbers, so that every host gets the same.
fn exponential(mean: u64, random: u64) -> u64 {
    const LN_2: u64 = 2_977_044_472; // ln 2 in 2^-32
    let u = random | 1;
    let mut log = u64::from(u.leading_zeros()) << 24;
    // The bits of −log2 of the fraction, by squaring; u is in [1/2, 1) of 2^32 then.
    let mut x = (u << u.leading_zeros()) >> 32;
    for bit in (0..24).rev() {
        x = (x * x) >> 32;
        if x < 1 << 31 {
            log += 1 << bit;
            x <<= 1;
        }
    }
    ((u128::from(mean) * u128::from(log) * u128::from(LN_2)) >> 56) as u64
}

impl Program for Service {
    fn start(&self) -> Start {
        Start::Jobs(self.arrivals.len() as u32)
    }

    fn step(&self, task: Task) -> Step {
        Step {
            next: Next::Loop(Task { kind: task.kind, ..task }),
            region: Some(Region { site: 2, size: u64::from(TILES) }),
            ..Step::leaf(Cost::compute(200))
        }
    }

    fn stretch(&self, of: Task) -> Cost {
        let tile = |i: u32| TILE / 2 + below(hash(self.seed ^ u64::from(of.job) << 32, u64::from(i)), TILE);
        Cost { ns: (of.lo..of.hi).map(tile).sum(), memory: 512, home: self.home(of).unwrap_or(0) }
    }

    fn home(&self, task: Task) -> Option<u32> {
        Some(block((hash(self.seed ^ 77, u64::from(task.job)) >> 40) as u32, 1 << 24, self.nodes))
    }

    fn job(&self, index: u32) -> (u64, Task) {
        (self.arrivals[index as usize], Task::new(1, index, 0, TILES, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_jobs_are_exponential() {
        let draws: Vec<u64> = (0..20_000).map(|i| exponential(1000, hash(9, i))).collect();
        let mean = draws.iter().sum::<u64>() / 20_000;
        assert!((975..1025).contains(&mean), "{mean}");
        let share = |limit| draws.iter().filter(|&&draw| draw > limit).count() as f64 / 20_000.0;
        for limit in [100, 693, 3000] {
            let expected = (-(limit as f64) / 1000.0).exp();
            assert!((share(limit) - expected).abs() < 0.015, "{limit}: {} for {expected}", share(limit));
        }
        let logarithm = -((1u64 << 61) as f64 / 2f64.powi(64)).ln() * 1e6;
        let difference = exponential(1_000_000, 1 << 61) as f64 - logarithm;
        assert!(difference.abs() < 2.0, "the logarithm is right: {difference}");
    }
}
