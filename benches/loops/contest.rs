//! Contenders for one piece of work, in interleaved rounds whose order rotates; answers are checked before a time is printed.
//! Shared by the benchmarks of loops and sorts.

use upbeat_benches::timing::{time, Body, Samples};

/// Whether to measure, and what.
pub(crate) struct Contest {
    rounds: usize,
    filters: Vec<String>,
}

impl Contest {
    /// `--bench` measures; anything else runs each body once. Other arguments are parts of names to choose by.
    pub(crate) fn from_args() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let bench = arguments.iter().any(|argument| argument == "--bench");
        let filters = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
        Self { rounds: if bench { 15 } else { 1 }, filters }
    }

    /// The sizes up to `tested` in a test, else all.
    pub(crate) fn sizes(&self, sizes: &[usize], tested: usize) -> Vec<usize> {
        sizes.iter().copied().filter(|&size| self.rounds > 1 || size <= tested).collect()
    }

    /// Runs the contenders, `calls` calls a round, and prints each one's times and its share of the first one's, the sequential code.
    pub(crate) fn run(&self, work: &str, calls: u64, answer: u64, contenders: Vec<(&str, Body<'_>)>) {
        if !self.filters.is_empty() && !self.filters.iter().any(|filter| work.contains(filter)) {
            return;
        }
        let calls = if self.rounds > 1 { calls } else { 1 };
        let (names, mut bodies): (Vec<_>, Vec<_>) = contenders.into_iter().unzip();
        let mut samples = vec![Samples::default(); bodies.len()];
        for round in 0..self.rounds {
            for i in 0..bodies.len() {
                let which = (i + round) % bodies.len();
                // Hot: the first calls wake whom they may and fill the caches.
                time(&mut bodies[which], calls.div_ceil(8), answer, names[which]);
                samples[which].push(time(&mut bodies[which], calls, answer, names[which]));
            }
        }
        if self.rounds == 1 {
            return;
        }
        println!("\n{work}");
        let (best, median) = (samples[0].best(), samples[0].median());
        for (name, samples) in names.iter().zip(&samples) {
            println!(
                "  {name:<30} {:>12.3} µs, {:.3} of sequential (median {:>12.3} µs, {:.3})",
                samples.best() / 1e3,
                samples.best() / best,
                samples.median() / 1e3,
                samples.median() / median
            );
        }
    }
}
