//! How long steps take by their rows, learned from those that were made, and how many rows of prompts a step can take along before
//! it delays the others' next tokens by more than a user allows.
//!
//! A time is `base + row · rows`: weights are read once a step, and each row adds arithmetic. Who is in a step is the engine's
//! matter. Proved here, on times that are made up.

/// What is left of a step's weight after each later one: some 50 steps count.
const KEPT: f64 = 0.98;
/// Before anything is learned a step's weights are taken to cost as much as this many rows.
const BASE: f64 = 16.0;
/// How much that counts: as much as steps whose rows differ from their mean by this, squared and summed.
const TRUST: f64 = 16.0;
/// Steps after which one that takes this many times what was expected counts as if it had taken just that: something else ran.
const SETTLED: f64 = 8.0;
const OUTLIER: f64 = 2.0;

/// What steps took, as sums over them with weights that fall with age.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    steps: f64,
    /// Means of rows and seconds.
    rows: f64,
    seconds: f64,
    /// Sums of the squared distances of rows from their mean, and of their products with those of seconds.
    spread: f64,
    slant: f64,
}

impl Pace {
    /// Takes a step in that has been made.
    pub(super) fn learn(&mut self, rows: usize, seconds: f64) {
        let rows = rows as f64;
        let seconds =
            if self.steps >= SETTLED { seconds.min(OUTLIER * self.expected(rows)) } else { seconds };
        // Welford's update of means and second moments, with forgetting.
        let kept = KEPT * self.steps;
        self.steps = kept + 1.0;
        let (away, off) = (rows - self.rows, seconds - self.seconds);
        self.rows += away / self.steps;
        self.seconds += off / self.steps;
        self.spread = KEPT * self.spread + away * (rows - self.rows);
        self.slant = KEPT * self.slant + away * (seconds - self.seconds);
    }

    /// Seconds that a row adds.
    fn row(&self) -> f64 {
        let presumed = self.seconds / (self.rows + BASE);
        ((self.slant + TRUST * presumed) / (self.spread + TRUST)).max(0.0)
    }

    /// Seconds that a step of `rows` takes.
    fn expected(&self, rows: f64) -> f64 {
        // Not less than the rows alone would, whatever noise has the line say.
        (self.seconds + self.row() * (rows - self.rows)).max(self.row() * rows)
    }

    /// Rows that make a step of `rows` take `stretch` times as long.
    pub(super) fn spare(&self, rows: usize, stretch: f64) -> usize {
        let (alone, row) = match self.steps > 0.0 {
            true => (self.expected(rows as f64), self.row()),
            false => (rows as f64 + BASE, 1.0),
        };
        if row <= 0.0 {
            return usize::MAX;
        }
        // Saturates where anything is allowed.
        ((stretch - 1.0) * alone / row).max(0.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pace that has learned steps of these rows, each taking what `time` says.
    fn learned(rows: impl Iterator<Item = usize>, time: impl Fn(usize) -> f64) -> Pace {
        let mut pace = Pace::default();
        rows.for_each(|rows| pace.learn(rows, time(rows)));
        pace
    }

    #[test]
    fn before_the_first_step_weights_cost_as_much_as_some_rows() {
        assert_eq!(Pace::default().spare(16, 1.25), 8);
        assert_eq!(Pace::default().spare(0, 2.0), 16);
    }

    #[test]
    fn spare_rows_follow_what_a_row_costs() {
        for (base, row, spare) in [(1.0, 0.01, 29), (1.0, 0.1, 6), (0.0, 0.1, 4), (1.0, 0.5, 4)] {
            let pace = learned((0..500).map(|step| 16 + step * 7 % 12), |rows| base + row * rows as f64);
            let found = pace.spare(16, 1.25);
            assert!(found.abs_diff(spare) <= spare / 10 + 1, "{base} + {row} rows: {found}, not {spare}");
        }
    }

    #[test]
    fn a_new_pace_replaces_an_old_one() {
        let mut pace = learned((0..500).map(|step| 1 + step % 32), |rows| 1.0 + 0.001 * rows as f64);
        assert!(pace.spare(16, 1.25) > 100);
        for step in 0..500 {
            let rows = 1 + step % 32;
            pace.learn(rows, 0.1 + 0.1 * rows as f64);
        }
        assert!((3..=5).contains(&pace.spare(16, 1.25)), "{pace:?}");
    }

    #[test]
    fn a_step_that_something_else_held_up_counts_little() {
        let time = |rows: usize| 1.0 + 0.05 * rows as f64;
        let mut pace = learned((0..100).map(|step| 16 + step % 9), time);
        let before = pace.spare(16, 1.25);
        pace.learn(24, 1000.0);
        let after = pace.spare(16, 1.25);
        assert!(after <= before && after + 4 >= before, "{before}, then {after}");
    }

    #[test]
    fn steps_of_one_size_say_nothing_of_a_rows_cost() {
        let pace = learned(std::iter::repeat_n(16, 100), |_| 3.0);
        assert_eq!(pace.spare(16, 1.25), Pace::default().spare(16, 1.25));
    }

    #[test]
    fn any_stretch_and_any_times_give_a_number() {
        let zero = learned((0..40).map(|step| step % 5), |_| 0.0);
        let falling = learned((0..400).map(|step| 1 + step % 40), |rows| 1.0 / rows as f64);
        for pace in [zero, falling] {
            assert_eq!(pace.spare(16, 1.0), usize::MAX, "a row costs nothing");
        }
        let some = learned((0..400).map(|step| 1 + step % 40), |rows| 1.0 + rows as f64);
        for pace in [Pace::default(), some] {
            assert_eq!(pace.spare(16, f64::INFINITY), usize::MAX);
            assert_eq!([1.0, 0.5, f64::NAN].map(|stretch| pace.spare(16, stretch)), [0; 3]);
            assert!(pace.spare(usize::MAX, 1.5) > 1 << 60);
        }
    }
}
