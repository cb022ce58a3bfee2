//! A machine as Linux describes it under `/sys/devices/system`. Where a file is missing or garbled, a flat guess takes its place, and the
//! machine's notes say so.
//!
//! Trees of real machines' shapes are read in `tests/topology`; the tests here are of trees that are broken.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::assembly::{self, Notes};
use super::machine::{Cache, CacheKind, Cpu, Machine, Node};

/// See [`Machine::read`].
pub(super) fn read(root: &Path, allowed: &[usize]) -> Machine {
    let mut notes = Notes::default();
    let ids = ids(root, allowed, &mut notes);
    let nodes = nodes(root, &mut notes);
    let mut caches: Vec<Known> = Vec::new();
    let mut cpus: Vec<Cpu> = Vec::with_capacity(ids.len());
    for id in ids {
        if cpus.iter().any(|cpu| cpu.id == id) {
            continue;
        }
        let dir = root.join(format!("cpu/cpu{id}"));
        let siblings = text(&dir.join("topology/thread_siblings_list")).map(|text| notes.list(&text));
        let siblings = siblings.filter(|siblings| siblings.contains(&id)).unwrap_or_else(|| {
            notes.no_core(id);
            vec![id]
        });
        let package = number(&dir.join("topology/physical_package_id")).unwrap_or_else(|| {
            notes.no_package(id);
            0
        });
        let node = assembly::node_of(&nodes, id, &mut notes);
        let cache = last_cache(&dir, id, &mut caches, &mut notes).unwrap_or_else(|| {
            notes.no_cache(id);
            0
        });
        // The first CPU that shares a thing names it.
        let thread = siblings.iter().position(|&sibling| sibling == id).unwrap_or(0);
        cpus.push(Cpu { id, core: siblings[0], thread, cache, node, package });
    }
    let caches = caches.into_iter().map(|known| known.cache).collect();
    assembly::machine(cpus, nodes, caches, notes)
}

/// The CPUs to read.
fn ids(root: &Path, allowed: &[usize], notes: &mut Notes) -> Vec<usize> {
    if !allowed.is_empty() {
        return allowed.to_vec();
    }
    let online = notes.list(&text(&root.join("cpu/online")).unwrap_or_default());
    if !online.is_empty() {
        return online;
    }
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    notes.all.push(format!("which CPUs are online is not told; {count} are assumed"));
    (0..count).collect()
}

/// NUMA nodes, by number, with all CPUs of each.
fn nodes(root: &Path, notes: &mut Notes) -> Vec<Node> {
    let mut nodes: Vec<(Node, Option<Vec<u32>>)> = Vec::new();
    let entries = fs::read_dir(root.join("node")).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    folders.sort_unstable();
    for folder in folders {
        let Some(id) = folder.strip_prefix("node").and_then(|number| number.parse().ok()) else { continue };
        let dir = root.join("node").join(&folder);
        let cpus = text(&dir.join("cpulist")).map(|text| notes.list(&text));
        if cpus.is_none() {
            notes.all.push(format!("which CPUs node {id} has is not told; taken as none"));
        }
        let cpus = cpus.unwrap_or_default();
        if let Some((known, _)) = nodes.iter_mut().find(|(node, _)| node.id == id) {
            notes.all.push(format!("node {id} is there twice; taken as one with the CPUs of both"));
            known.cpus.extend(cpus);
            known.bytes = known.bytes.or(memory(&dir, id));
            continue;
        }
        let bytes = memory(&dir, id);
        let row = text(&dir.join("distance"));
        let row = row.and_then(|row| row.split_whitespace().map(|word| word.parse().ok()).collect());
        nodes.push((Node { id, cpus, bytes, distances: Vec::new() }, row));
    }
    nodes.sort_unstable_by_key(|(node, _)| node.id);
    assembly::with_distances(nodes, notes)
}

/// What `node/nodeN/meminfo` says of the node's memory.
fn memory(dir: &Path, id: usize) -> Option<u64> {
    let prefix = format!("Node {id} MemTotal:");
    let text = text(&dir.join("meminfo"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&prefix))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// A cache, and by what it is known again: the folder's number and who shares it.
struct Known {
    index: usize,
    shared: Vec<usize>,
    cache: Cache,
}

/// Notes the caches of a CPU that are not known yet; who names its last one.
fn last_cache(cpu: &Path, id: usize, known: &mut Vec<Known>, notes: &mut Notes) -> Option<usize> {
    let mut last: Option<(u32, Option<usize>)> = None;
    for index in 0..10 {
        let dir = cpu.join(format!("cache/index{index}"));
        if !dir.exists() {
            break;
        }
        let told = text(&dir.join("shared_cpu_list")).map(|text| notes.list(&text));
        let shared = told.filter(|shared| shared.contains(&id));
        let found = known.iter().find(|known| known.index == index && Some(&known.shared) == shared.as_ref());
        let level = match found {
            Some(known) => known.cache.level,
            None => {
                let Some(cache) = cache(&dir, shared.clone().unwrap_or(vec![id])) else { continue };
                let level = cache.level;
                known.push(Known { index, shared: shared.clone().unwrap_or_default(), cache });
                level
            }
        };
        if last.is_none_or(|(highest, _)| level > highest) {
            last = Some((level, shared.and_then(|shared| shared.first().copied())));
        }
    }
    last?.1
}

fn cache(dir: &Path, cpus: Vec<usize>) -> Option<Cache> {
    let size = text(&dir.join("size"))?;
    let (digits, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
    let unit = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => 1,
    };
    let kind = match text(&dir.join("type"))?.as_str() {
        "Data" => CacheKind::Data,
        "Instruction" => CacheKind::Instruction,
        "Unified" => CacheKind::Unified,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    Some(Cache { level: number(&dir.join("level"))?, kind, bytes, cpus })
}

impl Notes {
    /// As the function of that name; a cut is noted once.
    fn list(&mut self, text: &str) -> Vec<usize> {
        let (all, cut) = list(text);
        let note =
            |part| format!("the range {part} is longer than {LONGEST_RANGE}; the rest of it is left out");
        let note = cut.map(note).filter(|note| !self.all.contains(note));
        self.all.extend(note);
        all
    }
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// A list such as `0-3,8,10-11`, and the first range of it that was cut. What is not a number is skipped, and no range is longer than
/// [`LONGEST_RANGE`].
fn list(text: &str) -> (Vec<usize>, Option<&str>) {
    let (mut all, mut cut) = (Vec::new(), None);
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.trim().parse::<usize>(), to.trim().parse::<usize>()) {
            all.extend((from..=to).take(LONGEST_RANGE));
            if to.saturating_sub(from) >= LONGEST_RANGE {
                cut = cut.or(Some(part.trim()));
            }
        }
    }
    (all, cut)
}

/// What is garbled may say any number.
const LONGEST_RANGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn lists() {
        assert_eq!(list("0-3,8,10-11"), (vec![0, 1, 2, 3, 8, 10, 11], None));
        assert_eq!(list(""), (vec![], None));
        assert_eq!(list("x,-,3-1,7"), (vec![7], None));
        assert_eq!(list("5-4100").0.len(), 4096);
        assert_eq!(list("5-4100").1, None);
        let mut notes = Notes::default();
        for text in ["0-4096,5000", "7,0-4096", "0-99999999999"] {
            assert!(notes.list(text).len() >= 4096, "{text}");
        }
        assert_eq!(
            notes.said(),
            [
                "the range 0-4096 is longer than 4096; the rest of it is left out",
                "the range 0-99999999999 is longer than 4096; the rest of it is left out",
            ]
        );
    }

    /// Fault 48: no `/sys`, or one full of nonsense.
    #[test]
    fn a_missing_or_garbled_sysfs_gives_a_flat_machine() {
        let missing = read(Path::new("/nonexistent"), &[0, 5]);
        assert_eq!(
            missing.cpus.iter().map(|c| (c.id, c.core, c.node)).collect::<Vec<_>>(),
            [(0, 0, 0), (5, 5, 0)]
        );
        assert_eq!(missing.nodes.len(), 1);
        assert_eq!(
            missing.notes,
            [
                "no memory nodes are told; all is taken as one",
                "CPU 0,5: which core it belongs to is not told; taken as a core of its own",
                "CPU 0,5: which package it belongs to is not told; taken as part of package 0",
                "CPU 0,5: on no node; taken as part of node 0",
                "CPU 0,5: which caches it shares is not told; taken as sharing one with all such",
            ]
        );

        let root = std::env::temp_dir().join(format!("upbeat-sysfs-{}", std::process::id()));
        fs::create_dir_all(root.join("cpu/cpu0/cache/index0")).unwrap();
        fs::create_dir_all(root.join("node/node7")).unwrap();
        fs::create_dir_all(root.join("node/node1")).unwrap();
        fs::write(root.join("cpu/online"), "garbage").unwrap();
        fs::write(root.join("cpu/cpu0/cache/index0/size"), "99999999999999999999K").unwrap();
        fs::write(root.join("node/node7/cpulist"), "0\n").unwrap();
        fs::write(root.join("node/node1/cpulist"), "\n").unwrap();
        let garbled = read(&root, &[]);
        fs::remove_dir_all(&root).unwrap();
        assert!(!garbled.cpus.is_empty() && garbled.caches.is_empty());
        assert_eq!(garbled.cpus[0].node, 7, "a node without CPUs has none of them");
        assert!(garbled.notes[0].starts_with("which CPUs are online is not told"), "{:?}", garbled.notes);
    }

    /// A folder of the test's own with these files, removed at the end.
    struct Tree(std::path::PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("upbeat-{name}-{}", std::process::id()));
            for (path, content) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Fault 49: nodes without memory, nodes without CPUs, a CPU in two nodes, two folders for one node, distances that are
    /// garbled or missing, and a first CPU that is offline.
    #[test]
    fn odd_numa_nodes_are_taken_as_they_are() {
        let tree = Tree::new(
            "nodes",
            &[
                ("cpu/online", "1-5\n"),
                ("node/node0/cpulist", "0-2\n"),
                ("node/node0/distance", "10 20\n"),
                ("node/node1/cpulist", "2-3\n"),
                ("node/node1/meminfo", "Node 1 MemTotal: 0 kB\n"),
                ("node/node1/distance", "90 10 0 -1 x\n"),
                ("node/node01/cpulist", "4\n"),
                ("node/node2/cpulist", "\n"),
                ("node/node3/meminfo", "Node 3 MemTotal: 1024 kB\n"),
                ("node/nodeX/cpulist", "5\n"),
                ("node/node99999999999999999999/cpulist", "5\n"),
                ("node/possible", "0-3\n"),
            ],
        );
        let machine = read(&tree.0, &[]);
        let nodes: Vec<_> = machine.cpus.iter().map(|cpu| (cpu.id, cpu.node)).collect();
        assert_eq!(nodes, [(1, 0), (2, 0), (3, 1), (4, 1), (5, 0)], "the first node that has a CPU has it");
        let memory: Vec<_> =
            machine.nodes.iter().map(|node| (node.id, node.cpus.clone(), node.bytes)).collect();
        let expected = [
            (0, vec![1, 2, 5], None),
            (1, vec![3, 4], Some(0)),
            (2, vec![], None),
            (3, vec![], Some(1 << 20)),
        ];
        assert_eq!(memory, expected);
        assert_eq!(machine.nodes[1].distances, [20, 10, 20, 20], "no row makes sense");
        assert!(machine
            .notes
            .contains(&"node 1 is there twice; taken as one with the CPUs of both".to_owned()));
        let is_said = |note: &str| machine.notes.iter().any(|said| said.contains(note));
        assert!(
            is_said("far the others are from node 1") && is_said("which CPUs node 3 has"),
            "{:?}",
            machine.notes
        );

        // Whatever the machine says, how far two workers are is symmetric, and a worker is nearest to itself.
        let topology = Topology::dealt(&machine, 13);
        for (a, b) in (0..13).flat_map(|a| (0..13).map(move |b| (a, b))) {
            assert_eq!(topology.distance(a, b), topology.distance(b, a));
            assert!(topology.distance(a, a) <= topology.distance(a, b));
        }
    }

    /// Fault 49: files of random text. Each CPU that is allowed is there once, whatever they say.
    #[test]
    fn random_files_lose_no_processor() {
        let words =
            ["0", "1", "3-1", "0-2", "-", ",", "4096-9999999", "x", "18446744073709551616", "\n", "", "32K"];
        let mut generator = crate::steal::Generator::new(49);
        for round in 0..100 {
            let mut text =
                || (0..generator.below(6)).map(|_| words[generator.below(words.len())]).collect::<String>();
            let tree = Tree::new(
                &format!("random-{round}"),
                &[
                    ("cpu/online", &text()),
                    ("cpu/cpu0/topology/thread_siblings_list", &text()),
                    ("cpu/cpu0/cache/index0/level", &text()),
                    ("cpu/cpu0/cache/index0/size", &text()),
                    ("cpu/cpu0/cache/index0/type", &text()),
                    ("cpu/cpu0/cache/index0/shared_cpu_list", &text()),
                    ("node/node0/cpulist", &text()),
                    ("node/node1/cpulist", &text()),
                ],
            );
            let machine = read(&tree.0, &[0, 1, 7]);
            assert!(machine.cpus.iter().map(|cpu| cpu.id).eq([0, 1, 7]), "{machine:?}");
            assert_eq!(machine.nodes.len(), 2, "{machine:?}");
            assert!(machine.cpus.iter().all(|cpu| cpu.node < 2), "{machine:?}");
            assert!(!read(&tree.0, &[]).cpus.is_empty());
        }
    }
}
