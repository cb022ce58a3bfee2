//! How many items a batch takes: as many as may be done within the latency that the user wants.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain, 1989), a step a batch: one that was full and done in time makes the cap one
//! sixteenth of the most larger, one that took too long halves it. Without a target the cap is what the user said.

use std::time::Duration;

/// The next cap after a batch of `items` items took `took`.
///
/// A batch that was in time and not full says nothing: nobody knows how long a larger one takes.
pub(super) fn next(cap: usize, most: usize, items: usize, took: Duration, target: Duration) -> usize {
    if took > target {
        // What was too long may have been a smaller one than the cap allows.
        (items.min(cap) / 2).max(1)
    } else if items >= cap {
        (cap + most.div_ceil(16)).min(most)
    } else {
        cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An executor that takes a millisecond an item, and a target of 20: the cap settles around 20, from above and from below.
    #[test]
    fn the_cap_settles_where_the_target_is() {
        let target = Duration::from_millis(20);
        for start in [1, 64] {
            let mut cap = start;
            let mut seen = Vec::new();
            for step in 0..200 {
                cap = next(cap, 64, cap, Duration::from_millis(cap as u64), target);
                assert!((1..=64).contains(&cap));
                if step >= 20 {
                    seen.push(cap);
                }
            }
            assert!(*seen.iter().max().unwrap() <= 24 && *seen.iter().min().unwrap() >= 10, "{seen:?}");
        }
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let (ms, target) = (Duration::from_millis(1), Duration::from_millis(2));
        assert_eq!(next(8, 64, 3, ms, target), 8);
        assert_eq!(next(64, 64, 64, ms, target), 64);
        assert_eq!(next(1, 64, 1, target * 2, target), 1, "one item is the least");
        assert_eq!(
            next(64, 64, 8, target * 2, target),
            4,
            "a small batch that was slow halves itself, not the cap"
        );
    }
}
