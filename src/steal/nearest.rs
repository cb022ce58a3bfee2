//! The nearest worker first.

use super::random::shuffle;
use super::{Generator, StealPolicy};
use crate::topology::Topology;

/// Victims by distance: what a near worker has is likely in a shared cache. Random among equals, so that thieves at the
/// same distance do not all ask the same victim.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nearest;

impl StealPolicy for Nearest {
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>) {
        order.extend((0..topology.workers()).filter(|&worker| worker != thief));
        shuffle(order, generator);
        // Stable insertion sort, in place: `sort_by_key` may allocate, and this runs while idle workers spin.
        for i in 1..order.len() {
            let mut j = i;
            while j > 0 && topology.distance(thief, order[j - 1]) > topology.distance(thief, order[j]) {
                order.swap(j - 1, j);
                j -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Cpu, Distance};

    /// 2 nodes of 2 caches of 2 cores of 2 threads.
    fn machine() -> Topology {
        Topology::of((0..16).map(|i| Cpu { id: i, core: i / 2, cache: i / 4, node: i / 8 }).collect())
    }

    #[test]
    fn goes_outwards() {
        let topology = machine();
        for seed in 0..20 {
            let mut order = Vec::new();
            Nearest.victims(5, &topology, &mut Generator::new(seed), &mut order);
            assert_eq!(order.len(), 15);
            assert_eq!(order[0], 4, "the other thread of the core");
            let distances: Vec<_> = order.iter().map(|&victim| topology.distance(5, victim)).collect();
            assert!(distances.is_sorted());
            assert_eq!(distances.iter().filter(|&&d| d == Distance::Remote).count(), 8);
        }
    }
}
