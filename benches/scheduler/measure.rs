//! Interleaved rounds: every contender once a round, the order rotating, answers checked before a time is printed.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One contender.
pub(crate) struct Row<'a> {
    name: &'static str,
    body: Box<dyn FnMut() -> u64 + 'a>,
    times: Vec<f64>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(name: &'static str, body: impl FnMut() -> u64 + 'a) -> Self {
        Self { name, body: Box::new(body), times: Vec::new() }
    }

    /// Least time, ns: what the code costs when nothing else disturbs it.
    fn best(&self) -> f64 {
        self.times.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

/// Runs `body` `times` times and returns its last answer.
pub(crate) fn repeat(times: u64, mut body: impl FnMut() -> u64) -> u64 {
    let mut answer = 0;
    for _ in 0..times {
        answer = black_box(body());
    }
    answer
}

pub(crate) struct Measure {
    rounds: usize,
}

impl Measure {
    /// `--bench` measures; anything else runs each body once.
    pub(crate) fn from_args() -> Self {
        let bench = std::env::args().any(|argument| argument == "--bench");
        Self { rounds: if bench { 60 } else { 1 } }
    }

    pub(crate) fn is_test(&self) -> bool {
        self.rounds == 1
    }

    fn run(&self, work: &str, answer: u64, rows: &mut [Row<'_>]) {
        let budget = Instant::now();
        for round in 0..self.rounds {
            for i in 0..rows.len() {
                let row = (i + round) % rows.len();
                let row = &mut rows[row];
                let start = Instant::now();
                let got = (row.body)();
                row.times.push(start.elapsed().as_nanos() as f64);
                assert_eq!(got, answer, "{work}: {} computed a wrong answer", row.name);
            }
            if round >= 5 && budget.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        println!("\n{work}");
    }

    /// Prints what each of `joins` joins costs over the better sequential order.
    pub(crate) fn overhead(&self, work: &str, joins: u64, goal: f64, answer: u64, rows: &mut [Row<'_>]) {
        self.run(work, answer, rows);
        let base = baseline(rows, Row::best);
        let base_median = baseline(rows, Row::median);
        for row in rows.iter() {
            let best = (row.best() - base) / joins as f64;
            let median = (row.median() - base_median) / joins as f64;
            let verdict = match row.name {
                "upbeat" if best <= goal => format!("goal {goal} ns: met"),
                "upbeat" => format!("goal {goal} ns: missed"),
                _ => String::new(),
            };
            println!("  {:<26} {best:>7.2} ns a join (median {median:>7.2}) {verdict}", row.name);
        }
    }

    /// Prints each time as a share of the better sequential one.
    pub(crate) fn speedup(&self, work: &str, goal: f64, answer: u64, rows: &mut [Row<'_>]) {
        self.run(work, answer, rows);
        let base = baseline(rows, Row::best);
        let base_median = baseline(rows, Row::median);
        for row in rows.iter() {
            let (best, median) = (row.best() / base, row.median() / base_median);
            let verdict = match row.name {
                "upbeat" if median <= goal => format!("goal {goal}: met"),
                "upbeat" => format!("goal {goal}: missed"),
                _ => String::new(),
            };
            println!(
                "  {:<26} {:>10.1} µs, {best:.3} of sequential (median {median:.3}) {verdict}",
                row.name,
                row.best() / 1e3
            );
        }
    }
}

fn baseline<'a>(rows: &[Row<'a>], of: impl Fn(&Row<'a>) -> f64) -> f64 {
    rows.iter().filter(|row| row.name.starts_with("sequential")).map(of).fold(f64::INFINITY, f64::min)
}
