//! Spin or park: regions from outside at several times from each other, and how long the watcher polls between them.

use std::time::Duration;

use upbeat_benches::gaps::{measure, Row, HEDGE, POLLINGS, ROWS, SKI_RENTAL};

use super::record::Record;
use crate::args::IdleArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Of two workers, one of them the caller.
const WORK: Duration = Duration::from_micros(200);

/// Runs the bench.
pub(super) fn run(args: &IdleArgs, output: &mut Output) -> Result<(), Failure> {
    let (regions, rounds) = if args.small { (5, 1) } else { (200, u64::from(args.rounds)) };
    let progress = Progress::new();
    let mut rows: Vec<Row> = Vec::new();
    let found = measure(regions, rounds, WORK, &mut |row| {
        rows.push(row);
        progress.at(rows.len() as f64 / ROWS as f64, rows[rows.len() - 1].pattern);
    });
    drop(progress);
    found.ok_or_else(|| {
        Failure::Input("this system does not tell the CPU time of threads; run it on Linux with /proc".into())
    })?;
    if args.json {
        for of_pattern in rows.chunks(POLLINGS.len()) {
            of_pattern
                .iter()
                .flat_map(|row| records(row, of_pattern))
                .for_each(|record| output.line(record.to_json()));
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

/// As every bench says it: CPU time, median and tail. Hedge is to take a tenth less CPU time than ski rental, and no more of a region's.
fn records(row: &Row, of_pattern: &[Row]) -> [Record; 3] {
    let ski = of_pattern.iter().find(|row| row.polling == SKI_RENTAL).filter(|_| row.polling == HEDGE);
    let record = |what, value, peer: Option<f64>, goal| Record {
        bench: "idle",
        work: format!("{what}: regions {}, {}", row.pattern, row.polling),
        unit: "us",
        value,
        limit: None,
        peer: peer.map(|_| SKI_RENTAL.into()),
        peer_value: peer,
        goal: peer.map(|peer| goal * peer),
        met: peer.map(|peer| value <= goal * peer),
    };
    [
        record("CPU time", row.cpu, ski.map(|ski| ski.cpu), 0.9),
        record("median", row.p50, ski.map(|ski| ski.p50), 1.0),
        record("99th percentile", row.p99, ski.map(|ski| ski.p99), 1.0),
    ]
}
