//! The kernels' rows: rate, the machine's limit and allocations, on one worker and on two.

use upbeat_kernel_benches::case::{Goal, Sizes};
use upbeat_kernel_benches::cases::GROUPS;
use upbeat_kernel_benches::measure::{measure, Machine, Outcome};
use upbeat_kernel_benches::report;

use super::record::Record;
use crate::args::KernelsArgs;
use crate::failure::Failure;
use crate::machine::instruction_set;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the bench.
pub(super) fn run(args: &KernelsArgs, output: &mut Output) -> Result<(), Failure> {
    let groups: Vec<_> = match args.groups.is_empty() {
        true => GROUPS.to_vec(),
        false => args.groups.iter().map(|name| super::group(&GROUPS, name)).collect::<Result<_, _>>()?,
    };
    if !(1..=10_000).contains(&args.rounds) {
        return Err(Failure::Input("--rounds must be between 1 and 10000".into()));
    }
    instruction_set()?;
    let machine = Machine::new()?;
    let progress = Progress::new();
    if !args.json {
        progress.text(output, &format!("{}\n", report::head()));
    }
    let mut outcomes = Vec::new();
    for (i, (name, what, make)) in groups.iter().enumerate() {
        progress.at(i as f64 / groups.len() as f64, &format!("{name}: {what}"));
        make(Sizes { small: args.small }, &mut |mut case| {
            for outcome in measure(&machine, &mut case, args.rounds) {
                let text = match args.json {
                    true => format!("{}\n", record(&outcome).to_json()),
                    false => format!("{}\n", report::line(&outcome)),
                };
                progress.text(output, &text);
                outcomes.push(outcome);
            }
        });
    }
    drop(progress);
    if !args.json {
        output.line(report::summary(&outcomes));
        if !cfg!(feature = "peers") {
            output.line("built without peers; --features peers measures the crate gemm beside");
        }
    }
    Ok(())
}

/// As every bench says it. A goal that is a share of the limit becomes a value.
fn record(outcome: &Outcome) -> Record {
    Record {
        bench: "kernels",
        work: format!("{}: {}, {} workers", outcome.group, outcome.work, outcome.workers),
        unit: outcome.unit,
        value: outcome.rate,
        limit: Some(outcome.limit),
        peer: match outcome.goal {
            Goal::Elsewhere(whose) => Some(whose),
            _ => outcome.peer.map(|(name, _)| name),
        },
        peer_value: outcome.peer.map(|(_, rate)| rate),
        goal: match outcome.goal {
            Goal::Peer(times) => Some(times),
            _ => outcome.needed(),
        },
        met: outcome.met(),
    }
}
