//! `upbeat sim idle`: how long an idle worker should spin before it parks, on made-up traces.

use serde_json::json;
use upbeat_benches::report::quantity;
use upbeat_sim::spin::{beside_ski_rental, compare, Row, FIXED};

use super::args::IdleArgs;
use crate::failure::Failure;
use crate::output::Output;

/// P6 of the policy's goals: so many times the optimum at most, on every trace; so much of ski rental's cost on average.
const GOALS: [f64; 2] = [1.5, 0.9];

/// Runs the command.
pub(super) fn run(args: &IdleArgs, output: &mut Output) -> Result<(), Failure> {
    let rows = compare(args.periods as usize);
    if args.json {
        rows.iter().for_each(|row| output.line(record(row)));
        return Ok(());
    }
    let fixed = FIXED.map(|budget| format!("{} us", budget / 1_000)).join(" | ");
    output
        .line("costs as multiples of the optimum, which knows how long each period will be; made-up periods");
    output.line(format_args!(
        "| parking costs | periods | {fixed} | best fixed | ski rental | Hedge | its worst seed |"
    ));
    output.line(format_args!("|---|---|{}", "---:|".repeat(FIXED.len() + 4)));
    for row in &rows {
        output.line(text(row));
    }
    let above = rows.iter().filter(|row| row.hedge[1] > GOALS[0]).count();
    output.line(format_args!(
        "Hedge is above {} times the optimum on {above} of {}; beside ski rental it costs {:.2} (geometric mean; goal {})",
        GOALS[0],
        rows.len(),
        beside_ski_rental(&rows),
        GOALS[1],
    ));
    Ok(())
}

fn text(row: &Row) -> String {
    let fixed = row.fixed.map(|ratio| format!("{ratio:.2}")).join(" | ");
    let Row { trace, park, best, ski, hedge: [mean, worst], .. } = row;
    let park = quantity(*park as f64, "ns");
    format!("| {park} | {trace} | {fixed} | {best:.2} | {ski:.2} | {mean:.2} | {worst:.2} |")
}

fn record(row: &Row) -> serde_json::Value {
    json!({
        "simulated": true,
        "trace": row.trace,
        "park_ns": row.park,
        "fixed_ns": FIXED,
        "fixed": row.fixed,
        "best_fixed": row.best,
        "ski_rental": row.ski,
        "hedge": row.hedge[0],
        "hedge_worst_seed": row.hedge[1],
        "met": row.hedge[1] <= GOALS[0],
    })
}
