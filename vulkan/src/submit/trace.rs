//! When kernels ran, on the clock of the runtime's traces.

use std::time::Duration;

use upbeat::Span;

use crate::pipeline::Kernel;

/// Runs that a trace keeps; later ones are not, so that a long run cannot fill memory.
const CAPACITY: usize = 1 << 16;

/// The device's clock beside the host's, and the runs of kernels while somebody asked for them.
#[derive(Debug, Default)]
pub(super) struct Trace {
    recording: bool,
    /// A kernel, and the ticks at which it began and ended.
    runs: Vec<(Kernel, u64, u64)>,
    /// The last tick seen, with those that the device's counter has lost by wrapping.
    last: u64,
    /// Nanoseconds from the device's clock to the host's, at least: work begins after it is handed over. The largest is nearest.
    offset: Option<f64>,
}

impl Trace {
    pub(super) fn start(&mut self) {
        self.recording = true;
        self.runs.clear();
    }

    pub(super) fn is_recording(&self) -> bool {
        self.recording
    }

    /// Takes the ticks of the kernels of one submission, handed over at `handed_over` on the host's clock. The counter has `bits` bits.
    pub(super) fn measured(
        &mut self,
        kernels: &[Kernel],
        ticks: &[u64],
        handed_over: Duration,
        (bits, tick_ns): (u32, f64),
    ) {
        for (index, (kernel, pair)) in kernels.iter().zip(ticks.chunks_exact(2)).enumerate() {
            let [from, to] = [pair[0], pair[1]].map(|tick| self.unwrapped(tick, bits));
            if index == 0 {
                let offset = handed_over.as_nanos() as f64 - from as f64 * tick_ns;
                self.offset = Some(self.offset.map_or(offset, |least| least.max(offset)));
            }
            if self.runs.len() < CAPACITY {
                self.runs.push((*kernel, from, to.max(from)));
            }
        }
    }

    /// A tick as if the counter had 64 bits: ticks come nearly in order, and never half a turn late.
    fn unwrapped(&mut self, tick: u64, bits: u32) -> u64 {
        if bits >= 64 {
            return tick;
        }
        let turn = 1_u64 << bits;
        let mut full = (self.last & !(turn - 1)) | (tick & (turn - 1));
        if full + turn / 2 < self.last {
            full += turn;
        }
        self.last = self.last.max(full);
        full
    }

    /// Ends the trace. Spans are in row `row`.
    pub(super) fn stop(&mut self, row: usize, tick_ns: f64) -> Vec<Span> {
        self.recording = false;
        let offset = self.offset.unwrap_or(0.0);
        let time = |tick: u64| Duration::from_nanos((tick as f64 * tick_ns + offset).round().max(0.0) as u64);
        let span = |(kernel, from, to): (Kernel, u64, u64)| Span {
            name: kernel.name().to_owned(),
            row,
            start: time(from),
            length: Duration::from_nanos(((to - from) as f64 * tick_ns).round() as u64),
        };
        std::mem::take(&mut self.runs).into_iter().map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lie_after_their_handing_over() {
        let mut trace = Trace::default();
        trace.start();
        let at = Duration::from_micros;
        // The device's clock is 1000 µs behind; the second submission begins at once, the first one 5 µs late.
        trace.measured(&[Kernel::Map, Kernel::Gemm], &[105, 110, 110, 130], at(1100), (64, 1000.0));
        trace.measured(&[Kernel::Map], &[200, 201], at(1200), (64, 1000.0));
        let spans = trace.stop(9, 1000.0);
        let found: Vec<_> = spans.iter().map(|s| (s.name.as_str(), s.row, s.start, s.length)).collect();
        assert_eq!(
            found,
            [("map", 9, at(1105), at(5)), ("gemm", 9, at(1110), at(20)), ("map", 9, at(1200), at(1)),]
        );
        assert!(trace.stop(9, 1000.0).is_empty() && !trace.is_recording());
    }

    #[test]
    fn a_counter_may_wrap() {
        let mut trace = Trace::default();
        trace.start();
        let ticks = [250, 254, 255, 3, 4, 100, 200, 10];
        trace.measured(&[Kernel::Map; 4], &ticks, Duration::ZERO, (8, 1.0));
        let lengths: Vec<_> = trace.runs.iter().map(|(_, from, to)| (*from, to - from)).collect();
        assert_eq!(lengths, [(250, 4), (255, 4), (260, 96), (456, 66)]);
    }

    #[test]
    fn a_long_trace_is_cut() {
        let mut trace = Trace::default();
        trace.start();
        for _ in 0..CAPACITY + 10 {
            trace.measured(&[Kernel::Map], &[1, 2], Duration::ZERO, (64, 1.0));
        }
        assert_eq!(trace.stop(0, 1.0).len(), CAPACITY);
    }
}
