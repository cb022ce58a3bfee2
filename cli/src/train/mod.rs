//! `upbeat train`: reads the text, trains on the runtime, saves, samples, and reports.
//!
//! The training itself is `upbeat_nn`'s; this file decides when to evaluate, sample, save and stop.

mod plan;
mod progress;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use upbeat::Runtime;
use upbeat_kernels::{bf16, pool, Element, Isa};
use upbeat_nn::checkpoint::Store;
use upbeat_nn::data::Tokenizer;
use upbeat_nn::generation::generate;
use upbeat_nn::sampling::Sampler;
use upbeat_nn::train::{Checkpoint, Trainer};

use crate::args::{DeviceArg, Dtype, TrainArgs};
use crate::failure::Failure;
use crate::interrupt;
use crate::machine::{instruction_set, runtime};
use crate::output::Output;
use crate::report::summary::{Facts, Summary};
use crate::report::{svg, trace};
use progress::Progress;

/// The type that parameters are kept and saved in, and that texts are generated in, whatever a training computes in.
pub(crate) type Float = f32;

/// Windows of the held-out part that an evaluation reads.
const EVALUATED: usize = 64;
/// Characters of a sample.
const SAMPLE: usize = 240;
/// Steps after which memory has been asked for once; later requests are counted as growth.
const WARM_STEPS: u64 = 3;
/// Folder of the checkpoints within the output folder.
pub(crate) const CHECKPOINTS: &str = "checkpoint";

/// How often things happen, in steps.
struct Pace {
    last: u64,
    evaluate: u64,
    sample: u64,
    save: u64,
}

impl Pace {
    fn of(args: &TrainArgs, steps: u64) -> Self {
        Self {
            last: args.stop_after.unwrap_or(steps).min(steps),
            evaluate: args.evaluate_every.unwrap_or(steps / 10).max(1),
            sample: args.sample_every.unwrap_or((steps / 4).max(1)),
            save: args.save_every.unwrap_or(steps / 4).max(1),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &TrainArgs, output: &mut Output) -> Result<(), Failure> {
    if matches!(args.device, DeviceArg::Vulkan | DeviceArg::Which(_)) {
        return Err(Failure::Input(
            "--device: training runs on the CPU alone; leave it out, and let `upbeat generate --device vulkan` run the trained \
             model on a GPU"
                .to_owned(),
        ));
    }
    let isa = instruction_set()?;
    let runtime = runtime(args.workers)?;
    let source = plan::read_source(args)?;
    match plan::dtype(args, &args.out.join(CHECKPOINTS))? {
        Dtype::F32 => run_in::<f32>(args, output, &runtime, isa, source),
        Dtype::Bf16 => run_in::<bf16>(args, output, &runtime, isa, source),
    }
}

/// The command with a training that computes in `E`.
fn run_in<E: Element>(
    args: &TrainArgs,
    output: &mut Output,
    runtime: &Runtime,
    isa: Isa,
    source: plan::Source,
) -> Result<(), Failure> {
    let folder = args.out.join(CHECKPOINTS);
    // Everything that can be wrong with the input is found before the output folder is touched.
    let (mut trainer, store) = if args.resume {
        let checkpoint = Checkpoint::<E>::load(&folder)?;
        let trainer = runtime.install(|_| plan::resume(args, checkpoint, &source.texts))?;
        (trainer, Store::create(&folder)?)
    } else {
        let trainer = runtime.install(|_| plan::begin::<E>(args, &source.texts))?;
        (trainer, fresh_store(&folder, output)?)
    };
    interrupt::listen()?;
    let model = trainer.model().config();
    output.line(format_args!(
        "upbeat trains {:.2} million parameters ({} layers, width {}, context {}) on {}\n\
         {} kinds of characters, {} to train on, {} held out; {}, {} workers, {}",
        trainer.model().parameter_count() as f64 / 1e6,
        model.layers,
        model.width,
        model.context,
        source.described,
        trainer.tokenizer().vocabulary(),
        trainer.dataset().train().len(),
        trainer.dataset().held_out().len(),
        E::NAME,
        runtime.num_workers(),
        isa.name(),
    ));
    drop(source);
    let pace = Pace::of(args, trainer.config().schedule.steps);
    let mut session = Session::new(runtime, store, pace, &trainer);
    // The loop runs as one task of the runtime, so that no step pays for a way into it.
    let outcome = runtime.install(|_| session.run(&mut trainer, output));
    session.progress.finish();
    if let Err(failure) = &outcome {
        if !matches!(failure, Failure::Interrupted) {
            return outcome;
        }
    }
    session.report(&args.out, &trainer, output)?;
    outcome
}

/// An empty place for checkpoints: one of an earlier training is moved aside, never replaced.
fn fresh_store(folder: &Path, output: &mut Output) -> Result<Store, Failure> {
    let store = Store::create(folder)?;
    if !store.holds_checkpoint()? {
        return Ok(store);
    }
    drop(store);
    let aside = (1..).map(|i| folder.with_file_name(format!("{CHECKPOINTS}-{i}"))).find(|p| !p.exists());
    let aside: PathBuf = aside.expect("some number is free");
    fs::rename(folder, &aside).map_err(|e| Failure::write(&aside, &e))?;
    output.line(format_args!("the checkpoint of an earlier training is now in {}", aside.display()));
    Ok(Store::create(folder)?)
}

/// A training as the command runs it.
struct Session<'a> {
    runtime: &'a Runtime,
    store: Store,
    pace: Pace,
    progress: Progress,
    recorder: trace::Recorder,
    facts: Facts,
    saved: Option<u64>,
}

impl<'a> Session<'a> {
    fn new<E: Element>(runtime: &'a Runtime, store: Store, pace: Pace, trainer: &Trainer<E>) -> Self {
        let done = trainer.step_count();
        let steps = trainer.config().schedule.steps;
        Self {
            progress: Progress::new(done, steps, trainer.model().flops_per_token()),
            recorder: trace::Recorder::start(runtime),
            facts: Facts::new(runtime.metrics()),
            saved: None,
            runtime,
            store,
            pace,
        }
    }

    /// Steps until the last one or until somebody asks to stop; then saves.
    fn run<E: Element>(&mut self, trainer: &mut Trainer<E>, output: &mut Output) -> Result<(), Failure> {
        let begun = trainer.step_count();
        if begun == 0 {
            self.evaluate(trainer, output)?;
        }
        while trainer.step_count() < self.pace.last && !interrupt::asked() {
            let report = trainer.step()?;
            self.recorder.step(&report);
            self.progress.step(&report);
            self.facts.step(&report);
            if report.step - begun == WARM_STEPS {
                self.facts.warm = Some(pool::stats());
            }
            let last = report.step == self.pace.last;
            if report.step.is_multiple_of(self.pace.evaluate) || last {
                self.evaluate(trainer, output)?;
            }
            if self.pace.sample > 0 && report.step.is_multiple_of(self.pace.sample) && !last {
                self.sample(trainer, output)?;
            }
            if report.step.is_multiple_of(self.pace.save) && !last {
                self.save(trainer)?;
            }
        }
        self.facts.finished(self.runtime.metrics(), pool::stats());
        if self.saved != Some(trainer.step_count()) {
            self.save(trainer)?;
        }
        if interrupt::asked() {
            return Err(Failure::Interrupted);
        }
        if self.pace.sample > 0 {
            self.sample(trainer, output)?;
        }
        Ok(())
    }

    fn evaluate<E: Element>(&mut self, trainer: &mut Trainer<E>, output: &mut Output) -> Result<(), Failure> {
        let start = Instant::now();
        let held_out = trainer.evaluate(EVALUATED)?;
        self.recorder.span("evaluate", start, start.elapsed());
        let line = format!(
            "step {:>5}  {}  held-out loss {held_out:.3}",
            trainer.step_count(),
            self.progress.rates()
        );
        self.progress.line(output, &line);
        Ok(())
    }

    fn save<E: Element>(&mut self, trainer: &Trainer<E>) -> Result<(), Failure> {
        let start = Instant::now();
        trainer.save(&self.store)?;
        self.recorder.span("save", start, start.elapsed());
        self.saved = Some(trainer.step_count());
        Ok(())
    }

    fn sample<E: Element>(&mut self, trainer: &Trainer<E>, output: &mut Output) -> Result<(), Failure> {
        let start = Instant::now();
        let text = sampled(trainer, trainer.step_count())?;
        self.recorder.span("sample", start, start.elapsed());
        let indented: String = text.trim_matches('\n').lines().map(|l| format!("\n    {l}")).collect();
        self.progress.line(output, &format!("a sample after step {}:\n{indented}\n", trainer.step_count()));
        Ok(())
    }

    /// Writes the loss curve and the trace and prints the summary.
    fn report<E: Element>(
        self,
        out: &Path,
        trainer: &Trainer<E>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let curve = out.join("loss.svg");
        fs::write(&curve, svg::loss_curve(trainer.history())).map_err(|e| Failure::write(&curve, &e))?;
        let trace = out.join("trace.json");
        self.recorder.write(self.runtime, &trace).map_err(|e| Failure::write(&trace, &e))?;
        let summary = Summary {
            dtype: E::NAME,
            facts: &self.facts,
            history: trainer.history(),
            flops_per_token: trainer.model().flops_per_token(),
            steps: trainer.config().schedule.steps,
            curve: &curve,
            trace: &trace,
            checkpoint: self.store.folder(),
        };
        output.text(summary);
        Ok(())
    }
}

/// What the model writes after the start of a doc comment, or, where the vocabulary lacks that, of the held-out text.
/// After a bare line break small models like to indent without end.
fn sampled<E: Element>(trainer: &Trainer<E>, seed: u64) -> Result<String, Failure> {
    let tokenizer = trainer.tokenizer();
    let mut prompt = tokenizer.encode("\n/// ");
    if prompt.contains(&Tokenizer::UNKNOWN) {
        let held_out = trainer.dataset().held_out();
        prompt = held_out[..held_out.len().min(8)].to_vec();
    }
    let mut sampler = Sampler::new(0.8, 0.95, seed)?;
    let mut text = tokenizer.decode(&prompt);
    let context = trainer.config().model.context;
    let mut decoder = trainer.model().decoder();
    generate(&mut decoder, context, &prompt, SAMPLE, &mut sampler, |token| {
        text.push(tokenizer.character(token));
        !interrupt::asked()
    })?;
    Ok(text)
}

/// A duration as a person says it.
pub(crate) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
