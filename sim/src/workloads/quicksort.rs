//! Quicksort: a partition is a step of its own that nobody can share, so the root alone is serial for as long as it takes to read all.

use super::{below, block, hash};
use crate::program::{Cost, Next, Program, Start, Step, Task};

/// Slices up to this are sorted without forks.
const LEAF: u32 = 512;

/// Quicksort of `elements` numbers with the median of three as the pivot.
#[derive(Clone, Copy, Debug)]
pub struct Quicksort {
    /// How many.
    pub elements: u32,
    /// The share that waits for memory, in 1/1024.
    pub memory: u32,
    /// Nodes that they lie on.
    pub nodes: u32,
    /// Which pivots.
    pub seed: u64,
}

impl Program for Quicksort {
    fn start(&self) -> Start {
        Start::Root(Task::new(1, 0, 0, self.elements, 0))
    }

    fn step(&self, task: Task) -> Step {
        let Task { lo, hi, .. } = task;
        let count = u64::from(hi - lo);
        let cost = |ns| Cost { ns, memory: self.memory, home: self.home(task).unwrap_or(0) };
        if hi - lo <= LEAF {
            return Step::leaf(cost(count * u64::from(count.max(2).ilog2()) * 2));
        }
        let draw = |i| below(hash(self.seed ^ u64::from(lo) << 32 ^ u64::from(hi), i), count - 1);
        let (a, b, c) = (draw(0), draw(1), draw(2));
        let median = a.max(b).min(a.min(b).max(c));
        let pivot = lo + 1 + median as u32;
        Step { next: Next::Fork(task.over(lo, pivot), task.over(pivot, hi)), ..Step::leaf(cost(count)) }
    }

    fn home(&self, task: Task) -> Option<u32> {
        Some(block(task.lo + (task.hi - task.lo) / 2, self.elements, self.nodes))
    }
}
