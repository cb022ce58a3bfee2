//! The runtime's rate rule in simulated time: when a thief asks a busy worker for tasks, and when it takes one.
//!
//! The rule is the runtime's own code (`src/heartbeat/rate.rs`, and its `README.md`), with nanoseconds for ticks.

pub(crate) use upbeat::simulation::{Rule, Verdict};

/// A victim whose tasks last this long is not made to wait, ns.
const COARSE: u64 = 8_000;
/// Requests in vain become as rare as this, ns: the runtime's heartbeat.
pub(crate) const HEARTBEAT: u64 = 100_000;

/// The rule under which tasks are shared that last `visible` ns.
pub(crate) fn rule(visible: u64) -> Rule {
    Rule { visible: visible.min(HEARTBEAT), coarse: COARSE.max(visible), beat: HEARTBEAT }
}

/// What a thief remembers of one victim from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    of: upbeat::simulation::Sight,
}

impl Sight {
    /// One look at a victim that began its task at `since` (`None` while it has none) and whose oldest public task has the ticket `oldest`.
    pub(crate) fn look(&mut self, now: u64, since: Option<u64>, oldest: Option<u64>, rule: &Rule) -> Verdict {
        // In the runtime the time 0 stands for no task; here it is when the program begins.
        self.of.look(now + 1, since.map_or(0, |since| since + 1), oldest, rule)
    }

    /// Until when looks at a victim that does not change, like the one just made, lead to nothing.
    pub(crate) fn due(&self, rule: &Rule) -> u64 {
        self.of.due(rule).saturating_sub(1)
    }

    /// A task was taken: the victim's work is worth sharing, so the next request may follow at once.
    pub(crate) fn took(&mut self) {
        self.of.took();
    }

    /// The task that was taken is done, after `length` ns.
    pub(crate) fn ran(&mut self, length: u64) {
        self.of.ran(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_may_have_begun_with_the_program_and_nobody_asks_who_has_not() {
        let mut sight = Sight::default();
        let rule = rule(2_000);
        assert_eq!(sight.look(1_999, Some(0), None, &rule), Verdict::Wait);
        assert_eq!(sight.look(2_000, Some(0), None, &rule), Verdict::Ask);
        assert_eq!(sight.look(900_000, None, None, &rule), Verdict::Wait);
    }
}
