//! Each phase of the stress, for a moment: its own checks hold, and it does what it is for.

use std::time::{Duration, Instant};

use upbeat_stress::phases;

#[test]
fn each_phase_joins_shares_and_checks() {
    for (name, phase) in phases::ALL {
        let mut seed = 1;
        // A busy machine may let nobody steal for a while.
        loop {
            let counts = phase(seed, Instant::now() + Duration::from_millis(50));
            assert!(counts.joins > 0 && counts.promotions >= counts.steals, "{name}: {counts}");
            if counts.steals > 0 {
                break;
            }
            seed += 1;
        }
    }
}
