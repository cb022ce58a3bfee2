//! Sorts of random numbers on two workers beside the standard library's and rayon's.
//!
//! `cargo bench --bench sorts [-- PART-OF-A-NAME ...]` measures; without `--bench` each body runs once. Each sort gets a copy of the same
//! numbers; the time of the copy is in all rows.

#[path = "../loops/contest.rs"]
mod contest;

use contest::Contest;
use rayon::prelude::*;
use upbeat::{par, Pin, Runtime};
use upbeat_benches::timing::{repeat, Body};

fn main() {
    let contest = Contest::from_args();
    let two = Runtime::builder().workers(2).pin(Pin::Cores).build().expect("a runtime of two workers");
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a rayon pool of two threads");
    for count in contest.sizes(&[10, 1000, 20_000, 100_000, 1_000_000, 10_000_000], 20_000) {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let numbers: Vec<u32> = (0..count).map(|_| next()).collect();
        let answer = digest(&{
            let mut sorted = numbers.clone();
            sorted.sort();
            sorted
        });
        let sorted = |sort: &dyn Fn(&mut [u32])| {
            let mut copy = numbers.clone();
            sort(&mut copy);
            digest(&copy)
        };
        let calls = (200_000 / count).clamp(1, 5000) as u64;
        let stable: Vec<(&str, Body<'_>)> = vec![
            ("sequential, std", Box::new(|times| repeat(times, || sorted(&|data| data.sort())))),
            ("upbeat", Box::new(|times| two.install(|_| repeat(times, || sorted(&|data| par::sort(data)))))),
            ("rayon", Box::new(|times| rayon.install(|| repeat(times, || sorted(&|data| data.par_sort()))))),
        ];
        contest.run(&format!("sort of {count} u32"), calls, answer, stable);
        let unstable: Vec<(&str, Body<'_>)> = vec![
            ("sequential, std", Box::new(|times| repeat(times, || sorted(&|data| data.sort_unstable())))),
            (
                "upbeat",
                Box::new(|times| two.install(|_| repeat(times, || sorted(&|data| par::sort_unstable(data))))),
            ),
            (
                "rayon",
                Box::new(|times| {
                    rayon.install(|| repeat(times, || sorted(&|data| data.par_sort_unstable())))
                }),
            ),
        ];
        contest.run(&format!("sort_unstable of {count} u32"), calls, answer, unstable);
    }
}

/// Says whether the numbers are in order, and which they are, in one number: places count.
fn digest(numbers: &[u32]) -> u64 {
    let step = numbers.len().div_ceil(1000);
    numbers
        .iter()
        .step_by(step)
        .enumerate()
        .fold(0, |sum, (i, &x)| sum ^ (u64::from(x)).rotate_left(i as u32))
}
