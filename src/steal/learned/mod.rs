//! The learned policy: which settings a parallel region gets, chosen call site by call site; and how long a worker spins before it sleeps
//! ([`hedge`]).
//!
//! Everything here is pure: times and random numbers in, choices out, no clock and no thread. The runtime and the simulator run the same
//! code. Arm 0 is always what the runtime does without any of it, and what is returned to whenever something else is in doubt.
//! Rules, guards and what was measured: `README.md`.

#[allow(unreachable_pub)]
pub(crate) mod bandit;
#[allow(unreachable_pub)]
pub(crate) mod configuration;
#[allow(unreachable_pub)]
pub(crate) mod features;
pub(crate) mod hedge;
mod log;
#[allow(unreachable_pub)]
pub(crate) mod network;
#[allow(unreachable_pub)]
mod numbers;
#[allow(unreachable_pub)]
pub(crate) mod site;
mod weights;

pub use bandit::{Bandit, Prior, Sample};
pub use configuration::{Configuration, Placement, ARMS, CONFIGURATIONS};
pub use features::{Features, Observed, FEATURES};
pub(crate) use log::SiteLog;
pub use log::{PolicyLog, PolicyLogError, ReplayError};
pub use network::{prior, Network, Pass, PARAMETERS, WIDTH};
pub use numbers::{exp, ln};
pub use site::{Learning, Site};
pub use weights::{Weights, WeightsError};
