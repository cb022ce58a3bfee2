//! Which worker is on which CPU of a simulated machine, as the runtime's `Topology`.
//!
//! The only file that knows the fields of the runtime's `Cpu`.

use upbeat::topology::{Cpu, Distance, Topology};

use super::{Fill, Machine};

/// Workers on a machine.
#[derive(Clone, Debug)]
pub struct Layout {
    topology: Topology,
    nodes: Vec<u32>,
    /// For each node the one whose workers look after what is sent there: itself, if it has workers.
    hosts: Vec<u32>,
    /// Distances between workers, a row a worker: looked up at every probe.
    distances: Vec<u8>,
}

impl Layout {
    /// `workers` workers on a machine; more than it has CPUs share them in turn, which the simulation does not slow down, so callers refuse it.
    pub fn new(machine: &Machine, workers: usize) -> Self {
        let cpus = cpus(machine);
        let place = |worker: usize| match machine.fill {
            Fill::Compact => worker % cpus.len(),
            // The node's share of the workers, one after the other on its CPUs.
            Fill::Spread => {
                let nodes = machine.nodes as usize;
                let node = worker * nodes / workers;
                let first = (node * workers).div_ceil(nodes);
                let a_node = cpus.len() / nodes;
                node * a_node + (worker - first) % a_node
            }
        };
        let placed: Vec<Cpu> = (0..workers).map(|worker| cpus[place(worker)]).collect();
        let nodes: Vec<u32> = placed.iter().map(|cpu| cpu.node as u32).collect();
        let host =
            |node: u32| nodes.iter().copied().min_by_key(|&other| (other.abs_diff(node), other)).unwrap_or(0);
        let hosts = (0..machine.nodes).map(host).collect();
        let topology = Topology::of(placed);
        let pairs = (0..workers).flat_map(|a| (0..workers).map(move |b| (a, b)));
        let distances = pairs.map(|(a, b)| topology.distance(a, b) as u8).collect();
        Self { topology, nodes, hosts, distances }
    }

    /// What policies see.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.nodes.len()
    }

    /// The worker's NUMA node.
    #[inline]
    pub fn node(&self, worker: usize) -> u32 {
        self.nodes[worker]
    }

    /// The node that has workers, for what should be done on `node`.
    pub fn host(&self, node: u32) -> u32 {
        self.hosts[node as usize]
    }

    /// Index of the distance in [`Distance::ALL`].
    #[inline]
    pub fn distance(&self, a: usize, b: usize) -> usize {
        self.distances[a * self.nodes.len() + b] as usize
    }

    /// Whether a distance is that of another node.
    pub fn is_remote(distance: usize) -> bool {
        distance == Distance::Remote as usize
    }
}

fn cpus(machine: &Machine) -> Vec<Cpu> {
    let (threads, cores, caches) =
        (machine.threads as usize, machine.cores as usize, machine.caches as usize);
    (0..machine.cpus())
        .map(|id| Cpu {
            id,
            core: id / threads,
            thread: id % threads,
            cache: id / (threads * cores),
            node: id / (threads * cores * caches),
            package: id / (threads * cores * caches * machine.package as usize),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_workers_use_every_node_alike_and_compact_ones_the_first() {
        let mut machine = Machine::preset("4x28").unwrap();
        for workers in [4, 32, 111, 112] {
            let layout = Layout::new(&machine, workers);
            let on = |node| (0..workers).filter(|&worker| layout.node(worker) == node).count();
            let counts: Vec<usize> = (0..4).map(on).collect();
            assert_eq!(counts.iter().sum::<usize>(), workers);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            let mut ids: Vec<usize> = (0..workers).map(|worker| layout.topology().cpu(worker).id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), workers, "no two on one CPU");
        }
        machine.fill = Fill::Compact;
        let layout = Layout::new(&machine, 28);
        assert!((0..28).all(|worker| layout.node(worker) == 0));
    }

    #[test]
    fn distances_are_the_runtimes_own() {
        let machine = Machine { threads: 2, ..Machine::preset("2x32").unwrap() };
        let layout = Layout::new(&machine, 128);
        for (other, distance) in
            [(1, Distance::Core), (2, Distance::Cache), (20, Distance::Node), (70, Distance::Remote)]
        {
            assert_eq!(Distance::ALL[layout.distance(0, other)], distance);
            assert_eq!(layout.topology().distance(0, other), distance);
        }
        assert!(Layout::is_remote(layout.distance(3, 100)) && !Layout::is_remote(layout.distance(3, 50)));
    }
}
