//! Parallel code that calls parallel code, and more workers than there are cores.

use std::hint::black_box;
use std::time::Duration;

use super::{Bench, Goal, Item, Row, Scale, With};
use crate::contenders::Set;
use crate::outcome::WORST_RATIO;
use crate::workloads::{rounds_lasting, sequential};

/// Workers where there are too many.
const CROWD: usize = 8;

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let row = |work: String, answer, contenders| {
        Item::Row(Row {
            group: "crowd",
            work,
            answer,
            scale: Scale::Call,
            goal: Goal::Peer(WORST_RATIO),
            gap: None,
            workers: None,
            contenders,
        })
    };
    let (outer, count) = (bench.size(3, 64), bench.size(100, 10_000));
    let data: Vec<u64> = (0..count).collect();
    let answer = outer * (count * (count - 1) / 2);
    let contenders = contenders!(bench.two, nested(black_box(outer), black_box(&data), 16));
    with(row(format!("nested: {outer} sums of {count} numbers, 16 a leaf"), answer, contenders));

    let crowd = Set::new(CROWD, &bench.cpus, false).expect("a runtime of eight workers");
    let root = bench.size(3, 2000);
    let nodes = sequential::search((), root);
    let contenders = contenders!(crowd, search(black_box(root)));
    with(row(format!("{CROWD} workers: unbalanced tree of {nodes} nodes"), nodes, contenders));
    let leaf = rounds_lasting(bench.size(Duration::from_micros(5), Duration::from_millis(1)));
    let contenders = contenders!(crowd, spin(black_box(16), black_box(leaf)));
    with(row(format!("{CROWD} workers: 16 leaves of 1 ms"), 16, contenders));
    drop(crowd);
    bench.cpus.pin(0);
}
