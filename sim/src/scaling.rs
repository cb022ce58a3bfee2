//! Efficiency over numbers of workers: as it is today, with idle workers that spin, and with the best configuration for each number.

use crate::compare::Setup;
use crate::machine::Machine;
use crate::settings::{Always, Idling, Settings};
use crate::workloads::Workload;

/// Numbers of workers, as far as the machine has CPUs.
pub const COUNTS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// One way to run, over numbers of workers.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is run how; says that it is simulated.
    pub name: String,
    /// Points, by number of workers.
    pub points: Vec<Point>,
}

/// One number of workers.
#[derive(Clone, Debug)]
pub struct Point {
    /// Number of workers.
    pub workers: usize,
    /// Mean efficiency over the seeds.
    pub efficiency: f64,
    /// Mean makespan, ns.
    pub makespan: f64,
    /// The configuration.
    pub configuration: &'static str,
}

/// The lines of a workload on a machine, over `seeds` seeds.
pub fn scaling(
    machine: &Machine,
    workload: Workload,
    seeds: u64,
    progress: &mut dyn FnMut(f64, &str),
) -> Vec<Line> {
    let counts: Vec<usize> = COUNTS.into_iter().filter(|&count| count <= machine.cpus()).collect();
    let ways = [
        ("as today", Idling::TODAY, false),
        ("idle workers spin for 20 µs", Idling::SPIN, false),
        ("the same, best of six configurations", Idling::SPIN, true),
    ];
    let steps = (ways.len() * counts.len()) as f64;
    let mut lines = Vec::new();
    for (way, &(what, idling, is_tuned)) in ways.iter().enumerate() {
        let mut points = Vec::new();
        for (at, &workers) in counts.iter().enumerate() {
            let name = format!("{}: {workers} workers, {what}", workload.name());
            progress((way * counts.len() + at) as f64 / steps, &name);
            let setup = Setup { machine: machine.clone(), workers, idling, settings: Settings::TODAY };
            let (configuration, settings) =
                if is_tuned { setup.tune(workload) } else { ("on-request", setup.settings) };
            let runs: Vec<_> =
                (1..=seeds).map(|seed| setup.run(workload, &mut Always(settings), idling, seed)).collect();
            let mean = |of: &dyn Fn(&crate::Outcome) -> f64| runs.iter().map(of).sum::<f64>() / seeds as f64;
            points.push(Point {
                workers,
                efficiency: mean(&|run| run.efficiency()),
                makespan: mean(&|run| run.makespan as f64),
                configuration,
            });
        }
        lines.push(Line { name: format!("{}, {what} (simulated)", workload.name()), points });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_that_it_is_simulated_and_the_best_is_no_worse_than_the_default() {
        let machine = Machine::preset("2-core").unwrap();
        let lines = scaling(&machine, Workload::MemoryTree, 1, &mut |_, _| {});
        assert_eq!(lines.len(), 3);
        for line in &lines {
            assert!(line.name.contains("simulated"), "{}", line.name);
            let workers: Vec<usize> = line.points.iter().map(|point| point.workers).collect();
            assert_eq!(workers, [1, 2], "as many as the machine has");
            assert!(line.points.iter().all(|p| p.efficiency > 0.5 && p.efficiency <= 1.0), "{line:?}");
        }
    }
}
