//! The account at the end of a training: losses, speed, and where the time and the memory went.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use upbeat::Metrics;
use upbeat_kernels::pool::PoolStats;
use upbeat_nn::train::{History, StepReport};

use super::command;
use crate::train::spoken;

/// What was measured while training.
pub(crate) struct Facts {
    before: Metrics,
    after: Metrics,
    /// The pool after the first few steps.
    pub(crate) warm: Option<PoolStats>,
    pool: PoolStats,
    steps: u64,
    tokens: usize,
    forward: Duration,
    backward: Duration,
    update: Duration,
}

impl Facts {
    /// Begins to count; `metrics` are the runtime's as of now.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            after: metrics.clone(),
            before: metrics,
            warm: None,
            pool: PoolStats::default(),
            steps: 0,
            tokens: 0,
            forward: Duration::ZERO,
            backward: Duration::ZERO,
            update: Duration::ZERO,
        }
    }

    /// Counts a step.
    pub(crate) fn step(&mut self, report: &StepReport) {
        self.steps += 1;
        self.tokens += report.tokens;
        self.forward += report.backward - report.start;
        self.backward += report.update - report.backward;
        self.update += report.end - report.update;
    }

    /// Ends the count.
    pub(crate) fn finished(&mut self, metrics: Metrics, pool: PoolStats) {
        self.after = metrics;
        self.pool = pool;
    }
}

/// The account, for printing.
pub(crate) struct Summary<'a> {
    /// The type that the training computes in.
    pub(crate) dtype: &'static str,
    pub(crate) facts: &'a Facts,
    pub(crate) history: &'a History,
    pub(crate) flops_per_token: f64,
    /// Steps of the whole training.
    pub(crate) steps: u64,
    pub(crate) curve: &'a Path,
    pub(crate) trace: &'a Path,
    pub(crate) checkpoint: &'a Path,
}

/// The command line as it was given.
fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned())
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { before, after, warm, pool, steps, tokens, forward, backward, update } = self.facts;
        let in_steps = *forward + *backward + *update;
        let metrics = after.since(before);
        let made = self.history.losses.len();
        writeln!(f, "\n{made} of {} steps; {steps} of them now, in {}", self.steps, spoken(metrics.uptime))?;
        if let Some(loss) = self.history.recent_loss(made / 50) {
            writeln!(f, "  training loss    {loss:.3} nats a character")?;
        }
        if let Some((step, loss)) = self.history.held_out.last() {
            let bits = loss / std::f64::consts::LN_2;
            writeln!(f, "  held-out loss    {loss:.3} nats ({bits:.2} bits) a character, after step {step}")?;
        }
        if *steps > 0 {
            let rate = *tokens as f64 / in_steps.as_secs_f64();
            let gflops = rate * self.flops_per_token / 1e9;
            writeln!(
                f,
                "  speed            {rate:.0} tokens/s, {gflops:.1} GFLOP/s in steps, {}",
                self.dtype
            )?;
            let [forward, backward, update] =
                [forward, backward, update].map(|t| 100.0 * t.as_secs_f64() / in_steps.as_secs_f64());
            writeln!(
                f,
                "  time in steps    forward {forward:.0} %, backward {backward:.0} %, clipping and optimizer {update:.0} %"
            )?;
        }
        let share = |busy: Duration| 100.0 * busy.as_secs_f64() / metrics.uptime.as_secs_f64().max(1e-9);
        let busy: Vec<String> =
            metrics.workers.iter().enumerate().map(|(i, w)| format!("{i}: {:.1} %", share(w.busy))).collect();
        writeln!(f, "  workers busy     {}", busy.join("   "))?;
        let total = metrics.total();
        let [core, cache, node, remote] = total.steals;
        writeln!(
            f,
            "  scheduler        {} beats, {} promotions, {} steals ({core} in a core, {cache} in a cache, {node} in a \
             node, {remote} between nodes), {} failed, {} parks",
            total.beats,
            total.promotions,
            total.steals.iter().sum::<u64>(),
            total.failed_steals,
            total.parks
        )?;
        let mib = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
        write!(f, "  memory           {:.1} MiB at most; {} allocations", mib(pool.peak_bytes), pool.fresh)?;
        match warm {
            Some(warm) => {
                writeln!(f, ", {} after the first steps; {} reuses", pool.fresh - warm.fresh, pool.reused)?
            }
            None => writeln!(f, "; {} reuses", pool.reused)?,
        }
        writeln!(f, "  loss curve       {}", self.curve.display())?;
        writeln!(f, "  trace            {} (open it at ui.perfetto.dev)", self.trace.display())?;
        writeln!(f, "  checkpoint       {}", self.checkpoint.display())?;
        let out = self.checkpoint.parent().unwrap_or(self.checkpoint).display();
        if (made as u64) < self.steps {
            writeln!(f, "go on with: {}", command::resuming(arguments()))?;
        }
        let program =
            std::env::args().next().map_or_else(|| "upbeat".to_owned(), |name| command::quoted(&name));
        let out = command::quoted(&out.to_string());
        writeln!(f, "write with: {program} generate --checkpoint {out} --prompt \"fn main\"")
    }
}
