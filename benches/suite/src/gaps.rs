//! Spin or park: what it costs to poll, or not, between regions from outside; one runtime for each way to choose how long.
//!
//! A region is one tree that two workers share. Between two the caller waits, and the watcher has nothing to do. CPU time is that of the whole
//! process but for the caller's waiting, so it is polling, waking and the work itself. Rounds are interleaved, answers checked.

use std::hint::{black_box, spin_loop};
use std::thread::sleep;
use std::time::{Duration, Instant};

use upbeat::simulation::Polling;
use upbeat::{Generator, Runtime, Worker};

use crate::process::usage;
use crate::timing::Samples;
use crate::workloads::{rounds_lasting, spin_item};

/// What [`HEDGE`] is measured against.
pub const SKI_RENTAL: &str = "ski rental";
/// The learned way.
pub const HEDGE: &str = "hedge";

/// The ways to choose, the runtime's own first. Before them one worker, which has nobody to wake: the work itself.
pub const POLLINGS: [(&str, Polling); 5] = [
    ("one worker", Polling::Fixed),
    ("fixed 30 us", Polling::Fixed),
    ("at once", Polling::Never),
    (SKI_RENTAL, Polling::SkiRental),
    (HEDGE, Polling::Learned),
];

/// Longer than the watcher polls and naps, so that all time it took is accounted for.
const SETTLE: Duration = Duration::from_millis(10);
/// Gaps above this are slept through by the caller, but for the last part.
const SLEPT: Duration = Duration::from_micros(400);
/// Leaves of a region.
const LEAVES: u32 = 32;

/// Times between regions, in µs, as drawn for region `i`.
type Gap = fn(u64, &mut Generator) -> u64;

/// The patterns.
const PATTERNS: [(&str, Gap); 7] = [
    ("every 15 us", |_, _| 15),
    ("every 40 us", |_, _| 40),
    ("every 150 us", |_, _| 150),
    ("every 1000 us", |_, _| 1_000),
    ("15 or 1000 us, by chance", |_, generator| [15, 1_000][generator.below(2)]),
    ("exponential, mean 60 us", |_, generator| {
        let uniform = (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        (-60.0 * (1.0 - uniform).ln()) as u64
    }),
    ("rows of 20 at 10 us, then 3000 us", |i, _| if i % 20 == 19 { 3_000 } else { 10 }),
];

/// How many rows [`measure`] hands out.
pub const ROWS: usize = PATTERNS.len() * POLLINGS.len();

/// One pattern under one way to choose.
#[derive(Clone, Debug)]
pub struct Row {
    /// The times between regions.
    pub pattern: &'static str,
    /// How long the watcher polls.
    pub polling: &'static str,
    /// CPU time a region, µs: medians of the rounds.
    pub cpu: f64,
    /// Times of regions, µs.
    pub p50: f64,
    /// Their 99th percentile.
    pub p99: f64,
}

fn tree(worker: &Worker, leaves: u32, rounds: u64) -> u64 {
    if leaves == 1 {
        return spin_item(black_box(rounds));
    }
    let (a, b) = worker
        .join(|worker| tree(worker, leaves / 2, rounds), |worker| tree(worker, leaves - leaves / 2, rounds));
    a + b
}

/// Waits without the operating system's help where the time is short; how much of it the caller spent on a CPU.
fn wait(gap: Duration) -> Duration {
    let end = Instant::now() + gap;
    if gap > SLEPT {
        sleep(gap - SLEPT / 2);
    }
    let start = Instant::now();
    while Instant::now() < end {
        spin_loop();
    }
    start.elapsed()
}

/// Measures all patterns, `regions` a round and `rounds` rounds, regions of about `work`; `None` where the system does not tell CPU times.
///
/// # Panics
/// When a runtime cannot be built, or computes a wrong answer.
pub fn measure(regions: u64, rounds: u64, work: Duration, each: &mut dyn FnMut(Row)) -> Option<()> {
    let mut workers = 1;
    let runtimes = POLLINGS.map(|(_, polling)| {
        let builder = Runtime::builder().workers(workers).polling(polling);
        workers = 2;
        builder.build().expect("two workers can be started")
    });
    let leaf = rounds_lasting(work / LEAVES);
    for (pattern, gap) in PATTERNS {
        let mut times = vec![Vec::new(); POLLINGS.len()];
        let mut cpus = vec![Samples::default(); POLLINGS.len()];
        for round in 0..rounds + 1 {
            for (at, runtime) in runtimes.iter().enumerate() {
                // The same gaps for all.
                let mut generator = Generator::new(round);
                sleep(SETTLE);
                let before = usage("")?;
                let mut waited = Duration::ZERO;
                for region in 0..regions {
                    waited += wait(Duration::from_micros(gap(region, &mut generator)));
                    let start = Instant::now();
                    let answer = runtime.install(|worker| tree(worker, LEAVES, leaf));
                    let took = start.elapsed();
                    assert_eq!(answer, u64::from(LEAVES), "{pattern}: a leaf was lost");
                    // The first round is for learning, and for whatever a new runtime does once.
                    if round > 0 {
                        times[at].push(took.as_secs_f64() * 1e6);
                    }
                }
                sleep(SETTLE);
                let cpu = usage("")?.cpu.saturating_sub(before.cpu).saturating_sub(waited);
                if round > 0 {
                    cpus[at].push(cpu.as_secs_f64() * 1e6 / regions as f64);
                }
            }
        }
        for (at, (polling, _)) in POLLINGS.into_iter().enumerate() {
            let times = Samples::of(times[at].iter().copied());
            let (p50, p99) = (times.median(), times.quantile(0.99));
            each(Row { pattern, polling, cpu: cpus[at].median(), p50, p99 });
        }
    }
    Some(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_measured_in_every_way() {
        let mut rows = Vec::new();
        measure(3, 1, Duration::from_micros(50), &mut |row| rows.push(row)).unwrap();
        assert_eq!(rows.len(), PATTERNS.len() * POLLINGS.len());
        assert!(rows.iter().all(|row| row.p50 > 0.0 && row.p99 >= row.p50));
    }

    #[test]
    fn the_caller_waits_as_long_as_it_is_told() {
        for gap in [Duration::from_micros(20), Duration::from_millis(1)] {
            let start = Instant::now();
            let spun = wait(gap);
            assert!(start.elapsed() >= gap && spun <= start.elapsed());
        }
    }
}
