//! Loops on two workers beside plain ones and rayon's: sums, saxpy, maps, stores, and a few coarse items.
//!
//! `cargo bench --bench loops [-- PART-OF-A-NAME ...]` measures; without `--bench` each body runs once. `map_reduce` reads by index, so its
//! bounds checks keep it from the speed of a sum over slices; `map_reduce_chunks` is for that.

mod contest;

use contest::Contest;
use rayon::prelude::*;
use std::cell::RefCell;
use std::hint::black_box;
use upbeat::{par, Pin, Runtime};
use upbeat_benches::timing::{repeat, Body};

fn main() {
    let contest = Contest::from_args();
    let two = Runtime::builder().workers(2).pin(Pin::Cores).build().expect("a runtime of two workers");
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a rayon pool of two threads");
    for count in contest.sizes(&[1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000], 10_000) {
        sum(&contest, &two, &rayon, count);
        saxpy(&contest, &two, &rayon, count);
        map(&contest, &two, &rayon, count);
    }
    for (count, spins) in [(64, 700), (1000, 70), (16, 70_000), (2, 1_000_000)] {
        coarse(&contest, &two, &rayon, count, spins);
    }
}

/// How often to call what has `count` items, so that a round takes about a millisecond.
fn calls(count: usize) -> u64 {
    (1_000_000 / count).clamp(1, 5000) as u64
}

/// The same code for all, so that where the linker puts it decides nothing.
#[inline(never)]
fn leaf_sum(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

fn sum(contest: &Contest, two: &Runtime, rayon: &rayon::ThreadPool, count: usize) {
    let numbers: Vec<u64> = (0..count as u64).collect();
    let numbers = || black_box(&numbers[..]);
    let contenders: Vec<(&str, Body<'_>)> = vec![
        ("sequential", Box::new(|times| repeat(times, || leaf_sum(numbers())))),
        (
            "upbeat, map_reduce_chunks",
            Box::new(|times| {
                two.install(|_| {
                    repeat(times, || par::map_reduce_chunks(numbers(), leaf_sum, |a, b| a + b, || 0))
                })
            }),
        ),
        (
            "upbeat, map_reduce",
            Box::new(|times| {
                two.install(|_| {
                    repeat(times, || {
                        let numbers = numbers();
                        par::map_reduce(0..numbers.len(), |i| numbers[i], |a, b| a + b, || 0)
                    })
                })
            }),
        ),
        ("rayon, par_iter", Box::new(|times| rayon.install(|| repeat(times, || numbers().par_iter().sum())))),
        (
            "rayon, par_chunks of 1024",
            Box::new(|times| {
                rayon.install(|| repeat(times, || numbers().par_chunks(1024).map(leaf_sum).sum()))
            }),
        ),
    ];
    contest.run(&format!("sum of {count} u64"), calls(count), (0..count as u64).sum(), contenders);
}

fn saxpy(contest: &Contest, two: &Runtime, rayon: &rayon::ThreadPool, count: usize) {
    #[inline(never)]
    fn leaf(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * *x + 1.0);
    }
    let x = vec![1.5f32; count];
    let y = RefCell::new(vec![0f32; count]);
    // The answer: the sum of the first and last results' bits.
    let ends = |y: &[f32]| u64::from(y[0].to_bits()) + u64::from(y[count - 1].to_bits());
    let contenders: Vec<(&str, Body<'_>)> = vec![
        (
            "sequential",
            Box::new(|times| {
                let y = &mut y.borrow_mut()[..];
                repeat(times, || {
                    leaf(black_box(&mut *y), &x);
                    ends(y)
                })
            }),
        ),
        (
            "upbeat, chunks_pair_mut",
            Box::new(|times| {
                let y = &mut y.borrow_mut()[..];
                two.install(|_| {
                    repeat(times, || {
                        par::chunks_pair_mut(black_box(&mut *y), &x, 1024, |_, y, x| leaf(y, x));
                        ends(y)
                    })
                })
            }),
        ),
        (
            "rayon, par_chunks of 1024",
            Box::new(|times| {
                let y = &mut y.borrow_mut()[..];
                rayon.install(|| {
                    repeat(times, || {
                        black_box(&mut *y)
                            .par_chunks_mut(1024)
                            .zip(x.par_chunks(1024))
                            .for_each(|(y, x)| leaf(y, x));
                        ends(y)
                    })
                })
            }),
        ),
    ];
    contest.run(&format!("saxpy of {count} f32"), calls(count), 2 * u64::from(4.0f32.to_bits()), contenders);
}

/// A hash of a number.
fn mix(i: usize) -> u64 {
    let x = (i as u64 ^ i as u64 >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

fn map(contest: &Contest, two: &Runtime, rayon: &rayon::ThreadPool, count: usize) {
    let last = |hashes: Vec<u64>| hashes[count - 1];
    let contenders: Vec<(&str, Body<'_>)> = vec![
        ("sequential", Box::new(|times| repeat(times, || last((0..black_box(count)).map(mix).collect())))),
        (
            "upbeat, map",
            Box::new(|times| two.install(|_| repeat(times, || last(par::map(0..black_box(count), mix))))),
        ),
        (
            "rayon, map and collect",
            Box::new(|times| {
                rayon.install(|| {
                    repeat(times, || last((0..black_box(count)).into_par_iter().map(mix).collect()))
                })
            }),
        ),
    ];
    contest.run(&format!("map of {count} hashes"), calls(count), mix(count - 1), contenders);
}

fn coarse(contest: &Contest, two: &Runtime, rayon: &rayon::ThreadPool, count: usize, spins: u64) {
    let item = |i: usize| (0..black_box(spins)).fold(i as u64, |x, _| black_box(x));
    let contenders: Vec<(&str, Body<'_>)> = vec![
        ("sequential", Box::new(|times| repeat(times, || (0..count).map(item).sum()))),
        (
            "upbeat, map_reduce",
            Box::new(|times| {
                two.install(|_| repeat(times, || par::map_reduce(0..count, item, |a, b| a + b, || 0)))
            }),
        ),
        (
            "rayon, map and sum",
            Box::new(|times| rayon.install(|| repeat(times, || (0..count).into_par_iter().map(item).sum()))),
        ),
    ];
    let calls = (1_000_000 / (count as u64 * spins)).max(1);
    contest.run(&format!("{count} items of {spins} spins"), calls, (0..count as u64).sum(), contenders);
}
