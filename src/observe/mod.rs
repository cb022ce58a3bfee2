//! What a runtime did: counters, and spans of time that a trace viewer shows.

mod chrome_trace;
pub(crate) mod clock;
pub(crate) mod counters;
pub(crate) mod events;

pub use chrome_trace::{write_chrome_trace, Span};
pub use counters::{Metrics, WorkerMetrics};
