//! Element-wise kernels: each operand's bytes count once. 1M numbers lie in the last cache of most machines, 16M in none.

use std::sync::Mutex;

use upbeat_kernels::elementwise::{functions, Builder, Op, Program};
use upbeat_kernels::{reduce, Buffer, Element, Write};

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// `out` from `a` and `b`.
struct Operands {
    a: Buffer<f32>,
    b: Buffer<f32>,
    out: Buffer<f32>,
}

/// A kernel, the formula of its elements, the operands it reads and writes, and who does it elsewhere.
struct Kernel {
    name: &'static str,
    run: fn(&[f32], &[f32], &mut [f32]),
    formula: fn(f64, f64) -> f64,
    traffic: usize,
    /// Within the last cache and beyond it.
    goals: [Goal; 2],
}

const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "add",
        run: |a, b, out| f32::add(a, b, out).expect("the lengths fit"),
        formula: |a, b| a + b,
        traffic: 3,
        goals: [Goal::peer(1.0), Goal::peer(1.25)],
    },
    Kernel {
        name: "mul",
        run: |a, b, out| f32::mul(a, b, out).expect("the lengths fit"),
        formula: |a, b| a * b,
        traffic: 3,
        goals: [Goal::peer(1.0), Goal::peer(1.25)],
    },
    Kernel {
        name: "ReLU",
        run: |a, _, out| functions::relu(a, out, Write::Overwrite).expect("the lengths fit"),
        formula: |a, _| a.max(0.0),
        traffic: 2,
        goals: [Goal::peer(1.0), Goal::peer(1.25)],
    },
    Kernel {
        name: "GELU (erf)",
        run: |a, _, out| f32::gelu_forward(a, out).expect("the lengths fit"),
        formula: |a, _| upbeat_kernels::twin::activation::gelu(a),
        traffic: 2,
        goals: [Goal::peer(1.2), Goal::NONE],
    },
    Kernel {
        name: "SiLU",
        run: |a, _, out| f32::silu_forward(a, out).expect("the lengths fit"),
        formula: |a, _| upbeat_kernels::twin::activation::silu(a),
        traffic: 2,
        goals: [Goal::NONE; 2],
    },
];

/// `relu(a·b + ½) − a`, as a program that reads each operand once.
fn program() -> Program {
    let mut builder = Builder::default();
    let (a, b, half) = (builder.input(), builder.input(), builder.constant(0.5));
    let sum = builder.step(Op::Fma, &[a, b, half]).expect("three operands");
    let positive = builder.step(Op::Relu, &[sum]).expect("one operand");
    let y = builder.step(Op::Sub, &[positive, a]).expect("two operands");
    builder.output(y).expect("a value of the program");
    builder.build().expect("a program with an output")
}

/// The rows of the design's table.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    for (len, name) in sizes.pick(vec![(1003, "1003")], vec![(1 << 20, "1M"), (1 << 24, "16M")]) {
        let operands =
            Mutex::new(Operands { a: numbers(len, 1), b: numbers(len, 2), out: Buffer::zeroed(len) });
        let lock = || operands.lock().expect("no kernel panics");
        let program = program();
        with(Case {
            group: "elementwise",
            work: format!("a fused program of three steps, {name} numbers"),
            bound: Bound::Copy,
            amount: (4 * 3 * len) as f64,
            goal: Goal::NONE,
            run: Box::new(|| {
                let Operands { a, b, out } = &mut *lock();
                program.run(&[a, b], &mut [out], Write::Overwrite).expect("the lengths fit");
            }),
            check: Box::new(|| {
                let operands = lock();
                for i in samples(len) {
                    let (a, b) = (f64::from(operands.a[i]), f64::from(operands.b[i]));
                    near(operands.out[i], (a * b + 0.5).max(0.0) - a, 4e-7, "the program");
                }
            }),
            peer: None,
        });
        let dot = Mutex::new(0.0);
        with(Case {
            group: "elementwise",
            work: format!("dot, {name} numbers"),
            bound: Bound::Read,
            amount: (4 * 2 * len) as f64,
            goal: Goal::peer(1.0),
            run: Box::new(|| {
                let operands = lock();
                *dot.lock().expect("no kernel panics") =
                    reduce::dot(&operands.a, &operands.b).expect("the lengths fit");
            }),
            check: Box::new(|| {
                let operands = lock();
                let terms =
                    operands.a.iter().zip(operands.b.iter()).map(|(&a, &b)| f64::from(a) * f64::from(b));
                let found = *dot.lock().expect("no kernel panics");
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                assert!((found - sum).abs() <= 1e-6 * size, "dot: {found} where {sum} was expected");
            }),
            peer: None,
        });
        for kernel in &KERNELS {
            with(Case {
                group: "elementwise",
                work: format!("{}, {name} numbers", kernel.name),
                bound: Bound::Copy,
                amount: (4 * kernel.traffic * len) as f64,
                goal: kernel.goals[usize::from(len > 1 << 20)],
                run: Box::new(|| {
                    let Operands { a, b, out } = &mut *lock();
                    (kernel.run)(a, b, out);
                }),
                check: Box::new(|| {
                    let operands = lock();
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
