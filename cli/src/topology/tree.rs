//! A machine's CPUs by package, node, last-level cache and core, as both drawings nest them.

use std::collections::BTreeMap;

use upbeat::topology::{Cache, CacheKind, Cpu, Machine, Node};

/// A core's CPUs.
pub(super) type Core = Vec<usize>;
/// Keys are the operating system's numbers.
type Caches = BTreeMap<usize, BTreeMap<usize, Core>>;
pub(super) type Packages = BTreeMap<usize, BTreeMap<usize, Caches>>;

/// The nested CPUs.
pub(super) fn packages(machine: &Machine) -> Packages {
    let mut packages = Packages::new();
    for Cpu { id, core, cache, node, package, .. } in machine.cpus.iter().copied() {
        let caches = packages.entry(package).or_default().entry(node).or_default();
        caches.entry(cache).or_default().entry(core).or_default().push(id);
    }
    packages
}

/// The nodes that have memory for others and no CPU of the machine.
pub(super) fn without_cpus(machine: &Machine) -> impl Iterator<Item = &Node> {
    machine.nodes.iter().filter(|node| node.cpus.is_empty())
}

/// What a node is called.
pub(super) fn node_name(machine: &Machine, id: usize) -> String {
    match machine.nodes.iter().find(|node| node.id == id).and_then(|node| node.bytes) {
        Some(0) => format!("node {id}, no memory"),
        Some(bytes) => format!("node {id}, {}", size(bytes)),
        None => format!("node {id}"),
    }
}

/// What the last-level cache of a CPU is called.
pub(super) fn cache_name(machine: &Machine, cpu: usize) -> String {
    let of_data = machine.caches_of(cpu).filter(|cache| cache.kind != CacheKind::Instruction);
    let name = |cache: &Cache| format!("L{} {}", cache.level, size(cache.bytes));
    of_data.max_by_key(|cache| cache.level).map_or("no cache told".into(), name)
}

/// One line about all of it.
pub(super) fn summary(machine: &Machine) -> String {
    let count = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
    [
        count(machine.packages(), "package"),
        count(machine.nodes.len(), "memory node"),
        count(machine.cores(), "core"),
        count(machine.cpus.len(), "CPU"),
    ]
    .join(", ")
}

/// A size for a person.
fn size(bytes: u64) -> String {
    let (bytes, unit) = match bytes {
        0x4000_0000.. => (bytes as f64 / f64::from(1 << 30), "GiB"),
        0x10_0000.. => (bytes as f64 / f64::from(1 << 20), "MiB"),
        _ => (bytes as f64 / 1024.0, "KiB"),
    };
    if bytes.fract() == 0.0 {
        format!("{bytes:.0} {unit}")
    } else {
        format!("{bytes:.1} {unit}")
    }
}
