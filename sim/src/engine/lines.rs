//! Which victims' cache lines a thief has the latest state of, and from when on another look at one may lead to something.
//!
//! Kept apart from workers and sights, in rows that a look at all victims reads in order: idle workers make most looks, and most of those
//! at lines that have not changed.

/// The lines of all workers, as all workers know them.
pub(super) struct Lines {
    workers: usize,
    /// How often each was written.
    versions: Vec<u32>,
    /// A row a thief: the version that it has, and when a look at that may lead to something.
    seen: Vec<u32>,
    due: Vec<u64>,
}

impl Lines {
    /// Nobody has seen any.
    pub(super) fn new(workers: usize) -> Self {
        let rows = workers * workers;
        Self { workers, versions: vec![1; workers], seen: vec![0; rows], due: vec![0; rows] }
    }

    /// `w` has written to what thieves look at.
    #[inline]
    pub(super) fn change(&mut self, w: usize) {
        self.versions[w] += 1;
    }

    /// Whether `thief` has the latest state of `victim`'s line.
    #[inline]
    pub(super) fn is_current(&self, thief: usize, victim: usize) -> bool {
        self.seen[thief * self.workers + victim] == self.versions[victim]
    }

    /// `thief` gets the latest state, and has yet to look at it.
    #[inline]
    pub(super) fn fetch(&mut self, thief: usize, victim: usize) {
        let at = thief * self.workers + victim;
        (self.seen[at], self.due[at]) = (self.versions[victim], 0);
    }

    /// As long as the line stays as it is, looks before `due` lead to nothing.
    #[inline]
    pub(super) fn set_due(&mut self, thief: usize, victim: usize, due: u64) {
        self.due[thief * self.workers + victim] = due;
    }

    /// The rule is another one now.
    pub(super) fn forget_due(&mut self) {
        self.due.fill(0);
    }

    /// Whether a look at `victim` at `now` leads to nothing.
    #[inline]
    pub(super) fn is_quiet(&self, thief: usize, victim: usize, now: u64) -> bool {
        self.is_current(thief, victim) && now < self.due[thief * self.workers + victim]
    }

    /// The same of looks at all other workers.
    #[inline]
    pub(super) fn are_quiet(&self, thief: usize, now: u64) -> bool {
        let row = thief * self.workers;
        let (seen, due) = (&self.seen[row..][..self.workers], &self.due[row..][..self.workers]);
        let lines = seen.iter().zip(due).zip(&self.versions).enumerate();
        // Without an early exit, so that several are compared at once.
        lines.fold(true, |quiet, (victim, ((seen, due), version))| {
            quiet & ((*seen == *version) & (now < *due) | (victim == thief))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_quiet_until_it_changes_or_is_due() {
        let mut lines = Lines::new(3);
        assert!(!lines.is_current(0, 1) && !lines.are_quiet(0, 0));
        for victim in [1, 2] {
            lines.fetch(0, victim);
            lines.set_due(0, victim, 10 * victim as u64);
        }
        assert!(lines.are_quiet(0, 9) && !lines.are_quiet(0, 10) && lines.is_quiet(0, 2, 19));
        lines.change(2);
        assert!(lines.is_quiet(0, 1, 9) && !lines.is_quiet(0, 2, 9) && !lines.are_quiet(0, 9));
        assert!(!lines.is_current(1, 2), "each thief has rows of its own");
        lines.fetch(0, 2);
        assert!(lines.is_current(0, 2) && !lines.is_quiet(0, 2, 0), "what is not looked at may be anything");
        lines.set_due(0, 2, 20);
        assert!(lines.are_quiet(0, 9));
        lines.forget_due();
        assert!(!lines.are_quiet(0, 0));
    }
}
