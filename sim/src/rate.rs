//! The runtime's rate rule in simulated time: when a thief asks a busy worker for tasks, and when it takes one.
//!
//! A copy of `src/heartbeat/rate.rs`, which is private to the runtime, with nanoseconds for ticks; its tests are the same promises. Rules:
//! `src/heartbeat/README.md`.

/// A victim whose tasks last this long is not made to wait, ns.
const COARSE: u64 = 8_000;
/// Requests in vain become as rare as this, ns: the runtime's heartbeat.
pub(crate) const HEARTBEAT: u64 = 100_000;

/// The rule's times, ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) visible: u64,
    pub(crate) coarse: u64,
    pub(crate) beat: u64,
}

impl Rule {
    /// Tasks are shared that last `visible` ns.
    pub(crate) fn new(visible: u64) -> Self {
        Self { visible: visible.min(HEARTBEAT), coarse: COARSE.max(visible), beat: HEARTBEAT }
    }
}

/// What a thief does about one victim now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take its oldest public task.
    Take,
    /// Ask it to make some public.
    Ask,
    /// Look again later.
    Wait,
}

/// What a thief remembers of one victim from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// When the task began that the victim was running.
    since: u64,
    /// The ticket of its oldest public task, and when that was seen first.
    oldest: Option<u64>,
    seen_at: u64,
    asked_at: u64,
    /// How long to wait between two requests.
    patience: u64,
    /// How long tasks took that were taken from it: the last one counts half.
    length: u64,
    /// Which state of the victim's cache line the thief has.
    pub(crate) version: u32,
}

impl Sight {
    /// One look at a victim that began its task at `since` (`None` while it has none) and whose oldest public task has the ticket `oldest`.
    pub(crate) fn look(&mut self, now: u64, since: Option<u64>, oldest: Option<u64>, rule: &Rule) -> Verdict {
        let began = since.map_or(0, |since| since + 1);
        if began != self.since {
            *self = Self {
                since: began,
                patience: rule.visible,
                length: self.length,
                version: self.version,
                ..Self::default()
            };
        }
        if oldest.is_some() {
            if self.oldest != oldest {
                (self.oldest, self.seen_at) = (oldest, now);
            }
            let is_coarse = self.length >= rule.coarse;
            return match is_coarse || now.saturating_sub(self.seen_at) >= rule.visible {
                true => Verdict::Take,
                false => Verdict::Wait,
            };
        }
        self.oldest = None;
        let Some(since) = since else { return Verdict::Wait };
        let is_young = now.saturating_sub(since) < rule.visible;
        if is_young || now.saturating_sub(self.asked_at) < self.patience {
            return Verdict::Wait;
        }
        self.asked_at = now;
        self.patience = (self.patience * 2).min(rule.beat);
        Verdict::Ask
    }

    /// A task was taken: the victim's work is worth sharing, so the next request may follow at once.
    pub(crate) fn took(&mut self) {
        (self.oldest, self.patience, self.asked_at) = (None, 0, 0);
    }

    /// The task that was taken is done, after `length` ns.
    pub(crate) fn ran(&mut self, length: u64) {
        self.length = self.length / 2 + length / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { visible: 10, coarse: 50, beat: 100 };

    #[test]
    fn a_task_is_taken_once_it_was_visible_for_long_enough() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(1000, Some(900), Some(7), &RULE), Verdict::Wait);
        assert_eq!(sight.look(1009, Some(900), Some(7), &RULE), Verdict::Wait);
        assert_eq!(sight.look(1010, Some(900), Some(7), &RULE), Verdict::Take);
    }

    #[test]
    fn coarse_tasks_are_taken_at_once_until_one_is_not_coarse() {
        let mut sight = Sight::default();
        sight.ran(200);
        assert_eq!(sight.look(1000, Some(900), Some(7), &RULE), Verdict::Take);
        sight.took();
        sight.ran(2);
        assert_eq!(sight.look(2000, Some(1900), Some(8), &RULE), Verdict::Take);
        sight.ran(2);
        assert_eq!(sight.look(3000, Some(2900), Some(9), &RULE), Verdict::Wait);
        assert_eq!(sight.look(3010, Some(2900), Some(9), &RULE), Verdict::Take);
    }

    #[test]
    fn a_young_region_is_left_alone_and_nobody_asks_the_idle() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(1000, Some(995), None, &RULE), Verdict::Wait);
        assert_eq!(sight.look(1005, Some(995), None, &RULE), Verdict::Ask);
        assert_eq!(sight.look(5000, None, None, &RULE), Verdict::Wait);
    }

    #[test]
    fn requests_in_vain_become_rare_down_to_one_a_beat() {
        let mut sight = Sight::default();
        let asked: Vec<u64> =
            (1000..2000).filter(|&now| sight.look(now, Some(1), None, &RULE) == Verdict::Ask).collect();
        let gaps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(&gaps[..5], [20, 40, 80, 100, 100]);
        sight.took();
        assert_eq!(sight.look(2000, Some(1), None, &RULE), Verdict::Ask);
    }
}
