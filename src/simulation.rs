//! What the simulator (`upbeat-sim`) runs of the workers' own rules, and what benchmarks choose among.
//!
//! Hidden, and no part of the promised interface.

pub use crate::heartbeat::rate::{Rule, Sight, Verdict};
pub use crate::sleep::polling::Polling;
pub use crate::steal::learned::hedge::{Hedge, BUDGETS, BUDGETS_US};
pub use crate::steal::learned::{
    exp, ln, prior, Bandit, Configuration, Features, Network, Observed, Pass, Placement, Prior, Sample, Site,
    ARMS, CONFIGURATIONS, FEATURES, PARAMETERS, WIDTH,
};
