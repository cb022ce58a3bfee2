//! The trace of a training: rows of the workers' busy spans from the runtime, and a row of what the trainer did.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use upbeat::{write_chrome_trace, Runtime, Span};
use upbeat_nn::train::StepReport;

/// Spans of the trainer that are kept, so that a long training cannot fill memory.
const CAPACITY: usize = 1 << 16;

/// Collects spans.
pub(crate) struct Recorder {
    /// One moment on both clocks: the trace's, and the one that steps are timed with.
    zero: (Duration, Instant),
    row: usize,
    spans: Vec<Span>,
}

impl Recorder {
    /// Starts the runtime's trace and one's own.
    pub(crate) fn start(runtime: &Runtime) -> Self {
        runtime.start_trace();
        let zero = (upbeat::trace_clock(), Instant::now());
        Self { zero, row: runtime.num_workers(), spans: Vec::new() }
    }

    /// Adds what a step did.
    pub(crate) fn step(&mut self, report: &StepReport) {
        let StepReport { step, start, backward, update, end, .. } = *report;
        let name = format!("step {step}");
        for (name, from, to) in [
            (&*name, start, end),
            ("forward", start, backward),
            ("backward", backward, update),
            ("optimizer", update, end),
        ] {
            self.span(name, from, to.saturating_duration_since(from));
        }
    }

    /// Adds a span of the trainer's row.
    pub(crate) fn span(&mut self, name: &str, start: Instant, length: Duration) {
        if self.spans.len() < CAPACITY {
            let start = self.zero.0 + start.saturating_duration_since(self.zero.1);
            self.spans.push(Span { name: name.to_string(), row: self.row, start, length });
        }
    }

    /// Stops the runtime's trace and writes everything to `path` as Chrome trace JSON.
    pub(crate) fn write(mut self, runtime: &Runtime, path: &Path) -> io::Result<()> {
        let mut spans = runtime.stop_trace();
        spans.append(&mut self.spans);
        let mut file = BufWriter::new(File::create(path)?);
        let name = |row| if row == self.row { "training".to_string() } else { format!("worker {row}") };
        write_chrome_trace(&mut file, &spans, name)?;
        file.flush()
    }
}
