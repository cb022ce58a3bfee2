//! The rows of the table: for each workload its contenders and its goal. A group of rows is a file here.
//!
//! A group makes its rows one by one and hands each on, so that the data of one row is gone before the next is measured.

#[macro_use]
mod contend;
mod coarse;
mod crowd;
mod idle;
mod joins;
mod loops;
mod regions;
mod searches;
mod sorts;
mod spawns;
mod trees;

use std::time::Duration;

use crate::affinity::Cpus;
use crate::contenders::Set;
use crate::outcome::Outcome;
use crate::timing::Body;

/// Whose side a contender is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain calls.
    Sequential,
    /// upbeat.
    Ours,
    /// Another runtime.
    Peer,
}

/// Who runs a workload, and how.
pub struct Contender<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its side.
    pub kind: Kind,
    /// Its code.
    pub body: Body<'a>,
}

/// What a row's value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Time of a call.
    Call,
    /// Time of a call divided by the number of operations in it.
    Operation {
        /// How many.
        count: u64,
        /// `ns a …`.
        unit: &'static str,
    },
    /// What an operation adds to the better sequential order.
    AboveSequential {
        /// Operations in a call.
        count: u64,
        /// `ns a …`.
        unit: &'static str,
    },
}

impl Scale {
    pub(crate) fn operations(self) -> f64 {
        match self {
            Self::Call => 1.0,
            Self::Operation { count, .. } | Self::AboveSequential { count, .. } => count as f64,
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Call => "ns",
            Self::Operation { unit, .. } | Self::AboveSequential { unit, .. } => unit,
        }
    }
}

/// The most that a row's value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// As a share of the best peer's.
    Peer(f64),
    /// In the row's unit.
    Value(f64),
    /// As a share of the better sequential order's.
    Sequential(f64),
}

impl Goal {
    /// The goal of the design's table, measured on another machine, as a share of the best peer that is linked here.
    fn of_table(goal: f64, rayon: f64, chili: f64) -> Self {
        Self::Peer(goal / rayon.min(chili))
    }
}

/// One row, ready to be measured.
pub struct Row<'a> {
    /// The group it belongs to.
    pub group: &'static str,
    /// What is done, with its sizes.
    pub work: String,
    /// What every contender answers.
    pub answer: u64,
    /// What its value is.
    pub scale: Scale,
    /// What is to be reached.
    pub goal: Goal,
    /// Idle time before each call, where calls are to be cold.
    pub gap: Option<Duration>,
    /// Workers that share the work, where the limit is their share of the sequential time.
    pub workers: Option<usize>,
    /// Who takes part.
    pub contenders: Vec<Contender<'a>>,
}

impl<'a> Row<'a> {
    /// A row of the time of a call on two workers.
    fn of_two(
        group: &'static str,
        work: String,
        answer: u64,
        goal: Goal,
        contenders: Vec<Contender<'a>>,
    ) -> Self {
        Self { group, work, answer, scale: Scale::Call, goal, gap: None, workers: Some(2), contenders }
    }
}

/// What groups are made for.
#[derive(Debug)]
pub struct Bench {
    /// One worker each.
    pub one: Set,
    /// Two workers each.
    pub two: Set,
    /// The CPUs.
    pub cpus: Cpus,
    /// Small sizes, for a test of the answers.
    pub test: bool,
}

impl Bench {
    /// `test` in a test, else `measured`.
    fn size<T>(&self, test: T, measured: T) -> T {
        if self.test {
            test
        } else {
            measured
        }
    }
}

/// What a group hands on: rows to be measured, and what it has measured by itself.
pub enum Item<'a> {
    /// To be measured.
    Row(Row<'a>),
    /// Measured.
    Outcome(Outcome),
}

/// Takes the items of a group.
pub type With<'w> = &'w mut dyn FnMut(Item<'_>);

/// Makes the items of a group.
pub type Make = fn(&Bench, With<'_>);

/// Every group, with what it measures.
pub const GROUPS: [(&str, &str, Make); 11] = [
    ("joins", "what a join adds to sequential code, one worker", joins::rows),
    ("trees", "sums over trees of 1K to 16M nodes, in three orders in memory", trees::rows),
    ("searches", "fib, n-queens and an unbalanced tree", searches::rows),
    ("sorts", "quicksort and mergesort of 10M numbers", sorts::rows),
    ("matmul", "product of 512 x 512 matrices in tiles", sorts::matmul),
    ("coarse", "a few long leaves", coarse::rows),
    ("regions", "small regions, cold and hot, and wake-up", regions::rows),
    ("loops", "sums of numbers in loops", loops::rows),
    ("spawns", "tasks spawned in a scope", spawns::rows),
    ("crowd", "nested use, and more workers than cores", crowd::rows),
    ("idle", "CPU time and wake-ups of idle runtimes and of a trickle of regions", idle::rows),
];
