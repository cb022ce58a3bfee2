//! The learning rate by step: a linear warm-up, then half a cosine down to a floor.
//!
//! A function of the step alone, so that a resumed training needs no other state.

/// Linear warm-up and cosine decay (Loshchilov and Hutter, 2017, without restarts).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Highest learning rate, reached at the end of the warm-up.
    pub peak: f64,
    /// Learning rate at the last step and after it.
    pub floor: f64,
    /// Steps of warm-up; 0 starts at the peak.
    pub warmup: u64,
    /// Steps of the whole training.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of `step`, where 0 is the first one.
    ///
    /// In the warm-up `peak · (step + 1) / warmup`; then `floor + (peak - floor) · (1 + cos πp) / 2`, with `p` from 0 at
    /// the end of the warm-up to 1 at the last step.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).saturating_sub(1).max(1);
        let progress = ((step - self.warmup) as f64 / span as f64).min(1.0);
        self.floor + (self.peak - self.floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_linearly_then_falls_to_the_floor() {
        let schedule = Schedule { peak: 1.0, floor: 0.1, warmup: 10, steps: 111 };
        assert_eq!(schedule.rate(0), 0.1);
        assert_eq!(schedule.rate(4), 0.5);
        assert_eq!(schedule.rate(9), 1.0);
        assert_eq!(schedule.rate(10), 1.0);
        assert!((schedule.rate(60) - 0.55).abs() < 1e-12, "half way down");
        assert!((schedule.rate(110) - 0.1).abs() < 1e-12 && schedule.rate(10_000) == schedule.rate(110));
        assert!((10..110).all(|s| schedule.rate(s) > schedule.rate(s + 1)));
    }

    #[test]
    fn odd_lengths_stay_finite() {
        for (warmup, steps) in [(0, 0), (0, 1), (5, 3), (5, 5), (5, 6), (0, 2)] {
            let schedule = Schedule { peak: 3e-3, floor: 3e-4, warmup, steps };
            for step in 0..20 {
                let rate = schedule.rate(step);
                assert!((3e-4..=3e-3).contains(&rate), "{warmup} {steps} {step}: {rate}");
            }
        }
    }
}
