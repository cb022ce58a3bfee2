//! Policies on workloads, paired seed by seed with nearest-first, with confidence intervals; and the sweep that looks for where one is bad.

use upbeat::Generator;

use crate::engine::{simulate, Plan};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::settings::{Always, Chooser, Idling, Settings, CONFIGURATIONS};
use crate::workloads::{Shape, Workload};

/// On what policies are compared.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine.
    pub machine: Machine,
    /// Number of workers.
    pub workers: usize,
    /// How workers idle, but for policies that are about that.
    pub idling: Idling,
    /// The settings that policies begin with.
    pub settings: Settings,
}

/// One policy on one workload, over some seeds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The workload.
    pub workload: Workload,
    /// The policy.
    pub policy: Policy,
    /// How many times as fast as nearest-first: the geometric mean, and its 95 % confidence interval.
    pub ratio: [f64; 3],
    /// The worst of the seeds.
    pub worst: f64,
    /// Mean efficiency.
    pub efficiency: f64,
    /// The configuration that tuning chose.
    pub tuned: Option<&'static str>,
}

/// Seeds that configurations are tuned on: no other uses them.
const TRAINING: u64 = 1 << 40;
/// How many.
const TRAININGS: u64 = 2;

impl Setup {
    /// One run, of whose regions `chooser` decides.
    pub fn run(&self, workload: Workload, chooser: &mut dyn Chooser, idling: Idling, seed: u64) -> Outcome {
        let shape = Shape { workers: self.workers as u32, nodes: self.machine.nodes, seed };
        let plan = Plan { machine: &self.machine, workers: self.workers, idling, seed };
        simulate(&*workload.program(shape), plan, chooser)
    }

    /// One run of a policy.
    pub fn run_policy(&self, workload: Workload, policy: Policy, seed: u64) -> Outcome {
        let settings = match policy {
            Policy::Tuned => self.tune(workload).1,
            _ => policy.settings(self.settings),
        };
        self.run(workload, &mut Always(settings), policy.idling(&self.machine, self.idling), seed)
    }

    /// The configuration that is fastest on seeds kept for that.
    pub fn tune(&self, workload: Workload) -> (&'static str, Settings) {
        let cost = |settings: Settings| -> f64 {
            let runs = (TRAINING..TRAINING + TRAININGS)
                .map(|seed| self.run(workload, &mut Always(settings), self.idling, seed));
            runs.map(|outcome| measure(workload, &outcome).ln()).sum()
        };
        let costs: Vec<f64> = CONFIGURATIONS.iter().map(|&(_, settings)| cost(settings)).collect();
        let best = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
        CONFIGURATIONS[best]
    }
}

/// What counts of a run, ns: less is better. A service's makespan is that of its arrivals, so there the 99th percentile counts.
pub fn measure(workload: Workload, outcome: &Outcome) -> f64 {
    match workload {
        Workload::Service => outcome.percentile(990) as f64,
        _ => outcome.makespan as f64,
    }
}

/// Compares all policies on `workloads` over `seeds` seeds. `progress` is told the share that is done and what is next.
pub fn compare(
    setup: &Setup,
    workloads: &[Workload],
    seeds: u64,
    progress: &mut dyn FnMut(f64, &str),
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (done, &workload) in workloads.iter().enumerate() {
        let mut base = Vec::new();
        for (at, policy) in Policy::ALL.into_iter().enumerate() {
            let share = done as f64 + at as f64 / Policy::ALL.len() as f64;
            progress(share / workloads.len() as f64, &format!("{}: {}", workload.name(), policy.name()));
            let (tuned, settings) = match policy {
                Policy::Tuned => {
                    let (name, settings) = setup.tune(workload);
                    (Some(name), settings)
                }
                _ => (None, policy.settings(setup.settings)),
            };
            let idling = policy.idling(&setup.machine, setup.idling);
            let runs: Vec<Outcome> =
                (1..=seeds).map(|seed| setup.run(workload, &mut Always(settings), idling, seed)).collect();
            let measured: Vec<f64> = runs.iter().map(|run| measure(workload, run)).collect();
            if base.is_empty() {
                base.clone_from(&measured);
            }
            let logs: Vec<f64> = base.iter().zip(&measured).map(|(base, own)| (base / own).ln()).collect();
            rows.push(Row {
                workload,
                policy,
                ratio: interval(&logs).map(f64::exp),
                worst: logs.iter().copied().fold(f64::INFINITY, f64::min).exp(),
                efficiency: runs.iter().map(Outcome::efficiency).sum::<f64>() / runs.len() as f64,
                tuned,
            });
        }
    }
    rows
}

/// The mean of samples and its 95 % confidence interval (Student); without bounds for a single one.
pub(crate) fn interval(samples: &[f64]) -> [f64; 3] {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    if samples.len() < 2 {
        return [mean, f64::NEG_INFINITY, f64::INFINITY];
    }
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = student(samples.len() - 1) * (variance / count).sqrt();
    [mean, mean - half, mean + half]
}

/// The 97.5th percentile of Student's distribution.
fn student(freedom: usize) -> f64 {
    const FIRST: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    match FIRST.get(freedom - 1) {
        Some(&quantile) => quantile,
        // Within 1 % from here on (Abramowitz and Stegun 26.7.5, its first term).
        None => 1.960 + 2.372 / freedom as f64 + 2.8 / (freedom * freedom) as f64,
    }
}

/// A case of the sweep that was worst for a policy.
#[derive(Clone, Debug)]
pub struct Worst {
    /// The policy.
    pub policy: Policy,
    /// How many times as fast as nearest-first it was there.
    pub ratio: f64,
    /// The case, by its number.
    pub case: u64,
    /// What was run there.
    pub workload: Workload,
    /// The machine's nodes, and the workers.
    pub size: (u32, usize),
}

/// Looks for where a policy is worst, over `cases` machines and workloads drawn at random: latencies a quarter to four times the
/// preset's, one to eight nodes, 2 to 64 workers, either way of idling.
pub fn sweep(cases: u64, progress: &mut dyn FnMut(f64, &str)) -> Vec<Worst> {
    let mut worst: Vec<Worst> = Vec::new();
    for case in 0..cases {
        let (setup, workload) = draw(case);
        progress(case as f64 / cases as f64, &format!("case {case}: {}", workload.name()));
        let of = |policy| measure(workload, &setup.run_policy(workload, policy, case));
        let base = of(Policy::Nearest);
        for policy in Policy::ALL.into_iter().filter(|&policy| policy != Policy::Nearest) {
            let found = Worst {
                policy,
                ratio: base / of(policy),
                case,
                workload,
                size: (setup.machine.nodes, setup.workers),
            };
            match worst.iter_mut().find(|worst| worst.policy == policy) {
                Some(worst) if worst.ratio <= found.ratio => {}
                Some(worst) => *worst = found,
                None => worst.push(found),
            }
        }
    }
    worst
}

fn draw(case: u64) -> (Setup, Workload) {
    let mut generator = Generator::new(case.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let mut machine = Machine::preset("8x32").expect("a preset");
    machine.nodes = 1 << generator.below(4);
    machine.scale(&mut generator);
    let workers = 2 << generator.below(6);
    let idling = [Idling::TODAY, Idling::SPIN][generator.below(2)];
    let workload = Workload::ALL[generator.below(Workload::ALL.len())];
    (Setup { machine, workers, idling, settings: Settings::TODAY }, workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        let [mean, low, high] = interval(&[1.0, 2.0, 3.0]);
        assert_eq!(mean, 2.0);
        // s = 1, so the half is 4.303 / sqrt(3).
        assert!((high - 2.0 - 2.4843).abs() < 1e-3 && (2.0 - low - 2.4843).abs() < 1e-3);
        assert!(interval(&[1.0])[2].is_infinite());
        for (freedom, exact) in [(11, 2.201), (20, 2.086), (60, 2.000), (1000, 1.962)] {
            assert!((student(freedom) / exact - 1.0).abs() < 0.01, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn nearest_is_as_fast_as_itself_and_every_policy_is_there() {
        let machine = Machine::preset("2x32").unwrap();
        let setup = Setup { machine, workers: 4, idling: Idling::SPIN, settings: Settings::TODAY };
        let mut told = 0;
        let rows = compare(&setup, &[Workload::MemoryTree], 3, &mut |_, _| told += 1);
        assert_eq!((rows.len(), told), (Policy::ALL.len(), Policy::ALL.len()));
        assert_eq!(rows[0].ratio, [1.0; 3]);
        for row in &rows {
            let [mean, low, high] = row.ratio;
            assert!(low <= mean && mean <= high && row.worst <= mean * 1.0001, "{row:?}");
            assert_eq!(row.tuned.is_some(), row.policy == Policy::Tuned);
        }
    }

    #[test]
    fn a_sweep_finds_the_worst_of_each_policy_and_finds_it_again() {
        let first = sweep(3, &mut |_, _| {});
        assert_eq!(first.len(), Policy::ALL.len() - 1);
        let again = sweep(3, &mut |_, _| {});
        assert!(first.iter().zip(&again).all(|(a, b)| a.ratio == b.ratio && a.case == b.case));
    }
}
