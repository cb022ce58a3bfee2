//! The kernels' rows: rate, the machine's limit and allocations, on one worker and on two.

use upbeat_kernel_benches::case::Sizes;
use upbeat_kernel_benches::cases::GROUPS;
use upbeat_kernel_benches::external::{External, PeerError};
use upbeat_kernel_benches::measure::{measure_group, Machine, Outcome};
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
    let input = |error: PeerError| Failure::Input(error.to_string());
    let mut peer = args.peer.as_deref().map(External::start).transpose().map_err(input)?;
    let machine = Machine::new()?;
    let progress = Progress::new();
    if !args.json {
        progress.text(output, &format!("{}\n", report::head()));
    }
    let mut outcomes = Vec::new();
    for (i, (name, what, make)) in groups.iter().enumerate() {
        progress.at(i as f64 / groups.len() as f64, &format!("{name}: {what}"));
        let sizes = Sizes { small: args.small };
        let mut each = |outcome: Outcome| {
            let text = match args.json {
                true => format!("{}\n", record(&outcome).to_json()),
                false => format!("{}\n", report::line(&outcome)),
            };
            progress.text(output, &text);
            outcomes.push(outcome);
        };
        measure_group(&machine, *make, sizes, &|_| true, args.rounds, peer.as_mut(), &mut each)
            .map_err(input)?;
    }
    drop(progress);
    if !args.json {
        output.line(report::summary(&outcomes));
        if !cfg!(feature = "peers") && args.peer.is_none() {
            output.line("built without peers; --features peers measures the crate gemm beside, --peer COMMAND another program");
        }
    }
    Ok(())
}

/// As every bench says it. A goal that is a share of the limit alone becomes a value.
fn record(outcome: &Outcome) -> Record {
    Record {
        bench: "kernels",
        work: format!("{}: {}, {} workers", outcome.group, outcome.work, outcome.workers),
        unit: outcome.unit,
        value: outcome.rate,
        limit: Some(outcome.limit),
        peer: outcome.peer.as_ref().map(|(name, _)| name.clone().into()),
        peer_value: outcome.peer.as_ref().map(|(_, rate)| *rate),
        goal: outcome.goal.peer.or(outcome.share_needed().map(|share| share * outcome.limit)),
        met: outcome.met(),
    }
}
