//! "Never slower than serial", made exact: over every workload at every size from one item up, hot, the time of two
//! workers, entry included, is at most `max(1.05 T, T + 60 ns + J c)`. `T` is the better sequential order's time, `J` the
//! number of joins, `c` what a join may cost. As the serial program may choose which side of a fork comes first, so may the
//! parallel one.
//!
//! The 60 ns and `c` were set on a machine that is faster than most, and clocks go up and down, so a ruler is laid on in every round: how much
//! longer than there a piece of sequential code takes here and now. [`Outcome::bound`] has both costs multiplied by that, [`Outcome::strict`] as they are.
//!
//! A size that seems to break the bound is measured again, longer, before it is called a violation: a machine that others
//! use is slow now and then, and a violation that is one stays one.

mod cases;
mod loops;

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use upbeat::{Runtime, Worker};

use crate::timing::{time, Body, Samples};
use crate::workloads::{right_first, Layout, Node};

pub use cases::{families, Family};

/// What entering a runtime may cost, ns.
pub const ENTRY: f64 = 60.0;
/// What cannot be told from noise, as a factor of `T`.
pub const TOLERANCE: f64 = 1.05;

/// Which runtime a case's parallel bodies enter, so that several can take turns at one case and its data.
#[derive(Debug)]
pub struct Turn<'r>(Cell<&'r Runtime>);

impl<'r> Turn<'r> {
    /// The turn of `runtime`.
    pub fn of(runtime: &'r Runtime) -> Self {
        Self(Cell::new(runtime))
    }

    /// From now on it is that of `runtime`.
    pub fn pass_to(&self, runtime: &'r Runtime) {
        self.0.set(runtime);
    }

    #[inline(always)]
    fn install<R: Send>(&self, region: impl FnOnce(&Worker) -> R + Send) -> R {
        self.0.get().install(region)
    }
}

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
    /// On two workers, entering the runtime in every call, in one order or in both; the better one counts.
    pub parallel: Vec<Body<'a>>,
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
    /// The bound on `parallel`, ns, with what entry and joins may cost on this machine.
    pub bound: f64,
    /// The bound with what they may cost on the machine that the costs were set on.
    pub strict: f64,
    /// How many times as long as there sequential code took here.
    pub slowness: f64,
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

    /// Whether it is broken also by the clock of the machine that the costs were set on.
    pub fn is_strict_violation(&self) -> bool {
        self.parallel > self.strict
    }
}

/// The bound on the parallel time, ns, on a machine that is `slowness` times as slow as the one the costs were set on.
pub fn bound(sequential: f64, joins: u64, join_cost: f64, slowness: f64) -> f64 {
    (TOLERANCE * sequential).max(sequential + slowness * (ENTRY + joins as f64 * join_cost))
}

/// Sequential code that is bound by the core and not by how it was compiled: the sum over a tree of 1023 nodes.
struct Ruler(Box<Node>);

impl Ruler {
    /// What it takes on the machine that the costs were set on, ns.
    const THERE: f64 = 1100.0;

    fn new() -> Self {
        Self(Node::balanced(1023, Layout::RightFirst))
    }

    /// How many times as long as there it takes here and now.
    fn measure(&self) -> f64 {
        let run = || {
            let started = Instant::now();
            black_box(right_first::tree((), black_box(&self.0)));
            started.elapsed().as_nanos() as f64
        };
        // The first fills the caches.
        run();
        run() / Self::THERE
    }
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
    for body in case.sequential.iter_mut().chain(&mut case.parallel) {
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
    let ruler = Ruler::new();
    let orders = case.sequential.len();
    let mut bodies: Vec<_> = case.sequential.iter_mut().chain(&mut case.parallel).collect();
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
    let mut slowness = Samples::default();
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
        slowness.push(ruler.measure());
        round += 1;
    }
    let better = |samples: &[Samples]| {
        let by_median = |a: &&Samples, b: &&Samples| a.median().total_cmp(&b.median());
        samples.iter().min_by(by_median).cloned().unwrap_or_default()
    };
    let (sequential, parallel) = (better(&samples[..orders]).median(), better(&samples[orders..]));
    // A machine that is faster than theirs has no more to spare.
    let slowness = slowness.median().max(1.0);
    Outcome {
        size: case.size,
        joins: case.joins,
        sequential,
        parallel: parallel.median(),
        best: parallel.best(),
        bound: bound(sequential, case.joins, case.join_cost, slowness),
        strict: bound(sequential, case.joins, case.join_cost, 1.0),
        slowness,
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
            parallel: vec![Box::new(move |times| {
                crate::timing::repeat(times, || crate::workloads::spin_item(100 * slow))
            })],
        };
        let effort = Effort {
            batch: Duration::from_micros(5),
            rounds: 5,
            limit: Duration::from_millis(1),
            repeats: 1,
        };
        let outcome = measure("spin", case(100), effort);
        assert!(outcome.is_violation() && outcome.attempts == 2, "{outcome:?}");
        assert!(outcome.is_strict_violation() && outcome.slowness >= 1.0, "{outcome:?}");
        assert!(outcome.strict > outcome.sequential && outcome.best <= outcome.parallel, "{outcome:?}");
    }
}
