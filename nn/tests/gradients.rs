//! Promises of the tape: every operation's gradient is the derivative, by central differences in f64.
//!
//! Each operation is checked once and used twice (gradients add), with every input a variable, with one input alone a
//! variable, and with all inputs parameters whose gradients go to `Gradients`.

use upbeat_kernels::{AttentionShape, Buffer, RopeShape, ShapeError};
use upbeat_nn::tape::Workspace;
use upbeat_nn::{Gradients, Parameter, Tape, Tensor, Var};

/// Half the distance of a central difference: its error is about 1e-10 by the curvature and 1e-11 by rounding.
const STEP: f64 = 1e-5;
/// Largest difference allowed, relative to the largest element of the gradient.
const TOLERANCE: f64 = 1e-7;

/// A seeded generator of numbers in (-1, 1), enough for tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn buffer(&mut self, len: usize) -> Buffer<f64> {
        Buffer::copied(&(0..len).map(|_| self.next()).collect::<Vec<_>>())
    }

    fn tensor(&mut self, dims: &[usize]) -> Tensor<f64> {
        Tensor::new(dims, self.buffer(dims.iter().product())).unwrap()
    }
}

/// How an input is put on the tape.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Variables,
    /// Only this input has a gradient.
    Alone(usize),
    Parameters,
}

fn parameters(inputs: &[Tensor<f64>]) -> Vec<Parameter<f64>> {
    let parameter = |(i, x): (usize, &Tensor<f64>)| Parameter {
        name: format!("input.{i}"),
        shape: x.shape().dims().to_vec(),
        values: Buffer::copied(x.values()),
        decay: false,
    };
    inputs.iter().enumerate().map(parameter).collect()
}

/// What an operation does on a tape. Every check runs it many times.
type Operation<'o> = &'o dyn for<'a> Fn(&mut Tape<'a, f64>, &[Var]) -> Result<Var, ShapeError>;

/// `Σ seed · operation(inputs)`.
fn project(operation: Operation<'_>, inputs: &[Tensor<f64>], seed: &[f64]) -> f64 {
    let mut tape = Tape::forward_only();
    let vars: Vec<Var> = inputs.iter().map(|x| tape.variable(x.clone())).collect();
    let out = operation(&mut tape, &vars).unwrap();
    tape.value(out).iter().zip(seed).map(|(x, s)| x * s).sum()
}

/// The tape's gradient of that for every input that has one.
fn gradients(
    operation: Operation<'_>,
    inputs: &[Tensor<f64>],
    seed: &[f64],
    kind: Kind,
) -> Vec<Option<Vec<f64>>> {
    let parameters = parameters(inputs);
    let mut gradients = Gradients::from_parameters(&parameters);
    let mut tape = Tape::new(Workspace::default());
    let vars: Vec<Var> = inputs
        .iter()
        .enumerate()
        .map(|(i, x)| match kind {
            Kind::Parameters => tape.parameter(i, &parameters[i].values, &parameters[i].shape).unwrap(),
            Kind::Alone(only) if only != i => tape.constant(x.clone()),
            Kind::Variables | Kind::Alone(_) => tape.variable(x.clone()),
        })
        .collect();
    let out = operation(&mut tape, &vars).unwrap();
    tape.backward_from(out, Buffer::copied(seed), &mut gradients).unwrap();
    (0..inputs.len())
        .map(|i| match kind {
            Kind::Parameters => gradients.get(i).map(<[f64]>::to_vec),
            Kind::Variables | Kind::Alone(_) => tape.gradient(vars[i]).map(<[f64]>::to_vec),
        })
        .collect()
}

fn check_once(name: &str, operation: Operation<'_>, inputs: &[Tensor<f64>]) {
    let mut tape = Tape::forward_only();
    let vars: Vec<Var> = inputs.iter().map(|x| tape.variable(x.clone())).collect();
    let out = operation(&mut tape, &vars).unwrap();
    let seed = Random(99).buffer(tape.shape(out).len());

    let mut moved = inputs.to_vec();
    let numeric: Vec<Vec<f64>> = (0..inputs.len())
        .map(|i| {
            (0..inputs[i].values().len())
                .map(|j| {
                    let x = inputs[i].values()[j];
                    let mut at = |x| {
                        moved[i].values_mut()[j] = x;
                        project(operation, &moved, &seed)
                    };
                    let slope = (at(x + STEP) - at(x - STEP)) / (2.0 * STEP);
                    at(x);
                    slope
                })
                .collect()
        })
        .collect();

    let alone = (0..inputs.len()).map(Kind::Alone);
    for kind in [Kind::Variables, Kind::Parameters].into_iter().chain(alone) {
        for (i, gradient) in gradients(operation, inputs, &seed, kind).into_iter().enumerate() {
            let wanted = !matches!(kind, Kind::Alone(only) if only != i);
            assert_eq!(gradient.is_some(), wanted, "{name}, {kind:?}: input {i}");
            let Some(gradient) = gradient else { continue };
            assert_eq!(gradient.len(), numeric[i].len());
            let largest = numeric[i].iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert!(largest > 1e-3, "{name}: input {i} does not matter");
            for (j, (tape, slope)) in gradient.iter().zip(&numeric[i]).enumerate() {
                let error = (tape - slope).abs() / largest;
                assert!(error <= TOLERANCE, "{name}, {kind:?}: input {i}[{j}] is {tape}, slope {slope}");
            }
        }
    }
}

/// Checks `operation`, and the sum of two uses of it, which adds into gradients that exist.
fn check(name: &str, inputs: &[Tensor<f64>], operation: Operation<'_>) {
    check_once(name, operation, inputs);
    let twice = |tape: &mut Tape<'_, f64>, vars: &[Var]| {
        let first = operation(tape, vars)?;
        let second = operation(tape, vars)?;
        let squared = tape.mul(second, second)?;
        tape.add(first, squared)
    };
    check_once(&format!("{name}, twice"), &twice, inputs);
}

fn inputs(seed: u64, dims: &[&[usize]]) -> Vec<Tensor<f64>> {
    let mut random = Random(seed);
    dims.iter().map(|d| random.tensor(d)).collect()
}

#[test]
fn linear() {
    check("x·Wᵀ", &inputs(1, &[&[5, 3], &[4, 3]]), &|t, v| t.linear(v[0], v[1], None, None));
    check("with a bias", &inputs(2, &[&[2, 3, 3], &[4, 3], &[4]]), &|t, v| {
        t.linear(v[0], v[1], Some(v[2]), None)
    });
    check("with a bias and a residual", &inputs(3, &[&[5, 3], &[4, 3], &[4], &[5, 4]]), &|t, v| {
        t.linear(v[0], v[1], Some(v[2]), Some(v[3]))
    });
}

#[test]
fn linear_whose_residual_is_its_input() {
    check("x + x·Wᵀ", &inputs(4, &[&[5, 3], &[3, 3]]), &|t, v| t.linear(v[0], v[1], None, Some(v[0])));
    check("W + W·Wᵀ", &inputs(5, &[&[3, 3]]), &|t, v| t.linear(v[0], v[0], None, Some(v[0])));
}

#[test]
fn attention() {
    for causal in [false, true] {
        let shape = AttentionShape { batch: 2, seq: 5, heads: 2, dim: 3, causal };
        check("attention", &inputs(6, &[&[10, 18]]), &|t, v| t.attention(v[0], shape));
    }
}

#[test]
fn rotary_positions() {
    let shape = RopeShape { seq: 3, first: 4, heads: 3, rotate: 2, dim: 4, base: 100.0 };
    check("rope", &inputs(7, &[&[6, 12]]), &|t, v| t.rope(v[0], shape));
}

#[test]
fn norms() {
    check("LayerNorm", &inputs(8, &[&[4, 7], &[7]]), &|t, v| t.layer_norm(v[0], v[1], None, 1e-5));
    check("LayerNorm with a bias", &inputs(9, &[&[4, 7], &[7], &[7]]), &|t, v| {
        t.layer_norm(v[0], v[1], Some(v[2]), 1e-5)
    });
    check("LayerNorm with one gain and bias", &inputs(10, &[&[4, 7], &[7]]), &|t, v| {
        t.layer_norm(v[0], v[1], Some(v[1]), 1e-5)
    });
    check("LayerNorm of its gain", &inputs(11, &[&[1, 7]]), &|t, v| t.layer_norm(v[0], v[0], None, 1e-5));
    check("RMSNorm", &inputs(12, &[&[4, 7], &[7]]), &|t, v| t.rms_norm(v[0], v[1], 1e-5));
    check("RMSNorm of its gain", &inputs(13, &[&[1, 7]]), &|t, v| t.rms_norm(v[0], v[0], 1e-5));
}

#[test]
fn activations() {
    check("softmax", &inputs(14, &[&[4, 6]]), &|t, v| t.softmax(v[0]));
    check("GELU", &inputs(15, &[&[4, 6]]), &|t, v| t.gelu(v[0]));
    check("SiLU", &inputs(16, &[&[4, 6]]), &|t, v| t.silu(v[0]));
    check("SwiGLU", &inputs(17, &[&[4, 6]]), &|t, v| t.swiglu(v[0]));
}

#[test]
fn embedding() {
    // One row picked twice, one never.
    check("embedding", &inputs(18, &[&[4, 3]]), &|t, v| t.embedding(v[0], &[2, 0, 2, 1]));
}

#[test]
fn cross_entropy() {
    check("cross-entropy", &inputs(19, &[&[5, 4]]), &|t, v| {
        t.cross_entropy(v[0], &[3, 0, 1, 1, 2]).map(|(var, _)| var)
    });
}

#[test]
fn arithmetic() {
    check("a + b", &inputs(20, &[&[3, 4], &[3, 4]]), &|t, v| t.add(v[0], v[1]));
    check("a + a", &inputs(21, &[&[3, 4]]), &|t, v| t.add(v[0], v[0]));
    check("a·b", &inputs(22, &[&[3, 4], &[3, 4]]), &|t, v| t.mul(v[0], v[1]));
    check("a·a", &inputs(23, &[&[3, 4]]), &|t, v| t.mul(v[0], v[0]));
    check("-1.5·x", &inputs(24, &[&[3, 4]]), &|t, v| t.scale(v[0], -1.5));
    check("x + bias", &inputs(25, &[&[6, 4], &[4]]), &|t, v| t.add_bias(v[0], v[1]));
    check("x + positions", &inputs(26, &[&[6, 4], &[12]]), &|t, v| t.add_bias(v[0], v[1]));
}

#[test]
fn one_value_used_by_many_operations() {
    let shape = AttentionShape { batch: 1, seq: 4, heads: 1, dim: 2, causal: true };
    check("a small network", &inputs(27, &[&[4, 6], &[6, 6], &[6], &[2, 6]]), &|t, v| {
        let normed = t.rms_norm(v[0], v[2], 1e-5)?;
        let mapped = t.linear(normed, v[1], Some(v[2]), Some(v[0]))?;
        t.release(normed);
        let mixed = t.attention(mapped, shape)?;
        let back = t.softmax(mixed)?;
        t.release(mixed);
        let logits = t.linear(mapped, v[3], None, Some(back))?;
        t.cross_entropy(logits, &[0, 1, 1, 0]).map(|(var, _)| var)
    });
}

#[test]
fn a_part_of_a_parameter_has_zero_gradient_elsewhere() {
    let parameters = parameters(&inputs(28, &[&[6]]));
    let mut gradients = Gradients::from_parameters(&parameters);
    // Old numbers everywhere, which the first of the next gradients replaces.
    let mut tape = Tape::new(Workspace::default());
    let whole = tape.parameter(0, &parameters[0].values, &[6]).unwrap();
    tape.backward_from(whole, Buffer::copied(&[7.0; 6]), &mut gradients).unwrap();
    assert_eq!(gradients.get(0), Some(&[7.0; 6][..]));
    gradients.clear();
    for sum in [1.0, 2.0] {
        let mut tape = Tape::new(Workspace::default());
        let x = tape.constant(Tensor::zeroed(&[3, 4]).unwrap());
        let part = tape.parameter(0, &parameters[0].values[..4], &[4]).unwrap();
        let out = tape.add_bias(x, part).unwrap();
        tape.backward_from(out, Buffer::copied(&[1.0; 12]), &mut gradients).unwrap();
        let expected = [3.0 * sum; 4].into_iter().chain([0.0; 2]);
        assert!(
            gradients.get(0).unwrap().iter().copied().eq(expected),
            "gradients add until they are cleared"
        );
    }
    gradients.clear();
    assert_eq!(gradients.get(0), None);
}

#[test]
fn wrong_shapes_are_errors() {
    let mut tape = Tape::<f64>::new(Workspace::default());
    let [x, w, b] = [&[5, 3][..], &[4, 2], &[3]].map(|d| tape.variable(Tensor::zeroed(d).unwrap()));
    assert!(tape.linear(x, w, None, None).is_err());
    assert!(tape.linear(x, b, None, None).is_err());
    assert!(tape.add(x, w).is_err());
    assert!(tape.mul(x, w).is_err());
    assert!(tape.swiglu(x).is_err());
    assert!(tape.layer_norm(x, w, None, 1e-5).is_err());
    assert!(tape.rms_norm(x, w, 1e-5).is_err());
    assert!(tape.add_bias(x, w).is_err());
    assert!(tape.embedding(w, &[4]).is_err());
    assert!(tape.cross_entropy(x, &[0, 1, 2, 3, 0]).is_err());
    let shape = AttentionShape { batch: 5, seq: 1, heads: 1, dim: 2, causal: true };
    assert!(tape.attention(x, shape).is_err());
    assert!(tape.backward(x, &mut Gradients::from_parameters(&[])).is_err());
}
