//! What the feature `hwloc` promises: a machine by hwloc is the machine that it is by Linux' files, by our own words or by way of a
//! file, and what hwloc cannot read is an error that says what to give instead.
//!
//! hwloc is shown trees of real machines' shapes by its variable `HWLOC_FSROOT`, in a child, because the environment belongs to the process.

#[path = "../../topology/tree.rs"]
#[allow(dead_code)]
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;
use hwlocality::topology::builder::{BuildFlags, TypeFilter};
use hwlocality::topology::export::xml::XMLExportFlags;
use hwlocality::Topology;
use upbeat::topology::{machine, Cpu, Machine, TopologyError};

use tree::{numbers, Tree};

const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../topology/machines");

/// Tells a child which tree it is shown.
const TREE: &str = "UPBEAT_TEST_HWLOC_TREE";

/// They are the same but for the notes, for what is not told differs. Says the first thing that is not: whole machines fill screens.
#[track_caller]
fn assert_same(hwlocs: &Machine, ours: &Machine) {
    let things = |machine: &Machine| {
        let (cpus, nodes) = (machine.cpus.iter(), machine.nodes.iter());
        let things = cpus.map(|cpu| format!("{cpu:?}")).chain(nodes.map(|node| format!("{node:?}")));
        things.chain(machine.caches.iter().map(|cache| format!("{cache:?}"))).collect::<Vec<_>>()
    };
    let (hwlocs_things, our_things) = (things(hwlocs), things(ours));
    if let Some((hwlocs, ours)) = hwlocs_things.iter().zip(&our_things).find(|(hwlocs, ours)| hwlocs != ours)
    {
        panic!("by hwloc {hwlocs}, by us {ours}");
    }
    assert_eq!(hwlocs_things.len(), our_things.len(), "there is more by one than by the other");
    assert_eq!(hwlocs.is_here(), ours.is_here());
}

/// A file of its own, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("upbeat-hwloc-{name}-{}.xml", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What hwloc writes of a machine, as `lstopo` does that is told to leave nothing out.
fn xml(topology: &Topology) -> String {
    topology.export_xml(XMLExportFlags::empty()).unwrap().as_str().to_owned()
}

fn described(description: &str) -> Topology {
    Topology::builder().from_synthetic(description).unwrap().build().unwrap()
}

#[test]
fn the_same_shape_is_the_same_machine_in_hwlocs_words_and_in_ours() {
    for (ours, hwlocs) in [
        ("pu:1", "l3:1(size=32MiB) core:1 pu:1"),
        ("core:3 pu:4", "l3:1(size=32MiB) core:3 pu:4"),
        ("node:4 core:16 pu:2", "numa:4 l3:1(size=32MiB) core:16 pu:2"),
        ("node:3 cache:2 core:2", "numa:3 l3:2(size=32MiB) core:2 pu:1"),
        ("package:2 core:64 pu:4", "package:2 numa:1 l3:1(size=32MiB) core:64 pu:4"),
        ("package:2 node:2 cache:2 core:8 pu:2", "package:2 numa:2 l3:2(size=32MiB) core:8 pu:2"),
    ] {
        let (ours, mut hwlocs) =
            (Machine::synthetic(ours).unwrap(), Machine::from_hwloc_synthetic(hwlocs).unwrap());
        // hwloc gives nodes a memory of its own choice, and says of none how far it is. Without packages that is what we assume.
        for node in &mut hwlocs.nodes {
            assert_eq!(node.bytes.take(), Some(1 << 30));
        }
        if ours.packages() > 1 {
            hwlocs
                .nodes
                .iter_mut()
                .zip(&ours.nodes)
                .for_each(|(to, from)| to.distances.clone_from(&from.distances));
        }
        assert_same(&hwlocs, &ours);
    }
}

#[test]
fn what_hwloc_does_not_say_is_guessed_and_noted() {
    let machine = Machine::from_hwloc_synthetic("numa:2 pu:2").unwrap();
    let cpus: Vec<_> =
        machine.cpus.iter().map(|cpu| (cpu.core, cpu.thread, cpu.cache, cpu.package)).collect();
    assert_eq!(cpus, [(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (3, 0, 0, 0)]);
    assert_eq!(
        machine.notes,
        [
            "how far the others are from node 0 is not told; 20 is assumed",
            "how far the others are from node 1 is not told; 20 is assumed",
            "CPU 0-3: which core it belongs to is not told; taken as a core of its own",
            "CPU 0-3: which package it belongs to is not told; taken as part of package 0",
            "CPU 0-3: which caches it shares is not told; taken as sharing one with all such",
        ]
    );
}

#[test]
fn things_have_the_systems_numbers_however_hwloc_orders_them() {
    let words =
        "package:2 [numa(memory=8GiB indexes=4,2)] l2:1(size=1MiB) core:2 pu:2(indexes=0,4,1,5,2,6,3,7)";
    let machine = Machine::from_hwloc_synthetic(words).unwrap();
    assert!(machine.cpus.iter().map(|cpu| cpu.id).eq(0..8));
    assert_eq!(machine.cpus[5], Cpu { id: 5, core: 1, thread: 1, cache: 0, node: 4, package: 0 });
    let nodes: Vec<_> = machine.nodes.iter().map(|node| (node.id, node.cpus.clone(), node.bytes)).collect();
    assert_eq!(nodes, [(2, vec![2, 3, 6, 7], Some(8 << 30)), (4, vec![0, 1, 4, 5], Some(8 << 30))]);
    assert_eq!(machine.caches[1].cpus, [2, 3, 6, 7]);
}

#[test]
fn this_machine_is_the_same_by_hwloc_and_by_linux_files() {
    assert_same(&Machine::from_hwloc().unwrap(), &machine());
}

#[test]
fn a_bound_thread_has_the_cpus_that_it_is_bound_to() {
    // In a thread of its own, whose binding ends with it.
    let (bound, expected) = std::thread::spawn(|| {
        let last = machine().cpus.pop().unwrap().id;
        let topology = Topology::new().unwrap();
        topology
            .bind_cpu(
                &CpuSet::from(hwlocality::bitmap::BitmapIndex::try_from(last).unwrap()),
                CpuBindingFlags::THREAD,
            )
            .unwrap();
        let bound = Machine::from_hwloc().unwrap();
        assert!(bound.cpus.iter().map(|cpu| cpu.id).eq([last]));
        (bound, machine())
    })
    .join()
    .unwrap();
    assert_same(&bound, &expected);
}

/// hwloc reads masks where we read lists, and wants to be told what is online.
fn for_hwloc(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let mask = match name {
            "thread_siblings_list" => "thread_siblings",
            "shared_cpu_list" => "shared_cpu_map",
            "cpulist" => "cpumap",
            _ if path.is_dir() => {
                for_hwloc(&path);
                continue;
            }
            _ => continue,
        };
        let list = fs::read_to_string(&path).unwrap();
        let cpus = if list.trim().is_empty() { Vec::new() } else { numbers(list.trim()) };
        let mut words = vec![0u32; cpus.iter().max().map_or(1, |last| last / 32 + 1)];
        cpus.iter().for_each(|cpu| words[cpu / 32] |= 1 << (cpu % 32));
        let words: Vec<_> = words.iter().rev().map(|word| format!("{word:08x}")).collect();
        fs::write(path.with_file_name(mask), words.join(",") + "\n").unwrap();
    }
}

/// A folder that a process may take for `/`, removed at the end.
struct Root(PathBuf, Tree);

impl Root {
    fn new(name: &str) -> Self {
        let tree = Tree::of(name, "hwloc");
        for_hwloc(tree.root());
        let machine = Machine::read(tree.root(), &[]);
        for cpu in &machine.cpus {
            let package = machine.cpus.iter().filter(|other| other.package == cpu.package);
            let mut words = [0u32; 32];
            package.for_each(|other| words[other.id / 32] |= 1 << (other.id % 32));
            let words: Vec<_> = words.iter().rev().map(|word| format!("{word:08x}")).collect();
            let path = tree.root().join(format!("cpu/cpu{}/topology/core_siblings", cpu.id));
            fs::write(path, words.join(",") + "\n").unwrap();
        }
        let nodes: Vec<_> = machine.nodes.iter().map(|node| node.id.to_string()).collect();
        fs::write(tree.root().join("node/online"), nodes.join(",") + "\n").unwrap();
        let root = tree.root().with_extension("root");
        fs::create_dir_all(root.join("sys/devices")).unwrap();
        std::os::unix::fs::symlink(tree.root(), root.join("sys/devices/system")).unwrap();
        Self(root, tree)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// On each tree of `tests/topology`, in a child that is shown it in place of this machine's files: CPUs that are offline, nodes without
/// CPUs, nodes without memory, numbers with gaps.
#[test]
fn trees_are_the_same_machines_by_hwloc_and_by_us() {
    if let Some(tree) = std::env::var_os(TREE) {
        return compare(Path::new(&tree));
    }
    let mut trees = 0;
    for file in fs::read_dir(MACHINES).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let root = Root::new(&name);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "trees_are_the_same_machines_by_hwloc_and_by_us", "--nocapture"])
            .env(TREE, root.1.root())
            .env("HWLOC_FSROOT", &root.0)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{name}: {said}");
        trees += 1;
    }
    assert!(trees > 10);
}

fn compare(tree: &Path) {
    let (hwlocs, ours) = (Machine::from_hwloc().unwrap(), Machine::read(tree, &[]));
    assert_same(&hwlocs, &ours);
    // And through a file. Without the second flag hwloc would add the caches of the CPUs that this runs on.
    let flags = BuildFlags::INCLUDE_DISALLOWED | BuildFlags::DONT_CHANGE_BINDING;
    let builder = Topology::builder().with_flags(flags).unwrap();
    let topology = builder.with_cpu_cache_type_filter(TypeFilter::KeepAll).unwrap().build().unwrap();
    let file = File::new("tree", xml(&topology));
    assert_eq!(Machine::from_hwloc_xml(&file.0).as_ref(), Ok(&hwlocs));
}

#[test]
fn a_machine_goes_through_a_file_unchanged() {
    for words in [
        "numa:2 l3:1 core:4 pu:2",
        "package:2 numa:2 l3:2 core:3 pu:2",
        "package:2 [numa(memory=0)] core:2 pu:2",
    ] {
        let file = File::new("unchanged", xml(&described(words)));
        let through = Machine::from_hwloc_xml(&file.0).unwrap();
        assert_eq!(through, Machine::from_hwloc_synthetic(words).unwrap(), "{words}");
        assert!(!through.is_here());
    }
}

/// A cpuset of who wrote the file: what is left keeps its names and all its nodes.
#[test]
fn a_file_says_which_cpus_may_be_used() {
    let all = xml(&described("numa:2 l3:1 core:2 pu:2"));
    let allowed =
        |set: &str| all.replace("allowed_cpuset=\"0x000000ff\"", &format!("allowed_cpuset=\"{set}\""));
    let file = File::new("allowed", allowed("0x0000000e"));
    let machine = Machine::from_hwloc_xml(&file.0).unwrap();
    let cpus: Vec<_> = machine.cpus.iter().map(|cpu| (cpu.id, cpu.core, cpu.thread, cpu.cache)).collect();
    assert_eq!(cpus, [(1, 0, 1, 0), (2, 2, 0, 0), (3, 2, 1, 0)]);
    let nodes: Vec<_> = machine.nodes.iter().map(|node| (node.id, node.cpus.clone())).collect();
    assert_eq!(nodes, [(0, vec![1, 2, 3]), (1, vec![])]);
    assert_eq!(machine.caches.len(), 1);
    let file = File::new("none", allowed("0x0"));
    assert_eq!(Machine::from_hwloc_xml(&file.0), Err(TopologyError::NoCpus));
}

#[test]
fn a_file_that_is_none_of_hwlocs_is_refused_with_its_name_and_what_to_give() {
    let good = xml(&described("numa:2 l3:1 core:4 pu:2"));
    let broken: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("text", b"package:2 core:2"),
        ("binary", b"\xff\xfe\0\0"),
        ("zero", b"<?xml\0"),
        ("page", b"<?xml version=\"1.0\"?><html><body/></html>"),
        ("bare", b"<?xml version=\"1.0\"?><!DOCTYPE topology SYSTEM \"hwloc2.dtd\"><topology version=\"2.0\"></topology>"),
        ("cut", &good.as_bytes()[..good.len() / 2]),
        ("later", &good.replace("version=\"2.0\"", "version=\"9.0\"").into_bytes()),
    ];
    for (name, content) in broken {
        let file = File::new(name, content);
        let error = Machine::from_hwloc_xml(&file.0).unwrap_err();
        assert!(matches!(error, TopologyError::HwlocFile { .. }), "{name}: {error:?}");
        let said = error.to_string();
        assert!(said.starts_with(file.0.to_str().unwrap()) && said.contains("lstopo"), "{name}: {said}");
    }
    for nowhere in ["/nonexistent/machine.xml", "/"] {
        let said = Machine::from_hwloc_xml(nowhere).unwrap_err().to_string();
        assert!(said.starts_with(nowhere) && said.contains("os error"), "{said}");
    }
}

#[test]
fn a_description_that_is_nonsense_is_refused_with_what_to_write() {
    for text in
        ["", "nonsense:2", "core:4 numa:2 pu:2 core:2", "a\0b:2", "numa:2 numa:2 pu:1", "[", "core:4("]
    {
        let error = Machine::from_hwloc_synthetic(text).unwrap_err();
        assert!(matches!(error, TopologyError::HwlocDescription { .. }), "{text:?}: {error:?}");
        let said = error.to_string();
        assert!(said.starts_with(&format!("{text:?}")) && said.contains("package:2 numa:2"), "{said}");
    }
    let word = |word: &str| word.to_owned();
    for (text, error) in [
        ("core", TopologyError::Count { word: word("core") }),
        ("core:0", TopologyError::Count { word: word("core:0") }),
        ("core:-1", TopologyError::Count { word: word("core:-1") }),
        ("core:0x7fffffff", TopologyError::Count { word: word("core:0x7fffffff") }),
        ("numa:2(memory=1GB)core:99999999", TopologyError::Count { word: word("core:99999999") }),
        ("numa:128 core:128 pu:2", TopologyError::TooLarge { word: word("pu:2") }),
        ("numa:1025 core:1 pu:1", TopologyError::TooManyNodes { word: word("numa:1025 core:1 pu:1") }),
    ] {
        assert_eq!(Machine::from_hwloc_synthetic(text), Err(error));
    }
}

/// Words and marks in any order: each CPU is there once and on a node that there is, or there is an error.
#[test]
fn random_words_give_a_machine_or_an_error() {
    let words = [
        "package:2",
        "numa:2",
        "[numa]",
        "l3:2",
        "l2:1(size=1MB)",
        "core:3",
        "pu:2",
        "pu:2(indexes=1,0)",
        "die:2",
        "group:2",
        "[numa(memory=0)]",
        "2",
        "3",
        ":",
        "core:",
        "(",
        ")",
        "]",
        "ü:2",
        "core:1:2",
        "l1i:1",
        "tile:2",
        "[l3]",
        "\n",
    ];
    let mut seed = 7u64;
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % bound
    };
    let mut machines = 0;
    for _ in 0..2000 {
        let text: Vec<_> = (0..below(6)).map(|_| words[below(words.len())]).collect();
        let Ok(machine) = Machine::from_hwloc_synthetic(&text.join(" ")) else { continue };
        machines += 1;
        assert!(machine.cpus.windows(2).all(|two| two[0].id < two[1].id), "{text:?}");
        assert!(
            machine.cpus.iter().all(|cpu| machine.nodes.iter().any(|node| node.id == cpu.node)),
            "{text:?}"
        );
    }
    assert!(machines > 100, "{machines}");
}
