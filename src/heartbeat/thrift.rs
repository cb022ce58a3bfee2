//! The rate rule for queues: when a thief takes from another worker's queue again.
//!
//! Pure: times in, a verdict out. What lies in a queue is public from the start and may be one of a thousand tiny jobs; to take one costs
//! thief and owner as much as to run several, for both then write to the same lines. So a thief whose jobs were short beside the taking
//! waits before it takes the next, twice as long each time. That a job is run does not rest on the thief: its owner has it in its queue.

use super::rate::Rule;

/// Jobs shorter than this many takings are not worth it. Two cores of a Zen 3, near and far from each other: a taking is 0.07 and 0.18 µs; jobs
/// that do nothing but count measure 2.6 to 2.9 takings at the thief, and with a thousand of them both cores need 2 to 5 times as long as one alone.
/// Jobs of 0.3 µs measure 6.2 to 7.5 where the cores are near, and gain by being shared; 3.5 to 3.7 where they are far, and lose.
const WORTH: u64 = 4;

/// What a thief remembers of one victim's queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Thrift {
    /// When it had taken a job, until it is back; 0 otherwise.
    took_at: u64,
    /// What taking costs and how long the jobs last, ticks: running sums of the same weights.
    costs: u64,
    lengths: u64,
    /// It takes nothing for `pause` from `since` on.
    since: u64,
    pause: u64,
}

impl Thrift {
    /// Whether it may take a job now. It asks when it is back from the job before, or has nothing else to do.
    pub(crate) fn may_take(&mut self, now: u64, rule: &Rule) -> bool {
        if self.took_at != 0 {
            let length = now.saturating_sub(self.took_at);
            self.lengths = decayed(self.lengths) + length.min(rule.beat);
            // Among small jobs there may be a long one any time, and many more after it.
            let is_fine = length < rule.visible && self.lengths < WORTH * self.costs;
            (self.took_at, self.since) = (0, now);
            self.pause = if is_fine { (self.pause * 2).clamp(rule.visible, rule.beat) } else { 0 };
        }
        // A clock that jumps back ends the pause.
        !(self.since..self.since.saturating_add(self.pause)).contains(&now)
    }

    /// It took one, from `begun` to `now`.
    pub(crate) fn took(&mut self, begun: u64, now: u64, rule: &Rule) {
        self.took_at = now;
        // A taking that was interrupted says nothing.
        self.costs = decayed(self.costs) + now.saturating_sub(begun).min(rule.visible / 4);
    }
}

fn decayed(sum: u64) -> u64 {
    sum - sum / 8
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    const RULE: Rule = Rule { visible: 100, coarse: 500, beat: 1000 };
    const TAKING: u64 = 10;

    /// Times at which a thief begins to take jobs from a queue that is never empty, the length of job `n` being `length(n)`.
    fn taken(count: usize, length: impl Fn(usize) -> u64) -> Vec<u64> {
        let (mut thrift, mut now, mut times) = (Thrift::default(), 1, Vec::new());
        while times.len() < count {
            if thrift.may_take(now, &RULE) {
                thrift.took(now, now + TAKING, &RULE);
                times.push(now);
                now += TAKING + length(times.len());
            } else {
                now += 1;
            }
        }
        times
    }

    fn gaps(times: &[u64]) -> Vec<u64> {
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn tiny_jobs_are_taken_ever_more_rarely_down_to_one_a_beat() {
        assert_eq!(gaps(&taken(7, |_| 20)), [130, 230, 430, 830, 1030, 1030]);
    }

    #[test]
    fn jobs_worth_it_are_taken_one_after_the_other() {
        assert!(gaps(&taken(100, |_| 50)).iter().all(|&gap| gap == 60));
    }

    #[test]
    fn one_long_job_ends_the_thrift_at_once() {
        let gaps = gaps(&taken(50, |n| if n == 40 { 100 } else { 20 }));
        assert_eq!(gaps[38..41], [1030, 110, 130]);
    }

    #[test]
    fn a_taking_that_was_interrupted_stops_nothing_for_long() {
        let mut thrift = Thrift::default();
        thrift.took(1000, 1_000_000, &RULE);
        assert!(!thrift.may_take(1_000_040, &RULE));
        assert!(thrift.may_take(1_000_140, &RULE));
        thrift.took(1_000_140, 1_000_150, &RULE);
        assert!(thrift.may_take(1_000_300, &RULE));
    }

    /// Fault 27.
    #[test]
    fn a_clock_that_jumps_back_ends_a_pause() {
        let mut thrift = Thrift::default();
        thrift.took(1_000_000, 1_000_010, &RULE);
        assert!(!thrift.may_take(1_000_020, &RULE));
        assert!(thrift.may_take(5, &RULE));
    }

    /// In a model no time passes, and a thief is never made to wait.
    #[test]
    fn without_time_there_is_no_pause() {
        let rule = Rule { visible: 0, coarse: 0, beat: 0 };
        let mut thrift = Thrift::default();
        thrift.took(1, 1, &rule);
        assert!(thrift.may_take(1, &rule));
    }
}
