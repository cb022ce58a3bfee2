//! Element-wise kernels: each operand's bytes count once. 1M numbers lie in the last cache of most machines, 16M in none.

use std::sync::Mutex;

use upbeat_kernels::Element;

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// `out` from `a` and `b`.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    out: Vec<f32>,
}

/// A kernel, the formula of its elements, the operands it reads and writes, and who does it elsewhere.
struct Kernel {
    name: &'static str,
    run: fn(&[f32], &[f32], &mut [f32]),
    formula: fn(f64, f64) -> f64,
    traffic: usize,
    goal: Goal,
}

const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "add",
        run: |a, b, out| f32::add(a, b, out).expect("the lengths fit"),
        formula: |a, b| a + b,
        traffic: 3,
        goal: Goal::Elsewhere("PyTorch"),
    },
    Kernel {
        name: "mul",
        run: |a, b, out| f32::mul(a, b, out).expect("the lengths fit"),
        formula: |a, b| a * b,
        traffic: 3,
        goal: Goal::Elsewhere("PyTorch"),
    },
    Kernel {
        name: "GELU (erf)",
        run: |a, _, out| f32::gelu_forward(a, out).expect("the lengths fit"),
        formula: |a, _| upbeat_kernels::twin::activation::gelu(a),
        traffic: 2,
        goal: Goal::Elsewhere("PyTorch, candle"),
    },
    Kernel {
        name: "SiLU",
        run: |a, _, out| f32::silu_forward(a, out).expect("the lengths fit"),
        formula: |a, _| upbeat_kernels::twin::activation::silu(a),
        traffic: 2,
        goal: Goal::Elsewhere("PyTorch"),
    },
];

/// The rows of the design's table.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    for (len, name) in sizes.pick(vec![(1003, "1003")], vec![(1 << 20, "1M"), (1 << 24, "16M")]) {
        let operands = Mutex::new(Operands { a: numbers(len, 1), b: numbers(len, 2), out: vec![0.0; len] });
        for kernel in &KERNELS {
            with(Case {
                group: "elementwise",
                work: format!("{}, {name} numbers", kernel.name),
                bound: Bound::Copy,
                amount: (4 * kernel.traffic * len) as f64,
                goal: kernel.goal,
                run: Box::new(|| {
                    let Operands { a, b, out } = &mut *operands.lock().expect("no kernel panics");
                    (kernel.run)(a, b, out);
                }),
                check: Box::new(|| {
                    let operands = operands.lock().expect("no kernel panics");
                    for i in samples(len) {
                        let expected = (kernel.formula)(operands.a[i].into(), operands.b[i].into());
                        near(operands.out[i], expected, 2e-7, kernel.name);
                    }
                }),
                peer: None,
            });
        }
    }
}
