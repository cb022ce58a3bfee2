//! What the simulator (`upbeat-sim`) runs of the workers' own rules, and what benchmarks choose among.
//!
//! Hidden, and no part of the promised interface.

pub use crate::heartbeat::rate::{Rule, Sight, Verdict};
pub use crate::sleep::polling::Polling;
pub use crate::steal::learned::hedge::{Hedge, BUDGETS, BUDGETS_US};
