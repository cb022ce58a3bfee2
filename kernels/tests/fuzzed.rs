//! The fuzz targets on reproducible bytes, so that the gate runs them too. `cargo fuzz` (see `fuzz/`) searches on.

mod common;
#[allow(dead_code)]
mod fuzz_targets;

use common::{at_every_level, Numbers};

/// Runs `target` on `rounds` inputs of up to 64 bytes; the input is printed where it fails.
fn run(target: fn(&[u8]), rounds: u64) {
    for seed in 0..rounds {
        let mut numbers = Numbers::new(seed);
        let len = numbers.bits() % 65;
        let data: Vec<u8> = (0..len).map(|_| numbers.bits() as u8).collect();
        if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
            eprintln!("the input was {data:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_level() {
    at_every_level();
}

#[test]
fn layouts_are_refused_or_right() {
    run(fuzz_targets::layout::run, 20_000);
}

#[test]
fn products_are_refused_or_right() {
    run(fuzz_targets::gemm::run, 1500);
}

#[test]
fn attention_is_refused_or_right() {
    run(fuzz_targets::attention::run, 800);
}

/// What libFuzzer found, so that it stays repaired.
#[test]
fn inputs_that_failed_once_pass() {
    // Factors without elements, a huge stride between them: where a row begins overflowed.
    fuzz_targets::gemm::run(&[
        236, 135, 135, 135, 135, 135, 135, 135, 135, 135, 135, 135, 135, 99, 255, 1, 255, 5, 135, 135, 99,
        227, 31, 88, 51, 31, 51, 248, 3,
    ]);
}
