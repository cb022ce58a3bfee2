//! The upbeat command: parses, runs one verb, and turns failures into one sentence and an exit code.

mod args;
mod bench;
mod checkout;
mod failure;
mod generate;
mod info;
mod interrupt;
mod machine;
mod output;
mod progress;
mod report;
mod sim;
mod topology;
mod train;
mod tune;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::Parser;

use args::{Command, Verb};
use failure::Failure;
use output::{complain, Output};

/// Counts allocations, for `upbeat bench kernels`.
#[global_allocator]
static ALLOCATOR: upbeat_kernel_benches::allocations::Counting = upbeat_kernel_benches::allocations::Counting;

/// The first sentence of clap's message, without its usage lines.
fn sentence(error: &clap::Error) -> String {
    let message = error.render().to_string();
    let sentence: Vec<&str> = message.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
    sentence.join(" ").trim_start_matches("error: ").to_string()
}

fn run(output: &mut Output) -> Result<(), Failure> {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            output.text(error.render());
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Err(Failure::Input(
                "what to do is missing: train, generate, info, bench, tune or sim (see upbeat --help)".into(),
            ));
        }
        Err(error) => return Err(Failure::Input(sentence(&error))),
    };
    match command.verb {
        Verb::Train(args) => train::run(&args, output),
        Verb::Generate(args) => generate::run(&args, output),
        Verb::Info(args) => info::run(&args, output),
        Verb::Bench(args) => bench::run(&args, output),
        Verb::Tune(args) => tune::run(&args, output),
        Verb::Sim(args) => sim::run(&args, output),
    }
}

fn main() -> ExitCode {
    let mut output = Output::default();
    match run(&mut output).and_then(|()| output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(format_args!("error: {failure}"));
            failure.code()
        }
    }
}
