//! One row of the table before it is measured: what is run, what it takes, what it is compared with, and what it is to reach.

use crate::limits::Bound;

/// A call of a kernel or of a peer, on the runtime that it is called on.
pub type Call<'a> = Box<dyn FnMut() + Send + 'a>;

/// A peer's name and its call, which is told how many threads it may use.
pub type Peer<'a> = (&'static str, Box<dyn FnMut(usize) + Send + 'a>);

/// What a row is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A share of the limit, on one worker and on two.
    Limit(f64, f64),
    /// As many times the peer's rate.
    Peer(f64),
    /// None that this machine can show: the peer is measured elsewhere.
    Elsewhere(&'static str),
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
