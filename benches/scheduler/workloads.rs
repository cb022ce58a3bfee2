//! The same recursive bodies for every runtime; only the join differs.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A binary tree. The right child is made first, so that a left-first walk runs up the heap in the order of allocation.
pub(crate) struct Node {
    value: u64,
    left: Option<Box<Node>>,
    right: Option<Box<Node>>,
}

impl Node {
    pub(crate) fn tree(layers: u32) -> Self {
        let right = (layers > 1).then(|| Box::new(Self::tree(layers - 1)));
        let left = (layers > 1).then(|| Box::new(Self::tree(layers - 1)));
        Self { value: 1, left, right }
    }

    pub(crate) fn count(&self) -> u64 {
        1 + self.left.as_ref().map_or(0, |n| n.count()) + self.right.as_ref().map_or(0, |n| n.count())
    }
}

/// Joins that `fib(n)` makes: one for every call with `n >= 2`.
pub(crate) fn fib_joins(n: u32) -> u64 {
    if n < 2 {
        0
    } else {
        1 + fib_joins(n - 1) + fib_joins(n - 2)
    }
}

pub(crate) fn fib_answer(n: u32) -> u64 {
    (0..n).fold((0u64, 1u64), |(a, b), _| (b, a + b)).0
}

/// One leaf that keeps a core busy; 1.
pub(crate) fn busy_leaf(time: Duration) -> u64 {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    1
}

macro_rules! workloads {
    ($name:ident, $context:ty, $join:ident) => {
        pub(crate) mod $name {
            use super::*;

            #[allow(unused_variables)]
            pub(crate) fn tree(c: $context, n: &Node) -> u64 {
                let (l, r) = $join!(c, |c| n.left.as_deref().map(|n| tree(c, n)).unwrap_or_default(), |c| n
                    .right
                    .as_deref()
                    .map(|n| tree(c, n))
                    .unwrap_or_default());
                n.value + l + r
            }

            #[allow(unused_variables)]
            pub(crate) fn fib(c: $context, n: u32) -> u64 {
                let n = black_box(n);
                if n < 2 {
                    return n.into();
                }
                let (a, b) = $join!(c, |c| fib(c, n - 1), |c| fib(c, n - 2));
                a + b
            }
        }
    };
}

macro_rules! join_sequential {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        let a = {
            let $x = $c;
            $a
        };
        let b = {
            let $y = $c;
            $b
        };
        (a, b)
    }};
}
macro_rules! join_right_first {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        let b = {
            let $y = $c;
            $b
        };
        let a = {
            let $x = $c;
            $a
        };
        (a, b)
    }};
}
macro_rules! join_upbeat {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {
        $c.join(|$x| $a, |$y| $b)
    };
}
macro_rules! join_chili {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {
        $c.join(|$x| $a, |$y| $b)
    };
}
macro_rules! join_rayon {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {
        rayon::join(
            || {
                let $x = ();
                $a
            },
            || {
                let $y = ();
                $b
            },
        )
    };
}

workloads!(sequential, (), join_sequential);
workloads!(sequential_right_first, (), join_right_first);
workloads!(upbeat_runs, &upbeat::Worker, join_upbeat);
workloads!(chili_runs, &mut chili::Scope<'_>, join_chili);
workloads!(rayon_runs, (), join_rayon);
