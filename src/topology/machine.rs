//! What a machine is made of: CPUs, the caches that they share, memory nodes and how far these are from each other.
//!
//! This file owns the model and the questions it answers. Who fills it in is beside it: `sysfs`, `synthetic` and, with the feature of
//! that name, `hwloc`. Where workers go on it is `placement`'s.

use std::path::Path;

use super::error::TopologyError;
use super::{affinity, synthetic, sysfs};

/// One logical CPU. Numbers of cores, caches, nodes and packages are the operating system's; equal means shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The operating system's number.
    pub id: usize,
    /// Physical core, by the first CPU that it has.
    pub core: usize,
    /// Which thread of its core it is, from 0.
    pub thread: usize,
    /// Last-level cache, by the first CPU that shares it.
    pub cache: usize,
    /// NUMA node.
    pub node: usize,
    /// Package: what sits in one socket.
    pub package: usize,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// Data alone.
    Data,
    /// Instructions alone.
    Instruction,
    /// Both.
    Unified,
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1 for the one next to the core.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Its size.
    pub bytes: u64,
    /// The machine's CPUs that share it, ascending.
    pub cpus: Vec<usize>,
}

/// One memory node. It may have no CPUs (memory behind a link such as CXL), or no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The operating system's number. Numbers need not follow each other.
    pub id: usize,
    /// The machine's CPUs on it, ascending.
    pub cpus: Vec<usize>,
    /// Its memory, if that is told.
    pub bytes: Option<u64>,
    /// How far each of the machine's nodes is from here, in their order: 10 for itself, 20 for twice the latency (ACPI's SLIT).
    pub distances: Vec<u32>,
}

/// The SLIT's distance of a node from itself.
pub(super) const NEAR: u32 = 10;
/// What Linux assumes between two nodes of which it is told nothing.
pub(super) const FAR: u32 = 20;

/// A machine, as far as it is told. Nothing of it is ever an error: what is missing is guessed, and said in `notes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The CPUs that may be used, each once, by number unless a mask gave another order.
    pub cpus: Vec<Cpu>,
    /// Memory nodes, by number.
    pub nodes: Vec<Node>,
    /// Caches, by level, and among equals by the first CPU.
    pub caches: Vec<Cache>,
    /// What was missing or made no sense, and what was assumed instead; a sentence each.
    pub notes: Vec<String>,
    /// Whether its numbers are those of the machine that this runs on, so that threads can be pinned to its CPUs.
    pub(super) is_here: bool,
}

/// The machine that this runs on, with the CPUs that this process may use.
pub fn machine() -> Machine {
    let mut machine = sysfs::read(Path::new("/sys/devices/system"), &affinity::allowed());
    machine.is_here = true;
    machine
}

impl Machine {
    /// Reads a copy of Linux' `/sys/devices/system` that lies under `root`, for the CPUs in `allowed`, or all that are online when that is
    /// empty. It stands for another machine, even if it is this one's: workers on it are not pinned.
    ///
    /// ```
    /// let nothing = upbeat::topology::Machine::read("/nonexistent", &[0, 1]);
    /// assert_eq!((nothing.cpus.len(), nothing.nodes.len()), (2, 1));
    /// assert!(!nothing.notes.is_empty());
    /// ```
    pub fn read(root: impl AsRef<Path>, allowed: &[usize]) -> Self {
        sysfs::read(root.as_ref(), allowed)
    }

    /// A machine that is described in words of the form `LEVEL:NUMBER`, from the outside in: `package`, `node`, `cache`, `core` and `pu` (a
    /// core's hardware thread). Each number counts the parts of one of the level before; a level that is left out is there once.
    /// Nodes of one package are 12 apart, those of different ones 32; without packages all are 20 apart.
    ///
    /// It is for looking at decisions on a machine that one does not have: workers on it are not pinned.
    ///
    /// ```
    /// use upbeat::topology::Machine;
    ///
    /// let machine = Machine::synthetic("node:4 core:16 pu:2")?;
    /// assert_eq!((machine.cpus.len(), machine.nodes.len(), machine.cores()), (128, 4, 64));
    /// # Ok::<(), upbeat::topology::TopologyError>(())
    /// ```
    ///
    /// # Errors
    /// See [`TopologyError`].
    pub fn synthetic(description: &str) -> Result<Self, TopologyError> {
        synthetic::parse(description)
    }

    /// Keeps the CPUs that `keep` says, and all memory nodes: to use one socket, or to leave some cores to others.
    pub fn retain(&mut self, keep: impl Fn(&Cpu) -> bool) {
        self.cpus.retain(keep);
        let is_kept = |id: &usize| self.cpus.iter().any(|cpu| cpu.id == *id);
        self.nodes.iter_mut().for_each(|node| node.cpus.retain(is_kept));
        self.caches.iter_mut().for_each(|cache| cache.cpus.retain(is_kept));
        self.caches.retain(|cache| !cache.cpus.is_empty());
    }

    /// Number of cores that have one of the CPUs.
    pub fn cores(&self) -> usize {
        distinct(self.cpus.iter().map(|cpu| cpu.core))
    }

    /// Number of packages that have one of the CPUs.
    pub fn packages(&self) -> usize {
        distinct(self.cpus.iter().map(|cpu| cpu.package))
    }

    /// The caches of a CPU, the nearest first.
    pub fn caches_of(&self, cpu: usize) -> impl Iterator<Item = &Cache> + Clone {
        self.caches.iter().filter(move |cache| cache.cpus.contains(&cpu))
    }

    /// Whether it is the machine that this runs on, and not a description.
    pub fn is_here(&self) -> bool {
        self.is_here
    }

    /// The same machine, as if this ran on it: for tests of what would be decided there.
    #[cfg(all(test, not(upbeat_loom)))]
    pub(crate) fn made_ours(mut self) -> Self {
        self.is_here = true;
        self
    }

    /// How far node `to` is from node `from`, by their numbers: what the machine says, else 10 for the same and 20 for another one.
    pub fn node_distance(&self, from: usize, to: usize) -> u32 {
        let told = || {
            let row = &self.nodes.iter().find(|node| node.id == from)?.distances;
            row.get(self.nodes.iter().position(|node| node.id == to)?).copied()
        };
        told().unwrap_or(if from == to { NEAR } else { FAR })
    }
}

fn distinct(values: impl Iterator<Item = usize>) -> usize {
    values.collect::<std::collections::BTreeSet<_>>().len()
}
