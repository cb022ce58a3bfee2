//! A machine: its cores, caches and nodes, and how long what takes time takes on it.
//!
//! Where the numbers come from is in `sim/README.md`; those of the presets other than `2-core` are assumed. Which worker is where is in
//! `layout`, the only file that knows the runtime's description of a CPU.

mod file;
mod layout;

pub use file::MachineError;
pub use layout::Layout;

use upbeat::topology::Distance;
use upbeat::Generator;

/// Where workers are put when there are fewer of them than cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// In equal parts on all nodes.
    #[default]
    Spread,
    /// One node after the other, as the runtime deals them out.
    Compact,
}

/// A machine. Times are ns, for each [`Distance`] where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What it is called in reports.
    pub name: String,
    /// NUMA nodes.
    pub nodes: u32,
    /// Last-level caches of a node.
    pub caches: u32,
    /// Cores of a cache.
    pub cores: u32,
    /// Hardware threads of a core, each with a worker.
    pub threads: u32,
    /// Nodes of a package; nodes of one package are nearer to each other.
    pub package: u32,
    /// Where workers are put.
    pub fill: Fill,
    /// A look at a victim whose line has changed: core, cache, node, remote.
    pub probe: [u64; Distance::ALL.len()],
    /// Looks at several victims that a processor has under way at once, so that each costs so many times less.
    pub overlap: u64,
    /// What a stolen task costs its thief before it runs.
    pub steal: [u64; Distance::ALL.len()],
    /// How much slower memory is than the own node's, in 1/1024: in the package, and beyond it.
    pub slow: [u32; 2],
    /// What a node's memory gives, MB/s.
    pub bandwidth: u64,
    /// What a worker takes that only waits for memory, MB/s.
    pub stream: u64,
    /// A look at a victim whose line has not changed.
    pub glance: u64,
    /// To draw a place in the order of victims.
    pub draw: u64,
    /// Between two polls.
    pub pause: u64,
    /// A join that nobody steals from, and to look up at the end of a loop's chunk.
    pub fork: u64,
    /// To answer a request.
    pub answer: u64,
    /// To make a task public, or take it back.
    pub promote: u64,
    /// Until a waiter that polls sees that its thief is done.
    pub latch: u64,
    /// What waking costs who wakes, and until the woken runs.
    pub wake: [u64; 2],
    /// A worker looks up this often at most: shorter tasks are run in one event.
    pub resolution: u64,
}

/// The presets' names.
pub const PRESETS: [&str; 4] = ["2-core", "2x32", "4x28", "8x32"];

impl Machine {
    /// The machine of a name in [`PRESETS`].
    pub fn preset(name: &str) -> Option<Self> {
        let virtual_pair = Self {
            name: "2-core".into(),
            nodes: 1,
            caches: 1,
            cores: 2,
            threads: 1,
            package: 1,
            fill: Fill::Spread,
            probe: [40, 80, 120, 300],
            overlap: 4,
            steal: [100, 250, 350, 700],
            slow: [1434, 1946],
            bandwidth: 40_000,
            stream: 12_000,
            glance: 3,
            draw: 3,
            pause: 100,
            fork: 1,
            answer: 20,
            promote: 25,
            latch: 90,
            wake: [5_000, 45_000],
            resolution: 200,
        };
        let metal = Self { wake: [4_500, 3_000], ..virtual_pair.clone() };
        let machine = match name {
            "2-core" => virtual_pair,
            // Two EPYC-like packages of 32 cores, eight to a cache.
            "2x32" => Self { nodes: 2, caches: 4, cores: 8, bandwidth: 200_000, ..metal },
            // Four Xeon-like packages of 28 cores, one cache each.
            "4x28" => {
                Self { nodes: 4, caches: 1, cores: 28, bandwidth: 140_000, slow: [1434, 1741], ..metal }
            }
            // Two packages of four nodes of 32 cores.
            "8x32" => Self { nodes: 8, caches: 4, cores: 8, package: 4, bandwidth: 200_000, ..metal },
            _ => return None,
        };
        Some(Self { name: name.into(), ..machine })
    }

    /// Its CPUs.
    pub fn cpus(&self) -> usize {
        (u64::from(self.nodes) * u64::from(self.caches) * u64::from(self.cores) * u64::from(self.threads))
            as usize
    }

    /// Makes what a look, a steal and a waking take, and the bandwidth, each a quarter, a half, one, two or four times what it was.
    pub(crate) fn scale(&mut self, generator: &mut Generator) {
        let mut scale = |value: &mut u64| *value = *value * (1 << generator.below(5)) / 4;
        self.probe.iter_mut().chain(&mut self.steal).chain(&mut self.wake).for_each(&mut scale);
        scale(&mut self.bandwidth);
    }

    /// How much slower a node's memory is for a worker of another node, in 1/1024.
    #[inline]
    pub fn slowdown(&self, node: u32, home: u32) -> u32 {
        if node == home {
            1024
        } else {
            self.slow[usize::from(node / self.package != home / self.package)]
        }
    }

    /// How long `ns` of waiting for memory take when `load`/1024 workers that only wait use the node's memory and it is `slowdown`/1024 times
    /// as far.
    #[inline]
    pub fn waits(&self, ns: u64, slowdown: u32, load: u64) -> u64 {
        let far = ns * u64::from(slowdown) / 1024;
        let wanted = load * self.stream / 1024;
        if wanted > self.bandwidth {
            far * wanted / self.bandwidth
        } else {
            far
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_there_and_nothing_else_is() {
        let cpus = PRESETS.map(|name| Machine::preset(name).unwrap().cpus());
        assert_eq!(cpus, [2, 64, 112, 256]);
        assert_eq!(Machine::preset("3x3"), None);
    }

    #[test]
    fn far_memory_is_slow_and_a_full_node_is_slower() {
        let machine = Machine::preset("8x32").unwrap();
        let slow = [0, 3, 4].map(|home| machine.slowdown(0, home));
        assert!(slow[0] == 1024 && slow[0] < slow[1] && slow[1] < slow[2], "{slow:?}");
        assert_eq!(machine.waits(1000, 1024, 1024), 1000);
        assert_eq!(machine.waits(1000, 2048, 1024), 2000);
        let full = 1024 * machine.bandwidth / machine.stream;
        assert_eq!(machine.waits(1000, 1024, full), 1000, "up to its bandwidth a node keeps up");
        assert!(machine.waits(1000, 1024, 4 * full) >= 3900, "four times too many take four times as long");
    }
}
