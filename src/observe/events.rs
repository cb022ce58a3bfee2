//! Spans of time that workers were busy, kept while somebody asked for them.

use crate::sync::statistic::AtomicBool;
use crate::sync::{lock, Mutex, Ordering};

/// Spans a worker keeps; later ones are counted but not kept, so that a long run cannot fill memory.
const CAPACITY: usize = 1 << 16;

/// One worker's busy spans, in ticks.
#[derive(Debug)]
pub(crate) struct Events {
    recording: AtomicBool,
    spans: Mutex<Vec<(u64, u64)>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { recording: AtomicBool::new(false), spans: Mutex::new(Vec::new()) }
    }

    /// Forgets old spans and keeps new ones.
    pub(crate) fn start(&self) {
        let mut spans = lock(&self.spans);
        spans.clear();
        spans.reserve(CAPACITY);
        self.recording.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) -> Vec<(u64, u64)> {
        self.recording.store(false, Ordering::Relaxed);
        std::mem::take(&mut lock(&self.spans))
    }

    pub(crate) fn record(&self, from: u64, to: u64) {
        if self.recording.load(Ordering::Relaxed) {
            let mut spans = lock(&self.spans);
            if spans.len() < CAPACITY {
                spans.push((from, to));
            }
        }
    }
}
