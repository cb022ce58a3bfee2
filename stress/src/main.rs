//! `upbeat-stress`: repeats the phases until enough joins and steals were made, with a line of progress, and says what was done.
//! The exit code is 1 when the time was up before that, and a wrong answer ends it with a panic that names the seed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use upbeat_stress::{phases, Counts};

const USAGE: &str = "usage: upbeat-stress [--joins N] [--steals N] [--items N] [--phase WORD] [--seconds N] [--seed N]

Runs until that many joins (10^9), real steals (10^7) and items of batches (0) were made and checked, for at most so many seconds
(3600). --phase runs those phases only whose name has that word. A panic names the seed of the phase; --seed N begins with it.
    upbeat-stress --phase batches --items 1000000000 --joins 0 --steals 0";

struct Goals {
    joins: u64,
    steals: u64,
    items: u64,
    phase: String,
    seconds: u64,
    seed: u64,
}

fn goals(mut arguments: impl Iterator<Item = String>) -> Option<Goals> {
    let phase = String::new();
    let mut goals =
        Goals { joins: 1_000_000_000, steals: 10_000_000, items: 0, phase, seconds: 3600, seed: 1 };
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        if name == "--phase" {
            goals.phase = value;
            continue;
        }
        let number = value.parse().ok()?;
        match &*name {
            "--joins" => goals.joins = number,
            "--steals" => goals.steals = number,
            "--items" => goals.items = number,
            "--seconds" => goals.seconds = number,
            "--seed" => goals.seed = number,
            _ => return None,
        }
    }
    Some(goals)
}

fn main() -> ExitCode {
    let Some(goals) = goals(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let end = started + Duration::from_secs(goals.seconds);
    let chosen: Vec<_> = phases::ALL.into_iter().filter(|(name, _)| name.contains(&goals.phase)).collect();
    if chosen.is_empty() {
        eprintln!("no phase has \"{}\" in its name; there are:", goals.phase);
        phases::ALL.iter().for_each(|(name, _)| eprintln!("    {name}"));
        return ExitCode::from(2);
    }
    let mut by_phase: Vec<_> = chosen.iter().map(|(name, _)| (name, Counts::default())).collect();
    let mut total = Counts::default();
    let mut seed = goals.seed;
    let enough = |total: &Counts| {
        total.joins >= goals.joins && total.steals >= goals.steals && total.items >= goals.items
    };
    while !enough(&total) && Instant::now() < end {
        for ((_, phase), (_, counts)) in chosen.iter().zip(&mut by_phase) {
            let done = phase(seed, Instant::now() + Duration::from_millis(500));
            *counts += done;
            total += done;
        }
        seed += 1;
        eprintln!("{:>5} s, seed {seed}: {total}", started.elapsed().as_secs());
    }
    for (name, counts) in by_phase {
        println!("{name}: {counts}");
    }
    println!("seeds {} to {}, {} s: {total}", goals.seed, seed - 1, started.elapsed().as_secs());
    if enough(&total) {
        ExitCode::SUCCESS
    } else {
        eprintln!(
            "the time was up before {} joins, {} steals and {} items",
            goals.joins, goals.steals, goals.items
        );
        ExitCode::FAILURE
    }
}
