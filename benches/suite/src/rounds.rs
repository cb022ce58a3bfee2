//! Interleaved rounds: every contender once a round, the order rotating, answers checked, rounds on a busy machine
//! thrown away.

use std::time::{Duration, Instant};

use crate::outcome::{Entry, Outcome};
use crate::probe::Probe;
use crate::rows::{Contender, Row};
use crate::timing::{time, Samples};

/// How long to measure a row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, as far as `limit` allows; at least five.
    pub rounds: u32,
    /// Shortest time of a contender's batch of calls.
    pub batch: Duration,
    /// About the longest time for a row.
    pub limit: Duration,
}

impl Effort {
    /// What records are made with.
    pub const RECORD: Self =
        Self { rounds: 31, batch: Duration::from_millis(2), limit: Duration::from_secs(12) };
    /// Enough to see where things stand.
    pub const QUICK: Self =
        Self { rounds: 11, batch: Duration::from_millis(1), limit: Duration::from_secs(3) };
}

/// Runs every body of a row once, and checks the answers.
///
/// # Panics
/// When one is wrong.
pub fn check(row: &mut Row<'_>) {
    let (work, answer) = (row.work.clone(), row.answer);
    for Contender { name, body, .. } in &mut row.contenders {
        time(body, 1, answer, &format!("{work}: {name}"));
    }
}

/// Measures a row.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(row: &mut Row<'_>, probe: &Probe, effort: Effort) -> Outcome {
    let started = Instant::now();
    let (work, answer) = (row.work.clone(), row.answer);
    let calls: Vec<u64> =
        row.contenders.iter_mut().map(|c| fill(c, row.gap, effort, &work, answer)).collect();
    let count = row.contenders.len();
    let mut samples = vec![Samples::default(); count];
    // A cold call is short and its time varies: many of them.
    let rounds = if row.gap.is_some() { effort.rounds * 6 } else { effort.rounds };
    let (mut kept, mut discarded) = (0, 0);
    // At first only quiet rounds count; a machine that is never quiet is measured as it is, and the outcome says so.
    while kept < 5 || (kept < rounds && started.elapsed() < effort.limit) {
        // Cold calls would not be cold after a probe; the gap's sleep is between.
        let quiet_before = probe.is_quiet();
        let mut round = vec![0.0; count];
        for i in 0..count {
            let which = (i + kept as usize) % count;
            let contender = &mut row.contenders[which];
            if let Some(gap) = row.gap {
                std::thread::sleep(gap);
            }
            round[which] = time(&mut contender.body, calls[which], answer, &work);
        }
        let quiet = quiet_before && probe.is_quiet();
        if !quiet && discarded < 3 * rounds && started.elapsed() < effort.limit {
            discarded += 1;
            continue;
        }
        kept += 1;
        for (samples, time) in samples.iter_mut().zip(round) {
            samples.push(time);
        }
    }
    let entry = |(contender, samples): (&Contender<'_>, &Samples)| Entry {
        name: contender.name,
        kind: contender.kind,
        median: samples.median(),
        best: samples.best(),
        tail: samples.quantile(0.99),
    };
    let entries = row.contenders.iter().zip(&samples).map(entry).collect();
    Outcome::new(row, entries, kept, discarded)
}

/// How many calls fill a batch; one where each is to be cold.
fn fill(
    contender: &mut Contender<'_>,
    gap: Option<Duration>,
    effort: Effort,
    work: &str,
    answer: u64,
) -> u64 {
    let batch = effort.batch.as_nanos() as f64;
    let mut calls = 1;
    while gap.is_none() && time(&mut contender.body, calls, answer, work) * (calls as f64) < batch {
        calls *= 2;
    }
    calls
}
