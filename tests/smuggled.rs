//! A `Worker` that is used inside a join that is not its own: tasks would come back in the wrong order, and one might run twice.
//! The process ends with a message instead.
#![cfg(unix)]
// The misuse takes a wrapper that claims what a `Worker` denies.
#![allow(unsafe_code)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use upbeat::{Mode, Runtime, Worker};

/// A worker that claims to be free to go anywhere.
#[derive(Clone, Copy)]
struct Smuggled<'a>(&'a Worker);

// SAFETY: a lie about where it may be used; that it is noticed is what the test is about. It stays on its thread.
unsafe impl Send for Smuggled<'_> {}

impl<'a> Smuggled<'a> {
    fn open(self) -> &'a Worker {
        self.0
    }
}

/// A join of `outer` around one that is forked from `outer` again, around one that is forked from the first: when the last one makes
/// the first one's task public, it comes after the second one's.
fn misuse(outer: &Worker, ran: &AtomicU64) {
    let count = |_: &Worker| {
        ran.fetch_add(1, Ordering::Relaxed);
    };
    let smuggled = Smuggled(outer);
    outer.join(
        move |first| {
            let first = Smuggled(first);
            let inner = move |_: &Worker| {
                first.open().join(count, count);
            };
            smuggled.open().join(inner, count);
        },
        count,
    );
}

#[test]
fn a_worker_used_inside_a_join_that_is_not_its_own_aborts() {
    const NAME: &str = "a_worker_used_inside_a_join_that_is_not_its_own_aborts";
    if support::role().is_some() {
        // One worker and a seed: how many tasks each fork makes public is drawn, and nobody takes one.
        let runtime = Runtime::builder().workers(1).mode(Mode::Seeded(1)).build().unwrap();
        let ran = AtomicU64::new(0);
        for turn in 1..=1000 {
            runtime.install(|worker| misuse(worker, &ran));
            assert_eq!(ran.load(Ordering::Relaxed), 4 * turn, "each task ran once until now");
        }
        return;
    }
    let output = support::rerun(NAME, "misuse").output().unwrap();
    support::assert_aborted(&output, "a Worker was used inside a join that is not its own");
}
