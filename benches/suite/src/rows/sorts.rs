//! Recursions over data: sorts, with the copy of their input, and a product of matrices.

use std::cell::RefCell;
use std::hint::black_box;

use super::{Bench, Goal, Item, Row, With};
use crate::workloads::{sequential, tiles, Sorting, TILE};

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let count = bench.size(3000, 10_000_000);
    let cell = RefCell::new(Sorting::new(count));
    let answer = cell.borrow().answer();
    let contenders = contenders!(bench.two, |sorting in cell| quicksort(sorting));
    let goal = Goal::of_table(362.0, 366.0, 400.0);
    with(Item::Row(Row::of_two("sorts", format!("quicksort of {count} numbers"), answer, goal, contenders)));

    let contenders = contenders!(bench.two, |sorting in cell| mergesort(sorting));
    let goal = Goal::of_table(420.0, 420.0, 488.0);
    with(Item::Row(Row::of_two("sorts", format!("mergesort of {count} numbers"), answer, goal, contenders)));
}

pub(super) fn matmul(bench: &Bench, with: With<'_>) {
    let side = bench.size(2, 8);
    let (a, b) = (&tiles(side, 7), &tiles(side, 5));
    let cell = RefCell::new(tiles(side, 1));
    let answer = sequential::matmul((), &mut cell.borrow_mut(), a, b);
    let contenders = contenders!(bench.two, |into in cell| matmul(into, black_box(a), black_box(b)));
    let work = format!("product of {0} x {0} matrices in tiles of {TILE} x {TILE}", side * TILE);
    let goal = Goal::of_table(5.55, 5.58, 5.90);
    with(Item::Row(Row::of_two("matmul", work, answer, goal, contenders)));
}
