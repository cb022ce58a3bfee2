//! What a queue is for, and the last uses of something by each.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::commands::Scope;

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything, and all kernels.
    Compute,
    /// Large copies between host and device, beside kernels.
    Copies,
}

impl Role {
    /// What barriers of such a queue may name.
    pub(super) fn scope(self) -> &'static Scope {
        match self {
            Self::Compute => &Scope::COMPUTE,
            Self::Copies => &Scope::COPIES,
        }
    }
}

/// The last submission to each queue that uses something, or that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uses {
    pub(super) compute: u64,
    pub(super) copies: u64,
}

impl Uses {
    pub(super) fn of(&self, role: Role) -> u64 {
        match role {
            Role::Compute => self.compute,
            Role::Copies => self.copies,
        }
    }

    /// The later ones of both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self { compute: self.compute.max(other.compute), copies: self.copies.max(other.copies) }
    }

    /// Whether all that uses it is among what is `done`.
    pub(crate) fn are_over(&self, done: &Self) -> bool {
        self.compute <= done.compute && self.copies <= done.copies
    }
}

/// [`Uses`] that grow.
#[derive(Debug, Default)]
pub(crate) struct AtomicUses {
    compute: AtomicU64,
    copies: AtomicU64,
}

impl AtomicUses {
    /// The submission `value` uses it.
    pub(crate) fn add(&self, role: Role, value: u64) {
        let last = match role {
            Role::Compute => &self.compute,
            Role::Copies => &self.copies,
        };
        last.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Uses {
        let read = |last: &AtomicU64| last.load(Ordering::Relaxed);
        Uses { compute: read(&self.compute), copies: read(&self.copies) }
    }
}
