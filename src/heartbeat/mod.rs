//! The beat: how often work may be shared, so that sharing stays a small part of the work. `README.md` has the rules.
//!
//! No thread and no timer keeps it: the idle do. [`rate`] says when a thief asks and takes, [`sites`] whether a region is worth
//! waking somebody for, [`thrift`] when a thief is back too soon at a queue of tiny jobs.

// `pub` in here is for the simulator alone, which reaches it through `simulation`.
#[allow(unreachable_pub)]
pub(crate) mod rate;
pub(crate) mod sites;
pub(crate) mod thrift;
