//! What those who read machines do alike: they say what was missing, take distances only where these make sense, and put the parts
//! together.
//!
//! Where the parts come from is `sysfs`'s and `hwloc`'s; what a machine is made of is `machine`'s.

use std::collections::BTreeSet;

use super::machine::{Cache, CacheKind, Cpu, Machine, Node, FAR, NEAR};

/// What was missing: the same of many CPUs is one sentence.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) all: Vec<String>,
    cpus: Vec<(String, Vec<usize>)>,
}

impl Notes {
    pub(super) fn of(&mut self, what: &str, cpu: usize) {
        match self.cpus.iter_mut().find(|(known, _)| known == what) {
            Some((_, cpus)) => cpus.push(cpu),
            None => self.cpus.push((what.into(), vec![cpu])),
        }
    }

    /// What is said when a CPU's core is not told.
    pub(super) fn no_core(&mut self, cpu: usize) {
        self.of("which core it belongs to is not told; taken as a core of its own", cpu);
    }

    pub(super) fn no_package(&mut self, cpu: usize) {
        self.of("which package it belongs to is not told; taken as part of package 0", cpu);
    }

    pub(super) fn no_cache(&mut self, cpu: usize) {
        self.of("which caches it shares is not told; taken as sharing one with all such", cpu);
    }

    pub(super) fn said(self) -> Vec<String> {
        let of_cpus = self.cpus.into_iter().map(|(what, cpus)| format!("CPU {}: {what}", ranges(&cpus)));
        self.all.into_iter().chain(of_cpus).collect()
    }
}

/// The nodes, each with its row of distances: as told, or a guess where that makes no sense. They are in order, with all CPUs of each.
pub(super) fn with_distances(nodes: Vec<(Node, Option<Vec<u32>>)>, notes: &mut Notes) -> Vec<Node> {
    for (node, _) in nodes.iter().filter(|(node, _)| node.bytes.is_none()) {
        notes.all.push(format!("how much memory node {} has is not told", node.id));
    }
    let count = nodes.len();
    let is_row = |own: usize, row: &Vec<u32>| {
        // A distance to another node may be said to be no farther than its own, but not nearer.
        row.len() == count && row[own] == NEAR && row.iter().all(|&distance| distance >= NEAR)
    };
    let with_row = |(index, (mut node, row)): (usize, (Node, Option<Vec<u32>>))| {
        node.distances = row.filter(|row| is_row(index, row)).unwrap_or_else(|| {
            let (id, far) = (node.id, FAR);
            if count > 1 {
                notes
                    .all
                    .push(format!("how far the others are from node {id} is not told; {far} is assumed"));
            }
            (0..count).map(|other| if other == index { NEAR } else { FAR }).collect()
        });
        node
    };
    nodes.into_iter().enumerate().map(with_row).collect()
}

/// The node of a CPU: the first that has it, else the first that has any. Takes the nodes with all CPUs of each.
pub(super) fn node_of(nodes: &[Node], cpu: usize, notes: &mut Notes) -> usize {
    if let Some(node) = nodes.iter().find(|node| node.cpus.contains(&cpu)) {
        return node.id;
    }
    let fallback =
        nodes.iter().find(|node| !node.cpus.is_empty()).or(nodes.first()).map_or(0, |node| node.id);
    notes.of(&format!("on no node; taken as part of node {fallback}"), cpu);
    fallback
}

/// The machine of these parts. Nodes and caches come with all CPUs that they have, and keep those that are among `cpus`.
pub(super) fn machine(
    cpus: Vec<Cpu>,
    mut nodes: Vec<Node>,
    mut caches: Vec<Cache>,
    mut notes: Notes,
) -> Machine {
    if nodes.is_empty() {
        notes.all.push("no memory nodes are told; all is taken as one".into());
        nodes.push(Node { id: 0, cpus: Vec::new(), bytes: None, distances: vec![NEAR] });
    }
    for node in &mut nodes {
        node.cpus = cpus.iter().filter(|cpu| cpu.node == node.id).map(|cpu| cpu.id).collect();
        node.cpus.sort_unstable();
    }
    let used: BTreeSet<usize> = cpus.iter().map(|cpu| cpu.id).collect();
    caches.iter_mut().for_each(|cache| cache.cpus.retain(|id| used.contains(id)));
    caches.retain(|cache| !cache.cpus.is_empty());
    caches.sort_by_key(|cache| {
        (cache.level, cache.kind == CacheKind::Instruction, cache.cpus.first().copied())
    });
    Machine { cpus, nodes, caches, notes: notes.said(), is_here: false }
}

/// Numbers as Linux lists them: `0-3,8,10-11`.
pub(super) fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let part =
        |(from, to): (usize, usize)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}
