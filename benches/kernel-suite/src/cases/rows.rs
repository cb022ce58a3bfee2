//! Kernels over rows: softmax and the norms, a read and a write of every number.

use std::sync::Mutex;

use upbeat_kernels::{Buffer, Element};

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// Added to variances.
const EPSILON: f64 = 1e-5;

/// Operands and results.
struct Operands {
    cols: usize,
    x: Buffer<f32>,
    weight: Buffer<f32>,
    out: Buffer<f32>,
    mean: Buffer<f32>,
    rstd: Buffer<f32>,
}

/// A kernel, and an element of its result in f64 from the row, its weight and the place in the row.
struct Kernel {
    name: &'static str,
    run: fn(&mut Operands),
    formula: fn(&[f64], f64, usize) -> f64,
    /// As many times the peer's rate, for the short rows and for the long ones.
    goals: [f64; 2],
}

fn mean_of(row: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    row.iter().map(|&x| of(x)).sum::<f64>() / row.len() as f64
}

const KERNELS: [Kernel; 3] = [
    Kernel {
        name: "softmax",
        goals: [2.8, 2.0],
        run: |o| f32::softmax_forward(&o.x, o.cols, &mut o.out).expect("the shapes fit"),
        formula: |row, _, at| row[at].exp() / row.iter().map(|x| x.exp()).sum::<f64>(),
    },
    Kernel {
        name: "LayerNorm",
        goals: [2.5, 1.5],
        run: |o| {
            let Operands { x, weight, out, mean, rstd, .. } = o;
            f32::layer_norm_forward(x, weight, None, EPSILON, out, mean, rstd).expect("the shapes fit");
        },
        formula: |row, weight, at| {
            let mean = mean_of(row, |x| x);
            let variance = mean_of(row, |x| (x - mean).powi(2));
            (row[at] - mean) / (variance + EPSILON).sqrt() * weight
        },
    },
    Kernel {
        name: "RMSNorm",
        goals: [3.6, 3.8],
        run: |o| {
            f32::rms_norm_forward(&o.x, &o.weight, EPSILON, &mut o.out, &mut o.rstd).expect("the shapes fit");
        },
        formula: |row, weight, at| row[at] / (mean_of(row, |x| x * x) + EPSILON).sqrt() * weight,
    },
];

/// The rows of the design's table.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    for (rows, cols) in sizes.pick(vec![(5, 33)], vec![(1000, 512), (4096, 1024)]) {
        let operands = Mutex::new(Operands {
            cols,
            x: numbers(rows * cols, 1),
            weight: numbers(cols, 2),
            out: Buffer::zeroed(rows * cols),
            mean: Buffer::zeroed(rows),
            rstd: Buffer::zeroed(rows),
        });
        for kernel in &KERNELS {
            with(Case {
                group: "rows",
                work: format!("{}, {rows} x {cols}", kernel.name),
                bound: Bound::Copy,
                amount: (8 * rows * cols) as f64,
                goal: Goal::peer(kernel.goals[usize::from(cols > 512)]),
                run: Box::new(|| (kernel.run)(&mut operands.lock().expect("no kernel panics"))),
                check: Box::new(|| {
                    let o = operands.lock().expect("no kernel panics");
                    for at in samples(rows * cols).take(20) {
                        let row: Vec<f64> =
                            o.x[at / cols * cols..][..cols].iter().map(|&x| x.into()).collect();
                        let expected = (kernel.formula)(&row, o.weight[at % cols].into(), at % cols);
                        near(o.out[at], expected, 1e-5, kernel.name);
                    }
                }),
                peer: None,
            });
        }
    }
}
