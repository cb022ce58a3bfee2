//! The workloads of joins, each at any size.

use std::cell::RefCell;
use std::hint::black_box;

use super::{loops, Case, Turn};
use crate::timing::repeat;
use crate::workloads::{
    count_joins, counted, on_upbeat, on_upbeat_swapped, right_first, sequential, tiles, Layout, Node, Sorting,
};

/// What a join may cost, ns: on trees and elsewhere, and in `fib`, whose frames hold less.
const JOIN: f64 = 0.8;
const FIB_JOIN: f64 = 1.3;

/// A workload, to be measured at many sizes.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its sizes, ascending.
    pub sizes: Vec<u64>,
    run: Run,
}

/// Makes the case of a size and hands it on.
type Run = fn(&Turn<'_>, u64, &mut dyn FnMut(Case<'_>));

impl Family {
    /// Makes the case of `size` on the runtime that has its turn and hands it to `with`.
    pub fn case(&self, turn: &Turn<'_>, size: u64, with: &mut dyn FnMut(Case<'_>)) {
        (self.run)(turn, size, with);
    }
}

/// Powers of two, their successors, and an odd number between, up to `most`.
pub(super) fn sizes(most: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> = Vec::new();
    let mut power = 1;
    while power <= most {
        sizes.extend([power, power + 1, power + power / 2 - 1]);
        power *= 2;
    }
    sizes.retain(|size| (1..=most).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// All workloads. `full` goes up to the sizes of the rows that are compared with peers; otherwise a call takes some
/// milliseconds at most.
pub fn families(full: bool) -> Vec<Family> {
    let up_to = |most: u64, full_most: u64| if full { full_most } else { most };
    let joins: [(&'static str, Vec<u64>, Run); 12] = [
        ("tree, left first in memory", sizes(up_to(1 << 20, 1 << 24)), |turn, size, with| {
            tree(turn, size, Layout::LeftFirst, with)
        }),
        ("tree, right first in memory", sizes(up_to(1 << 20, 1 << 24)), |turn, size, with| {
            tree(turn, size, Layout::RightFirst, with)
        }),
        ("tree, shuffled in memory", sizes(up_to(1 << 18, 1 << 22)), |turn, size, with| {
            tree(turn, size, Layout::Shuffled, with)
        }),
        ("fib", (0..=up_to(30, 35)).collect(), fib),
        ("sum by join, one number a leaf", sizes(up_to(1 << 20, 1 << 23)), |turn, size, with| {
            sum(turn, size, 1, with)
        }),
        ("sum by join, 1024 numbers a leaf", sizes(up_to(1 << 20, 1 << 23)), |turn, size, with| {
            sum(turn, size, 1024, with)
        }),
        ("queens", (1..=up_to(11, 13)).collect(), queens),
        ("unbalanced tree, children of the root", sizes(up_to(512, 2000)), search),
        ("quicksort", sizes(up_to(1 << 18, 10_000_000)), quicksort),
        ("mergesort", sizes(up_to(1 << 18, 10_000_000)), mergesort),
        ("matmul, tiles a side", vec![1, 2, 4, 8], matmul),
        ("empty join", vec![1], |turn, size, with| spin(turn, 2 * size, 0, with)),
    ];
    let spins: [(&'static str, Vec<u64>, Run); 3] = [
        ("items of about 50 ns", sizes(up_to(1 << 14, 1 << 17)), |turn, size, with| {
            spin(turn, size, 20, with)
        }),
        ("items of about 1 us", sizes(up_to(1 << 11, 1 << 13)), |turn, size, with| {
            spin(turn, size, 400, with)
        }),
        ("items of about 1 ms", (1..=up_to(5, 16)).collect(), |turn, size, with| {
            spin(turn, size, 400_000, with)
        }),
    ];
    let family = |(name, sizes, run)| Family { name, sizes, run };
    joins.into_iter().chain(spins).map(family).chain(loops::families(full)).collect()
}

impl Family {
    pub(super) fn new(name: &'static str, sizes: Vec<u64>, run: Run) -> Self {
        Self { name, sizes, run }
    }
}

/// A case of `$body` with the same arguments in every stamp; `|$state in $cell|` gives the stamps turns with a `RefCell`.
macro_rules! case {
    ($turn:ident, $size:expr, $cost:expr, $(|$state:ident in $cell:ident|)? $body:ident($($argument:expr),*)) => {
        Case {
            size: $size,
            joins: {
                $(let $state = &mut *$cell.borrow_mut();)?
                count_joins(|c| counted::$body(c, $($argument),*))
            },
            join_cost: $cost,
            answer: {
                $(let $state = &mut *$cell.borrow_mut();)?
                sequential::$body((), $($argument),*)
            },
            sequential: vec![
                Box::new(|times| {
                    $(let $state = &mut *$cell.borrow_mut();)?
                    repeat(times, || sequential::$body((), $($argument),*))
                }),
                Box::new(|times| {
                    $(let $state = &mut *$cell.borrow_mut();)?
                    repeat(times, || right_first::$body((), $($argument),*))
                }),
            ],
            parallel: vec![
                Box::new(|times| {
                    $(let $state = &mut *$cell.borrow_mut();)?
                    repeat(times, || $turn.install(|worker| on_upbeat::$body(worker, $($argument),*)))
                }),
                Box::new(|times| {
                    $(let $state = &mut *$cell.borrow_mut();)?
                    repeat(times, || $turn.install(|worker| on_upbeat_swapped::$body(worker, $($argument),*)))
                }),
            ],
        }
    };
}

fn tree(turn: &Turn<'_>, nodes: u64, layout: Layout, with: &mut dyn FnMut(Case<'_>)) {
    let tree = Node::balanced(nodes as usize, layout);
    with(case!(turn, nodes, JOIN, tree(black_box(&tree))));
}

fn fib(turn: &Turn<'_>, n: u64, with: &mut dyn FnMut(Case<'_>)) {
    with(case!(turn, n, FIB_JOIN, fib(black_box(n as u32))));
}

fn sum(turn: &Turn<'_>, count: u64, grain: usize, with: &mut dyn FnMut(Case<'_>)) {
    let data: Vec<u64> = (0..count).collect();
    with(case!(turn, count, JOIN, sum(black_box(&data), grain)));
}

fn queens(turn: &Turn<'_>, n: u64, with: &mut dyn FnMut(Case<'_>)) {
    with(case!(turn, n, JOIN, queens(black_box((1 << n) - 1))));
}

fn search(turn: &Turn<'_>, root: u64, with: &mut dyn FnMut(Case<'_>)) {
    with(case!(turn, root, JOIN, search(black_box(root as u32))));
}

fn spin(turn: &Turn<'_>, items: u64, length: u64, with: &mut dyn FnMut(Case<'_>)) {
    with(case!(turn, items, JOIN, spin(black_box(items), black_box(length))));
}

fn quicksort(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let cell = RefCell::new(Sorting::new(count as usize));
    let case = case!(turn, count, JOIN, |sorting in cell| quicksort(sorting));
    assert_eq!(case.answer, cell.borrow().answer(), "quicksort of {count} numbers sorts");
    with(case);
}

fn mergesort(turn: &Turn<'_>, count: u64, with: &mut dyn FnMut(Case<'_>)) {
    let cell = RefCell::new(Sorting::new(count as usize));
    let case = case!(turn, count, JOIN, |sorting in cell| mergesort(sorting));
    assert_eq!(case.answer, cell.borrow().answer(), "mergesort of {count} numbers sorts");
    with(case);
}

fn matmul(turn: &Turn<'_>, side: u64, with: &mut dyn FnMut(Case<'_>)) {
    let (a, b) = (tiles(side as usize, 7), tiles(side as usize, 5));
    let cell = RefCell::new(tiles(side as usize, 1));
    with(case!(turn, side, JOIN, |into in cell| matmul(into, black_box(&a), black_box(&b))));
}
