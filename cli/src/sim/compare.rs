//! `upbeat sim compare`: every policy on every workload, paired with nearest-first.

use serde_json::json;
use upbeat_sim::compare::{compare, sweep, Row, Setup, Worst};
use upbeat_sim::settings::Settings;
use upbeat_sim::workloads::Workload;

use super::args::CompareArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the command.
pub(super) fn run(args: &CompareArgs, output: &mut Output) -> Result<(), Failure> {
    if let Some(cases) = args.sweep {
        let progress = Progress::new();
        let worst = sweep(cases, &mut |share, work| progress.at(share, work));
        drop(progress);
        print_worst(&worst, cases, args.json, output);
        return Ok(());
    }
    let machine = super::machine(&args.machine)?;
    let workers = super::workers(args.workers, &machine)?;
    let setup = Setup { machine, workers, idling: super::idling(&args.idling)?, settings: Settings::TODAY };
    let workloads = match args.workload.is_empty() {
        true => Workload::ALL.to_vec(),
        false => args.workload.iter().map(|name| super::workload(name)).collect::<Result<_, _>>()?,
    };
    let progress = Progress::new();
    let rows = compare(&setup, &workloads, args.seeds, &mut |share, work| progress.at(share, work));
    drop(progress);
    if !args.json {
        output.line(format_args!(
            "speed beside nearest-first on {workers} workers of {}, {} seeds each (simulated; p99 for the service)\n",
            setup.machine.name, args.seeds
        ));
        output.line("| workload | policy | ratio | 95 % interval | worst seed | efficiency |");
        output.line("|---|---|---:|---:|---:|---:|");
    }
    for row in &rows {
        print(row, args.json, output);
    }
    Ok(())
}

fn print(row: &Row, is_json: bool, output: &mut Output) {
    let [mean, low, high] = row.ratio;
    let (workload, policy) = (row.workload.name(), row.policy.name());
    if is_json {
        output.line(json!({
            "simulated": true,
            "workload": workload,
            "policy": policy,
            "tuned_to": row.tuned,
            "ratio": mean,
            // A single seed has no interval.
            "low": Some(low).filter(|low| *low > 0.0),
            "high": Some(high).filter(|high| high.is_finite()),
            "worst": row.worst,
            "efficiency": row.efficiency,
        }));
        return;
    }
    let interval = if high.is_finite() { format!("{low:.3} to {high:.3}") } else { "–".into() };
    let name = row.tuned.map_or(policy.to_string(), |to| format!("{policy} ({to})"));
    output.line(format_args!(
        "| {workload} | {name} | {mean:.3} | {interval} | {:.3} | {:.1} % |",
        row.worst,
        100.0 * row.efficiency
    ));
}

fn print_worst(worst: &[Worst], cases: u64, is_json: bool, output: &mut Output) {
    if !is_json {
        output.line(format_args!(
            "the worst of {cases} random machines and workloads for each policy (simulated)\n"
        ));
        output.line("| policy | speed beside nearest-first | case | workload | nodes | workers |");
        output.line("|---|---:|---:|---|---:|---:|");
    }
    for Worst { policy, ratio, case, workload, size: (nodes, workers) } in worst {
        let (policy, workload) = (policy.name(), workload.name());
        if is_json {
            output.line(json!({
                "simulated": true, "policy": policy, "ratio": ratio, "case": case,
                "workload": workload, "nodes": nodes, "workers": workers,
            }));
        } else {
            output
                .line(format_args!("| {policy} | {ratio:.3} | {case} | {workload} | {nodes} | {workers} |"));
        }
    }
}
