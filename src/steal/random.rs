//! Every other worker, in random order.

use super::{Generator, StealPolicy};
use crate::topology::Topology;

/// Uniformly random victims; the baseline that every other policy is judged against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl StealPolicy for Random {
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>) {
        order.extend((0..topology.workers()).filter(|&worker| worker != thief));
        shuffle(order, generator);
    }
}

/// Fisher and Yates.
pub(super) fn shuffle(order: &mut [usize], generator: &mut Generator) {
    for last in (1..order.len()).rev() {
        order.swap(last, generator.below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_other_worker_once_and_replays_from_its_seed() {
        let topology = Topology::flat(9);
        let draw = |seed| {
            let mut order = Vec::new();
            Random.victims(4, &topology, &mut Generator::new(seed), &mut order);
            order
        };
        let mut sorted = draw(1);
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 5, 6, 7, 8]);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
