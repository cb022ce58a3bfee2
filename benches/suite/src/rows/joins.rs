//! What a join costs when nothing is stolen: one worker against the better sequential order.

use std::hint::black_box;

use super::{Bench, Goal, Item, Row, Scale, With};
use crate::workloads::{count_joins, counted, sequential, Layout, Node};

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let above = |count| Scale::AboveSequential { count, unit: "ns a join" };
    let row = |work: String, answer, joins, goal, contenders| {
        Item::Row(Row {
            group: "joins",
            work,
            answer,
            scale: above(joins),
            goal: Goal::Value(goal),
            gap: None,
            workers: None,
            contenders,
        })
    };
    let nodes = bench.size(15, 1023);
    let tree = &*Node::balanced(nodes, Layout::LeftFirst);
    let joins = count_joins(|c| counted::tree(c, tree));
    let contenders = contenders!(bench.one, tree(black_box(tree)));
    with(row(format!("tree of {nodes} nodes"), nodes as u64, joins, 0.8, contenders));

    let n = bench.size(10, 27);
    let joins = count_joins(|c| counted::fib(c, n));
    let answer = sequential::fib((), n);
    with(row(format!("fib({n})"), answer, joins, 1.3, contenders!(bench.one, fib(black_box(n)))));
}
