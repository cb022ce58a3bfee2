//! Many requests to one model whose weights do not fit the last-level cache, served in three ways in turn: one request alone, one task a
//! request, and continuous batching. Tokens must be the same in all of them before a time is printed.

mod load;
mod plan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use upbeat::Runtime;
use upbeat_benches::report::met;
use upbeat_benches::timing::Samples;
use upbeat_nn::generation::generate;
use upbeat_nn::serving::{Request, Server, ServerOptions, ServerStats};
use upbeat_nn::Transformer;

use self::load::{drive, Answer, Times};
use self::plan::{bytes, Plan};
use super::record::Record;
use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::machine::{instruction_set, runtime};
use crate::output::Output;
use crate::progress::Progress;

const SEED: u64 = 1;
/// What continuous batching must reach: tokens a second beside one task a request, and the 99th percentile of the time a token
/// beside one request alone.
const RATE: f64 = 3.0;
const DELAY: f64 = 2.0;

const ALONE: &str = "one request alone";
const TASKS: &str = "one task a request";
const BATCHED: &str = "continuous batching";

/// What was measured.
struct Outcome {
    alone: Times,
    tasks: Times,
    batched: Times,
    stats: ServerStats,
}

/// Runs the bench.
pub(super) fn run(args: &ServeArgs, output: &mut Output) -> Result<(), Failure> {
    instruction_set()?;
    let plan = Plan::new(args)?;
    let runtime = Arc::new(runtime(args.workers)?);
    let progress = Progress::new();
    progress.at(0.0, "making the weights");
    let model = Arc::new(runtime.install(|_| Transformer::<f32>::new(plan.config.clone(), SEED))?);
    let outcome = measure(args, &plan, &runtime, &model, &progress)?;
    drop(progress);
    let title = format!(
        "{:.1}M parameters, {} MiB of weights (last-level cache {} MiB), {} workers, {} clients of {} requests, prompts of {}",
        model.parameter_count() as f64 / 1e6,
        bytes(&plan.config) >> 20,
        plan.cache >> 20,
        runtime.num_workers(),
        plan.clients,
        plan.each,
        plan.prompt,
    );
    if args.json {
        records(&title, &outcome, |record| output.line(record.to_json()));
    } else {
        text(&title, &plan, &outcome, output);
    }
    Ok(())
}

/// A request through a decoder of its own, on the worker that this is.
fn generated(model: &Transformer<f32>, request: Request, mut answer: Answer) -> Result<Answer, Failure> {
    let Request { prompt, tokens, mut sampler, .. } = request;
    generate(&mut model.decoder(), model.config().context, &prompt, tokens, &mut sampler, |token| {
        answer.push(token);
        true
    })?;
    Ok(answer)
}

/// The ways in turn, round by round.
fn measure(
    args: &ServeArgs,
    plan: &Plan,
    runtime: &Arc<Runtime>,
    model: &Arc<Transformer<f32>>,
    progress: &Progress,
) -> Result<Outcome, Failure> {
    let options = ServerOptions {
        batch: plan.clients,
        rows: args.rows,
        stretch: Some(args.stretch).filter(|stretch| *stretch != 0.0),
        ..ServerOptions::default()
    };
    let server = Server::new(runtime.clone(), model.clone(), options)?;
    let alone = |request| runtime.install(|_| generated(model, request, Answer::begin()));
    let task = |request| {
        let (model, answer) = (model.clone(), Answer::begin());
        runtime
            .spawn(move || generated(&model, request, answer))
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    };
    let batched = |request| -> Result<Answer, Failure> {
        let mut answer = Answer::begin();
        let mut reply = server.submit(request)?;
        while let Some(token) = reply.next_token()? {
            answer.push(token);
        }
        Ok(answer)
    };
    // Weights, pages and pooled memory are touched before anything counts.
    progress.at(0.0, "warming up");
    let mut first = plan.request(0)?;
    first.tokens = first.tokens.min(4);
    for way in [&alone as &dyn Fn(Request) -> Result<Answer, Failure>, &task, &batched] {
        way(first.clone())?;
    }

    let [mut alone_times, mut task_times, mut batched_times] = [(); 3].map(|()| Times::default());
    let before = server.stats();
    let at = |round: usize, part: f64, way: &str| {
        progress.at(
            (round as f64 + part) / args.rounds as f64,
            &format!("round {} of {}: {way}", round + 1, args.rounds),
        );
    };
    for round in 0..args.rounds {
        at(round, 0.0, ALONE);
        let began = Instant::now();
        let lone = alone(plan.request(round % plan.clients)?)?;
        alone_times.add(began.elapsed(), std::slice::from_ref(&lone));
        // Clients begin a token's time apart.
        let gap = Duration::from_nanos(alone_times.token.median().clamp(0.0, 1e9) as u64);
        at(round, 0.1, TASKS);
        let expected = drive(plan, gap, &mut task_times, task)?;
        at(round, 0.8, BATCHED);
        let found = drive(plan, gap, &mut batched_times, batched)?;
        same(&[lone], &expected[round % plan.clients..][..1], ALONE)?;
        same(&found, &expected, BATCHED)?;
    }
    let mut stats = server.stats();
    stats.steps -= before.steps;
    stats.rows -= before.rows;
    server.finish();
    Ok(Outcome { alone: alone_times, tasks: task_times, batched: batched_times, stats })
}

/// Fails unless both ways gave the same tokens.
fn same(found: &[Answer], expected: &[Answer], way: &str) -> Result<(), Failure> {
    let differs = found.iter().zip(expected).position(|(a, b)| a.tokens != b.tokens);
    match differs {
        _ if found.len() != expected.len() => {
            Err(Failure::Work(format!("{way} left requests without an answer")))
        }
        Some(number) => {
            Err(Failure::Work(format!("{way} draws other tokens for request {number} than {TASKS}")))
        }
        None => Ok(()),
    }
}

/// Milliseconds below which a share of the samples lies.
fn ms(samples: &Samples, share: f64) -> f64 {
    samples.quantile(share) / 1e6
}

const SHARES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

impl Outcome {
    fn ways(&self) -> [(&'static str, &Times); 3] {
        [(ALONE, &self.alone), (TASKS, &self.tasks), (BATCHED, &self.batched)]
    }

    fn speedup(&self) -> f64 {
        self.batched.rate() / self.tasks.rate()
    }

    fn delay(&self) -> f64 {
        ms(&self.batched.token, 0.99) / ms(&self.alone.token, 0.99)
    }
}

/// Every number as a record; those with goals first.
fn records(title: &str, outcome: &Outcome, mut each: impl FnMut(Record)) {
    let record = |work: String, unit, value| Record {
        bench: "serve",
        work: format!("{work}; {title}"),
        unit,
        value,
        limit: None,
        peer: None,
        peer_value: None,
        goal: None,
        met: None,
    };
    each(Record {
        peer: Some(TASKS.into()),
        peer_value: Some(outcome.tasks.rate()),
        goal: Some(RATE),
        met: Some(outcome.speedup() >= RATE),
        ..record(BATCHED.into(), "tokens/s", outcome.batched.rate())
    });
    each(Record {
        peer: Some(ALONE.into()),
        peer_value: Some(ms(&outcome.alone.token, 0.99)),
        goal: Some(DELAY),
        met: Some(outcome.delay() <= DELAY),
        ..record(format!("{BATCHED}, time a token, p99, at most"), "ms", ms(&outcome.batched.token, 0.99))
    });
    for (way, times) in outcome.ways() {
        each(record(way.into(), "tokens/s", times.rate()));
        for (what, samples) in
            [("time a token", &times.token), ("first token", &times.first), ("whole request", &times.request)]
        {
            for (share, name) in SHARES {
                each(record(format!("{way}, {what}, {name}"), "ms", ms(samples, share)));
            }
        }
    }
}

fn text(title: &str, plan: &Plan, outcome: &Outcome, output: &mut Output) {
    output.line(title);
    if bytes(&plan.config) <= plan.cache {
        output.line("the weights fit the last-level cache, so the numbers say little about larger models");
    }
    output.line(format_args!(
        "{:<20} {:>9}   {:>25}   {:>25}   {:>25}",
        "", "tokens/s", "ms a token", "ms to the first token", "ms a request"
    ));
    let names = SHARES.map(|(_, name)| format!("{name:>8}")).concat();
    output.line(format_args!("{:<20} {:>9}   {names:>25}   {names:>25}   {names:>25}", "", ""));
    for (way, times) in outcome.ways() {
        let shares =
            |samples: &Samples| SHARES.map(|(share, _)| format!("{:>8.1}", ms(samples, share))).concat();
        output.line(format_args!(
            "{way:<20} {:>9.1}   {:>25}   {:>25}   {:>25}",
            times.rate(),
            shares(&times.token),
            shares(&times.first),
            shares(&times.request),
        ));
    }
    let ServerStats { steps, rows, level, .. } = outcome.stats;
    output.line(format_args!(
        "{steps} steps of {:.1} tokens; memory {}; every request drew the same tokens in each way",
        rows as f64 / steps.max(1) as f64,
        level.name(),
    ));
    let (speedup, delay) = (outcome.speedup(), outcome.delay());
    output.line(format_args!(
        "{speedup:.2} times the tokens/s of {TASKS} (goal at least {RATE}: {})",
        met(speedup >= RATE)
    ));
    output.line(format_args!(
        "{delay:.2} times the p99 time a token of {ALONE} (goal at most {DELAY}: {})",
        met(delay <= DELAY)
    ));
}
