//! The nearest worker first.

use super::random::shuffle;
use super::{Generator, Random, StealPolicy};
use crate::topology::Topology;

/// One of so many rounds is in random order, so that a victim whose near thieves find enough elsewhere is asked all the same.
const RANDOM_EVERY: usize = 16;

/// Victims by distance: what a near worker has is likely in a shared cache or in near memory. Other nodes come by their distance in the
/// machine's own terms ([`Topology::node_distance`]). Random among equals, so that thieves at the same distance do not all ask the same
/// victim; and one round in 16 is random altogether, so that nobody starves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nearest;

impl StealPolicy for Nearest {
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>) {
        // Of two workers there is one to ask, and the walk would take three times as long as to name it.
        if topology.workers() <= 2 || generator.below(RANDOM_EVERY) == 0 {
            return Random.victims(thief, topology, generator, order);
        }
        let mut begun = 0;
        topology.outward(thief, |members, is_last| {
            order.extend_from_slice(members);
            if is_last {
                shuffle(&mut order[begun..], generator);
                begun = order.len();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Distance, Machine};

    fn topology(description: &str, workers: usize) -> Topology {
        Topology::dealt(&Machine::synthetic(description).unwrap(), workers)
    }

    /// How far the victims are, in the order in which they are named.
    fn ranks(topology: &Topology, thief: usize, order: &[usize]) -> Vec<(Distance, u32)> {
        order
            .iter()
            .map(|&victim| (topology.distance(thief, victim), topology.node_distance(thief, victim)))
            .collect()
    }

    #[test]
    fn goes_outwards_in_all_rounds_but_some() {
        let topology = topology("package:2 node:2 cache:2 core:2 pu:2", 32);
        let mut outwards = 0;
        let mut generator = Generator::new(1);
        for thief in (0..32).cycle().take(3200) {
            let mut order = Vec::new();
            Nearest.victims(thief, &topology, &mut generator, &mut order);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq((0..32).filter(|&other| other != thief)), "each once");
            outwards += usize::from(ranks(&topology, thief, &order).is_sorted());
        }
        // 3000 are expected, and 40 are three times the deviation.
        assert!((2960..=3040).contains(&outwards), "{outwards}");
    }

    /// For every thief and every choice of nodes that have work, the first victim with work is on the nearest of them.
    #[test]
    fn the_first_victim_with_work_is_on_the_nearest_node_that_has_any() {
        let topology = topology("package:2 node:2 core:4", 16);
        for thief in 0..16 {
            for choice in 1..16_usize {
                let has_work =
                    |victim: &usize| *victim != thief && choice & 1 << topology.cpu(*victim).node != 0;
                let nearest =
                    (0..16).filter(has_work).map(|victim| topology.node_distance(thief, victim)).min();
                let mut seeds = Vec::new();
                for seed in 0..100 {
                    let mut order = Vec::new();
                    Nearest.victims(thief, &topology, &mut Generator::new(seed), &mut order);
                    let first =
                        order.into_iter().find(has_work).map(|victim| topology.node_distance(thief, victim));
                    seeds.push(first == nearest);
                }
                let nearest_first = seeds.iter().filter(|is_nearest| **is_nearest).count();
                assert!(nearest_first >= 85, "thief {thief}, nodes {choice:b}: {nearest_first} of 100");
            }
        }
    }

    /// Equals are asked first equally often, wherever they are in the line.
    #[test]
    fn equals_are_in_random_order() {
        let topology = topology("core:5", 5);
        let mut firsts = [0; 5];
        let mut generator = Generator::new(3);
        for _ in 0..4000 {
            let mut order = Vec::new();
            Nearest.victims(2, &topology, &mut generator, &mut order);
            firsts[order[0]] += 1;
        }
        assert!(firsts[2] == 0 && firsts.iter().enumerate().all(|(i, &n)| i == 2 || n > 850), "{firsts:?}");
    }
}
