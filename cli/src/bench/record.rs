//! One measurement, as a JSON line for programs.

use std::borrow::Cow;

use serde_json::{json, Value};

/// A measured value, what bounds it, and what it is compared with.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) bench: &'static str,
    /// What was done, with its sizes.
    pub(super) work: String,
    pub(super) unit: &'static str,
    pub(super) value: f64,
    /// What the machine allows at most, in the same unit.
    pub(super) limit: Option<f64>,
    /// Who else does this work; measured in the same run where it can be linked.
    pub(super) peer: Option<Cow<'static, str>>,
    pub(super) peer_value: Option<f64>,
    /// What the ratio to the peer, or the value, must reach.
    pub(super) goal: Option<f64>,
    /// Whether it does; unknown without the peer's value.
    pub(super) met: Option<bool>,
}

impl Record {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "bench": self.bench,
            "work": self.work,
            "unit": self.unit,
            "value": self.value,
            "limit": self.limit,
            "peer": self.peer,
            "peer_value": self.peer_value,
            "ratio": self.peer_value.map(|peer| self.value / peer),
            "goal": self.goal,
            "met": self.met,
        })
    }
}
