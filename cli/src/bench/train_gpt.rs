//! Training steps of nanoGPT's character-level model on random tokens: forward, loss, backward, AdamW with decay on
//! every parameter. Time and operations are counted as the PyTorch script of the same model counts them.

use std::time::Instant;

use upbeat::Runtime;
use upbeat_kernel_benches::limits::{Bound, Limits};
use upbeat_kernels::{bf16, pool, Element};
use upbeat_nn::random::Random;
use upbeat_nn::{AdamWConfig, AdamWOptimizer, Config, Gradients, ModelError, Transformer};

use super::record::Record;
use crate::args::{Precision, TrainGptArgs};
use crate::failure::Failure;
use crate::machine::{instruction_set, runtime};
use crate::output::Output;

const LEARNING_RATE: f64 = 1e-3;
const SEED: u64 = 0;
/// Steps before the timed ones.
const WARM_UP: usize = 2;
/// Steps and tolerance of the comparison with f64.
const CHECKED: usize = 20;
const TOLERANCE: f64 = 1e-3;
/// The same for bf16, whose logits alone are rounded by 2⁻⁸ of themselves.
const BF16_TOLERANCE: f64 = 5e-2;

/// The most that the runtime's workers can compute together, FLOP/s: the best of some measurements.
fn peak(runtime: &Runtime) -> f64 {
    const MEASUREMENTS: usize = 12;
    let limits = Limits::new(runtime.num_workers());
    let rate = |_| 1e9 * limits.measure(runtime, Bound::Arithmetic);
    (0..MEASUREMENTS).map(rate).fold(0.0, f64::max)
}

/// A model in training on one fixed random batch.
struct Training<E: Element> {
    model: Transformer<E>,
    optimizer: AdamWOptimizer<E>,
    gradients: Gradients<E>,
    tokens: Vec<u32>,
    targets: Vec<u32>,
    context: usize,
}

impl<E: Element> Training<E> {
    fn new(batch: usize) -> Result<Self, Failure> {
        let config = Config::gpt_char();
        let (context, vocabulary) = (config.context, config.vocabulary as u64);
        let mut model = Transformer::new(config, SEED)?;
        for parameter in model.parameters_mut() {
            parameter.decay = true;
        }
        let mut random = Random::new(SEED + 1);
        let mut draw = || (0..batch * context).map(|_| random.below(vocabulary) as u32).collect::<Vec<_>>();
        let (tokens, targets) = (draw(), draw());
        let optimizer = AdamWOptimizer::new(&model, AdamWConfig::default());
        let gradients = Gradients::new(&model);
        Ok(Self { model, optimizer, gradients, tokens, targets, context })
    }

    fn step(&mut self) -> Result<f64, Failure> {
        self.gradients.clear();
        let loss =
            self.model.loss_and_gradients(&self.tokens, &self.targets, self.context, &mut self.gradients)?;
        self.optimizer.step(&mut self.model, &self.gradients, LEARNING_RATE, 1.0);
        Ok(loss)
    }
}

/// Length of the step along the gradient that [`Training::verify`] makes; short enough for the loss to be nearly
/// straight there, long enough for its change to stand out of f32's rounding.
const ALONG: f64 = 0.02;

impl<E: Element> Training<E> {
    /// Checks the answers before anything is timed: a fresh model's loss is that of guessing, and along the gradient it
    /// changes as much as the gradient's norm says (a central difference).
    fn verify(&mut self) -> Result<(), Failure> {
        self.gradients.clear();
        let loss =
            self.model.loss_and_gradients(&self.tokens, &self.targets, self.context, &mut self.gradients)?;
        let guessing = (self.model.config().vocabulary as f64).ln();
        // Half the variance of the fresh logits more than guessing, give or take the luck of the few targets of a small batch.
        if loss.is_nan() || (loss - guessing).abs() > 0.3 {
            return Err(Failure::Work(format!(
                "the first loss is {loss:.4}, and guessing gives {guessing:.4}"
            )));
        }
        let norm = self.gradients.global_norm();
        let fresh: Vec<_> = self.model.parameters().iter().map(|p| p.values.clone()).collect();
        let mut losses = [0.0; 2];
        for (loss, length) in losses.iter_mut().zip([ALONG, -ALONG]) {
            for (i, parameter) in self.model.parameters_mut().iter_mut().enumerate() {
                parameter.values.copy_from_slice(&fresh[i]);
                if let Some(gradient) = self.gradients.get(i) {
                    E::Wide::add_scaled(gradient, length / norm, &mut parameter.values)
                        .map_err(ModelError::from)?;
                }
            }
            *loss = self.model.loss(&self.tokens, &self.targets, self.context)?;
        }
        for (parameter, fresh) in self.model.parameters_mut().iter_mut().zip(&fresh) {
            parameter.values.copy_from_slice(fresh);
        }
        let slope = (losses[0] - losses[1]) / (2.0 * ALONG);
        if (slope / norm - 1.0).abs() < 0.03 {
            Ok(())
        } else {
            Err(Failure::Work(format!("the loss changes by {slope:.4} along a gradient of norm {norm:.4}")))
        }
    }
}

/// Runs the bench.
pub(super) fn run(args: &TrainGptArgs, output: &mut Output) -> Result<(), Failure> {
    instruction_set()?;
    let most = 1 << 16;
    if args.batch == 0 || args.batch > most || args.steps == 0 || args.steps > most {
        return Err(Failure::Input(format!("--batch and --steps must be between 1 and {most}")));
    }
    let runtime = runtime(args.workers)?;
    match (args.check, args.dtype) {
        (true, Precision::F32) => check::<f32>(&runtime, args, TOLERANCE, output),
        (true, Precision::Bf16) => check::<bf16>(&runtime, args, BF16_TOLERANCE, output),
        (true, Precision::F64) => {
            Err(Failure::Input("--check compares with f64: give --dtype f32 or bf16".into()))
        }
        (false, Precision::F32) => time::<f32>(&runtime, args, output),
        (false, Precision::Bf16) => time::<bf16>(&runtime, args, output),
        (false, Precision::F64) => time::<f64>(&runtime, args, output),
    }
}

fn time<E: Element>(runtime: &Runtime, args: &TrainGptArgs, output: &mut Output) -> Result<(), Failure> {
    let precision = E::NAME;
    // The peak is that of the f32 vectors; the f64 twins are references, not meant to be near a limit.
    let peak = (args.dtype != Precision::F64).then(|| peak(runtime));
    let mut training = Training::<E>::new(args.batch)?;
    runtime.install(|_| training.verify())?;
    let mut losses = Vec::new();
    let mut times = Vec::new();
    runtime.install(|_| -> Result<(), Failure> {
        for step in 0..WARM_UP + args.steps {
            let start = Instant::now();
            losses.push(training.step()?);
            if step >= WARM_UP {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    })?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    let tokens = training.tokens.len() as f64;
    let flops = training.model.flops_per_token();
    let work = |which: &str| {
        format!(
            "gpt-char batch {} {precision} {} workers, {which} of {} steps",
            args.batch,
            runtime.num_workers(),
            args.steps
        )
    };
    let rate = |which: &str, seconds: f64| Record {
        bench: "train-gpt",
        work: work(which),
        unit: "tokens/s",
        value: tokens / seconds,
        limit: peak.map(|p| p / flops),
        peer: Some("pytorch eager".into()),
        peer_value: None,
        goal: Some(1.0),
        met: None,
    };
    let gflops = |which: &str, seconds: f64| Record {
        unit: "GFLOP/s",
        value: flops * tokens / seconds / 1e9,
        limit: peak.map(|p| p / 1e9),
        peer: None,
        goal: None,
        ..rate(which, seconds)
    };
    let memory = pool::stats().peak_bytes as f64 / f64::from(1 << 20);
    let peak_memory = Record {
        unit: "MiB",
        value: memory,
        limit: None,
        peer: None,
        goal: None,
        work: format!(
            "gpt-char batch {} {precision} {} workers, memory at most",
            args.batch,
            runtime.num_workers()
        ),
        ..rate("best", best)
    };
    if args.json {
        for record in [
            rate("best", best),
            rate("median", median),
            gflops("best", best),
            gflops("median", median),
            peak_memory,
        ] {
            output.line(record.to_json());
        }
        return Ok(());
    }
    output.line(format_args!(
        "gpt-char {precision}: {} parameters, batch {}, {} workers, loss {first:.4} -> {last:.4}",
        training.model.parameter_count(),
        args.batch,
        runtime.num_workers()
    ));
    for (which, seconds) in [("best", best), ("median", median)] {
        let achieved = flops * tokens / seconds;
        let share = peak.map_or(String::new(), |p| format!(", {:.1} % of peak", 100.0 * achieved / p));
        output.line(format_args!(
            "{which:<7} {:>9.1} ms a step, {:.0} tokens/s, {:.1} GFLOP/s{share}",
            seconds * 1e3,
            tokens / seconds,
            achieved / 1e9
        ));
    }
    output.line(format_args!("memory  {memory:.1} MiB of the pool at most"));
    if let Some(peak) = peak {
        output.line(format_args!("peak    {:.1} GFLOP/s measured", peak / 1e9));
    }
    Ok(())
}

/// Compares losses over [`CHECKED`] steps at batch 1 with an f64 run from the same parameters.
fn check<E: Element>(
    runtime: &Runtime,
    args: &TrainGptArgs,
    tolerance: f64,
    output: &mut Output,
) -> Result<(), Failure> {
    let (mut fast, mut exact) = (Training::<E>::new(1)?, Training::<f64>::new(1)?);
    for (to, from) in exact.model.parameters_mut().iter_mut().zip(fast.model.parameters()) {
        for (to, from) in to.values.iter_mut().zip(from.values.iter()) {
            *to = from.to_f64();
        }
    }
    let mut worst = 0.0f64;
    for step in 1..=CHECKED {
        let (a, b) = runtime.install(|_| Ok::<_, Failure>((fast.step()?, exact.step()?)))?;
        worst = worst.max((a - b).abs());
        if !args.json {
            output.line(format_args!(
                "step {step:>2}  {} {a:.6}  f64 {b:.6}  difference {:.1e}",
                E::NAME,
                (a - b).abs()
            ));
        }
    }
    let met = worst <= tolerance;
    if args.json {
        let record = Record {
            bench: "train-gpt",
            work: format!(
                "largest difference of the losses of {} and f64, {CHECKED} steps, batch 1",
                E::NAME
            ),
            unit: "nats",
            value: worst,
            limit: None,
            peer: None,
            peer_value: None,
            goal: Some(tolerance),
            met: Some(met),
        };
        output.line(record.to_json());
    }
    if met {
        Ok(())
    } else {
        Err(Failure::Work(format!(
            "{} and f64 losses differ by {worst:.2e}, more than {tolerance:.0e}",
            E::NAME
        )))
    }
}
