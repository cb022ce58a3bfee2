//! `upbeat sim VERB`: what workers would do on machines that are not at hand. Every result says that it is simulated,
//! but for `replay`'s, which is what a real runtime chose.

pub(crate) mod args;
mod calibrate;
mod compare;
mod idle;
mod judge;
mod learn;
mod replay;
mod run;
mod scaling;

use std::fmt::Display;
use std::fs;
use std::path::Path;

use upbeat_sim::machine::{Machine, PRESETS};
use upbeat_sim::policy::Policy;
use upbeat_sim::settings::{Idling, Settings, CONFIGURATIONS};
use upbeat_sim::workloads::Workload;

use crate::failure::Failure;
use crate::output::Output;
use args::{Sim, SimArgs};

/// Runs the command.
pub(crate) fn run(args: &SimArgs, output: &mut Output) -> Result<(), Failure> {
    match &args.sim {
        Some(Sim::Run(args)) => run::run(args, output),
        Some(Sim::Compare(args)) => compare::run(args, output),
        Some(Sim::Scaling(args)) => scaling::run(args, output),
        Some(Sim::Calibrate(args)) => calibrate::run(args, output),
        Some(Sim::Learn(args)) => learn::run(args, output),
        Some(Sim::Judge(args)) => judge::run(args, output),
        Some(Sim::Replay(args)) => replay::run(args, output),
        Some(Sim::Idle(args)) => idle::run(args, output),
        None => {
            let list = |what: &str, names: Vec<&str>| format!("{what:<10} {}", names.join(", "));
            output.line(list("machines", PRESETS.to_vec()));
            output.line(list("workloads", Workload::ALL.map(Workload::name).to_vec()));
            output.line(list("policies", Policy::ALL.map(Policy::name).to_vec()));
            output.line(list("settings", CONFIGURATIONS.map(|(name, _)| name).to_vec()));
            output.line(list("idling", Idling::ALL.map(|(name, _)| name).to_vec()));
            output.line(
                "simulate with: upbeat sim run|compare|scaling|calibrate|idle|learn|judge|replay (see upbeat sim --help)",
            );
            Ok(())
        }
    }
}

/// What a name stands for; else the failure that lists what there is.
fn named<T>(what: &str, name: &str, found: Option<T>, all: &[&str]) -> Result<T, Failure> {
    found.ok_or_else(|| Failure::Input(format!("there is no {what} {name}: choose among {}", all.join(", "))))
}

fn workload(name: &str) -> Result<Workload, Failure> {
    named("workload", name, Workload::named(name), &Workload::ALL.map(Workload::name))
}

fn policy(name: &str) -> Result<Policy, Failure> {
    named("policy", name, Policy::named(name), &Policy::ALL.map(Policy::name))
}

fn settings(name: &str) -> Result<Settings, Failure> {
    let found = CONFIGURATIONS.iter().find(|(known, _)| *known == name).map(|&(_, settings)| settings);
    named("settings", name, found, &CONFIGURATIONS.map(|(name, _)| name))
}

fn idling(name: &str) -> Result<Idling, Failure> {
    let found = Idling::ALL.iter().find(|(known, _)| *known == name).map(|&(_, idling)| idling);
    named("idling", name, found, &Idling::ALL.map(|(name, _)| name))
}

/// The preset of that name, or the machine that the file of that name describes.
fn machine(name: &str) -> Result<Machine, Failure> {
    if let Some(machine) = Machine::preset(name) {
        return Ok(machine);
    }
    let path = Path::new(name);
    if !path.exists() {
        let presets = PRESETS.join(", ");
        return Err(Failure::Input(format!(
            "{name} is neither a machine ({presets}) nor a file that describes one"
        )));
    }
    parsed(path, |text| Machine::parse(name, text))
}

/// What `parse` makes of a file's text.
fn parsed<T, E: Display>(path: &Path, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Input(format!("{} cannot be read: {error}", path.display())))?;
    parse(&text).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

/// As many workers as were asked for, if the machine has CPUs for them.
fn workers(asked: usize, machine: &Machine) -> Result<usize, Failure> {
    match asked {
        0 => Err(Failure::Input("the number of workers must not be zero".into())),
        _ if asked > machine.cpus() => Err(Failure::Input(format!(
            "{} has {} CPUs, too few for {asked} workers",
            machine.name,
            machine.cpus()
        ))),
        _ => Ok(asked),
    }
}
