//! `upbeat sim judge`: the learned policy's goals, on machines that it was not made with.

use serde_json::json;
use upbeat::simulation::Network;
use upbeat_sim::learn::data::read;
use upbeat_sim::learn::exam::{examine, Findings};
use upbeat_sim::learn::judge::Score;

use super::args::JudgeArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the command.
pub(super) fn run(args: &JudgeArgs, output: &mut Output) -> Result<(), Failure> {
    let network = match &args.weights {
        None => Network::shipped(),
        Some(path) => super::parsed(path, Network::parse)?,
    };
    let regions = args.data.as_deref().map(|path| super::parsed(path, read)).transpose()?;
    let progress = Progress::new();
    let found = examine(args.cases, args.seeds, &network, regions.as_deref(), &mut |share, work| {
        progress.at(share, work);
    });
    drop(progress);
    if args.json {
        print_json(&found, output);
    } else {
        print(&found, args, output);
    }
    Ok(())
}

fn between([mean, low, high]: [f64; 3]) -> String {
    format!("{mean:.4} ({low:.4} to {high:.4})")
}

fn print(found: &Findings, args: &JudgeArgs, output: &mut Output) {
    output.line(format_args!(
        "{} regions on machines of four nodes, {} seeds each, 500 invocations in 10 orders (simulated): geometric means, and 95 % intervals over the orders\n",
        args.cases, args.seeds
    ));
    output.line("| policy | beside the best, at 100 | at 500 | first 100 beside who knows the best | all 500 beside the default | worst first 100 | worst 500 | over 5 % from the best at 500 |");
    output.line("|---|---|---|---|---|---:|---:|---:|");
    for (name, Score { regret, total, cold, worst, missed }) in &found.scores {
        output.line(format_args!(
            "| {name} | {} | {} | {} | {} | {:.3} | {:.3} | {:.1} % |",
            between(regret[0]),
            between(regret[1]),
            between(*cold),
            between(*total),
            worst[0],
            worst[1],
            100.0 * missed,
        ));
    }
    output.line(format_args!(
        "\nthe best single configuration, {}: {:.4} of the default; the bandit beside it {}, on layers of a network {}; the worst region is {:.2} times its best under it, {:.2} under the bandit at the end",
        found.single.0,
        found.single.1,
        between(found.beside_single[0]),
        between(found.beside_single[1]),
        found.worst_regret[0],
        found.worst_regret[1],
    ));
    output.line(format_args!(
        "p99 of the service's jobs under the bandit: {} of random stealing's, {} of the oracle's",
        between(found.service[0]),
        between(found.service[1]),
    ));
}

fn print_json(found: &Findings, output: &mut Output) {
    for (name, score) in &found.scores {
        output.line(json!({
            "simulated": true, "policy": name, "regret_at_100": score.regret[0], "regret_at_500": score.regret[1],
            "cold": score.cold, "total": score.total, "worst_first_100": score.worst[0], "worst_total": score.worst[1],
            "missed": score.missed,
        }));
    }
    output.line(json!({
        "simulated": true, "single": found.single.0, "single_total": found.single.1,
        "beside_single": found.beside_single[0], "beside_single_on_layers": found.beside_single[1],
        "worst_regret_single": found.worst_regret[0], "worst_regret": found.worst_regret[1],
        "service_beside_random": found.service[0], "service_beside_oracle": found.service[1],
    }));
}
