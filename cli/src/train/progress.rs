//! What is seen while training: a bar on a terminal, and lines that stay.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use upbeat_nn::train::StepReport;

use crate::output::Output;

/// Rates are means over this long, so that the bar is steady and still follows.
const WINDOW: Duration = Duration::from_secs(2);

/// The bar and the rates.
pub(super) struct Progress {
    bar: ProgressBar,
    flops_per_token: f64,
    /// Start, tokens and time in steps of the current window.
    window: (Instant, usize, Duration),
    rate: Option<f64>,
    loss: f64,
}

impl Progress {
    /// A bar from `done` to `steps` steps; on standard error, and only where that is a terminal.
    pub(super) fn new(done: u64, steps: u64, flops_per_token: f64) -> Self {
        let bar = ProgressBar::new(steps).with_position(done);
        let style = ProgressStyle::with_template("{bar:28} {pos}/{len}  {msg}  {eta} left");
        bar.set_style(style.expect("the template is valid"));
        bar.reset_eta();
        Self { bar, flops_per_token, window: (Instant::now(), 0, Duration::ZERO), rate: None, loss: f64::NAN }
    }

    /// Counts a step. Only time within steps counts towards the rates, not evaluations and samples.
    pub(super) fn step(&mut self, report: &StepReport) {
        let (start, tokens, busy) = &mut self.window;
        *tokens += report.tokens;
        *busy += report.end - report.start;
        if start.elapsed() >= WINDOW || self.rate.is_none() {
            self.rate = Some(*tokens as f64 / busy.as_secs_f64());
        }
        if start.elapsed() >= WINDOW {
            self.window = (Instant::now(), 0, Duration::ZERO);
        }
        self.loss = if self.loss.is_nan() { report.loss } else { 0.9 * self.loss + 0.1 * report.loss };
        self.bar.set_position(report.step);
        self.bar.set_message(self.rates());
    }

    /// Loss, tokens/s and GFLOP/s as of now, in words.
    pub(super) fn rates(&self) -> String {
        let Some(rate) = self.rate else { return "before the first step".into() };
        format!("loss {:.3}  {rate:.0} tokens/s  {:.1} GFLOP/s", self.loss, rate * self.flops_per_token / 1e9)
    }

    /// Writes a line above the bar.
    pub(super) fn line(&self, output: &mut Output, line: &str) {
        self.bar.suspend(|| output.line(line));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
