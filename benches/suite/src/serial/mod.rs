//! "Never slower than serial", made exact: over every workload at every size from one item up, hot, the time of two
//! workers, entry included, is at most `max(1.05 T, T + 60 ns + J c)`. `T` is the better sequential order's time, `J` the
//! number of joins, `c` what a join may cost.
//!
//! A size that seems to break the bound is measured again, longer, before it is called a violation: a machine that others
//! use is slow now and then, and a violation that is one stays one.

mod cases;
mod loops;

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::timing::{repeat, time, Body, Samples};
use crate::workloads::{right_first, Layout, Node};

pub use cases::{families, Family};

/// What entering a runtime may cost, ns.
pub const ENTRY: f64 = 60.0;
/// What cannot be told from noise, as a factor of `T`.
pub const TOLERANCE: f64 = 1.05;

/// One workload at one size.
pub struct Case<'a> {
    /// Items: nodes, numbers, queens.
    pub size: u64,
    /// Joins that a call makes.
    pub joins: u64,
    /// What a join may cost, ns.
    pub join_cost: f64,
    /// What every body answers.
    pub answer: u64,
    /// The sequential orders; the better one counts.
    pub sequential: Vec<Body<'a>>,
    /// On two workers, entering the runtime in every call.
    pub parallel: Body<'a>,
}

/// What was measured of a [`Case`].
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Items.
    pub size: u64,
    /// Joins a call.
    pub joins: u64,
    /// Median of the better sequential order, ns.
    pub sequential: f64,
    /// Median of two workers, ns.
    pub parallel: f64,
    /// Best of two workers, ns.
    pub best: f64,
    /// The bound on `parallel`, ns.
    pub bound: f64,
    /// What a join may cost, ns.
    pub join_cost: f64,
    /// How often it was measured.
    pub attempts: u32,
}

impl Outcome {
    /// What the parallel time is above its bound, ns; not positive when the bound is kept.
    pub fn excess(&self) -> f64 {
        self.parallel - self.bound
    }

    /// Whether the bound is broken.
    pub fn is_violation(&self) -> bool {
        self.excess() > 0.0
    }

    /// Whether it is broken also with what entry and joins may cost multiplied by `slowness`.
    pub fn is_violation_on(&self, slowness: f64) -> bool {
        self.parallel > bound(self.sequential, self.joins, self.join_cost, slowness)
    }
}

/// The bound on the parallel time, ns, on a machine that is `slowness` times as slow as the one the costs were set on.
pub fn bound(sequential: f64, joins: u64, join_cost: f64, slowness: f64) -> f64 {
    (TOLERANCE * sequential).max(sequential + slowness * (ENTRY + joins as f64 * join_cost))
}

/// How many times as long as there sequential code takes here: the sum over a tree of 1023 nodes, which is bound by the core and not
/// by how it was compiled. The machine that the costs were set on needs 1.1 µs.
pub fn slowness() -> f64 {
    const THERE: f64 = 1100.0;
    const CALLS: u64 = 1000;
    let tree = Node::balanced(1023, Layout::RightFirst);
    let run = || {
        let started = Instant::now();
        repeat(CALLS, || right_first::tree((), black_box(&tree)));
        started.elapsed().as_nanos() as f64 / CALLS as f64
    };
    (0..20).map(|_| run()).fold(f64::INFINITY, f64::min) / THERE
}

/// How long to measure a size.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Shortest time of one batch of calls.
    pub batch: Duration,
    /// Rounds of the first measurement, as far as `limit` allows; at least five.
    pub rounds: u32,
    /// About the longest time of the first measurement.
    pub limit: Duration,
    /// Further measurements, each twice as long, of a size that seems to break the bound.
    pub repeats: u32,
}

impl Effort {
    /// Enough to tell 5 %.
    pub const MEASURE: Self =
        Self { batch: Duration::from_micros(60), rounds: 15, limit: Duration::from_millis(200), repeats: 3 };
    /// Enough to see where the bound is broken by far.
    pub const QUICK: Self =
        Self { batch: Duration::from_micros(40), rounds: 7, limit: Duration::from_millis(60), repeats: 1 };
}

/// Runs each body once; for tests.
///
/// # Panics
/// When an answer is wrong.
pub fn check(family: &str, mut case: Case<'_>) {
    for body in case.sequential.iter_mut().chain([&mut case.parallel]) {
        time(body, 1, case.answer, family);
    }
}

/// Measures a case.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(family: &str, mut case: Case<'_>, effort: Effort) -> Outcome {
    let mut effort = effort;
    let mut attempt = 1;
    loop {
        let outcome = measure_once(family, &mut case, effort, attempt);
        if !outcome.is_violation() || attempt > effort.repeats {
            return outcome;
        }
        attempt += 1;
        effort.rounds *= 2;
        effort.limit *= 2;
    }
}

fn measure_once(family: &str, case: &mut Case<'_>, effort: Effort, attempts: u32) -> Outcome {
    let started = Instant::now();
    let batch = effort.batch.as_nanos() as f64;
    let mut bodies: Vec<_> = case.sequential.iter_mut().chain([&mut case.parallel]).collect();
    // How many calls fill a batch of each; found by doubling, which warms everything up as well.
    let mut calls = vec![1u64; bodies.len()];
    let mut long = false;
    for (body, calls) in bodies.iter_mut().zip(&mut calls) {
        while time(body, *calls, case.answer, family) * (*calls as f64) < batch {
            *calls *= 2;
        }
        long |= *calls == 1;
    }
    let mut samples = vec![Samples::default(); bodies.len()];
    let mut round = 0;
    while round < 5 || (round < effort.rounds && started.elapsed() < effort.limit) {
        for i in 0..bodies.len() {
            let which = (i + round as usize) % bodies.len();
            let (body, calls) = (&mut *bodies[which], calls[which]);
            // Hot: a batch before the timed one wakes whom it may and fills the caches. A long call does that by itself.
            if !long {
                time(body, calls, case.answer, family);
            }
            samples[which].push(time(body, calls, case.answer, family));
        }
        round += 1;
    }
    let parallel = samples.pop().unwrap_or_default();
    let sequential = samples.iter().map(Samples::median).fold(f64::INFINITY, f64::min);
    Outcome {
        size: case.size,
        joins: case.joins,
        sequential,
        parallel: parallel.median(),
        best: parallel.best(),
        bound: bound(sequential, case.joins, case.join_cost, 1.0),
        join_cost: case.join_cost,
        attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_larger_of_the_two() {
        assert_eq!(bound(1.0, 0, 0.8, 1.0), 61.0);
        assert_eq!(bound(1000.0, 100, 0.8, 1.0), 1140.0);
        assert_eq!(bound(1000.0, 100, 0.8, 2.0), 1280.0);
        assert_eq!(bound(1e6, 10, 0.8, 1.0), 1.05e6);
    }

    #[test]
    fn slower_than_the_bound_is_a_violation_and_is_measured_again() {
        let case = |slow: u64| Case {
            size: 1,
            joins: 0,
            join_cost: 0.8,
            answer: 1,
            sequential: vec![Box::new(|times| {
                crate::timing::repeat(times, || crate::workloads::spin_item(100))
            })],
            parallel: Box::new(move |times| {
                crate::timing::repeat(times, || crate::workloads::spin_item(100 * slow))
            }),
        };
        let effort = Effort {
            batch: Duration::from_micros(5),
            rounds: 5,
            limit: Duration::from_millis(1),
            repeats: 1,
        };
        let outcome = measure("spin", case(100), effort);
        assert!(outcome.is_violation() && outcome.attempts == 2, "{outcome:?}");
        assert!(outcome.bound > outcome.sequential && outcome.best <= outcome.parallel, "{outcome:?}");
    }
}
