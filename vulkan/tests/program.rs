//! Fused programs beside their twins: every function over all magnitudes and special values, random programs, lengths of every kind, in place,
//! and what is refused.

mod support;

use std::sync::Arc;

use ash::vk;
use support::{assert_close, device, numbers, options, told};
use upbeat_kernels::elementwise::functions::apply as on_cpu;
use upbeat_kernels::elementwise::{Builder, Op, Operand, Program, Value};
use upbeat_kernels::twin::functions as twin;
use upbeat_kernels::Write;
use upbeat_vulkan::{Call, Device, VulkanError};

/// Subnormal results may be lost.
const LOST: f64 = 1.2e-38;
const ULP: f64 = 1.0 / (1 << 23) as f64;

/// What a function may be off, as `Commands::program` says: so many ulp of the result, and so much besides.
fn bound(op: Op) -> (f64, f64) {
    use Op::*;
    match op {
        Div | Reciprocal | Sqrt | Rsqrt | SqrtGradient | DivGradient => (9.0, LOST),
        Exp => (2.0, LOST),
        Log => (3.0, LOST),
        Pow => (3.0, LOST),
        Erf | Tanh => (5.0, LOST),
        Sigmoid | SoftplusGradient | Softplus | ErfGradient => (7.0, LOST),
        // A share of x that is lost becomes twice as large on the way.
        Gelu | Silu | Mish => (12.0, 2.0 * LOST),
        GeluTanh | SiluGradient | GeluTanhGradient | MishGradient => (12.0, 4e-7),
        GeluGradient | PowGradient | PowExponentGradient => (12.0, LOST),
        // Rounded as on the CPU.
        _ => (0.0, LOST),
    }
}

/// The program of one step.
fn single(op: Op) -> Program {
    let mut builder = Builder::default();
    let x: Vec<Value> = (0..op.arity()).map(|_| builder.input()).collect();
    let y = builder.step(op, &x).unwrap();
    builder.output(y).unwrap();
    builder.build().unwrap()
}

/// The outputs of a program on the device, each with a number before and after it that must stay.
fn run(device: &Device, program: &Program, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let len = inputs[0].len();
    let program = device.program(program).unwrap();
    let inputs: Vec<_> = inputs.iter().map(|x| device.upload(x).unwrap()).collect();
    let padded: Vec<_> =
        (0..program.outputs()).map(|_| device.upload(&vec![-7.0_f32; len + 2]).unwrap()).collect();
    let outputs: Vec<_> = padded.iter().map(|padded| padded.slice(1..len + 1)).collect();
    let mut commands = device.commands();
    let (x, y): (Vec<_>, Vec<_>) = (inputs.iter().collect(), outputs.iter().collect());
    commands.program(&program, &x, &y).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let found = padded.iter().map(|padded| padded.to_vec().unwrap());
    found
        .map(|found| {
            assert_eq!((found[0], found[len + 1]), (-7.0, -7.0), "nothing around it is written");
            found[1..=len].to_vec()
        })
        .collect()
}

fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0_f32.copysign(x)
    } else {
        x
    }
}

/// How far `found` is from what `op` says, in its bound: 1 at most is right.
fn distance(op: Op, operands: &[f32], found: f32) -> f64 {
    let wide: Vec<f64> = operands.iter().map(|&x| x.into()).collect();
    let (ulps, absolute) = bound(op);
    // A derivative is multiplied by the gradient, and so is what it is off.
    let gradient = wide[0].abs().clamp(1.0, 1e38);
    let factor = match op {
        // And by the exponent, or the base's logarithm, of which f32 has none above 104.
        Op::PowGradient => gradient * wide[2].abs().clamp(1.0, 1e38),
        Op::PowExponentGradient => gradient * wide[1].abs().ln().abs().clamp(1.0, 104.0),
        op if format!("{op:?}").ends_with("Gradient") => gradient,
        _ => 1.0,
    };
    // What is beyond the largest number may be infinite, and the other way round.
    let clamp = |x: f64| x.clamp(-f64::from(f32::MAX) * 1.000_002, f64::from(f32::MAX) * 1.000_002);
    let of = |expected: f64| match (expected.is_nan(), found.is_nan()) {
        (true, true) => 0.0,
        (false, false) => {
            let error = (clamp(found.into()) - clamp(expected)).abs();
            error / (absolute * factor + ulps * ULP * clamp(expected).abs())
        }
        _ => f64::INFINITY,
    };
    let mut cpu = [0.0];
    let given: Vec<_> = operands.iter().map(|&x| Operand::Number(x)).collect();
    on_cpu(op, &given, &mut cpu, Write::Overwrite).unwrap();
    if ulps > 0.0 {
        // Gradients multiply several numbers, and may overflow on the way as they do on the CPU.
        return of(twin::apply(op, &wide)).min(of(cpu[0].into()));
    }
    // A product and a sum may be rounded once or twice; a zero's sign is the CPU's or the twin's.
    let other = match op {
        Op::Fma => operands[0] * operands[1] + operands[2],
        _ => twin::apply(op, &wide) as f32,
    };
    if [found, cpu[0], other] == [0.0; 3] {
        let signs = [cpu[0], other].map(f32::to_bits);
        return if signs.contains(&found.to_bits()) { 0.0 } else { f64::INFINITY };
    }
    of(cpu[0].into()).min(if op == Op::Fma { of(other.into()) } else { f64::INFINITY })
}

#[track_caller]
fn assert_near(op: Op, operands: &[Vec<f32>], found: &[f32]) {
    for (i, &found) in found.iter().enumerate() {
        let at: Vec<f32> = operands.iter().map(|x| x[i]).collect();
        let wide: Vec<f64> = at.iter().map(|&x| x.into()).collect();
        let error = distance(op, &at, found);
        assert!(
            error <= 1.0,
            "{op:?}{at:?} is {found:e}, not {:e}: {error:.2} of the bound",
            twin::apply(op, &wide)
        );
    }
}

/// Numbers of every magnitude and both signs, and numbers near 0.
fn magnitudes(seed: u64) -> Vec<f32> {
    let every = (0..=u32::MAX).step_by(44_777).map(f32::from_bits).map(flushed);
    let near = numbers(60_000, seed).into_iter().map(|x| 16.0 * x);
    every.chain(near).collect()
}

#[test]
fn functions_of_one_number_are_their_twins() {
    let Some(device) = device() else { return };
    let x = [magnitudes(1)];
    for &op in Op::ALL.iter().filter(|op| op.arity() == 1) {
        assert_near(op, &x, &run(&device, &single(op), &x)[0]);
    }
}

#[test]
fn functions_of_more_are_their_twins() {
    let Some(device) = device() else { return };
    for &op in Op::ALL.iter().filter(|op| op.arity() > 1) {
        // Every magnitude beside every other is mostly overflow, so half of them are near 1.
        let mut x: Vec<Vec<f32>> = (0..op.arity()).map(|i| magnitudes(i as u64)).collect();
        for (i, x) in x.iter_mut().enumerate() {
            let len = x.len();
            x.rotate_left((i * 40_009) % (len - 60_000));
            x.extend(numbers(30_000, 7 + i as u64).into_iter().map(|x| (4.0 * x).round() / 2.0));
        }
        if matches!(op, Op::Pow | Op::PowGradient | Op::PowExponentGradient) {
            let base = op.arity() - 2;
            x[base].iter_mut().step_by(2).for_each(|x| *x = x.abs());
        }
        let found = run(&device, &single(op), &x);
        assert_near(op, &x, &found[0]);
    }
}

/// All choices of `count` of `values`, as operands.
fn combinations(values: &[f32], count: usize) -> Vec<Vec<f32>> {
    let all = values.len().pow(count as u32);
    (0..count)
        .map(|n| (0..all).map(|i| values[i / values.len().pow(n as u32) % values.len()]).collect())
        .collect()
}

#[test]
fn special_values_are_those_of_the_cpu() {
    let Some(device) = device() else { return };
    let (inf, nan, max, least) = (f32::INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE);
    let values = [nan, -nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, max, -max, least, -least];
    for &op in Op::ALL {
        // What three of the last ones give depends on the order of products.
        let values = if op.arity() == 3 { &values[..11] } else { &values };
        let x = combinations(values, op.arity());
        assert_near(op, &x, &run(&device, &single(op), &x)[0]);
    }
}

#[test]
fn constants_are_numbers_like_others() {
    let Some(device) = device() else { return };
    let constants = [0.0, -0.0, -1.0, f32::INFINITY];
    let x = vec![f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, 1.0, -3.5];
    for &op in Op::ALL.iter().filter(|op| op.arity() == 2) {
        // Drivers know more of constants, and not all of it is right: products with 0, quotients by it.
        let mut builder = Builder::default();
        let input = builder.input();
        let mut operands = Vec::new();
        for number in constants {
            let (constant, all) = (builder.constant(number), vec![number; x.len()]);
            for (given, numbers) in
                [([input, constant], [x.clone(), all.clone()]), ([constant, input], [all, x.clone()])]
            {
                let y = builder.step(op, &given).unwrap();
                builder.output(y).unwrap();
                operands.push(numbers);
            }
        }
        let found = run(&device, &builder.build().unwrap(), std::slice::from_ref(&x));
        for (found, operands) in found.iter().zip(&operands) {
            assert_near(op, operands, found);
        }
    }
}

#[test]
fn a_comparison_with_itself_is_no_constant_to_divide_by() {
    let Some(device) = device() else { return };
    let mut builder = Builder::default();
    let x = builder.input();
    let zero = builder.step(Op::Less, &[x, x]).unwrap();
    let y = builder.step(Op::Div, &[x, zero]).unwrap();
    builder.output(y).unwrap();
    let x = [vec![2.0, -3.0, 0.0, f32::NAN]];
    let found = &run(&device, &builder.build().unwrap(), &x)[0];
    assert_eq!(found[..2], [f32::INFINITY, f32::NEG_INFINITY]);
    assert!(found[2].is_nan() && found[3].is_nan());
}

#[test]
fn subnormal_numbers_count_where_nothing_is_computed_with_them_and_in_logarithms() {
    let Some(device) = device() else { return };
    let tiny = f32::from_bits(1);
    let values = [tiny, -tiny, f32::from_bits(0x7f_ffff), 0.0, -0.0, 1.0, f32::MIN_POSITIVE];
    use Op::*;
    let compared =
        [Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual, Min, Max, Neg, Abs, Relu, Select];
    for op in compared {
        let x = combinations(&values, op.arity());
        let found = &run(&device, &single(op), &x)[0];
        for i in 0..found.len() {
            let given: Vec<_> = x.iter().map(|x| Operand::Number(x[i])).collect();
            let mut expected = [0.0];
            on_cpu(op, &given, &mut expected, Write::Overwrite).unwrap();
            assert_eq!(found[i].to_bits(), expected[0].to_bits(), "{op:?}{given:?}");
        }
    }
    let x = combinations(&values, 1);
    assert_near(Log, &x, &run(&device, &single(Log), &x)[0]);
    let x = [vec![tiny; 4], vec![0.5, -0.5, 0.25, -0.125]];
    assert_near(Pow, &x, &run(&device, &single(Pow), &x)[0]);
}

/// A chain of random steps, all of them outputs, with what each is: an operation and the numbers of the values that it takes.
fn random_chain(seed: u64) -> (Builder, Vec<(Op, Vec<usize>)>) {
    let mut random = numbers(1000, seed).into_iter().map(|x| ((x + 1.0) * 4e6) as usize);
    let mut below = |most: usize| random.next().expect("enough of them") % most;
    let mut builder = Builder::default();
    let mut values = vec![builder.input(), builder.input(), builder.input(), builder.constant(0.75)];
    let steps = (0..1 + below(8)).map(|_| {
        let op = Op::ALL[below(Op::ALL.len())];
        let operands: Vec<usize> = (0..op.arity())
            .map(|_| if below(3) == 0 { values.len() - 1 } else { below(values.len()) })
            .collect();
        let given: Vec<Value> = operands.iter().map(|&i| values[i]).collect();
        let value = builder.step(op, &given).unwrap();
        builder.output(value).unwrap();
        values.push(value);
        (op, operands)
    });
    let steps = steps.collect();
    (builder, steps)
}

#[test]
fn each_step_of_a_random_program_is_its_twin() {
    let Some(device) = device() else { return };
    for seed in 0..120 {
        let len = [1, 31, 127, 128, 129, 1000][seed as usize % 6];
        let (builder, steps) = random_chain(seed);
        let x: Vec<Vec<f32>> =
            (0..3).map(|i| numbers(len, 100 + 3 * seed + i).into_iter().map(|x| 4.0 * x).collect()).collect();
        let found = run(&device, &builder.build().unwrap(), &x);
        let mut values = x;
        values.push(vec![0.75; len]);
        for ((op, operands), found) in steps.into_iter().zip(found) {
            let given: Vec<_> = operands.iter().map(|&i| values[i].clone()).collect();
            assert_near(op, &given, &found);
            values.push(found);
        }
    }
}

/// `steps` steps that neither grow nor lose anything, on two inputs: the program and its twin.
fn long_chain(steps: usize) -> (Program, impl Fn(f64, f64) -> f64) {
    let chain = [Op::Tanh, Op::Add, Op::Gelu, Op::Sub, Op::Softplus, Op::Mul, Op::Erf, Op::Max];
    let mut builder = Builder::default();
    let (first, second) = (builder.input(), builder.input());
    let mut value = first;
    for i in 0..steps {
        let op = chain[i % chain.len()];
        value = builder.step(op, &[value, second][..op.arity()]).unwrap();
    }
    builder.output(value).unwrap();
    let twin = move |mut value: f64, second: f64| {
        for i in 0..steps {
            value = twin::apply(chain[i % chain.len()], &[value, second]);
        }
        value
    };
    (builder.build().unwrap(), twin)
}

#[test]
fn long_chains_over_every_length_are_their_twins() {
    let Some(device) = device() else { return };
    for (steps, len) in [(1, 0), (6, 1), (6, 127), (6, 128), (40, 1001), (6, 100_003), (6, 3_000_001)] {
        let x = [numbers(len, 1), numbers(len, 2)];
        let (program, twin) = long_chain(steps);
        let expected: Vec<f64> = x[0].iter().zip(&x[1]).map(|(&a, &b)| twin(a.into(), b.into())).collect();
        let found = run(&device, &program, &x);
        assert_close(&format!("{steps} steps of {len}"), &found[0], &expected, 4e-6, 0.0);
    }
}

#[test]
fn it_works_in_place_and_on_parts() {
    let Some(device) = device() else { return };
    // (a, b) becomes (b - a, 2.5): an output that is both inputs' successor, and a constant.
    let mut builder = Builder::default();
    let (a, b, number) = (builder.input(), builder.input(), builder.constant(2.5));
    let difference = builder.step(Op::Sub, &[b, a]).unwrap();
    [difference, a, number].into_iter().for_each(|value| builder.output(value).unwrap());
    let program = device.program(&builder.build().unwrap()).unwrap();
    let (x, rest) = (numbers(2000, 1), device.buffer::<f32>(999).unwrap());
    let all = device.upload(&x).unwrap();
    let (a, b) = (all.slice(1..1000), all.slice(1000..1999));
    let mut commands = device.commands();
    commands.program(&program, &[&a, &b], &[&a, &b, &rest]).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let found = all.to_vec().unwrap();
    for i in 1..1000 {
        assert_eq!((found[i], found[i + 999]), (x[i + 999] - x[i], x[i]), "[{i}]");
    }
    assert_eq!((found[0], found[1999]), (x[0], x[1999]));
    assert_eq!(rest.to_vec().unwrap(), [2.5; 999]);
}

#[test]
fn thousands_of_runs_and_hundreds_of_programs_leave_memory_where_it_was() {
    let Some(device) = device() else { return };
    let x = device.upload(&vec![1.0_f32; 300]).unwrap();
    let halved = |by: f32| {
        let mut builder = Builder::default();
        let (x, half) = (builder.input(), builder.constant(by));
        let y = builder.step(Op::Mul, &[x, half]).unwrap();
        builder.output(y).unwrap();
        device.program(&builder.build().unwrap()).unwrap()
    };
    let program = halved(0.5);
    let runs = |count: usize| {
        let mut commands = device.commands();
        for _ in 0..count {
            commands.program(&program, &[&x], &[&x]).unwrap();
        }
        commands.submit().unwrap().wait().unwrap();
    };
    runs(10);
    let before = device.memory();
    (0..10).for_each(|_| runs(100));
    assert_eq!(device.memory(), before);
    for i in 0..200 {
        let program = halved(i as f32 / 256.0);
        let mut commands = device.commands();
        commands.program(&program, &[&x], &[&x]).unwrap();
        // Ends while it is under way: the device keeps it until then.
        drop(commands.submit().unwrap());
    }
    assert_eq!(x.to_vec().unwrap(), [0.0; 300]);
    assert_eq!(device.memory().used, before.used);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_added() {
    let (Some(device), Some(other)) = (device(), device()) else { return };
    let x = device.upload(&[1.0_f32; 10]).unwrap();
    let out = device.buffer::<f32>(10).unwrap();
    let program = device.program(&single(Op::Add)).unwrap();
    assert_eq!((program.inputs(), program.outputs()), (2, 1));
    let mut commands = device.commands();
    let mut refused = |inputs: &[&_], outputs: &[&_]| told(commands.program(&program, inputs, outputs));
    assert_eq!(refused(&[&x], &[&out]), "the number of inputs must be 2 but is 1");
    assert_eq!(refused(&[&x, &x], &[]), "the number of outputs must be 1 but is 0");
    assert_eq!(refused(&[&x, &x.slice(0..9)], &[&out]), "the length of an input must be 10 but is 9");
    assert_eq!(
        refused(&[&x.slice(0..9), &x.slice(0..9)], &[&x.slice(1..10)]),
        "program: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    let foreign = other.upload(&[1.0_f32; 10]).unwrap();
    assert_eq!(
        refused(&[&x, &foreign], &[&out]),
        "a buffer belongs to another device; copy it through the host"
    );
    assert!(commands.is_empty());
    assert_eq!(
        told(other.commands().program(&program, &[&foreign, &foreign], &[&foreign])),
        "a program was compiled for another device; compile it for this one"
    );
    let mut builder = Builder::default();
    let inputs: Vec<Value> = (0..15).map(|_| builder.input()).collect();
    builder.output(inputs[3]).unwrap();
    assert_eq!(
        told(device.program(&builder.build().unwrap())),
        "the inputs and outputs of a program on a GPU may be 15 at most but are 16"
    );
}

#[test]
fn a_driver_that_makes_no_pipeline_is_told_of_and_asked_again() {
    for call in [Call::CreateShaderModule, Call::CreatePipeline] {
        let first = std::sync::atomic::AtomicBool::new(true);
        let fault = move |made| {
            let due = made == call && first.swap(false, std::sync::atomic::Ordering::Relaxed);
            due.then_some(vk::Result::ERROR_UNKNOWN)
        };
        let Some(device) = support::open(options().fault(Arc::new(fault))) else { return };
        let error = device.program(&single(Op::Exp)).err();
        assert_eq!(error, Some(VulkanError::Call { call, result: "ERROR_UNKNOWN".to_owned() }));
        let x = [vec![0.0_f32; 5]];
        assert_eq!(run(&device, &single(Op::Exp), &x), [[1.0; 5]]);
    }
}
