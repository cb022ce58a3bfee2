//! The workloads, each written once in `bodies.rs` and stamped out for every runtime: only the join differs.
//!
//! Each runtime gets a second stamp with the sides of its joins swapped: upbeat and rayon begin with the first, chili with the second,
//! and a program gives its runtime whichever order suits its data.
//! To add a runtime: a macro of the form of `join_upbeat`, a line `bodies!`, and its place in `contenders.rs`. Data that
//! all stamps share is in `tree.rs`, their sequential leaves in `leaves.rs`.

#[macro_use]
mod bodies;
mod leaves;
mod tree;

use std::cell::Cell;

pub use leaves::{mix, rounds_lasting, search_children, spin_item, tiles, Sorting, TILE};
pub use tree::{Layout, Node};

/// The context in which joins are counted.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

/// How many joins `run` makes.
pub fn count_joins<R>(run: impl FnOnce(&Counter) -> R) -> u64 {
    let counter = Counter::default();
    run(&counter);
    counter.0.get()
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
macro_rules! join_counted {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        $c.0.set($c.0.get() + 1);
        join_sequential!($c, |$x| $a, |$y| $b)
    }};
}
macro_rules! join_upbeat {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {
        $c.join(move |$x| $a, move |$y| $b)
    };
}
macro_rules! join_upbeat_swapped {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        let (b, a) = join_upbeat!($c, |$y| $b, |$x| $a);
        (a, b)
    }};
}
#[cfg(feature = "peers")]
macro_rules! join_chili {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {
        $c.join(move |$x| $a, move |$y| $b)
    };
}
#[cfg(feature = "peers")]
macro_rules! join_chili_swapped {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        let (b, a) = join_chili!($c, |$y| $b, |$x| $a);
        (a, b)
    }};
}
#[cfg(feature = "peers")]
macro_rules! join_rayon {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        let () = $c;
        rayon::join(
            move || {
                let $x = ();
                $a
            },
            move || {
                let $y = ();
                $b
            },
        )
    }};
}

#[cfg(feature = "peers")]
macro_rules! join_rayon_swapped {
    ($c:ident, |$x:ident| $a:expr, |$y:ident| $b:expr) => {{
        let (b, a) = join_rayon!($c, |$y| $b, |$x| $a);
        (a, b)
    }};
}

/// A context that may be used more than once.
macro_rules! again_copy {
    ($c:ident) => {
        $c
    };
}
#[cfg(feature = "peers")]
macro_rules! again_borrow {
    ($c:ident) => {
        &mut *$c
    };
}

bodies!(
    /// Plain calls, left before right.
    sequential, (), join_sequential, again_copy
);
bodies!(
    /// Plain calls, right before left.
    right_first, (), join_right_first, again_copy
);
bodies!(
    /// Plain calls that count the joins.
    counted, &Counter, join_counted, again_copy
);
bodies!(
    /// `Worker::join`.
    on_upbeat, &upbeat::Worker, join_upbeat, again_copy
);
bodies!(
    /// `Worker::join` with the sides swapped.
    on_upbeat_swapped, &upbeat::Worker, join_upbeat_swapped, again_copy
);
#[cfg(feature = "peers")]
bodies!(
    /// `chili::Scope::join`.
    on_chili, &mut chili::Scope<'_>, join_chili, again_borrow
);
#[cfg(feature = "peers")]
bodies!(
    /// `chili::Scope::join` with the sides swapped.
    on_chili_swapped, &mut chili::Scope<'_>, join_chili_swapped, again_borrow
);
#[cfg(feature = "peers")]
bodies!(
    /// `rayon::join`.
    on_rayon, (), join_rayon, again_copy
);
#[cfg(feature = "peers")]
bodies!(
    /// `rayon::join` with the sides swapped.
    on_rayon_swapped, (), join_rayon_swapped, again_copy
);

#[cfg(test)]
mod tests;
