//! Sums over trees on two workers, whose nodes lie in memory in the order of either walk, or at random.
//!
//! The design's table was measured on trees that were built from the leaves up, so that a walk that goes right first is
//! linear in memory: its goals are for that order. The other orders must not be worse than the best peer. Which side of a join comes
//! first is the program's choice, so everybody runs in both orders.

use std::hint::black_box;

use super::{Bench, Goal, Item, Row, With};
use crate::outcome::WORST_RATIO;
use crate::workloads::{Layout, Node};

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let (right, left, shuffled) = (Layout::RightFirst, Layout::LeftFirst, Layout::Shuffled);
    let worst = Goal::Peer(WORST_RATIO);
    for (nodes, small, layout, goal) in [
        (1023, 15, right, Goal::of_table(2.0, 6.5, 2.7)),
        (1023, 15, shuffled, worst),
        (16_383, 31, right, Goal::of_table(28.0, 85.0, 40.0)),
        (16_383, 31, left, worst),
        (16_383, 31, shuffled, worst),
        ((1 << 20) - 1, 63, right, Goal::of_table(1.1, 9.0, 1.56)),
        ((1 << 20) - 1, 63, left, worst),
        ((1 << 20) - 1, 63, shuffled, worst),
        ((1 << 24) - 1, 127, right, Goal::of_table(17.2, 148.0, 22.6)),
        ((1 << 24) - 1, 127, left, worst),
    ] {
        let nodes = bench.size(small, nodes);
        let tree = &*Node::balanced(nodes, layout);
        let memory = match layout {
            Layout::LeftFirst => "left first in memory",
            Layout::RightFirst => "right first in memory",
            Layout::Shuffled => "shuffled in memory",
        };
        let contenders = contenders!(both bench.two, tree(black_box(tree)));
        let work = format!("tree of {nodes} nodes, {memory}");
        with(Item::Row(Row::of_two("trees", work, nodes as u64, goal, contenders)));
    }
}
