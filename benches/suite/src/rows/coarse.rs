//! A few leaves that run long and make no joins: who shares only what code that joins gives away shares nothing here.

use std::hint::black_box;
use std::time::Duration;

use super::{Bench, Goal, Item, Row, With};
use crate::workloads::rounds_lasting;

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let length = rounds_lasting(bench.size(Duration::from_micros(20), Duration::from_millis(26)));
    for (leaves, goal) in [
        (2, Goal::of_table(13.2, 13.3, 26.4)),
        (4, Goal::of_table(13.1, 13.1, 22.7)),
        (16, Goal::of_table(13.1, 13.1, 16.4)),
    ] {
        let contenders = contenders!(bench.two, spin(black_box(leaves), black_box(length / leaves)));
        let work = format!("{leaves} leaves, 26 ms in all");
        with(Item::Row(Row::of_two("coarse", work, leaves, goal, contenders)));
    }
}
