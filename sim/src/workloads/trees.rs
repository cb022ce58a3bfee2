//! Trees: balanced ones over an array, and the unbalanced tree search of Olivier et al. (LCPC 2006).

use super::{block, hash, mix};
use crate::program::{Cost, Next, Program, Start, Step, Task};

/// A balanced tree over `leaves` leaves of an array.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Leaves.
    pub leaves: u32,
    /// What a leaf takes, ns.
    pub ns: u64,
    /// The share of it that waits for memory, in 1/1024.
    pub memory: u32,
    /// Nodes that the array lies on.
    pub nodes: u32,
}

impl Program for Tree {
    fn start(&self) -> Start {
        Start::Root(Task::new(1, 0, 0, self.leaves.max(1), 0))
    }

    fn step(&self, task: Task) -> Step {
        let Task { lo, hi, .. } = task;
        if hi - lo <= 1 {
            let home = self.home(task).unwrap_or(0);
            return Step::leaf(Cost { ns: self.ns, memory: self.memory, home });
        }
        let middle = lo + (hi - lo) / 2;
        Step::fork(0, task.over(lo, middle), task.over(middle, hi))
    }

    fn home(&self, task: Task) -> Option<u32> {
        (self.memory > 0).then(|| block(task.lo + (task.hi - task.lo) / 2, self.leaves, self.nodes))
    }
}

/// A binomial tree: the root has `root` children, every other node `children` of them or none.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Children of the root.
    pub root: u32,
    /// Children of a node that has any.
    pub children: u32,
    /// The chance that a node has any, in 2^-26; times `children` below 1, or the tree grows for ever.
    pub chance: u64,
    /// What a node takes on average, ns: between half and one and a half of it.
    pub ns: u64,
    /// Which tree.
    pub seed: u64,
}

impl Program for Search {
    fn start(&self) -> Start {
        Start::Root(Task::new(1, 0, 0, self.root.max(1), mix(self.seed)))
    }

    /// A task is the siblings `lo..hi` of the parent with state `seed`.
    fn step(&self, task: Task) -> Step {
        let Task { lo, hi, seed, .. } = task;
        if hi - lo > 1 {
            let middle = lo + (hi - lo) / 2;
            return Step::fork(0, task.over(lo, middle), task.over(middle, hi));
        }
        let state = hash(seed, u64::from(lo));
        let ns = self.ns / 2 + super::below(mix(state ^ 1), self.ns.max(1));
        let has_children = state >> 38 < self.chance;
        let then = has_children.then(|| Task::new(1, 0, 0, self.children, state));
        Step { cost: Cost::compute(ns), next: Next::Done, then, region: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::walk;

    #[test]
    fn a_balanced_tree_has_its_leaves_and_one_fork_less() {
        for leaves in [1, 2, 3, 1000] {
            let total = walk(&Tree { leaves, ns: 10, memory: 512, nodes: 2 });
            assert_eq!((total.leaves, total.forks), (u64::from(leaves), u64::from(leaves) - 1));
            assert_eq!(total.ns, 10 * u64::from(leaves));
        }
    }

    #[test]
    fn a_search_tree_is_of_the_expected_size() {
        let tree = Search { root: 4000, children: 8, chance: (1 << 26) / 10, ns: 100, seed: 5 };
        let total = walk(&tree);
        // Each of the root's children has a tree of 1 / (1 - 0.8) = 5 nodes on average.
        assert!((18_000..22_000).contains(&total.leaves), "{total:?}");
        assert!((95..105).contains(&(total.ns / total.leaves)));
    }
}
