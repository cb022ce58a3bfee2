//! The scheduler's rows: upbeat beside its peers, where the command is built with them, in interleaved rounds.

use upbeat_benches::affinity::Cpus;
use upbeat_benches::contenders::Set;
use upbeat_benches::outcome::Outcome;
use upbeat_benches::probe::Probe;
use upbeat_benches::report;
use upbeat_benches::rounds::{measure, Effort};
use upbeat_benches::rows::{Bench, Goal, Item, GROUPS};

use super::record::Record;
use crate::args::SchedulerArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the bench.
pub(super) fn run(args: &SchedulerArgs, output: &mut Output) -> Result<(), Failure> {
    let groups: Vec<_> = match args.groups.is_empty() {
        true => GROUPS.to_vec(),
        false => args.groups.iter().map(|name| super::group(&GROUPS, name)).collect::<Result<_, _>>()?,
    };
    let effort = Effort { limit: super::limit(args.seconds)?, ..Effort::RECORD };
    let cpus = Cpus::read();
    let bench =
        Bench { one: Set::new(1, &cpus, true)?, two: Set::new(2, &cpus, true)?, cpus, test: args.small };
    let probe = Probe::new(&bench.cpus);
    let mut outcomes = Vec::new();
    let progress = Progress::new();
    for (i, (name, what, make)) in groups.iter().enumerate() {
        progress.at(i as f64 / groups.len() as f64, &format!("{name}: {what}"));
        make(&bench, &mut |item| {
            let outcome = match item {
                Item::Row(mut row) => measure(&mut row, &probe, effort),
                Item::Outcome(outcome) => outcome,
            };
            let text = match args.json {
                true => format!("{}\n", record(&outcome).to_json()),
                false => format!("{}\n", report::text(&outcome)),
            };
            progress.text(output, &text);
            outcomes.push(outcome);
        });
    }
    drop(progress);
    bench.cpus.release();
    if !args.json {
        output.line(report::summary(&outcomes));
        if !cfg!(feature = "peers") {
            output.line("built without peers; --features peers measures rayon and chili beside");
        }
    }
    Ok(())
}

/// As every bench says it. A goal that is a share of the sequential time becomes a value.
fn record(outcome: &Outcome) -> Record {
    let goal = match outcome.goal {
        Goal::Peer(most) | Goal::Value(most) => Some(most),
        Goal::Sequential(most) => outcome.sequential().map(|entry| most * entry.median),
    };
    Record {
        bench: "scheduler",
        work: format!("{}: {}", outcome.group, outcome.work),
        unit: outcome.unit,
        value: outcome.ours().median,
        limit: outcome.limit,
        peer: outcome.peer().map(|entry| entry.name.into()),
        peer_value: outcome.peer().map(|entry| entry.median),
        goal,
        met: outcome.met(),
    }
}
