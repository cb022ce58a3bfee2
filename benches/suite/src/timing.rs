//! Repeating and timing: the few things that every measurement shares.

use std::hint::black_box;
use std::time::Instant;

/// A contender's code: runs the workload so many times and returns the last answer.
pub type Body<'a> = Box<dyn FnMut(u64) -> u64 + 'a>;

/// Runs `once` `times` times and returns its last answer.
#[inline(always)]
pub fn repeat(times: u64, mut once: impl FnMut() -> u64) -> u64 {
    let mut answer = 0;
    for _ in 0..times {
        answer = black_box(once());
    }
    answer
}

/// Nanoseconds a call, when `body` is called `times` times.
///
/// # Panics
/// When the answer is not `answer`.
pub fn time(body: &mut Body<'_>, times: u64, answer: u64, who: &str) -> f64 {
    let start = Instant::now();
    let got = body(times);
    let took = start.elapsed().as_nanos() as f64;
    assert_eq!(got, answer, "{who} computed a wrong answer");
    took / times as f64
}

/// Times measured, ns.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// These measurements.
    pub fn of(nanoseconds: impl IntoIterator<Item = f64>) -> Self {
        Self(nanoseconds.into_iter().collect())
    }

    /// Adds a measurement.
    pub fn push(&mut self, nanoseconds: f64) {
        self.0.push(nanoseconds);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The least: what the code costs when nothing else disturbs it. Infinite when there are none.
    pub fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The one below which a share of `q` lies; infinite when there are none.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::INFINITY)
    }
}
