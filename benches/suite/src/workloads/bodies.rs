//! The recursive bodies. No body has a cut-off but those whose leaf is a real one (an insertion sort, a tile).

/// Stamps all bodies out as a module `$name`, with contexts of type `$context` and forks by `$join`.
macro_rules! bodies {
    ($(#[$doc:meta])* $name:ident, $context:ty, $join:ident, $again:ident) => {
        $(#[$doc])*
        pub mod $name {
            #[allow(unused_imports)]
            use super::*;
            use super::leaves::{insertion_sort, merge, multiply_tile, partition};
            use super::leaves::{MERGED, QUICK, MERGE_LEAF, TILE};

            /// Sum of a tree's values.
            pub fn tree(c: $context, node: &Node) -> u64 {
                let (left, right) = $join!(
                    c,
                    |c| node.left.as_deref().map(|node| tree(c, node)).unwrap_or_default(),
                    |c| node.right.as_deref().map(|node| tree(c, node)).unwrap_or_default()
                );
                node.value + left + right
            }

            /// The `n`-th Fibonacci number.
            pub fn fib(c: $context, n: u32) -> u64 {
                if n < 2 {
                    return n.into();
                }
                let (a, b) = $join!(c, |c| fib(c, n - 1), |c| fib(c, n - 2));
                a + b
            }

            /// Sum of a slice, halved down to pieces of at most `grain`.
            pub fn sum(c: $context, data: &[u64], grain: usize) -> u64 {
                if data.len() <= grain {
                    return data.iter().fold(0, |sum, &x| sum.wrapping_add(x));
                }
                let (left, right) = data.split_at(data.len() / 2);
                let (a, b) = $join!(c, |c| sum(c, left, grain), |c| sum(c, right, grain));
                a.wrapping_add(b)
            }

            /// A fork for each of `outer` sums, and forks within each of them.
            pub fn nested(c: $context, outer: u64, data: &[u64], grain: usize) -> u64 {
                if outer <= 1 {
                    return sum(c, data, grain);
                }
                let half = outer / 2;
                let (a, b) =
                    $join!(c, |c| nested(c, half, data, grain), |c| nested(c, outer - half, data, grain));
                a.wrapping_add(b)
            }

            /// Ways to put queens on a board whose columns are the bits of `board`.
            pub fn queens(c: $context, board: u32) -> u64 {
                place(c, board, 0, 0, 0)
            }

            fn place(c: $context, board: u32, columns: u32, down: u32, up: u32) -> u64 {
                if columns == board {
                    return 1;
                }
                choose(c, board, columns, down, up, board & !(columns | down | up))
            }

            fn choose(c: $context, board: u32, columns: u32, down: u32, up: u32, free: u32) -> u64 {
                if free == 0 {
                    return 0;
                }
                let bit = free & free.wrapping_neg();
                let rest = free ^ bit;
                let (next_columns, next_down, next_up) =
                    (columns | bit, (down | bit) << 1 & board, (up | bit) >> 1);
                if rest == 0 {
                    return place(c, board, next_columns, next_down, next_up);
                }
                let (a, b) = $join!(
                    c,
                    |c| place(c, board, next_columns, next_down, next_up),
                    |c| choose(c, board, columns, down, up, rest)
                );
                a + b
            }

            /// Nodes of an unbalanced tree (UTS, binomial) whose root has `root` children.
            pub fn search(c: $context, root: u32) -> u64 {
                1 + children(c, 42, 0, root)
            }

            fn children(c: $context, state: u64, from: u32, to: u32) -> u64 {
                if from == to {
                    return 0;
                }
                if to - from == 1 {
                    let child = mix(state ^ (u64::from(from) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    return 1 + children(c, child, 0, search_children(child));
                }
                let middle = from + (to - from) / 2;
                let (a, b) =
                    $join!(c, |c| children(c, state, from, middle), |c| children(c, state, middle, to));
                a + b
            }

            /// Sorts a copy of the input; an answer that depends on where things are.
            pub fn quicksort(c: $context, sorting: &mut Sorting) -> u64 {
                sorting.begin();
                quick(c, &mut sorting.data);
                sorting.fingerprint()
            }

            fn quick(c: $context, data: &mut [u32]) {
                if data.len() <= QUICK {
                    return insertion_sort(data);
                }
                let middle = partition(data);
                let (low, high) = data.split_at_mut(middle);
                $join!(c, |c| quick(c, low), |c| quick(c, high));
            }

            /// Sorts a copy of the input; an answer that depends on where things are.
            pub fn mergesort(c: $context, sorting: &mut Sorting) -> u64 {
                sorting.begin();
                merge_sort(c, &mut sorting.data, &mut sorting.other, false);
                sorting.fingerprint()
            }

            /// Sorts `data`, into `other` if `across`.
            fn merge_sort(c: $context, data: &mut [u32], other: &mut [u32], across: bool) {
                if data.len() <= MERGE_LEAF {
                    insertion_sort(data);
                    if across {
                        other.copy_from_slice(data);
                    }
                    return;
                }
                let middle = data.len() / 2;
                {
                    let c = $again!(c);
                    let (left, right) = data.split_at_mut(middle);
                    let (other_left, other_right) = other.split_at_mut(middle);
                    $join!(
                        c,
                        |c| merge_sort(c, left, other_left, !across),
                        |c| merge_sort(c, right, other_right, !across)
                    );
                }
                let (from, to) = if across { (data, other) } else { (other, data) };
                let (left, right) = from.split_at(middle);
                merge_all(c, left, right, to)
            }

            fn merge_all(c: $context, a: &[u32], b: &[u32], into: &mut [u32]) {
                if a.len() < b.len() {
                    return merge_all(c, b, a, into);
                }
                if a.len() + b.len() <= MERGED {
                    return merge(a, b, into);
                }
                let middle = a.len() / 2;
                let other = b.partition_point(|x| *x < a[middle]);
                let ((a0, a1), (b0, b1)) = (a.split_at(middle), b.split_at(other));
                let (into0, into1) = into.split_at_mut(middle + other);
                $join!(c, |c| merge_all(c, a0, b0, into0), |c| merge_all(c, a1, b1, into1));
            }

            /// `into += a · b` for square matrices of a power of two tiles, in quarters of quarters; the sum of all
            /// elements of `into` in whole numbers.
            pub fn matmul(c: $context, into: &mut [f32], a: &[f32], b: &[f32]) -> u64 {
                into.fill(0.0);
                product(c, into, a, b);
                into.iter().map(|&x| x as u64).sum()
            }

            fn product(c: $context, into: &mut [f32], a: &[f32], b: &[f32]) {
                if into.len() <= TILE * TILE {
                    return multiply_tile(into, a, b);
                }
                let quarter = into.len() / 4;
                let part = |m: usize| m * quarter..(m + 1) * quarter;
                let (a, b) = ([0, 1, 2, 3].map(|m| &a[part(m)]), [0, 1, 2, 3].map(|m| &b[part(m)]));
                let (top, bottom) = into.split_at_mut(2 * quarter);
                let (i00, i01) = top.split_at_mut(quarter);
                let (i10, i11) = bottom.split_at_mut(quarter);
                $join!(
                    c,
                    |c| $join!(
                        c,
                        |c| products(c, i00, [a[0], a[1]], [b[0], b[2]]),
                        |c| products(c, i01, [a[0], a[1]], [b[1], b[3]])
                    ),
                    |c| $join!(
                        c,
                        |c| products(c, i10, [a[2], a[3]], [b[0], b[2]]),
                        |c| products(c, i11, [a[2], a[3]], [b[1], b[3]])
                    )
                );
            }

            fn products(c: $context, into: &mut [f32], a: [&[f32]; 2], b: [&[f32]; 2]) {
                product($again!(c), into, a[0], b[0]);
                product(c, into, a[1], b[1]);
            }

            /// `items` pieces of `length` rounds of work each, split down to one.
            pub fn spin(c: $context, items: u64, length: u64) -> u64 {
                if items <= 1 {
                    return items * spin_item(length);
                }
                let half = items / 2;
                let (a, b) = $join!(c, |c| spin(c, half, length), |c| spin(c, items - half, length));
                a + b
            }
        }
    };
}
