//! Stress for the scheduler: [`phases`] that each run for a moment, check every answer, and say what the scheduler did; and
//! [`Counts`], which add that up. The program in `main.rs` repeats them until enough joins and steals were made.
//!
//! The models in `loom-tests` prove the protocols within their bounds; this looks for what lies outside: compilers, real memory,
//! preemption. Random programs of joins, scopes, spawned tasks and loops are in `tests/stress.rs` of the root package.

mod batches;
mod outside;
pub mod phases;
mod placed;

use std::fmt;
use std::ops::AddAssign;

use upbeat::Runtime;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Joins whose answers were checked.
    pub joins: u64,
    /// Join tasks that their owner made public, and so had to take back or lost.
    pub promotions: u64,
    /// Requests of thieves that were answered.
    pub answers: u64,
    /// Join tasks that another worker took and ran.
    pub steals: u64,
    /// Rounds of a thief over all victims that found nothing.
    pub failed: u64,
    /// Times a worker went to sleep.
    pub parks: u64,
    /// Items of batches that were run.
    pub items: u64,
}

impl Counts {
    /// What `runtime` has done since it was built, with `joins` joins.
    pub(crate) fn of(runtime: &Runtime, joins: u64) -> Self {
        let total = runtime.metrics().total();
        Self {
            joins,
            promotions: total.promotions,
            answers: total.beats,
            steals: total.steals.iter().sum(),
            failed: total.failed_steals,
            parks: total.parks,
            items: 0,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.joins += more.joins;
        self.promotions += more.promotions;
        self.answers += more.answers;
        self.steals += more.steals;
        self.failed += more.failed;
        self.parks += more.parks;
        self.items += more.items;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} joins, {} made public in {} answers, {} stolen, {} rounds that found nothing, {} sleeps, {} items of batches",
            self.joins, self.promotions, self.answers, self.steals, self.failed, self.parks, self.items
        )
    }
}
