//! `upbeat sim calibrate`: the simulator beside two real workers.

use serde_json::json;
use upbeat_benches::report::quantity;
use upbeat_sim::calibrate::calibrate;

use super::args::CalibrateArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// By how much the simulator may be off: makespan, steals.
const GOALS: [f64; 2] = [0.10, 0.25];

/// Runs the command.
pub(super) fn run(args: &CalibrateArgs, output: &mut Output) -> Result<(), Failure> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        return Err(Failure::Input("calibrating takes two cores, and this process may use one".into()));
    }
    let progress = Progress::new();
    let found = calibrate(args.rounds, &mut |share, work| progress.at(share, work))?;
    drop(progress);
    if args.json {
        for row in &found.rows {
            output.line(json!({
                "workload": row.workload,
                "sequential_ns": row.sequential,
                "real_ns": row.real,
                "simulated_ns": row.simulated,
                "error": row.error(),
                "real_steals": row.real_steals,
                "simulated_steals": row.simulated_steals,
                "steal_error": row.steal_error(),
                "met": row.error().abs() <= GOALS[0],
                "quiet_rounds": found.quiet.0,
                "rounds": found.quiet.1,
            }));
        }
        return Ok(());
    }
    let machine = &found.machine;
    output.line(format_args!(
        "two workers, medians of {} rounds ({} of {} quiet); measured: cache line {} ns, wake-up {} for the waker and {} until the woken runs, work ± {:.0} %\n",
        args.rounds,
        found.quiet.0,
        found.quiet.1,
        machine.probe[0],
        quantity(machine.wake[0] as f64, "ns"),
        quantity(machine.wake[1] as f64, "ns"),
        100.0 * found.noise,
    ));
    output.line("| workload | one thread | real | simulated | error | steals, real | simulated | error |");
    output.line("|---|---:|---:|---:|---:|---:|---:|---:|");
    for row in &found.rows {
        output.line(format_args!(
            "| {} | {} | {} | {} | {:+.1} % | {:.0} | {:.0} | {:+.0} % |",
            row.workload,
            quantity(row.sequential, "ns"),
            quantity(row.real, "ns"),
            quantity(row.simulated, "ns"),
            100.0 * row.error(),
            row.real_steals,
            row.simulated_steals,
            100.0 * row.steal_error(),
        ));
    }
    let within = |goal: f64, of: &dyn Fn(&upbeat_sim::calibrate::Row) -> f64| {
        found.rows.iter().filter(|row| of(row).abs() <= goal).count()
    };
    output.line(format_args!(
        "\nwithin {:.0} % of the makespan: {} of {}; within {:.0} % of the steals: {}",
        100.0 * GOALS[0],
        within(GOALS[0], &|row| row.error()),
        found.rows.len(),
        100.0 * GOALS[1],
        within(GOALS[1], &|row| row.steal_error()),
    ));
    Ok(())
}
