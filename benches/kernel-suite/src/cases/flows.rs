//! Flows: Gray–Scott, one step a call and many. Bytes are those that single steps must move, each field read and written once a step, so
//! that steps which share a pass may exceed a copy.

use std::sync::Mutex;

use upbeat_kernels::flow::{gray_scott, GrayScott};
use upbeat_kernels::{twin, Buffer};

use super::{near, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// The parameters of the C program that the design compares with.
const REACTION: GrayScott = GrayScott { du: 0.16, dv: 0.08, feed: 0.06, kill: 0.062, h: 1.0, dt: 1.0 };

/// `u = 1`, `v = 0`, and a square of 16 by 16 cells `(½, ¼)` in the middle.
fn start(n: usize) -> [Buffer<f32>; 2] {
    let (mut u, mut v) = (Buffer::unspecified(n * n), Buffer::zeroed(n * n));
    u.fill(1.0);
    for y in n / 2 - 8..n / 2 + 8 {
        u[y * n + n / 2 - 8..][..16].fill(0.5);
        v[y * n + n / 2 - 8..][..16].fill(0.25);
    }
    [u, v]
}

/// The design's two grids.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    for n in sizes.pick(vec![48], vec![1024, 4096]) {
        for steps in sizes.pick(vec![1, 5], vec![1, 16]) {
            let fields = Mutex::new((start(n), 0));
            let lock = || fields.lock().expect("no flow panics");
            with(Case {
                group: "flows",
                work: format!("Gray-Scott {n} x {n}, {steps} steps a call"),
                bound: Bound::Copy,
                amount: (16 * n * n * steps) as f64,
                goal: match (n, steps) {
                    (..=1024, _) => Goal::peer(1.2),
                    // Single steps beyond the caches are as fast as memory: no time is left to block.
                    (_, 1) => Goal::NONE,
                    _ => Goal::peer(2.0),
                },
                run: Box::new(|| {
                    let ([u, v], done) = &mut *lock();
                    gray_scott(&REACTION, [n, n], steps, u, v).expect("the grid fits");
                    *done += steps;
                }),
                check: Box::new(|| {
                    let ([u, v], done) = &mut *lock();
                    // What a twin computes soon.
                    if n * n * *done <= 1 << 20 {
                        let mut exact = start(n).map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                        let [exact_u, exact_v] = &mut exact;
                        twin::flow::gray_scott(&REACTION, [n, n], *done, exact_u, exact_v)
                            .expect("the grid fits");
                        for (found, expected) in u.iter().chain(v.iter()).zip(exact.iter().flatten()) {
                            near(*found, *expected, 1e-5, "a cell");
                        }
                    }
                    assert!(
                        u.iter().chain(v.iter()).all(|x| (-0.01..=1.01).contains(x)),
                        "the reaction stays bounded"
                    );
                    assert!(*done == 0 || v.iter().any(|&x| x > 0.0), "the reaction goes on");
                }),
                peer: None,
            });
        }
    }
}
