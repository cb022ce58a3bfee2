//! The machine as Linux describes it under `/sys`; where a file is missing or garbled, a flat guess takes its place.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::{affinity, Cpu};

/// The machine, as far as the operating system tells.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The CPUs this process may use, by number.
    pub cpus: Vec<Cpu>,
    /// Caches of the first of them: level, `Data`, `Instruction` or `Unified`, and bytes.
    pub caches: Vec<(u32, String, u64)>,
    /// NUMA nodes that have one of those CPUs.
    pub nodes: usize,
}

/// Reads the machine.
pub fn machine() -> Machine {
    read(Path::new("/sys/devices/system"), &affinity::allowed())
}

/// Reads the machine under `root`, for the CPUs in `allowed`, or all that are online when that is empty.
fn read(root: &Path, allowed: &[usize]) -> Machine {
    let online = list(&text(&root.join("cpu/online")).unwrap_or_default());
    let mut ids = if allowed.is_empty() { online } else { allowed.to_vec() };
    if ids.is_empty() {
        ids = (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
    }
    let nodes = nodes(root);
    let mut cpus = Vec::with_capacity(ids.len());
    for id in ids {
        let dir = root.join(format!("cpu/cpu{id}"));
        // The first CPU that shares a thing names it.
        let first = |file: &str| text(&dir.join(file)).and_then(|t| list(&t).first().copied());
        let node = nodes.iter().find(|(_, members)| members.contains(&id)).map_or(0, |(node, _)| *node);
        let cache = caches(&dir).iter().map(|(level, ..)| *level).max().and_then(|last| {
            (0..10)
                .find(|i| number(&dir.join(format!("cache/index{i}/level"))) == Some(last))
                .and_then(|i| first(&format!("cache/index{i}/shared_cpu_list")))
        });
        cpus.push(Cpu {
            id,
            core: first("topology/thread_siblings_list").unwrap_or(id),
            cache: cache.unwrap_or(0),
            node,
        });
    }
    let caches = cpus.first().map(|cpu| caches(&root.join(format!("cpu/cpu{}", cpu.id)))).unwrap_or_default();
    let mut used: Vec<_> = cpus.iter().map(|cpu| cpu.node).collect();
    used.sort_unstable();
    used.dedup();
    Machine { nodes: used.len(), cpus, caches }
}

/// NUMA nodes and the CPUs of each. Nodes without CPUs have nothing for workers and are left out.
fn nodes(root: &Path) -> Vec<(usize, Vec<usize>)> {
    let Ok(entries) = fs::read_dir(root.join("node")) else { return Vec::new() };
    let mut nodes: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let members = list(&text(&entry.path().join("cpulist"))?);
            (!members.is_empty()).then_some((node, members))
        })
        .collect();
    nodes.sort_unstable();
    nodes
}

fn caches(cpu: &Path) -> Vec<(u32, String, u64)> {
    (0..10)
        .filter_map(|i| {
            let dir = cpu.join(format!("cache/index{i}"));
            let size = text(&dir.join("size"))?;
            let (digits, unit) =
                size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
            let unit = match unit {
                "K" => 1 << 10,
                "M" => 1 << 20,
                "G" => 1 << 30,
                _ => 1,
            };
            let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
            Some((number(&dir.join("level"))?, text(&dir.join("type"))?, bytes))
        })
        .collect()
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// A list such as `0-3,8,10-11`. What is not a number is skipped, and no range is longer than 4096.
fn list(text: &str) -> Vec<usize> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.trim().parse::<usize>(), to.trim().parse::<usize>()) {
            all.extend((from..=to).take(4096));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn lists() {
        assert_eq!(list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
        assert!(list("").is_empty());
        assert_eq!(list("x,-,3-1,7"), [7]);
        assert_eq!(list("0-99999999999").len(), 4096);
    }

    /// Fault 48: no `/sys`, or one full of nonsense.
    #[test]
    fn a_missing_or_garbled_sysfs_gives_a_flat_machine() {
        let missing = read(Path::new("/nonexistent"), &[0, 5]);
        assert_eq!(
            missing.cpus.iter().map(|c| (c.id, c.core, c.node)).collect::<Vec<_>>(),
            [(0, 0, 0), (5, 5, 0)]
        );
        assert_eq!(missing.nodes, 1);

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
        assert_eq!(garbled.cpus[0].node, 7, "a node without CPUs is skipped");
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
    /// asymmetric or missing (nothing is computed from them), and a first CPU that is offline.
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
        assert_eq!(machine.nodes, 2);

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
            assert!((1..=2).contains(&machine.nodes), "{machine:?}");
            assert!(!read(&tree.0, &[]).cpus.is_empty());
        }
    }
}
