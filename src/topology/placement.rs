//! Where each worker of a runtime is, who is near whom, and which workers are at home on which memory node.
//!
//! Pure: made from a machine and a number of workers, so the decisions for any machine are tested on this one. How workers are dealt
//! and why is in `README.md` beside this file.

use std::collections::HashMap;
use std::ops::Range;

use super::machine::{Cpu, Machine, FAR, NEAR};

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
    /// The workers by node, cache and core, so that those who share one of them stand side by side.
    line: Vec<usize>,
    spots: Vec<Spot>,
    homes: Vec<Home>,
    /// For each node of the machine its number and the home that its tasks go to.
    nodes: Vec<(usize, usize)>,
    is_here: bool,
}

/// A worker's place in the line, and the stretches of those who share something with it.
#[derive(Clone, Debug, Default)]
struct Spot {
    at: usize,
    core: Range<usize>,
    cache: Range<usize>,
    /// The node's, by its index among the homes.
    home: usize,
}

/// A node that has workers.
#[derive(Clone, Debug)]
struct Home {
    id: usize,
    /// Its stretch of the line.
    members: Range<usize>,
    /// The other homes, nearest first; those that are equally far together.
    outward: Vec<(u32, Vec<usize>)>,
}

impl Topology {
    /// Worker `i` on `cpus[i]`. Nodes are 20 apart, as Linux has it where a machine does not say.
    pub fn of(cpus: Vec<Cpu>) -> Self {
        Self::on(&Machine::default(), cpus)
    }

    /// `workers` separate cores that share everything else.
    pub fn flat(workers: usize) -> Self {
        Self::of((0..workers).map(|id| Cpu { id, core: id, ..Cpu::default() }).collect())
    }

    /// The machine's CPUs dealt out to `workers` workers, as a runtime does it: to each node its share of them, in a row, and on a node one
    /// for each core before any core has two. On a machine without CPUs as [`flat`](Self::flat).
    ///
    /// ```
    /// use upbeat::topology::{Machine, Topology};
    ///
    /// let machine = Machine::synthetic("node:2 core:2 pu:2")?;
    /// let topology = Topology::dealt(&machine, 4);
    /// let cpus: Vec<_> = (0..4).map(|worker| topology.cpu(worker).id).collect();
    /// assert_eq!(cpus, [0, 2, 4, 6]);
    /// # Ok::<(), upbeat::topology::TopologyError>(())
    /// ```
    pub fn dealt(machine: &Machine, workers: usize) -> Self {
        if machine.cpus.is_empty() {
            return Self::flat(workers);
        }
        let mut nodes: Vec<usize> = machine.cpus.iter().map(|cpu| cpu.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let hands: Vec<Vec<Cpu>> = nodes.iter().map(|node| in_turn(machine, *node)).collect();
        // The next worker goes where its share of a CPU is largest; workers of a node then stand in a row.
        let mut shares = vec![0; hands.len()];
        for _ in 0..workers {
            let fullness = |&home: &usize| (shares[home] + 1) as f64 / hands[home].len() as f64;
            let next = (0..hands.len()).min_by(|a, b| fullness(a).total_cmp(&fullness(b)));
            shares[next.unwrap_or(0)] += 1;
        }
        let deal =
            |(hand, share): (&Vec<Cpu>, usize)| (0..share).map(|i| hand[i % hand.len()]).collect::<Vec<_>>();
        Self::on(machine, hands.iter().zip(shares).flat_map(deal).collect())
    }

    fn on(machine: &Machine, cpus: Vec<Cpu>) -> Self {
        let place = |&worker: &usize| (cpus[worker].node, cpus[worker].cache, cpus[worker].core);
        let mut line: Vec<usize> = (0..cpus.len()).collect();
        line.sort_by_key(place);
        // Where the stretch around `at` begins and ends in which all share what `key` says.
        let stretch = |at: usize, depth: usize| {
            let shares = |&worker: &usize| {
                let (a, b) = (place(&worker), place(&line[at]));
                a.0 == b.0 && (depth < 1 || a.1 == b.1) && (depth < 2 || a.2 == b.2)
            };
            let before = line[..at].iter().rev().take_while(|worker| shares(worker)).count();
            let after = line[at..].iter().take_while(|worker| shares(worker)).count();
            at - before..at + after
        };
        let mut spots = vec![Spot::default(); cpus.len()];
        let mut homes: Vec<Home> = Vec::new();
        let mut at = 0;
        while at < line.len() {
            let members = stretch(at, 0);
            for at in members.clone() {
                let (cache, core) = (stretch(at, 1), stretch(at, 2));
                spots[line[at]] = Spot { at, core, cache, home: homes.len() };
            }
            at = members.end;
            homes.push(Home { id: cpus[line[members.start]].node, members, outward: Vec::new() });
        }
        let ids: Vec<usize> = homes.iter().map(|home| home.id).collect();
        // `Machine::node_distance`, which looks for both nodes each time. Of two with one number the first counts, as there.
        let index: HashMap<usize, usize> =
            machine.nodes.iter().enumerate().rev().map(|(index, node)| (node.id, index)).collect();
        let distance = |from: usize, to: usize| {
            let told = || machine.nodes[*index.get(&from)?].distances.get(*index.get(&to)?).copied();
            told().unwrap_or(if from == to { NEAR } else { FAR })
        };
        for (own, home) in homes.iter_mut().enumerate() {
            let others = (0..ids.len()).filter(|&other| other != own);
            let mut others: Vec<_> = others.map(|other| (distance(ids[own], ids[other]), other)).collect();
            // By number among equals.
            others.sort_unstable();
            for group in others.chunk_by(|a, b| a.0 == b.0) {
                home.outward.push((group[0].0, group.iter().map(|(_, other)| *other).collect()));
            }
        }
        let mut nodes: Vec<(usize, usize)> =
            ids.iter().copied().enumerate().map(|(home, id)| (id, home)).collect();
        // The homes are by number.
        for node in machine.nodes.iter().filter(|node| ids.binary_search(&node.id).is_err()) {
            let nearest = (0..ids.len()).min_by_key(|&home| distance(node.id, ids[home]));
            nodes.extend(nearest.map(|home| (node.id, home)));
        }
        Self { cpus, line, spots, homes, nodes, is_here: machine.is_here }
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

    /// How far the memory node of worker `b` is from that of worker `a`: 10 when it is the same, else what the machine says (ACPI's SLIT).
    /// Panics when there is no such worker.
    pub fn node_distance(&self, a: usize, b: usize) -> u32 {
        let (own, other) = (self.home(a), self.home(b));
        if own == other {
            return NEAR;
        }
        let groups = &self.homes[own].outward;
        groups.iter().find(|(_, homes)| homes.contains(&other)).map_or(FAR, |(distance, _)| *distance)
    }

    /// The numbers of the memory nodes that have workers, ascending.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.homes.iter().map(|home| home.id)
    }

    /// The workers on memory node `node`, those that share a cache side by side.
    pub fn workers_of(&self, node: usize) -> &[usize] {
        let members = self.homes.iter().find(|home| home.id == node).map(|home| home.members.clone());
        &self.line[members.unwrap_or_default()]
    }

    /// The other workers in groups, nearest first; the members of a group are equally far. Calls `group` with parts of the line, which stand
    /// for one group until it is called with `true` at the end of the last one.
    pub(crate) fn outward(&self, worker: usize, mut group: impl FnMut(&[usize], bool)) {
        let spot = &self.spots[worker];
        let members = &self.homes[spot.home].members;
        let mut inner = spot.at..spot.at + 1;
        for outer in [&spot.core, &spot.cache, members] {
            group(&self.line[outer.start..inner.start], false);
            group(&self.line[inner.end..outer.end], true);
            inner = outer.clone();
        }
        for (_, homes) in &self.homes[spot.home].outward {
            let (last, others) = homes.split_last().expect("a group has members");
            others.iter().for_each(|&home| group(self.members(home), false));
            group(self.members(*last), true);
        }
    }

    /// Number of homes: nodes that have workers.
    pub(crate) fn homes(&self) -> usize {
        self.homes.len()
    }

    /// The home of a worker.
    pub(crate) fn home(&self, worker: usize) -> usize {
        self.spots[worker].home
    }

    /// The workers at a home.
    pub(crate) fn members(&self, home: usize) -> &[usize] {
        &self.line[self.homes[home].members.clone()]
    }

    /// The home of the tasks of node `id`: the node itself, or if it has no workers the nearest one that has. `None` when the machine has no
    /// such node.
    pub(crate) fn home_of(&self, id: usize) -> Option<usize> {
        self.nodes.iter().find(|(node, _)| *node == id).map(|(_, home)| *home)
    }

    /// The other homes, nearest first.
    pub(crate) fn homes_from(&self, home: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.homes[home].outward.iter().flat_map(|(_, homes)| homes.iter().copied())
    }

    /// The numbers of all nodes of the machine, those with workers first.
    pub(super) fn all_nodes(&self) -> impl Iterator<Item = usize> + '_ {
        self.nodes.iter().map(|(id, _)| *id)
    }

    /// Whether its CPUs are those of the machine that this runs on.
    pub(crate) fn is_here(&self) -> bool {
        self.is_here
    }
}

/// The CPUs of a node in the order in which they get workers: the first of each core, then the second of each, and so on.
fn in_turn(machine: &Machine, node: usize) -> Vec<Cpu> {
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let of_node = machine.cpus.iter().filter(|cpu| cpu.node == node);
    // Counted among the CPUs that are there: a mask may have left out a core's first one.
    let turn = |cpu: &Cpu| {
        let next = seen.entry(cpu.core).or_insert(0);
        *next += 1;
        *next
    };
    let turns: Vec<usize> = of_node.clone().map(turn).collect();
    let mut hand: Vec<_> = turns.into_iter().zip(of_node.copied()).collect();
    hand.sort_by_key(|(turn, _)| *turn);
    hand.into_iter().map(|(_, cpu)| cpu).collect()
}
