//! Promises of the element-wise functions and programs: they agree with their f64 twins over odd, empty and one-element
//! shapes that end at a guarded page, at every level; gradients are slopes; special values are as documented; a program's
//! bits are those of its steps, and no bit depends on the number of workers.

mod common;

use common::{bits, same_on_any_workers, Numbers, PageEnd};
use upbeat_kernels::elementwise::functions::{self, apply};
use upbeat_kernels::elementwise::{Builder, Definition, Op, Operand, ProgramError, Value, MOST_OUTPUTS};
use upbeat_kernels::twin::functions as twin;
use upbeat_kernels::{ShapeError, Write};

const WRITES: [Write; 2] = [Write::Overwrite, Write::Add];
/// Lengths around every level's tile (32, 64 and 128), and one of several blocks.
const LENGTHS: [usize; 13] = [0, 1, 3, 8, 17, 31, 32, 33, 63, 65, 128, 129, 70_001];

/// `len` numbers for operand `i` of `op`, some of them equal, in its domain.
fn numbers(op: Op, i: usize, len: usize, numbers: &mut Numbers) -> Vec<f32> {
    let positive = match op {
        Op::Log | Op::Sqrt | Op::Rsqrt | Op::Pow => i == 0,
        Op::PowGradient | Op::PowExponentGradient | Op::SqrtGradient => i == 1,
        _ => false,
    };
    let any = (0..len).map(|n| match n % 4 {
        0 => (numbers.uniform() * 8.0).round() / 4.0,
        _ => numbers.uniform() * 4.0,
    });
    any.map(|x| if positive { x.abs() + 0.25 } else { x }).collect()
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn every_operation_agrees_with_its_twin() {
    for &op in Op::ALL {
        for len in LENGTHS {
            let mut random = Numbers::new(len as u64);
            let x: Vec<Vec<f32>> = (0..op.arity()).map(|i| numbers(op, i, len, &mut random)).collect();
            let guarded: Vec<PageEnd<f32>> = x.iter().map(|x| PageEnd::copied(x)).collect();
            let operands: Vec<Operand<'_>> = guarded.iter().map(|x| Operand::Slice(x)).collect();
            for write in WRITES {
                let old = if write == Write::Add { random.vector(len) } else { vec![f32::NAN; len] };
                let mut out = PageEnd::copied(&old);
                apply(op, &operands, &mut out, write).unwrap();
                for i in 0..len {
                    let at: Vec<f64> = x.iter().map(|x| f64::from(x[i])).collect();
                    let value = twin::apply(op, &at);
                    let truth = if write == Write::Add { value + f64::from(old[i]) } else { value };
                    let (found, scale) = (f64::from(out[i]), value.abs().max(1.0));
                    let error = (found - truth).abs() / scale;
                    let equal = found == truth || (found.is_nan() && truth.is_nan());
                    assert!(
                        equal || error <= 12.0 * (-24f64).exp2(),
                        "{op:?}{at:?}[{i} of {len}]: {found}, not {truth}"
                    );
                }
            }
        }
    }
}

#[test]
fn special_values_are_as_documented() {
    let tiny = f32::from_bits(1);
    let (inf, nan, max) = (f32::INFINITY, f32::NAN, f32::MAX);
    let special =
        [nan, inf, -inf, 0.0, -0.0, tiny, -tiny, 1.0, -1.0, 0.5, -2.0, 3.0, max, -max, f32::MIN_POSITIVE];
    let check = |op: Op, x: &[f32]| {
        let operands: Vec<Operand<'_>> = x.iter().map(|&x| Operand::Number(x)).collect();
        let mut out = [nan; 3];
        apply(op, &operands, &mut out, Write::Overwrite).unwrap();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let truth = twin::apply(op, &wide);
        let rounded = truth as f32;
        let allowed = 8.0 * (-24f64).exp2() * truth.abs() + 1e-37;
        let near = (f64::from(out[0]) - truth).abs() <= allowed;
        assert!(
            same(out[0], rounded) || out[0] == rounded || near,
            "{op:?} of {x:?}: {}, not {truth}",
            out[0]
        );
        assert!(same(out[0], out[2]));
    };
    for &op in Op::ALL {
        for a in special {
            match op.arity() {
                1 => check(op, &[a]),
                2 if format!("{op:?}").ends_with("Gradient") => check(op, &[1.0, a]),
                2 => special.into_iter().for_each(|b| check(op, &[a, b])),
                _ if op == Op::Select => check(op, &[a, 2.0, 3.0]),
                _ => {}
            }
        }
    }
    let of = |op: Op, x: &[f32]| {
        let mut out = [7.0];
        let operands: Vec<Operand<'_>> = x.iter().map(|&x| Operand::Number(x)).collect();
        apply(op, &operands, &mut out, Write::Overwrite).unwrap();
        out[0]
    };
    assert!(same(of(Op::Relu, &[-0.0]), -0.0) && of(Op::Relu, &[nan]).is_nan());
    assert!(of(Op::Min, &[nan, 1.0]).is_nan() && of(Op::Min, &[1.0, nan]).is_nan());
    assert!(of(Op::Max, &[nan, 1.0]).is_nan() && of(Op::Max, &[1.0, nan]).is_nan());
    for gradient in [inf, -inf] {
        let gradients = |op, x: [f32; 2]| [of(op, &[gradient, x[0], x[1]]), of(op, &[gradient, x[1], x[0]])];
        assert_eq!(gradients(Op::MinGradient, [1.0, 2.0]), [gradient, 0.0]);
        assert_eq!(gradients(Op::MaxGradient, [1.0, 2.0]), [0.0, gradient]);
        for op in [Op::MinGradient, Op::MaxGradient] {
            assert_eq!(gradients(op, [1.0, 1.0]), [gradient; 2]);
            assert_eq!(gradients(op, [1.0, nan]), [0.0; 2]);
        }
    }
    assert_eq!([of(Op::MinGradient, &[nan, 2.0, 1.0]), of(Op::MaxGradient, &[nan, 1.0, 2.0])], [0.0; 2]);
    assert!(same(of(Op::Max, &[0.0, -0.0]), -0.0) && same(of(Op::Max, &[-0.0, 0.0]), 0.0));
    for op in [Op::Less, Op::LessEqual, Op::Greater, Op::GreaterEqual, Op::Equal] {
        assert_eq!([of(op, &[nan, 1.0]), of(op, &[1.0, nan]), of(op, &[nan, nan])], [0.0; 3], "{op:?}");
    }
    assert_eq!([of(Op::NotEqual, &[nan, nan]), of(Op::NotEqual, &[1.0, 1.0])], [1.0, 0.0]);
    assert_eq!(of(Op::Select, &[nan, 2.0, 3.0]), 3.0);
    assert_eq!([of(Op::MinGradient, &[5.0, nan, 1.0]), of(Op::MaxGradient, &[5.0, 1.0, 1.0])], [0.0, 2.5]);
    assert_eq!(of(Op::PowGradient, &[2.0, 0.0, 0.0]), 0.0);
    assert_eq!(of(Op::PowGradient, &[2.0, -3.0, 2.0]), -12.0);
    assert_eq!(of(Op::PowExponentGradient, &[2.0, 0.0, 1.0]), 0.0);
}

#[test]
fn gradients_are_slopes() {
    // Gradient, function, the operand that moves, and whether the gradient takes the result in place of the operands.
    let cases = [
        (Op::DivGradient, Op::Div, 1, false),
        (Op::MinGradient, Op::Min, 0, false),
        (Op::MaxGradient, Op::Max, 0, false),
        (Op::AbsGradient, Op::Abs, 0, false),
        (Op::SquareGradient, Op::Square, 0, false),
        (Op::SqrtGradient, Op::Sqrt, 0, true),
        (Op::ReluGradient, Op::Relu, 0, false),
        (Op::LeakyReluGradient, Op::LeakyRelu, 0, false),
        (Op::Mul, Op::Exp, 0, true),
        (Op::Div, Op::Log, 0, false),
        (Op::SigmoidGradient, Op::Sigmoid, 0, true),
        (Op::TanhGradient, Op::Tanh, 0, true),
        (Op::ErfGradient, Op::Erf, 0, false),
        (Op::SoftplusGradient, Op::Softplus, 0, false),
        (Op::GeluGradient, Op::Gelu, 0, false),
        (Op::GeluTanhGradient, Op::GeluTanh, 0, false),
        (Op::SiluGradient, Op::Silu, 0, false),
        (Op::MishGradient, Op::Mish, 0, false),
        (Op::PowGradient, Op::Pow, 0, false),
        (Op::PowExponentGradient, Op::Pow, 1, false),
    ];
    let mut random = Numbers::new(5);
    for (gradient, op, moved, from_result) in cases {
        let x: Vec<Vec<f32>> = (0..op.arity()).map(|i| numbers(op, i, 40, &mut random)).collect();
        for n in 1..40 {
            let x: Vec<f64> = x.iter().map(|x| f64::from(x[n])).collect();
            let at = |step: f64| {
                let mut x = x.clone();
                x[moved] += step;
                twin::apply(op, &x)
            };
            let kink = |x: f64| x.abs() < 1e-3;
            if kink(x[moved]) || (op.arity() == 2 && kink(x[0] - x[1])) {
                continue;
            }
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            let operands = if from_result { vec![0.75, at(0.0)] } else { [vec![0.75], x.clone()].concat() };
            let found = twin::apply(gradient, &operands);
            let error = (found - 0.75 * slope).abs();
            assert!(
                error < 1e-7 * (1.0 + slope.abs() + slope * slope),
                "{gradient:?}{operands:?}: {found}, not 0.75·{slope}"
            );
        }
    }
}

#[test]
fn a_number_stands_for_a_slice_of_it() {
    let x = Numbers::new(1).vector(300);
    let threes = vec![3.0; 300];
    let (mut a, mut b) = (vec![0.0; 300], vec![0.0; 300]);
    functions::fma(&x, 3.0, &threes, &mut a, Write::Overwrite).unwrap();
    functions::fma(&x, &threes, 3.0, &mut b, Write::Overwrite).unwrap();
    assert!(a == b && a[0] == x[0] * 3.0 + 3.0);
}

#[test]
fn wrong_operands_are_refused_before_anything_is_written() {
    let mut out = [1.0; 4];
    let wrong = |what, expected, found| Err(ShapeError::Mismatch { what, expected, found });
    let result = functions::add(&[0.0; 4], &[0.0; 3], &mut out, Write::Overwrite);
    assert_eq!(result, wrong("the length of an operand", 4, 3));
    let result = apply(Op::Add, &[Operand::Number(1.0)], &mut out, Write::Overwrite);
    assert_eq!(result, wrong("the number of operands", 2, 1));
    let mut builder = Builder::default();
    let x = builder.input();
    builder.output(x).unwrap();
    let program = builder.build().unwrap();
    let mut second = [1.0; 4];
    let result = program.run(&[&[0.0; 4]], &mut [&mut out, &mut second], Write::Overwrite);
    assert_eq!(result, wrong("the number of outputs", 1, 2));
    assert_eq!(program.run(&[], &mut [&mut out], Write::Overwrite), wrong("the number of inputs", 1, 0));
    let result = program.run(&[&[0.0; 5]], &mut [&mut out], Write::Overwrite);
    assert_eq!(result, wrong("the length of an input", 4, 5));
    assert_eq!((out, second), ([1.0; 4], [1.0; 4]));
}

#[test]
fn programs_that_cannot_be_built_are_refused() {
    let mut builder = Builder::default();
    assert_eq!(builder.build().unwrap_err(), ProgramError::NoOutput);
    let x = builder.input();
    let found = builder.step(Op::Add, &[x]);
    assert_eq!(found, Err(ProgramError::Operands { op: Op::Add, found: 1 }));
    let mut other = Builder::default();
    assert_eq!(other.step(Op::Neg, &[x]), Err(ProgramError::UnknownValue));
    assert_eq!(other.output(x), Err(ProgramError::UnknownValue));
    (0..MOST_OUTPUTS).for_each(|_| builder.output(x).unwrap());
    assert_eq!(builder.output(x), Err(ProgramError::TooManyOutputs));
}

/// How a value of a chain is made.
enum Made {
    Input(usize),
    Constant(f32),
    Step(Op, Vec<usize>),
}

/// A random chain as a program and as the steps it stands for.
struct Chain {
    builder: Builder,
    inputs: usize,
    values: Vec<(Value, Made)>,
    outputs: Vec<usize>,
}

fn random_chain(seed: u64) -> Chain {
    let mut random = Numbers::new(seed);
    let (mut builder, mut values) = (Builder::default(), Vec::new());
    let inputs = 1 + (random.bits() % 3) as usize;
    for i in 0..inputs {
        values.push((builder.input(), Made::Input(i)));
    }
    values.push((builder.constant(0.75), Made::Constant(0.75)));
    for _ in 0..1 + random.bits() % 10 {
        let op = Op::ALL[(random.bits() % Op::ALL.len() as u64) as usize];
        let near = |random: &mut Numbers| match random.bits() % 3 {
            0 => values.len() - 1,
            _ => (random.bits() % values.len() as u64) as usize,
        };
        let operands: Vec<usize> = (0..op.arity()).map(|_| near(&mut random)).collect();
        let given: Vec<Value> = operands.iter().map(|&i| values[i].0).collect();
        values.push((builder.step(op, &given).unwrap(), Made::Step(op, operands)));
    }
    let outputs: Vec<usize> = (0..1 + random.bits() % 3)
        .map(|i| if i == 0 { values.len() - 1 } else { (random.bits() % values.len() as u64) as usize })
        .collect();
    outputs.iter().for_each(|&i| builder.output(values[i].0).unwrap());
    Chain { builder, inputs, values, outputs }
}

#[test]
fn a_program_has_the_bits_of_its_steps() {
    let seeds = if common::is_child() { 60 } else { 400 };
    for seed in 0..seeds {
        let chain = random_chain(seed);
        let len = [1, 31, 64, 129, 200, 9000][seed as usize % 6];
        let mut random = Numbers::new(seed + 1000);
        let inputs: Vec<Vec<f32>> =
            (0..chain.inputs).map(|_| numbers(Op::Add, 0, len, &mut random)).collect();
        let mut steps: Vec<Vec<f32>> = Vec::new();
        for (_, value) in &chain.values {
            let mut out = vec![0.0; len];
            match value {
                Made::Input(i) => out.copy_from_slice(&inputs[*i]),
                Made::Constant(x) => out.fill(*x),
                Made::Step(op, operands) => {
                    let operands: Vec<Operand<'_>> =
                        operands.iter().map(|&i| Operand::Slice(&steps[i])).collect();
                    apply(*op, &operands, &mut out, Write::Overwrite).unwrap();
                }
            }
            steps.push(out);
        }
        let program = chain.builder.build().unwrap();
        let guarded: Vec<PageEnd<f32>> = inputs.iter().map(|x| PageEnd::copied(x)).collect();
        let given: Vec<&[f32]> = guarded.iter().map(|x| &**x).collect();
        for write in WRITES {
            let old = if write == Write::Add { random.vector(len) } else { vec![f32::NAN; len] };
            let mut outputs: Vec<PageEnd<f32>> =
                chain.outputs.iter().map(|_| PageEnd::copied(&old)).collect();
            let mut places: Vec<&mut [f32]> = outputs.iter_mut().map(|x| &mut **x).collect();
            program.run(&given, &mut places, write).unwrap();
            for (found, &value) in outputs.iter().zip(&chain.outputs) {
                for i in 0..len {
                    let step = steps[value][i];
                    let expected = if write == Write::Add { old[i] + step } else { step };
                    assert!(
                        same(found[i], expected),
                        "chain {seed}, {write:?}, {i}: {} not {expected}",
                        found[i]
                    );
                }
            }
        }
    }
}

#[test]
fn a_program_says_what_it_computes_and_leaves_out_what_nobody_needs() {
    let mut builder = Builder::default();
    let (_, x, unused) = (builder.input(), builder.input(), builder.constant(2.0));
    builder.step(Op::Exp, &[unused]).unwrap();
    let half = builder.constant(0.5);
    let product = builder.step(Op::Mul, &[x, half]).unwrap();
    builder.output(product).unwrap();
    builder.output(x).unwrap();
    let program = builder.build().unwrap();
    assert_eq!((program.inputs(), program.outputs()), (2, &[2, 0][..]));
    let [Definition::Input(1), Definition::Constant(number), Definition::Step { op: Op::Mul, operands: [0, 1, _] }] =
        *program.values()
    else {
        panic!("{:?}", program.values())
    };
    assert_eq!(program.constant(number), 0.5);
}

#[test]
fn bits_do_not_depend_on_the_number_of_workers() {
    let mut random = Numbers::new(9);
    let (a, b) = (random.vector(100_003), random.vector(100_003));
    let mut builder = Builder::default();
    let (x, y) = (builder.input(), builder.input());
    let product = builder.step(Op::Mul, &[x, y]).unwrap();
    let value = builder.step(Op::Gelu, &[product]).unwrap();
    let sum = builder.step(Op::Add, &[value, product]).unwrap();
    builder.output(sum).unwrap();
    builder.output(value).unwrap();
    let program = builder.build().unwrap();
    same_on_any_workers("functions and programs", || {
        let (mut first, mut second, mut third) = (vec![0.0; a.len()], vec![0.0; a.len()], vec![0.0; a.len()]);
        program.run(&[&a, &b], &mut [&mut first, &mut second], Write::Overwrite).unwrap();
        functions::mish(&a, &mut third, Write::Overwrite).unwrap();
        bits(&[first, second, third].concat())
    });
}

#[test]
fn every_level() {
    common::at_every_level();
}
