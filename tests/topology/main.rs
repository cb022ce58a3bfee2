//! What the runtime promises of machines: trees of real machines' shapes are read as what they are, and workers are dealt over them so
//! that cores come before siblings, each node has its share, and near is near.
//!
//! The trees are written after public descriptions of such machines, not copied from one.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tree::{numbers, Tree};
use upbeat::topology::{Distance, Machine, Topology};

const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topology/machines");

/// How many there are of each.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    packages: usize,
    nodes: usize,
    last_caches: usize,
    cores: usize,
    cpus: usize,
}

fn shape(packages: usize, nodes: usize, last_caches: usize, cores: usize, cpus: usize) -> Shape {
    Shape { packages, nodes, last_caches, cores, cpus }
}

fn shape_of(machine: &Machine) -> Shape {
    let last_caches = machine.cpus.iter().map(|cpu| cpu.cache).collect::<BTreeSet<_>>().len();
    shape(machine.packages(), machine.nodes.len(), last_caches, machine.cores(), machine.cpus.len())
}

/// Where a CPU is: core, thread of it, last cache, node, package.
fn place(machine: &Machine, id: usize) -> (usize, usize, usize, usize, usize) {
    let cpu = machine.cpus.iter().find(|cpu| cpu.id == id).unwrap();
    (cpu.core, cpu.thread, cpu.cache, cpu.node, cpu.package)
}

/// The machine of `machines/NAME.txt`. Each is read once: a tree has some thousand files.
fn read(name: &'static str) -> Arc<Machine> {
    static READ: Mutex<BTreeMap<&str, Arc<Machine>>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let machine =
        read.entry(name).or_insert_with(|| Arc::new(Machine::read(Tree::of(name, "whole").root(), &[])));
    assert!(!machine.is_here() && machine.notes.is_empty(), "{name}: {:?}", machine.notes);
    machine.clone()
}

#[test]
fn machines_have_the_shape_that_they_have() {
    for (name, expected) in [
        ("desktop-two-chiplets", shape(1, 1, 2, 16, 32)),
        ("hybrid-laptop", shape(1, 1, 1, 14, 20)),
        ("cloud-two-cpus", shape(1, 1, 1, 2, 2)),
        ("two-sockets", shape(2, 2, 8, 64, 128)),
        ("two-sockets-eight-nodes", shape(2, 8, 32, 128, 256)),
        ("four-sockets", shape(4, 4, 4, 112, 224)),
        ("eight-sockets-two-hops", shape(8, 8, 8, 256, 256)),
        ("far-memory", shape(2, 4, 2, 48, 48)),
        ("sparse-nodes", shape(2, 6, 16, 32, 128)),
        ("nodes-without-memory", shape(1, 4, 8, 32, 64)),
        ("offline-cpus", shape(1, 1, 1, 6, 7)),
        ("many-small-cores", shape(1, 1, 80, 80, 80)),
        ("four-small-sockets", shape(4, 4, 4, 8, 16)),
    ] {
        let machine = read(name);
        assert_eq!(shape_of(&machine), expected, "{name}");
        let ids: Vec<_> = machine.cpus.iter().map(|cpu| cpu.id).collect();
        assert!(ids.is_sorted() && machine.nodes.is_sorted_by_key(|node| node.id), "{name}");
        let of_nodes: usize = machine.nodes.iter().map(|node| node.cpus.len()).sum();
        assert_eq!(of_nodes, expected.cpus, "{name}: each CPU is on one node");
    }
}

#[test]
fn each_cpu_is_where_it_is() {
    for (name, id, expected) in [
        ("desktop-two-chiplets", 25, (9, 1, 8, 0, 0)),
        ("hybrid-laptop", 11, (10, 1, 0, 0, 0)),
        ("hybrid-laptop", 19, (19, 0, 0, 0, 0)),
        ("cloud-two-cpus", 1, (1, 0, 0, 0, 0)),
        ("two-sockets", 127, (63, 1, 56, 1, 1)),
        ("two-sockets-eight-nodes", 209, (81, 1, 80, 5, 1)),
        ("four-sockets", 140, (28, 1, 28, 1, 1)),
        ("eight-sockets-two-hops", 255, (255, 0, 224, 7, 7)),
        ("far-memory", 24, (24, 0, 24, 1, 1)),
        ("sparse-nodes", 71, (68, 3, 64, 8, 8)),
        ("nodes-without-memory", 17, (17, 0, 16, 1, 0)),
        ("offline-cpus", 9, (1, 1, 1, 0, 0)),
        ("many-small-cores", 7, (7, 0, 7, 0, 0)),
    ] {
        assert_eq!(place(&read(name), id), expected, "{name}, CPU {id}");
    }
}

#[test]
fn caches_are_each_there_once_with_who_shares_them() {
    let machine = read("hybrid-laptop");
    let count = |level| machine.caches.iter().filter(|cache| cache.level == level).count();
    assert_eq!((count(1), count(2), count(3)), (28, 8, 1));
    let of = |cpu| {
        machine
            .caches_of(cpu)
            .map(|cache| (cache.level, cache.bytes >> 10, cache.cpus.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(3), [(1, 48, 2), (1, 32, 2), (2, 1280, 2), (3, 24576, 20)]);
    assert_eq!(of(14), [(1, 32, 1), (1, 64, 1), (2, 2048, 4), (3, 24576, 20)]);
    assert_eq!(read("two-sockets-eight-nodes").caches.len(), 128 + 32);
}

#[test]
fn nodes_have_their_memory_and_their_distances() {
    let machine = read("far-memory");
    let nodes: Vec<_> =
        machine.nodes.iter().map(|node| (node.id, node.cpus.len(), node.bytes.unwrap() >> 30)).collect();
    assert_eq!(nodes, [(0, 24, 251), (1, 24, 251), (2, 0, 128), (3, 0, 128)]);
    assert_eq!(machine.nodes[1].distances, [21, 10, 24, 14]);

    let sparse = read("sparse-nodes");
    assert!(sparse.nodes.iter().map(|node| node.id).eq([0, 8, 252, 253, 254, 255]));
    assert_eq!(
        (sparse.node_distance(0, 8), sparse.node_distance(8, 254), sparse.node_distance(254, 254)),
        (40, 80, 10)
    );

    let partly = read("nodes-without-memory");
    assert!(partly.nodes.iter().map(|node| node.bytes.unwrap() >> 30).eq([31, 0, 31, 0]));
    assert!(partly.nodes.iter().all(|node| node.cpus.len() == 16));
    let hops = read("eight-sockets-two-hops");
    for (from, to) in (0..8).flat_map(|from| (0..8).map(move |to| (from, to))) {
        assert_eq!(hops.node_distance(from, to), hops.node_distance(to, from));
    }
}

/// What a container with a cpuset sees: the mask, which the tree of files knows nothing of.
#[test]
fn a_mask_leaves_the_rest_of_the_machine_out() {
    let tree = Tree::of("two-sockets", "mask");
    let mask = numbers("8-11,40-43,72-75");
    let machine = Machine::read(tree.root(), &mask);
    assert!(machine.cpus.iter().map(|cpu| cpu.id).eq(mask));
    assert_eq!(shape_of(&machine), shape(2, 2, 2, 8, 12));
    assert_eq!(place(&machine, 75), (11, 1, 8, 0, 0), "things keep their names");
    assert_eq!((machine.nodes[0].cpus.len(), machine.nodes[1].cpus.len()), (8, 4));
    assert!(machine
        .caches
        .iter()
        .all(|cache| cache.cpus.iter().all(|cpu| machine.nodes.iter().any(|n| n.cpus.contains(cpu)))));
    // A mask of second threads alone: each is the first that its core has here.
    let second = Machine::read(tree.root(), &numbers("64-67"));
    let topology = Topology::dealt(&second, 4);
    assert!((0..4).map(|worker| topology.cpu(worker).id).eq(64..68));

    let mut half = Machine::read(tree.root(), &[]);
    half.retain(|cpu| cpu.node == 1 && cpu.thread == 0);
    assert_eq!(shape_of(&half), shape(1, 2, 4, 32, 32));
    assert!(half.nodes[0].cpus.is_empty() && half.caches.iter().all(|cache| !cache.cpus.is_empty()));
}

/// Faults 48 and 49, one file at a time: the rest is read as if nothing were wrong, and a note says what is missing.
#[test]
fn a_broken_file_costs_what_it_says_and_is_noted() {
    let tree = |test| Tree::of("four-small-sockets", test);
    let expect = |tree: Tree, note: &str, check: &dyn Fn(&Machine) -> bool| {
        let machine = Machine::read(tree.root(), &[]);
        assert_eq!(machine.cpus.len(), 16);
        assert!(machine.notes.len() == 1 && machine.notes[0].contains(note), "{:?}", machine.notes);
        assert!(check(&machine), "{note}");
    };
    expect(
        tree("siblings").without("cpu/cpu1/topology/thread_siblings_list"),
        "CPU 1: which core",
        &|machine| place(machine, 1).0 == 1 && place(machine, 9) == (1, 1, 0, 0, 0),
    );
    expect(
        tree("strange-siblings").with("cpu/cpu6/topology/thread_siblings_list", "0-3"),
        "CPU 6: which core",
        &|machine| place(machine, 6).0 == 6,
    );
    expect(
        tree("package").with("cpu/cpu15/topology/physical_package_id", "-1"),
        "CPU 15: which package",
        &|machine| place(machine, 15).4 == 0,
    );
    expect(tree("cache").without("cpu/cpu3/cache"), "CPU 3: which caches", &|machine| {
        place(machine, 3).2 == 0 && machine.caches_of(3).all(|cache| cache.cpus.len() > 1)
    });
    expect(
        tree("memory").with("node/node2/meminfo", "Node 2 MemTotal: lots"),
        "how much memory node 2",
        &|machine| machine.nodes[2].bytes.is_none() && machine.nodes[1].bytes.is_some(),
    );
    for (test, row) in
        [("short", "10 21"), ("words", "ten 21 21 21"), ("zero", "10 0 21 21"), ("own", "11 21 21 21")]
    {
        expect(
            tree(test).with("node/node0/distance", row),
            "how far the others are from node 0",
            &|machine| {
                machine.nodes[0].distances == [10, 20, 20, 20]
                    && machine.nodes[1].distances == [21, 10, 21, 21]
            },
        );
    }
    // Rows that contradict each other are each believed.
    let lopsided = Machine::read(tree("lopsided").with("node/node0/distance", "10 99 21 21").root(), &[]);
    assert_eq!(
        (lopsided.node_distance(0, 1), lopsided.node_distance(1, 0), lopsided.notes.len()),
        (99, 21, 0)
    );
    let lost = Machine::read(tree("lost-node").without("node/node3").root(), &[]);
    assert_eq!((lost.nodes.len(), place(&lost, 6).3), (3, 0));
    assert!(lost.notes.iter().any(|note| note.contains("CPU 6-7,14-15: on no node")), "{:?}", lost.notes);
}

fn cpus(topology: &Topology) -> Vec<usize> {
    (0..topology.workers()).map(|worker| topology.cpu(worker).id).collect()
}

#[test]
fn workers_get_cores_before_siblings_and_each_node_its_share() {
    let laptop = read("hybrid-laptop");
    assert_eq!(
        cpus(&Topology::dealt(&laptop, 16)),
        [0, 2, 4, 6, 8, 10, 12, 13, 14, 15, 16, 17, 18, 19, 1, 3]
    );

    let server = read("two-sockets");
    assert_eq!(cpus(&Topology::dealt(&server, 6)), [0, 1, 2, 32, 33, 34]);
    let all = Topology::dealt(&server, 128);
    assert_eq!(cpus(&all).into_iter().collect::<BTreeSet<_>>().len(), 128, "each CPU once");
    assert_eq!((all.cpu(63).id, all.cpu(64).id), (95, 32));
    // More workers than CPUs go round.
    assert_eq!(cpus(&Topology::dealt(&read("cloud-two-cpus"), 5)), [0, 1, 0, 1, 0]);

    for name in
        ["two-sockets-eight-nodes", "four-sockets", "far-memory", "sparse-nodes", "nodes-without-memory"]
    {
        let machine = read(name);
        for workers in 1..=machine.cpus.len() {
            let topology = Topology::dealt(&machine, workers);
            let cores: BTreeSet<_> = (0..workers).map(|worker| topology.cpu(worker).core).collect();
            assert_eq!(cores.len(), workers.min(machine.cores()), "{name}, {workers} workers");
            let shares: Vec<_> = topology.nodes().map(|node| topology.workers_of(node).len()).collect();
            assert_eq!(shares.iter().sum::<usize>(), workers);
            let with_cpus = machine.nodes.iter().filter(|node| !node.cpus.is_empty()).count();
            assert_eq!(shares.len(), workers.min(with_cpus));
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{name}: {shares:?}");
        }
    }
}

/// Distances are symmetric in their four steps, nobody is nearer than oneself, and remote nodes are as far as the machine says.
#[test]
fn near_is_near_on_every_machine() {
    for name in
        ["desktop-two-chiplets", "hybrid-laptop", "sparse-nodes", "offline-cpus", "eight-sockets-two-hops"]
    {
        let machine = read(name);
        let topology = Topology::dealt(&machine, machine.cpus.len());
        for (a, b) in (0..topology.workers()).flat_map(|a| (0..topology.workers()).map(move |b| (a, b))) {
            assert_eq!(topology.distance(a, b), topology.distance(b, a));
            assert!(topology.distance(a, a) <= topology.distance(a, b));
            let is_remote = topology.distance(a, b) == Distance::Remote;
            let told = machine.node_distance(topology.cpu(a).node, topology.cpu(b).node);
            assert_eq!((topology.node_distance(a, b), is_remote), (told, told > 10), "{name}");
        }
    }
}
