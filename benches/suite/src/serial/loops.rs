//! The loops of `upbeat::par` beside plain loops over the same closures, at any length. They make no joins that a user
//! wrote, so their bound has none. Neither loop knows that its range is that of the data, so both check their indices.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use upbeat::par;

use super::cases::{sizes, Family};
use super::{Case, Turn};
use crate::timing::repeat;
use crate::workloads::mix;

pub(super) fn families(full: bool) -> Vec<Family> {
    let sizes = || sizes(if full { 1 << 23 } else { 1 << 18 });
    vec![
        Family::new("par::map_reduce, one hash", sizes(), map_reduce),
        Family::new("par::map_reduce_chunks, sum", sizes(), map_reduce_chunks),
        Family::new("par::for_each, one store", sizes(), for_each),
        Family::new("par::map, one hash", sizes(), map),
        Family::new("par::chunks_mut, 64 numbers", sizes(), chunks_mut),
    ]
}

/// A case of a loop: what it does by itself and on a runtime.
fn case<'a>(
    size: u64,
    answer: u64,
    mut plain: impl FnMut() -> u64 + 'a,
    mut parallel: impl FnMut() -> u64 + 'a,
) -> Case<'a> {
    Case {
        size,
        joins: 0,
        join_cost: 0.0,
        answer,
        sequential: vec![Box::new(move |times| repeat(times, &mut plain))],
        parallel: vec![Box::new(move |times| repeat(times, &mut parallel))],
    }
}

fn map_reduce(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let count = count as usize;
    let hash = |i: usize| mix(i as u64);
    let answer = (0..count).map(hash).fold(0, u64::wrapping_add);
    with(case(
        count as u64,
        answer,
        || (0..black_box(count)).map(hash).fold(0, u64::wrapping_add),
        || turn.install(|_| par::map_reduce(0..black_box(count), hash, u64::wrapping_add, || 0)),
    ));
}

fn map_reduce_chunks(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let data: Vec<u64> = (0..count).collect();
    let data = || black_box(&data[..]);
    let sum = |chunk: &[u64]| chunk.iter().sum::<u64>();
    with(case(
        count,
        count * (count - 1) / 2,
        || sum(data()),
        || turn.install(|_| par::map_reduce_chunks(data(), sum, |a, b| a + b, || 0)),
    ));
}

fn for_each(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let data: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let data = || black_box(&data[..]);
    let last = count as usize - 1;
    with(case(
        count,
        last as u64,
        || {
            let data = data();
            (0..black_box(data.len())).for_each(|i| data[i].store(i as u64, Ordering::Relaxed));
            data[last].load(Ordering::Relaxed)
        },
        || {
            let data = data();
            turn.install(|_| {
                par::for_each(0..black_box(data.len()), move |i| data[i].store(i as u64, Ordering::Relaxed));
            });
            data[last].load(Ordering::Relaxed)
        },
    ));
}

fn map(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let count = count as usize;
    let last = |hashes: Vec<u64>| hashes[count - 1];
    with(case(
        count as u64,
        mix(count as u64 - 1),
        || last((0..black_box(count)).map(|i| mix(i as u64)).collect()),
        || last(turn.install(|_| par::map(0..black_box(count), |i| mix(i as u64)))),
    ));
}

fn chunks_mut(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let fill = |i: usize, chunk: &mut [u64]| chunk.fill(i as u64);
    let cell = RefCell::new(vec![0u64; count as usize]);
    with(case(
        count,
        (count - 1) / 64,
        || {
            let data = &mut *cell.borrow_mut();
            black_box(&mut *data).chunks_mut(64).enumerate().for_each(|(i, chunk)| fill(i, chunk));
            data[data.len() - 1]
        },
        || {
            let data = &mut *cell.borrow_mut();
            let chunks = black_box(&mut *data);
            turn.install(|_| par::chunks_mut(chunks, 64, fill));
            data[data.len() - 1]
        },
    ));
}
