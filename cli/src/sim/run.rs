//! `upbeat sim run`: one workload, one machine, one answer.

use serde_json::json;
use upbeat_benches::report::quantity;
use upbeat_sim::compare::Setup;
use upbeat_sim::graph::Graph;
use upbeat_sim::program::{walk, Program};
use upbeat_sim::settings::Always;
use upbeat_sim::workloads::Shape;
use upbeat_sim::{simulate, Outcome, Plan};

use super::args::RunArgs;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command.
pub(super) fn run(args: &RunArgs, output: &mut Output) -> Result<(), Failure> {
    let machine = super::machine(&args.machine)?;
    let workers = super::workers(args.workers.unwrap_or(machine.cpus()), &machine)?;
    let policy = super::policy(&args.policy)?;
    let setup = Setup {
        workers,
        idling: super::idling(&args.idling)?,
        settings: super::settings(&args.settings)?,
        machine,
    };
    let (name, program, outcome) = match &args.graph {
        Some(path) => {
            let graph = super::parsed(path, Graph::parse)?;
            let idling = policy.idling(&setup.machine, setup.idling);
            let plan = Plan { machine: &setup.machine, workers, idling, seed: args.seed };
            let outcome = simulate(&graph, plan, &mut Always(policy.settings(setup.settings)));
            (path.display().to_string(), Box::new(graph) as Box<dyn Program>, outcome)
        }
        None => {
            let workload = super::workload(&args.workload)?;
            let shape = Shape { workers: workers as u32, nodes: setup.machine.nodes, seed: args.seed };
            let outcome = setup.run_policy(workload, policy, args.seed);
            (workload.name().to_string(), workload.program(shape), outcome)
        }
    };
    let total = walk(&*program);
    // No schedule is faster than the work shared out evenly, or than the longest chain.
    let bound = (total.ns / workers as u64).max(total.span);
    if args.json {
        let mut object = outcome.to_json();
        let mut set = |key: &str, value: serde_json::Value| object[key] = value;
        set("machine", json!(setup.machine.name));
        set("workload", json!(name));
        set("policy", json!(policy.name()));
        set("settings", json!(args.settings));
        set("idling", json!(args.idling));
        set("seed", json!(args.seed));
        set("work_ns", json!(total.ns));
        set("span_ns", json!(total.span));
        set("bound_ns", json!(bound));
        output.line(object);
    } else {
        output.text(text(&name, &setup, &outcome, bound));
    }
    Ok(())
}

fn text(name: &str, setup: &Setup, outcome: &Outcome, bound: u64) -> String {
    let ns = |ns: u64| quantity(ns as f64, "ns");
    let worker_time = (outcome.makespan * outcome.workers).max(1) as f64;
    let share = |part: u64| 100.0 * part as f64 / worker_time;
    let remote = 100.0 * outcome.remote as f64 / outcome.stolen().max(1) as f64;
    format!(
        "{name} on {} workers of {} (simulated)\n\
         makespan    {}, at best {} whatever the schedule\n\
         efficiency  {:.1} %: {:.1} % far or busy memory, {:.1} % overhead, {:.1} % idle\n\
         steals      {} of {} leaves, {remote:.0} % from other nodes; {} rounds over all victims found nothing\n\
         sharing     {} tasks made public, {} sent to another node, {} taken back; {} wake-ups\n\
         times       p50 {}, p99 {}, p99.9 {} ({} of regions or jobs)\n",
        setup.workers,
        setup.machine.name,
        ns(outcome.makespan),
        ns(bound),
        100.0 * outcome.efficiency(),
        share(outcome.inflated),
        share(outcome.overhead),
        share(outcome.idle()),
        outcome.stolen(),
        outcome.leaves,
        outcome.failed_steals,
        outcome.promotions,
        outcome.pushed,
        outcome.taken_back,
        outcome.wakes,
        ns(outcome.percentile(500)),
        ns(outcome.percentile(990)),
        ns(outcome.percentile(999)),
        outcome.times.len(),
    )
}
