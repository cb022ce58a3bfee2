//! Recursions without data: fib, n-queens, and a tree so unbalanced that only stealing can share it.

use std::hint::black_box;

use super::{Bench, Contender, Goal, Item, Row, With};
use crate::workloads::sequential;

fn row<'a>(work: String, answer: u64, goal: Goal, contenders: Vec<Contender<'a>>) -> Item<'a> {
    Item::Row(Row::of_two("searches", work, answer, goal, contenders))
}

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let n = bench.size(12, 35);
    let goal = Goal::of_table(20.0, 88.0, 22.9);
    let contenders = contenders!(both bench.two, fib(black_box(n)));
    with(row(format!("fib({n}), no cut-off"), sequential::fib((), n), goal, contenders));

    for (n, goal) in [
        (bench.size(5, 12), Goal::of_table(2.6, 4.5, 4.6)),
        (bench.size(6, 13), Goal::of_table(13.5, 25.4, 27.9)),
    ] {
        let board = (1 << n) - 1;
        let contenders = contenders!(both bench.two, queens(black_box(board)));
        with(row(format!("{n} queens"), sequential::queens((), board), goal, contenders));
    }

    let root = bench.size(3, 2000);
    let nodes = sequential::search((), root);
    let contenders = contenders!(both bench.two, search(black_box(root)));
    let work = format!("unbalanced tree (UTS) of {nodes} nodes");
    with(row(work, nodes, Goal::of_table(1.5, 4.37, 2.01), contenders));
}
