//! The rows of the kernels' table on this machine: rate, the limit measured in the same rounds, the peers, and allocations.
//!
//! `cargo bench --bench kernels -- [GROUP …] [--quick] [--work WORDS] [--markdown PATH] [--peer COMMAND]` measures; `--list` names the
//! groups, COMMAND is a program that takes turns with us, such as `benches/kernels-peers.py`. Without `--bench`, as `cargo test` runs it,
//! each kernel runs once on a small size and only the answers count.

use std::process::ExitCode;

use upbeat_kernel_benches::allocations::Counting;
use upbeat_kernel_benches::case::{Case, Sizes};
use upbeat_kernel_benches::cases::GROUPS;
use upbeat_kernel_benches::external::{External, PeerError};
use upbeat_kernel_benches::measure::{measure_group, Machine};
use upbeat_kernel_benches::report;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds of a measurement.
const ROUNDS: u32 = 15;
/// The same with `--quick`.
const QUICK: u32 = 5;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, PeerError> {
    let (mut groups, mut works, mut path, mut peer) = (Vec::new(), Vec::new(), None, None);
    let (mut small, mut rounds) = (true, ROUNDS);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--bench" => small = false,
            "--quick" => rounds = QUICK,
            "--work" => works.extend(arguments.next()),
            "--markdown" => path = arguments.next(),
            "--peer" => peer = arguments.next(),
            "--list" => {
                GROUPS.iter().for_each(|(name, what, _)| println!("{name:<12} {what}"));
                return Ok(ExitCode::SUCCESS);
            }
            group if !group.starts_with('-') => groups.push(argument),
            // Options of the standard harness, which `cargo test` may pass on.
            _ => {}
        }
    }
    if let Some(unknown) = groups.iter().find(|group| GROUPS.iter().all(|(name, ..)| name != group)) {
        eprintln!("error: there is no group {unknown}; --list names them");
        return Ok(ExitCode::FAILURE);
    }
    let machine = Machine::new().expect("runtimes start");
    if !small {
        println!("level {}; the best of {rounds} rounds", upbeat_kernels::Isa::active().name());
        println!("{}", report::head());
    }
    let mut peer = peer.map(|command| External::start(&command)).transpose()?;
    let (mut outcomes, mut checked) = (Vec::new(), 0);
    for (name, _, make) in GROUPS {
        if !groups.is_empty() && !groups.iter().any(|group| group == name) {
            continue;
        }
        let (sizes, wanted) = (Sizes { small }, |case: &Case<'_>| {
            works.is_empty() || works.iter().any(|words| case.work.contains(words.as_str()))
        });
        if small {
            make(sizes, &mut |mut case| {
                if wanted(&case) {
                    checked += 1;
                    machine.check(&mut case);
                }
            });
            continue;
        }
        let mut each = |outcome| {
            println!("{}", report::line(&outcome));
            outcomes.push(outcome);
        };
        measure_group(&machine, make, sizes, &wanted, rounds, peer.as_mut(), &mut each)?;
    }
    if small {
        println!("{checked} kernels computed what they should");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", report::summary(&outcomes));
    if let Some(path) = path {
        if let Err(error) = std::fs::write(&path, report::markdown(&outcomes)) {
            eprintln!("error: {path} cannot be written: {error}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
