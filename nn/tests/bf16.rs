//! Promises of training in bf16: gradients are those of f64 within bf16's resolution, those of parameters are not rounded at
//! all; losses follow f32's and fall; a pause changes no bit, and going on in another type is refused.

use std::fs;
use std::path::PathBuf;

use upbeat_kernels::{bf16, AttentionShape, Buffer, Element, RopeShape, ShapeError};
use upbeat_nn::checkpoint::{CheckpointError, Store};
use upbeat_nn::data::{Dataset, Text, Tokenizer};
use upbeat_nn::schedule::Schedule;
use upbeat_nn::tape::Workspace;
use upbeat_nn::train::{load_model, saved_dtype, Checkpoint, TrainConfig, Trainer};
use upbeat_nn::{AdamWConfig, AdamWOptimizer, Config, Gradients, Parameter, Tape, Tensor, Transformer, Var};

/// Most that a rounding to bf16 changes a number, relative to it.
const ROUNDING: f64 = 1.0 / 256.0;

/// Seeded numbers in (-1, 1) that bf16 has.
fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bf16::from_f64((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0).to_f64()
    };
    (0..len).map(|_| next()).collect()
}

fn converted<T: Element>(x: &[f64]) -> Buffer<T> {
    Buffer::copied(&x.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>())
}

/// What an operation does on a tape, in any type.
trait Operation {
    fn record<E: Element>(&self, tape: &mut Tape<'_, E>, inputs: &[Var]) -> Result<Var, ShapeError>;
}

/// Gradients of `Σ seed · operation(inputs)`, as variables or as parameters.
fn gradients<E: Element>(
    operation: &impl Operation,
    dims: &[&[usize]],
    as_parameters: bool,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let values = |i: usize| numbers(i as u64 + 1, dims[i].iter().product());
    let parameters: Vec<Parameter<E::Wide>> = (0..dims.len())
        .map(|i| Parameter {
            name: format!("input.{i}"),
            shape: dims[i].to_vec(),
            values: converted(&values(i)),
            decay: false,
        })
        .collect();
    let mut gradients = Gradients::<E>::from_parameters(&parameters);
    let mut tape = Tape::<E>::new(Workspace::default());
    let vars: Vec<Var> = (0..dims.len())
        .map(|i| match as_parameters {
            true => tape.parameter(i, &parameters[i].values, dims[i]).unwrap(),
            false => tape.variable(Tensor::new(dims[i], converted(&values(i))).unwrap()),
        })
        .collect();
    let out = operation.record(&mut tape, &vars).unwrap();
    let result = tape.value(out).iter().map(|x| x.to_f64()).collect();
    let seed = converted(&numbers(99, tape.shape(out).len()));
    tape.backward_from(out, seed, &mut gradients).unwrap();
    let found = (0..dims.len()).map(|i| match as_parameters {
        true => gradients.get(i).unwrap().iter().map(|x| x.to_f64()).collect(),
        false => tape.gradient(vars[i]).unwrap().iter().map(|x| x.to_f64()).collect(),
    });
    (result, found.collect())
}

/// Compares bf16 with f64: differences of at most `roundings` roundings of the largest number.
fn check(name: &str, operation: &impl Operation, dims: &[&[usize]], roundings: f64) {
    for as_parameters in [false, true] {
        let (result, found) = gradients::<bf16>(operation, dims, as_parameters);
        let (true_result, truth) = gradients::<f64>(operation, dims, as_parameters);
        for (what, (found, truth)) in
            [(&result, &true_result)].into_iter().chain(found.iter().zip(&truth)).enumerate()
        {
            let largest = truth.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert!(largest > 1e-3, "{name}: {what} does not matter");
            for (i, (found, truth)) in found.iter().zip(truth).enumerate() {
                assert!(
                    (found - truth).abs() <= roundings * ROUNDING * largest,
                    "{name}, {what}[{i}]: {found}, in f64 {truth} (largest {largest})"
                );
            }
        }
    }
}

macro_rules! operation {
    ($name:ident, |$t:ident, $v:ident| $body:expr) => {
        struct $name;
        impl Operation for $name {
            fn record<E: Element>(&self, $t: &mut Tape<'_, E>, $v: &[Var]) -> Result<Var, ShapeError> {
                $body
            }
        }
    };
}

operation!(Linear, |t, v| t.linear(v[0], v[1], Some(v[2]), Some(v[3])));
operation!(OneBias, |t, v| t.add_bias(v[0], v[1]));
operation!(Embedding, |t, v| t.embedding(v[0], &[2, 0, 2, 1]));
operation!(LayerNorm, |t, v| t.layer_norm(v[0], v[1], Some(v[2]), 1e-2));
operation!(RmsNorm, |t, v| t.rms_norm(v[0], v[1], 1e-2));
operation!(Softmax, |t, v| t.softmax(v[0]));
operation!(Gelu, |t, v| t.gelu(v[0]));
operation!(Silu, |t, v| t.silu(v[0]));
operation!(SwiGlu, |t, v| t.swiglu(v[0]));
operation!(Attention, |t, v| {
    t.attention(v[0], AttentionShape { batch: 2, seq: 5, heads: 2, dim: 3, causal: true })
});
operation!(Rope, |t, v| {
    t.rope(v[0], RopeShape { seq: 3, first: 4, heads: 3, rotate: 2, dim: 4, base: 100.0 })
});
operation!(CrossEntropy, |t, v| t.cross_entropy(v[0], &[3, 0, 1, 1, 2]).map(|(var, _)| var));
operation!(Arithmetic, |t, v| {
    let product = t.mul(v[0], v[1])?;
    let sum = t.add(product, v[0])?;
    t.scale(sum, -1.5)
});
operation!(Network, |t, v| {
    let normed = t.rms_norm(v[0], v[2], 1e-2)?;
    let mapped = t.linear(normed, v[1], Some(v[2]), Some(v[0]))?;
    let shape = AttentionShape { batch: 1, seq: 4, heads: 1, dim: 2, causal: true };
    let mixed = t.attention(mapped, shape)?;
    let back = t.softmax(mixed)?;
    t.linear(mapped, v[3], None, Some(back))
});

#[test]
fn gradients_are_those_of_f64_within_the_resolution() {
    check("linear", &Linear, &[&[5, 3], &[4, 3], &[4], &[5, 4]], 1.01);
    check("x + bias", &OneBias, &[&[6, 4], &[4]], 1.01);
    check("embedding", &Embedding, &[&[4, 3]], 1.01);
    check("LayerNorm", &LayerNorm, &[&[4, 7], &[7], &[7]], 1.01);
    check("RMSNorm", &RmsNorm, &[&[4, 7], &[7]], 1.01);
    // These read their own rounded result, or add several roundings up.
    check("softmax", &Softmax, &[&[4, 6]], 3.0);
    check("attention", &Attention, &[&[10, 18]], 3.0);
    check("arithmetic", &Arithmetic, &[&[3, 4], &[3, 4]], 4.0);
    check("GELU", &Gelu, &[&[4, 6]], 1.01);
    check("SiLU", &Silu, &[&[4, 6]], 1.01);
    check("SwiGLU", &SwiGlu, &[&[4, 6]], 1.01);
    check("rope", &Rope, &[&[6, 12]], 1.01);
    check("cross-entropy", &CrossEntropy, &[&[5, 4]], 1.01);
    check("a small network", &Network, &[&[4, 6], &[6, 6], &[6], &[2, 6]], 12.0);
}

#[test]
fn gradients_of_parameters_are_not_rounded() {
    let (_, found) = gradients::<bf16>(&Linear, &[&[5, 3], &[4, 3], &[4], &[5, 4]], true);
    let (_, truth) = gradients::<f64>(&Linear, &[&[5, 3], &[4, 3], &[4], &[5, 4]], true);
    // The weight's and the bias' gradients are sums over the rows; an input's is rounded as any other value.
    for (found, truth) in found.iter().zip(&truth).skip(1).take(2) {
        for (found, truth) in found.iter().zip(truth) {
            assert!((found - truth).abs() < 1e-6, "{found}, in f64 {truth}");
        }
    }
    assert!(found[1].iter().any(|&x| bf16::from_f64(x).to_f64() != x), "some have more bits than bf16");
}

/// Losses of `steps` steps at counting modulo 7, as in `learning.rs`.
fn losses<E: Element>(config: &Config, steps: usize, learning_rate: f64) -> Vec<f64> {
    let at = |i: usize| ((i / 8 * 3 + i % 8) % 7) as u32;
    let tokens: Vec<u32> = (0..32).map(at).collect();
    let targets: Vec<u32> = (0..32).map(|i| (at(i) + 1) % 7).collect();
    let mut model = Transformer::<E>::new(config.clone(), 5).unwrap();
    let mut gradients = Gradients::new(&model);
    let mut optimizer = AdamWOptimizer::new(&model, AdamWConfig::default());
    (0..steps)
        .map(|_| {
            gradients.clear();
            let loss = model.loss_and_gradients(&tokens, &targets, 8, &mut gradients).unwrap();
            let clip = (1.0 / gradients.global_norm()).min(1.0);
            optimizer.step(&mut model, &gradients, learning_rate, clip);
            loss
        })
        .collect()
}

/// Most that a loss in bf16 may differ from f32's over the steps of [`losses`].
const APART: f64 = 0.03;

#[test]
fn losses_follow_those_of_f32_and_fall() {
    let gpt = Config { hidden: 64, ..Config::gpt_char() };
    let gpt = Config { vocabulary: 7, context: 8, width: 32, layers: 2, heads: 4, ..gpt };
    for config in [Config::modern(7, 8, 32, 2, 4), gpt] {
        let (low, single) = (losses::<bf16>(&config, 20, 1e-3), losses::<f32>(&config, 20, 1e-3));
        assert!(low[19] < 0.8 * low[0], "the model learns: {low:?}");
        for (step, (a, b)) in low.iter().zip(&single).enumerate() {
            assert!((a - b).abs() < APART, "step {step}: {a} in bf16, {b} in f32");
        }
        let fast = losses::<bf16>(&config, 40, 1e-2);
        assert!(fast[39] < 0.1, "after 40 steps: {fast:?}");
    }
}

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("upbeat-bf16-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CONTEXT: usize = 16;

fn dataset() -> (Tokenizer, Dataset) {
    let texts = [Text { path: "text".into(), content: "let x = y + 1; // abc\n".repeat(40) }];
    let tokenizer = Tokenizer::from_texts(&texts);
    let dataset = Dataset::new(&texts, &tokenizer, CONTEXT).unwrap();
    (tokenizer, dataset)
}

fn trainer() -> Trainer<bf16> {
    let (tokenizer, dataset) = dataset();
    let config = TrainConfig {
        model: Config::modern(tokenizer.vocabulary(), CONTEXT, 16, 2, 2),
        batch: 3,
        schedule: Schedule { peak: 1e-2, floor: 1e-3, warmup: 4, steps: 12 },
        optimizer: AdamWConfig::default(),
        clip: 1.0,
        seed: 42,
    };
    Trainer::new(config, tokenizer, dataset).unwrap()
}

fn steps(trainer: &mut Trainer<bf16>, count: usize) {
    for _ in 0..count {
        trainer.step().unwrap();
    }
}

fn bits(trainer: &Trainer<bf16>) -> (Vec<u32>, Vec<u64>) {
    let parameters = trainer.model().parameters().iter().flat_map(|p| p.values.iter());
    let losses = trainer.history().losses.iter();
    (parameters.map(|x| x.to_bits()).collect(), losses.map(|x| x.to_bits()).collect())
}

#[test]
fn a_pause_changes_no_bit_and_another_type_is_refused() {
    let folder = Folder::new("exact");
    let mut whole = trainer();
    steps(&mut whole, 12);
    let mut first = trainer();
    steps(&mut first, 5);
    first.save(&Store::create(&folder.0).unwrap()).unwrap();

    assert_eq!(saved_dtype(&folder.0).unwrap().as_deref(), Some("bf16"));
    let refused = Checkpoint::<f32>::load(&folder.0).map(|_| ()).unwrap_err();
    assert!(
        matches!(&refused, CheckpointError::Dtype { saved, asked: "f32" } if saved == "bf16"),
        "{refused}"
    );
    assert!(refused.to_string().contains("go on in bf16"), "{refused}");

    let checkpoint = Checkpoint::<bf16>::load(&folder.0).unwrap();
    let mut second = Trainer::resume(checkpoint, dataset().1).unwrap();
    assert_eq!(bits(&second), bits(&first), "parameters are saved unrounded");
    steps(&mut second, 7);
    assert_eq!(bits(&second), bits(&whole));
}

#[test]
fn what_was_trained_in_bf16_is_used_in_f32() {
    let folder = Folder::new("used");
    let mut trained = trainer();
    steps(&mut trained, 3);
    trained.save(&Store::create(&folder.0).unwrap()).unwrap();
    let (model, _) = load_model::<f32>(&folder.0).unwrap();
    let both = model.parameters().iter().zip(trained.model().parameters());
    assert!(both.into_iter().all(|(a, b)| a.values[..] == b.values[..]));
    let (mut own, mut loaded) = (trained.model().decoder(), model.decoder());
    for token in [1, 3, 2] {
        assert_eq!(own.step(token).unwrap(), loaded.step(token).unwrap());
    }
}
