//! One row of the table before it is measured: what is run, what it takes, what it is compared with, and what it is to reach.

use crate::limits::Bound;

/// A call of a kernel or of a peer, on the runtime that it is called on.
pub type Call<'a> = Box<dyn FnMut() + Send + 'a>;

/// A peer's name and its call, which is told how many threads it may use.
pub type Peer<'a> = (&'static str, Box<dyn FnMut(usize) + Send + 'a>);

/// What a row is to reach: nothing, a share of the limit, a multiple of the best peer's rate, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// A share of the limit, on one worker and on two.
    pub limit: Option<[f64; 2]>,
    /// As many times the rate of the best peer that is measured beside.
    pub peer: Option<f64>,
}

impl Goal {
    /// None was set.
    pub const NONE: Self = Self { limit: None, peer: None };

    /// As many times the best peer's rate.
    pub const fn peer(times: f64) -> Self {
        Self { limit: None, peer: Some(times) }
    }

    /// A share of the limit, on one worker and on two.
    pub const fn limit(one: f64, two: f64) -> Self {
        Self { limit: Some([one, two]), peer: None }
    }

    /// This one, and as many times the best peer's rate.
    pub const fn and_peer(self, times: f64) -> Self {
        Self { peer: Some(times), ..self }
    }
}

/// A kernel on operands of its own.
pub struct Case<'a> {
    /// The group it belongs to.
    pub group: &'static str,
    /// What is done, with its sizes.
    pub work: String,
    /// What bounds it.
    pub bound: Bound,
    /// Operations or bytes of a call, in the unit of the bound.
    pub amount: f64,
    /// What is to be reached.
    pub goal: Goal,
    /// The kernel.
    pub run: Call<'a>,
    /// Panics when the last call's result is wrong.
    pub check: Call<'a>,
    /// Who else does the work, if linked.
    pub peer: Option<Peer<'a>>,
}

/// What groups are made for.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Small, to check the answers only.
    pub small: bool,
}

impl Sizes {
    /// `test` in a test, else `measured`.
    pub fn pick<T>(self, test: T, measured: T) -> T {
        if self.small {
            test
        } else {
            measured
        }
    }
}
