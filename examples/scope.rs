//! A scope: any number of tasks that borrow local data, all done when the scope returns; tasks may spawn more tasks.
//! Run with `cargo run --release --example scope`.

use std::sync::atomic::{AtomicU64, Ordering};
use upbeat::Scope;

/// A tree whose shape is known only by walking it: node `n` has the children `2n` and `2n + 1`, up to `end`.
fn visit<'env>(scope: &Scope<'_, 'env>, node: u64, end: u64, sum: &'env AtomicU64) {
    sum.fetch_add(node, Ordering::Relaxed);
    for child in [2 * node, 2 * node + 1] {
        if child < end {
            scope.spawn(move |scope| visit(scope, child, end, sum));
        }
    }
}

fn main() {
    let words = ["split", "ring", "heartbeat", "leapfrog"];
    let mut lengths = [0; 4];
    upbeat::scope(|scope| {
        for (length, word) in lengths.iter_mut().zip(words) {
            scope.spawn(move |_| *length = word.len());
        }
    });
    assert_eq!(lengths, [5, 4, 9, 8]);

    let sum = AtomicU64::new(0);
    upbeat::scope(|scope| visit(scope, 1, 10_000, &sum));
    assert_eq!(sum.into_inner(), 49_995_000);
    println!("lengths {lengths:?}, every node visited once");
}
