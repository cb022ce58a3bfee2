//! What each configuration makes of a case, seed by seed.

use upbeat::simulation::{Features, Observed, ARMS};

use super::cases::Case;
use crate::engine::{simulate, Plan};
use crate::outcome::Outcome;
use crate::program::Region;
use crate::settings::{Chooser, Settings, CONFIGURATIONS};

/// A region is late when it takes this much longer than with arm 0.
const PATIENCE: f64 = 1.5;

/// What an invocation took, ns.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// From its begin to its end.
    pub time: f64,
    /// Of all workers.
    pub work: f64,
}

impl Time {
    fn of(outcome: &Outcome) -> Self {
        let work = outcome.useful + outcome.inflated + outcome.overhead;
        Self { time: outcome.makespan as f64, work: work as f64 }
    }
}

/// Times of one case.
#[derive(Clone, Debug)]
pub struct Table {
    /// By arm and seed.
    pub times: [Vec<Time>; ARMS],
    /// The same when a region that is late goes on with arm 0.
    pub cut: [Vec<Time>; ARMS],
    /// What was counted in the first runs with arm 0.
    pub features: Features,
}

/// One arm for a region, and arm 0 when it is late.
struct Cut {
    arm: usize,
    limit: u64,
}

impl Chooser for Cut {
    fn choose(&mut self, _: Region, _: u64) -> Settings {
        CONFIGURATIONS[self.arm].1
    }

    fn limit(&self) -> u64 {
        self.limit
    }
}

impl Case {
    /// One invocation with one arm, late after `limit` ns.
    pub fn run(&self, arm: usize, seed: u64, limit: u64) -> Outcome {
        let plan = Plan { machine: &self.machine, workers: self.workers, idling: self.idling, seed };
        simulate(&self.program(seed), plan, &mut Cut { arm, limit })
    }

    /// What each configuration takes for `seeds` seeds from `first` on; and what the first two show of the region, with arm 0: what a policy
    /// sees before it has an opinion.
    pub fn times(&self, first: u64, seeds: u64) -> ([Vec<Time>; ARMS], Features) {
        let runs = |arm: usize| -> Vec<Outcome> {
            (first..first + seeds).map(|seed| self.run(arm, seed, u64::MAX)).collect()
        };
        let with_arm_0 = runs(0);
        let features = observed(&with_arm_0[..with_arm_0.len().min(2)], self).features();
        let times = std::array::from_fn(|arm| match arm {
            0 => with_arm_0.iter().map(Time::of).collect(),
            _ => runs(arm).iter().map(Time::of).collect(),
        });
        (times, features)
    }

    /// The same, and what becomes of those that are late.
    pub fn table(&self, first: u64, seeds: u64) -> Table {
        let (times, features) = self.times(first, seeds);
        let limit = PATIENCE * mean(&times[0]);
        let cut = std::array::from_fn(|arm| {
            let cut = |(at, &whole): (usize, &Time)| match whole.time > limit {
                true if arm > 0 => Time::of(&self.run(arm, first + at as u64, limit as u64)),
                _ => whole,
            };
            times[arm].iter().enumerate().map(cut).collect()
        });
        Table { times, cut, features }
    }
}

fn mean(times: &[Time]) -> f64 {
    times.iter().map(|time| time.time).sum::<f64>() / times.len() as f64
}

/// What the runtime's counters would say of some runs with arm 0.
fn observed(outcomes: &[Outcome], case: &Case) -> Observed {
    let sum = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>() / outcomes.len() as u64;
    let logs: Vec<f64> = outcomes.iter().map(|outcome| (outcome.makespan as f64).ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    Observed {
        workers: case.workers as u32,
        nodes: case.machine.nodes,
        time: sum(&|outcome| outcome.makespan),
        busy: sum(&|outcome| outcome.useful + outcome.inflated + outcome.overhead),
        steals: std::array::from_fn(|at| sum(&|outcome| outcome.steals[at])),
        stolen: std::array::from_fn(|at| sum(&|outcome| outcome.stolen_time[at])),
        failed: sum(&|outcome| outcome.failed_steals),
        answers: sum(&|outcome| outcome.answers),
        promotions: sum(&|outcome| outcome.promotions),
        parks: sum(&|outcome| outcome.parks),
        variance: logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() as f32 / logs.len() as f32,
    }
}

impl Table {
    /// Each arm's mean time, ns.
    pub fn means(&self) -> [f64; ARMS] {
        std::array::from_fn(|arm| mean(&self.times[arm]))
    }

    /// The same beside arm 0's.
    pub fn ratios(&self) -> [f64; ARMS] {
        let means = self.means();
        means.map(|mean| mean / means[0])
    }

    /// The least of these: what the best configuration takes beside arm 0.
    pub fn best(&self) -> f64 {
        self.ratios().into_iter().fold(f64::INFINITY, f64::min)
    }
}
