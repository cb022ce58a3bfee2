//! The rate rule: when an idle worker asks a busy one for tasks, and when it takes one.
//!
//! Pure: times and indices in, a verdict out. A task is taken only after it has been public for a while, so a join that lasts
//! less than that is never shared; a request that brought no such task is repeated after twice the time.

use std::time::Duration;

use crate::observe::clock::Clock;
use crate::sync::HAS_TIME;

/// How long a task has been public before it is taken, and how long a task runs before its worker is asked for parts of it.
/// A steal costs both sides together about half a microsecond.
const VISIBLE: Duration = Duration::from_micros(2);

/// A victim whose tasks last this long is not made to wait: it is not one of tiny joins.
const COARSE: Duration = Duration::from_micros(8);

/// The rule's times, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// How long a task has been public before it is taken.
    pub visible: u64,
    /// A victim whose tasks last this long is not made to wait.
    pub coarse: u64,
    /// Requests in vain become as rare as this.
    pub beat: u64,
}

impl Rule {
    pub(crate) fn new(clock: &Clock, beat: Duration) -> Self {
        match HAS_TIME {
            true => Self {
                visible: clock.ticks(VISIBLE.min(beat)),
                coarse: clock.ticks(COARSE),
                beat: clock.ticks(beat),
            },
            false => Self { visible: 0, coarse: 0, beat: 0 },
        }
    }
}

/// What a thief does about one victim now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take its oldest public task.
    Take,
    /// Ask it to make some public.
    Ask,
    /// Look again later.
    Wait,
}

/// What a thief remembers of one victim from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// When the task began that the victim was running.
    since: u64,
    /// The index of its oldest public task, and when that was seen first.
    oldest: Option<u64>,
    seen_at: u64,
    asked_at: u64,
    /// How long to wait between two requests.
    patience: u64,
    /// How long tasks took that were taken from it: the last one counts half.
    length: u64,
}

impl Sight {
    /// One look at a victim that began its task at `since` (0 for none) and whose oldest public task has index `oldest`.
    pub fn look(&mut self, now: u64, since: u64, oldest: Option<u64>, rule: &Rule) -> Verdict {
        if since != self.since {
            *self = Self { since, patience: rule.visible, length: self.length, ..Self::default() };
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
        let is_young = now.saturating_sub(since) < rule.visible;
        if since == 0 || is_young || now.saturating_sub(self.asked_at) < self.patience {
            return Verdict::Wait;
        }
        self.asked_at = now;
        self.patience = (self.patience * 2).min(rule.beat);
        Verdict::Ask
    }

    /// From when on a look at a victim that has not changed since the last one says something else than [`Verdict::Wait`], and until when it
    /// changes nothing here: so the simulator need not make the looks in between.
    pub fn due(&self, rule: &Rule) -> u64 {
        match (self.oldest, self.since) {
            (Some(_), _) if self.length >= rule.coarse => 0,
            (Some(_), _) => self.seen_at.saturating_add(rule.visible),
            (None, 0) => u64::MAX,
            (None, since) => {
                let old = since.saturating_add(rule.visible);
                old.max(self.asked_at.saturating_add(self.patience))
            }
        }
    }

    /// A task was taken: the victim's work is worth sharing, so the next request may follow at once.
    pub fn took(&mut self) {
        (self.oldest, self.patience, self.asked_at) = (None, 0, 0);
    }

    /// The task that was taken is done, after `ticks`.
    pub fn ran(&mut self, ticks: u64) {
        self.length = self.length / 2 + ticks / 2;
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    const RULE: Rule = Rule { visible: 10, coarse: 50, beat: 100 };

    #[test]
    fn a_task_is_taken_once_it_was_visible_for_long_enough() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(1000, 900, Some(7), &RULE), Verdict::Wait);
        assert_eq!(sight.look(1009, 900, Some(7), &RULE), Verdict::Wait);
        assert_eq!(sight.look(1010, 900, Some(7), &RULE), Verdict::Take);
    }

    #[test]
    fn coarse_tasks_are_taken_at_once_until_one_is_not_coarse() {
        let mut sight = Sight::default();
        sight.ran(200);
        assert_eq!(sight.look(1000, 900, Some(7), &RULE), Verdict::Take);
        sight.took();
        sight.ran(60);
        assert_eq!(sight.look(2000, 1900, Some(8), &RULE), Verdict::Take);
        sight.took();
        sight.ran(2);
        assert_eq!(sight.look(3000, 2900, Some(9), &RULE), Verdict::Wait);
        assert_eq!(sight.look(3010, 2900, Some(9), &RULE), Verdict::Take);
    }

    #[test]
    fn another_task_starts_the_time_anew() {
        let mut sight = Sight::default();
        sight.look(1000, 900, Some(7), &RULE);
        assert_eq!(sight.look(1010, 900, Some(8), &RULE), Verdict::Wait);
        assert_eq!(sight.look(1020, 900, Some(8), &RULE), Verdict::Take);
    }

    #[test]
    fn a_young_region_is_left_alone_and_nobody_asks_the_idle() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(1000, 995, None, &RULE), Verdict::Wait);
        assert_eq!(sight.look(1005, 995, None, &RULE), Verdict::Ask);
        assert_eq!(sight.look(5000, 0, None, &RULE), Verdict::Wait);
    }

    #[test]
    fn requests_in_vain_become_rare_down_to_one_a_beat() {
        let mut sight = Sight::default();
        let asked: Vec<u64> =
            (1000..2000).filter(|&now| sight.look(now, 1, None, &RULE) == Verdict::Ask).collect();
        let gaps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(&gaps[..5], [20, 40, 80, 100, 100]);
        sight.took();
        assert_eq!(sight.look(2000, 1, None, &RULE), Verdict::Ask);
    }

    /// The slow twin of `due` is to look at every moment.
    #[test]
    fn due_is_when_looks_at_what_does_not_change_begin_to_lead_to_something() {
        let mut generator = crate::Generator::new(3);
        for _ in 0..if cfg!(miri) { 50 } else { 2_000 } {
            let mut sight = Sight::default();
            let mut now = 1_000;
            for _ in 0..generator.below(6) {
                now += generator.below(120) as u64;
                let since = [0, 900, now - 5][generator.below(3)];
                let oldest = [None, Some(7), Some(8)][generator.below(3)];
                match generator.below(6) {
                    0 => sight.ran(200),
                    1 => sight.took(),
                    _ => {}
                }
                sight.look(now, since, oldest, &RULE);
                let (oldest, since, due) = (sight.oldest, sight.since, sight.due(&RULE));
                let mut twin = sight;
                let first =
                    (now..now + 300).find(|&then| twin.look(then, since, oldest, &RULE) != Verdict::Wait);
                match first {
                    Some(first) => assert_eq!(first, due.max(now), "{sight:?}"),
                    None => assert!(due >= now + 300, "{sight:?} {due}"),
                }
            }
        }
    }

    /// Fault 27.
    #[test]
    fn a_clock_that_jumps_back_stops_nothing() {
        let mut sight = Sight::default();
        sight.look(1_000_000, 900_000, Some(1), &RULE);
        assert_eq!(sight.look(5, 900_000, Some(1), &RULE), Verdict::Wait);
        assert_eq!(sight.look(1_000_010, 900_000, Some(1), &RULE), Verdict::Take);
        assert_eq!(sight.look(5, 900_000, None, &RULE), Verdict::Wait);
    }
}
