//! `upbeat sim scaling`: efficiency over numbers of workers, as tables and a picture.

use std::fmt::Write;
use std::fs;

use serde_json::json;
use upbeat_benches::report::quantity;
use upbeat_sim::picture;
use upbeat_sim::scaling::{scaling, Line};

use super::args::ScalingArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the command.
pub(super) fn run(args: &ScalingArgs, output: &mut Output) -> Result<(), Failure> {
    let machine = super::machine(&args.machine)?;
    let workload = super::workload(&args.workload)?;
    // A folder that cannot be written is found before minutes of simulation.
    fs::create_dir_all(&args.out).map_err(|error| Failure::write(&args.out, &error))?;
    let progress = Progress::new();
    let lines = scaling(&machine, workload, args.seeds, &mut |share, work| progress.at(share, work));
    drop(progress);
    let title = format!("{} on {}, mean of {} seeds", workload.name(), machine.name, args.seeds);
    let table = markdown(&title, &lines);
    let mut names = Vec::new();
    for (ending, text) in
        [("md", table.clone()), ("csv", csv(&lines)), ("svg", picture::efficiency(&title, &lines))]
    {
        let name = format!("simulated-{}.{ending}", workload.name());
        let path = args.out.join(&name);
        fs::write(&path, text).map_err(|error| Failure::write(&path, &error))?;
        names.push(name);
    }
    if args.json {
        for line in &lines {
            for point in &line.points {
                output.line(json!({
                    "simulated": true,
                    "machine": machine.name,
                    "line": line.name,
                    "workers": point.workers,
                    "efficiency": point.efficiency,
                    "makespan_ns": point.makespan,
                    "configuration": point.configuration,
                }));
            }
        }
    } else {
        output.text(table);
        output.line(format_args!("written to {}: {}", args.out.display(), names.join(", ")));
    }
    Ok(())
}

fn markdown(title: &str, lines: &[Line]) -> String {
    let mut text = format!("Simulated efficiency: {title}\n\n| line | workers | efficiency | makespan | configuration |\n|---|---:|---:|---:|---|\n");
    for line in lines {
        for point in &line.points {
            let _ = writeln!(
                text,
                "| {} | {} | {:.1} % | {} | {} |",
                line.name,
                point.workers,
                100.0 * point.efficiency,
                quantity(point.makespan, "ns"),
                point.configuration
            );
        }
    }
    text
}

fn csv(lines: &[Line]) -> String {
    let mut text = String::from("line,workers,efficiency,nanoseconds,configuration\n");
    for line in lines {
        for point in &line.points {
            let _ = writeln!(
                text,
                "\"{}\",{},{:.6},{:.1},{}",
                line.name, point.workers, point.efficiency, point.makespan, point.configuration
            );
        }
    }
    text
}
