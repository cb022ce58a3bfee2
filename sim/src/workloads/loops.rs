//! Loops over items that cost the same, more and more, or as much as causal attention's tiles do; in phases that follow one another.

use super::{below, block, hash};
use crate::program::{Cost, Next, Program, Region, Start, Step, Task};

/// What items cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// `ns`, more or less by `noise`/1024 of it at most, another in each phase.
    Even {
        /// The mean, ns.
        ns: u64,
        /// How much more or less, in 1/1024.
        noise: u64,
    },
    /// From `ns` to about `ns + more`, with the square of the index, and half of what is added random.
    Skewed {
        /// The first, ns.
        ns: u64,
        /// What the last ones cost more, ns.
        more: u64,
    },
    /// Tile `i` sees the first `i % blocks + 1` blocks of keys, `ns` each.
    Causal {
        /// A block of keys, ns.
        ns: u64,
        /// Blocks of a head.
        blocks: u32,
    },
}

/// Loops over the same items, one after the other, each a region.
#[derive(Clone, Copy, Debug)]
pub struct Loops {
    /// Items of each.
    pub items: u32,
    /// How many loops.
    pub phases: u32,
    /// What items cost.
    pub costs: Items,
    /// The share that waits for memory, in 1/1024.
    pub memory: u32,
    /// Nodes that the items lie on.
    pub nodes: u32,
    /// Which costs.
    pub seed: u64,
    /// Whether each loop is dealt out to the workers when it begins.
    pub is_placed: bool,
}

const PHASE: u32 = 1;
const ITEMS: u32 = 2;
/// What is between two loops, ns.
const BETWEEN: u64 = 300;

impl Loops {
    fn item(&self, phase: u32, i: u32) -> u64 {
        let random = || hash(self.seed ^ u64::from(phase) << 32, u64::from(i));
        match self.costs {
            Items::Even { ns, noise } => ns - ns * noise / 1024 + below(random(), 2 * ns * noise / 1024 + 1),
            Items::Skewed { ns, more } => {
                let x = u64::from(i) * 1024 / u64::from(self.items);
                let square = (x * x * more) >> 20;
                ns + square / 2 + below(random(), square + 1)
            }
            Items::Causal { ns, blocks } => ns * u64::from(i % blocks + 1),
        }
    }
}

impl Program for Loops {
    fn start(&self) -> Start {
        Start::Root(Task::new(PHASE, 0, 0, self.items, 0))
    }

    fn step(&self, task: Task) -> Step {
        let next = task.job + 1;
        Step {
            cost: Cost::compute(BETWEEN),
            next: Next::Loop(Task::new(ITEMS, task.job, 0, self.items, 0)),
            then: (next < self.phases).then_some(Task { job: next, ..task }),
            region: Some(Region { site: 1, size: u64::from(self.items) }),
        }
    }

    fn stretch(&self, of: Task) -> Cost {
        let ns = (of.lo..of.hi).map(|i| self.item(of.job, i)).sum();
        Cost { ns, memory: self.memory, home: self.home(of).unwrap_or(0) }
    }

    fn home(&self, task: Task) -> Option<u32> {
        (self.memory > 0).then(|| block(task.lo + (task.hi - task.lo) / 2, self.items, self.nodes))
    }

    fn is_placed(&self) -> bool {
        self.is_placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_what_their_names_say() {
        let of =
            |costs| Loops { items: 640, phases: 1, costs, memory: 0, nodes: 1, seed: 1, is_placed: false };
        let all = |loops: Loops| (0..640).map(|i| loops.item(0, i)).collect::<Vec<_>>();
        let even = all(of(Items::Even { ns: 1000, noise: 256 }));
        assert!(even.iter().all(|ns| (750..=1250).contains(ns)) && even.iter().any(|&ns| ns != even[0]));
        let mean = even.iter().sum::<u64>() / 640;
        assert!((980..1020).contains(&mean), "{mean}");
        let skewed = all(of(Items::Skewed { ns: 100, more: 1000 }));
        assert!(skewed[0] == 100 && skewed[600..].iter().all(|&ns| ns > 450));
        let causal = all(of(Items::Causal { ns: 10, blocks: 64 }));
        assert_eq!((causal[0], causal[63], causal[64]), (10, 640, 10));
    }
}
