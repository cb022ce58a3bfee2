//! Every stamp of every body computes what a different program computes.

use super::*;

#[test]
fn trees_have_the_asked_number_of_nodes_in_every_layout() {
    for layout in [Layout::LeftFirst, Layout::RightFirst, Layout::Shuffled] {
        for nodes in [1, 2, 3, 4, 5, 6, 7, 8, 100, 1023, 1024, 1025] {
            let tree = Node::balanced(nodes, layout);
            assert_eq!(sequential::tree((), &tree), nodes as u64);
            assert_eq!(right_first::tree((), &tree), nodes as u64);
            assert_eq!(count_joins(|c| counted::tree(c, &tree)), nodes as u64, "one join a node");
        }
    }
}

/// Addresses in the order of a walk that goes left first.
fn walk(node: &Node, into: &mut Vec<usize>) {
    into.push(std::ptr::from_ref(node) as usize);
    for child in [&node.left, &node.right].into_iter().flatten() {
        walk(child, into);
    }
}

#[test]
fn layouts_are_what_their_names_say() {
    let ascents = |layout| {
        let mut addresses = Vec::new();
        walk(&Node::balanced(4095, layout), &mut addresses);
        addresses.windows(2).filter(|pair| pair[0] < pair[1]).count()
    };
    assert_eq!(ascents(Layout::LeftFirst), 4094);
    assert!(ascents(Layout::RightFirst) < 3000);
    assert!((1800..2300).contains(&ascents(Layout::Shuffled)));
}

#[test]
fn searches_and_numbers_are_the_known_ones() {
    let queens = [1, 1, 0, 0, 2, 10, 4, 40, 92];
    for (n, &ways) in queens.iter().enumerate().skip(1) {
        assert_eq!(sequential::queens((), (1 << n) - 1), ways, "{n} queens");
    }
    assert_eq!(right_first::fib((), 20), 6765);
    assert_eq!(count_joins(|c| counted::fib(c, 20)), 10_945, "F(21) - 1");
    assert_eq!(sequential::search((), 0), 1);
    assert_eq!(sequential::search((), 200), right_first::search((), 200));
    let data: Vec<u64> = (0..1001).collect();
    assert_eq!(sequential::sum((), &data, 1), 500_500);
    assert_eq!(count_joins(|c| counted::sum(c, &data, 1)), 1000);
    assert_eq!(sequential::spin((), 37, 1), 37);
}

#[test]
fn sorts_sort() {
    for count in [1, 2, 20, 21, 32, 33, 1000, 4097, 20_000] {
        let mut sorting = Sorting::new(count);
        let answer = sorting.answer();
        assert_eq!(sequential::quicksort((), &mut sorting), answer, "quicksort of {count}");
        assert!(sorting.data.is_sorted());
        assert_eq!(right_first::mergesort((), &mut sorting), answer, "mergesort of {count}");
        assert!(sorting.data.is_sorted());
    }
}

#[test]
fn products_of_tiles_are_products_of_matrices() {
    // Element (row, column) of a matrix of 2 x 2 tiles.
    let at = |m: &[f32], row: usize, column: usize| {
        let tile = row / TILE * 2 + column / TILE;
        m[tile * TILE * TILE + row % TILE * TILE + column % TILE]
    };
    let (a, b) = (tiles(2, 7), tiles(2, 5));
    let mut product = tiles(2, 3);
    let sum = sequential::matmul((), &mut product, &a, &b);
    let side = 2 * TILE;
    let mut total = 0.0;
    for row in 0..side {
        for column in 0..side {
            let exact: f32 = (0..side).map(|k| at(&a, row, k) * at(&b, k, column)).sum();
            assert_eq!(at(&product, row, column), exact, "({row}, {column})");
            total += f64::from(exact);
        }
    }
    assert_eq!(sum, total as u64);
}
