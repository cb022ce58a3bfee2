//! upbeat beside rayon and chili on every row of the design's table, and the bound of never slower than serial.
//!
//! `cargo bench --bench scheduler -- [GROUP …] [OPTIONS]` measures; `--list` says what there is. Without `--bench`, as `cargo test`
//! runs it, each body runs once on small sizes and only the answers count. What is measured, and how, is in
//! `benches/suite/`.

mod arguments;
mod count;
mod serial;

use std::process::ExitCode;

use arguments::Arguments;
use upbeat_benches::affinity::Cpus;
use upbeat_benches::contenders::Set;
use upbeat_benches::outcome::Outcome;
use upbeat_benches::probe::Probe;
use upbeat_benches::rounds::{check, measure, Effort};
use upbeat_benches::rows::{Bench, Item, GROUPS};
use upbeat_benches::{picture, report};

fn main() -> ExitCode {
    let arguments = Arguments::read();
    if arguments.list {
        GROUPS.iter().for_each(|(name, what, _)| println!("{name:<10} {what}"));
        println!("{:<10} the bound of never slower than serial, at every size", "serial");
        return ExitCode::SUCCESS;
    }
    if !arguments.count.is_empty() {
        return match count::run(&arguments.count) {
            Ok(()) => ExitCode::SUCCESS,
            Err(sentence) => {
                eprintln!("error: {sentence}");
                ExitCode::FAILURE
            }
        };
    }
    let cpus = Cpus::read();
    let set = |workers| Set::new(workers, &cpus, true).expect("runtimes");
    let bench = Bench { one: set(1), two: set(2), cpus: cpus.clone(), test: arguments.test };
    println!("upbeat {}, {} CPUs", env!("CARGO_PKG_VERSION"), cpus.count());

    let outcomes = match rows(&bench, &arguments) {
        Ok(outcomes) => outcomes,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            return ExitCode::FAILURE;
        }
    };
    if !outcomes.is_empty() {
        println!("\n{}", report::summary(&outcomes));
    }
    if arguments.takes("serial") {
        serial::run(&bench.two.upbeat, &arguments);
    }
    ExitCode::SUCCESS
}

/// Writes what was asked for, after every group, so that a run that is cut short leaves what it has.
fn write(outcomes: &[Outcome], arguments: &Arguments) -> Result<(), String> {
    let files =
        [(&arguments.svg, picture::ratios(outcomes)), (&arguments.markdown, report::markdown(outcomes))];
    for (path, text) in files {
        if let Some(path) = path {
            std::fs::write(path, text).map_err(|error| format!("{path} cannot be written: {error}"))?;
        }
    }
    Ok(())
}

fn rows(bench: &Bench, arguments: &Arguments) -> Result<Vec<Outcome>, String> {
    let probe = Probe::new(&bench.cpus);
    let effort = if arguments.quick { Effort::QUICK } else { Effort::RECORD };
    let mut outcomes = Vec::new();
    for (group, _, make) in GROUPS.iter().filter(|(group, ..)| arguments.takes(group)) {
        let mut items = 0;
        make(bench, &mut |item| {
            items += 1;
            let outcome = match item {
                Item::Row(row) if !arguments.takes_work(&row.work) => return,
                Item::Row(mut row) if bench.test => return check(&mut row),
                Item::Row(mut row) => measure(&mut row, &probe, effort),
                Item::Outcome(outcome) => outcome,
            };
            if !bench.test {
                println!("\n{}", report::text(&outcome));
                outcomes.push(outcome);
            }
        });
        assert!(items > 0, "the group {group} has rows");
        write(&outcomes, arguments)?;
    }
    Ok(outcomes)
}
