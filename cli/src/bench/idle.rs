//! Spin or park: regions from outside at several times from each other, and how long the watcher polls between them.

use std::time::Duration;

use serde_json::json;
use upbeat_benches::gaps::{measure, Row, POLLINGS};

use crate::args::IdleArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// About as many rows as there are, for the bar.
const ROWS: f64 = 35.0;
/// Of two workers, one of them the caller.
const WORK: Duration = Duration::from_micros(200);

/// Runs the bench.
pub(super) fn run(args: &IdleArgs, output: &mut Output) -> Result<(), Failure> {
    let (regions, rounds) = if args.small { (5, 1) } else { (200, u64::from(args.rounds)) };
    let progress = Progress::new();
    let mut rows: Vec<Row> = Vec::new();
    let found = measure(regions, rounds, WORK, &mut |row| {
        rows.push(row);
        progress.at((rows.len() as f64 / ROWS).min(1.0), rows[rows.len() - 1].pattern);
    });
    drop(progress);
    found.ok_or_else(|| {
        Failure::Input("this system does not tell the CPU time of threads; run it on Linux with /proc".into())
    })?;
    if args.json {
        for row in &rows {
            let Row { pattern, polling, cpu, p50, p99 } = row;
            output.line(json!({
                "bench": "idle", "pattern": pattern, "polling": polling, "cpu_us": cpu, "p50_us": p50, "p99_us": p99,
            }));
        }
        return Ok(());
    }
    output.line("regions of 200 us of work on two workers: CPU time of the process a region, but for the caller's waiting, and regions' times, us");
    output.line("| regions | polling | CPU | beside one worker's | p50 | p99 |");
    output.line("|---|---|---:|---:|---:|---:|");
    for of_pattern in rows.chunks(POLLINGS.len()) {
        for row in of_pattern {
            let Row { pattern, polling, cpu, p50, p99 } = row;
            let more = cpu - of_pattern[0].cpu;
            output.line(format_args!(
                "| {pattern} | {polling} | {cpu:.1} | {more:+.1} | {p50:.1} | {p99:.1} |"
            ));
        }
    }
    Ok(())
}
