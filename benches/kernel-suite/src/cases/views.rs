//! Kernels over views that are not dense: a copy of a transposed matrix, and a sum with one. Bytes count once an operand.

use std::sync::Mutex;

use upbeat_kernels::view::{add, copy, View, ViewMut};
use upbeat_kernels::Buffer;

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// `[n, n]` matrices.
struct Operands {
    a: Buffer<f32>,
    b: Buffer<f32>,
    out: Buffer<f32>,
}

/// Square matrices in and beyond the last cache.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    for n in sizes.pick(vec![67], vec![1024, 4096]) {
        for with_sum in [false, true] {
            let operands = Mutex::new(Operands {
                a: numbers(n * n, 1),
                b: numbers(n * n, 2),
                out: Buffer::zeroed(n * n),
            });
            let name =
                if with_sum { "a transposed matrix plus another" } else { "copy of a transposed matrix" };
            with(Case {
                group: "views",
                work: format!("{name}, {n} x {n}"),
                bound: Bound::Copy,
                amount: (n * n * if with_sum { 12 } else { 8 }) as f64,
                goal: Goal::NONE,
                run: Box::new(|| {
                    let Operands { a, b, out } = &mut *operands.lock().expect("no kernel panics");
                    let of = |data| View::row_major(data, &[n, n]).expect("a square");
                    let turned = of(a).transpose(0, 1).expect("two axes");
                    let mut out = ViewMut::row_major(out, &[n, n]).expect("a square");
                    let done =
                        if with_sum { add(&turned, &of(b), &mut out) } else { copy(&turned, &mut out) };
                    done.expect("the shapes fit");
                }),
                check: Box::new(|| {
                    let o = operands.lock().expect("no kernel panics");
                    for at in samples(n * n) {
                        let turned = f64::from(o.a[at % n * n + at / n]);
                        let expected = turned + if with_sum { f64::from(o.b[at]) } else { 0.0 };
                        near(o.out[at], expected, 2e-7, name);
                    }
                }),
                peer: None,
            });
        }
    }
}
