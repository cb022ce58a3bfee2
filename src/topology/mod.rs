//! Which CPUs there are, how near they are to each other, and which of them this process may use.

#[allow(unsafe_code)]
pub(crate) mod affinity;
mod sysfs;

pub use sysfs::{machine, Machine};

/// One logical CPU. Numbers of cores, caches and nodes are the operating system's; equal means shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The operating system's number.
    pub id: usize,
    /// Physical core.
    pub core: usize,
    /// Last-level cache.
    pub cache: usize,
    /// NUMA node.
    pub node: usize,
}

/// How far a victim is, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// Another thread of the same core.
    Core,
    /// The same last-level cache.
    Cache,
    /// The same NUMA node.
    Node,
    /// Another NUMA node.
    Remote,
}

impl Distance {
    /// Every distance, nearest first.
    pub const ALL: [Distance; 4] = [Distance::Core, Distance::Cache, Distance::Node, Distance::Remote];
}

/// Where each worker of a runtime is.
#[derive(Clone, Debug)]
pub struct Topology {
    cpus: Vec<Cpu>,
}

impl Topology {
    /// Worker `i` on `cpus[i]`.
    pub fn of(cpus: Vec<Cpu>) -> Self {
        Self { cpus }
    }

    /// `workers` separate cores that share everything else.
    pub fn flat(workers: usize) -> Self {
        Self::of((0..workers).map(|id| Cpu { id, core: id, cache: 0, node: 0 }).collect())
    }

    /// The machine's CPUs dealt out to `workers` workers in turn.
    pub(crate) fn dealt(machine: &Machine, workers: usize) -> Self {
        let cpus = &machine.cpus;
        if cpus.is_empty() {
            return Self::flat(workers);
        }
        Self::of((0..workers).map(|i| cpus[i % cpus.len()]).collect())
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.cpus.len()
    }

    /// The CPU of a worker. Panics when there is no such worker.
    pub fn cpu(&self, worker: usize) -> Cpu {
        self.cpus[worker]
    }

    /// How far two workers are from each other. Panics when there is no such worker.
    pub fn distance(&self, a: usize, b: usize) -> Distance {
        let (a, b) = (self.cpus[a], self.cpus[b]);
        if a.node != b.node {
            Distance::Remote
        } else if a.cache != b.cache {
            Distance::Node
        } else if a.core != b.core {
            Distance::Cache
        } else {
            Distance::Core
        }
    }
}
