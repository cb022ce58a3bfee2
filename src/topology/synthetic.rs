//! Machines that are described in a line of text, for looking at decisions on machines that one does not have.

use super::error::{TopologyError, MAX_CPUS, MAX_NODES};
use super::machine::{Cache, CacheKind, Cpu, Machine, Node, FAR, NEAR};

/// The levels, from the outside in.
const LEVELS: [&str; 5] = ["package", "node", "cache", "core", "pu"];
/// Distances between nodes of one package and of two, as servers with several nodes a socket give them.
const SAME_PACKAGE: u32 = 12;
const OTHER_PACKAGE: u32 = 32;
/// The size that is said of a last-level cache.
const CACHE_BYTES: u64 = 32 << 20;

/// See [`Machine::synthetic`].
pub(super) fn parse(description: &str) -> Result<Machine, TopologyError> {
    let mut counts = [1; LEVELS.len()];
    let mut before: Option<usize> = None;
    let mut has_packages = false;
    for word in description.split_whitespace() {
        let own = || word.to_owned();
        let (name, number) = word.split_once(':').ok_or_else(|| TopologyError::Word { word: own() })?;
        let level = LEVELS.iter().position(|level| *level == name);
        let level = level.ok_or_else(|| TopologyError::Level { word: own() })?;
        if let Some(before) = before.filter(|&before| before >= level) {
            return Err(TopologyError::Order { word: own(), after: LEVELS[before] });
        }
        let count = number.parse().ok().filter(|count| (1..=MAX_CPUS).contains(count));
        counts[level] = count.ok_or_else(|| TopologyError::Count { word: own() })?;
        // Five factors of 2^14 do not fit.
        if counts
            .iter()
            .try_fold(1usize, |product, &count| product.checked_mul(count))
            .is_none_or(|all| all > MAX_CPUS)
        {
            return Err(TopologyError::TooLarge { word: own() });
        }
        if counts[0] * counts[1] > MAX_NODES {
            return Err(TopologyError::TooManyNodes { word: own() });
        }
        has_packages |= level == 0;
        before = Some(level);
    }
    match before {
        None => Err(TopologyError::Empty),
        Some(_) => Ok(machine(counts, has_packages)),
    }
}

fn machine([packages, nodes, caches, cores, threads]: [usize; 5], has_packages: bool) -> Machine {
    let (per_core, per_cache) = (threads, cores * threads);
    let (per_node, all) = (caches * per_cache, packages * nodes * caches * per_cache);
    let cpu = |id: usize| Cpu {
        id,
        core: id / per_core * per_core,
        thread: id % per_core,
        cache: id / per_cache * per_cache,
        node: id / per_node,
        package: id / per_node / nodes,
    };
    let distance = |a: usize, b: usize| match () {
        () if a == b => NEAR,
        () if !has_packages => FAR,
        () if a / nodes == b / nodes => SAME_PACKAGE,
        () => OTHER_PACKAGE,
    };
    let count = packages * nodes;
    let node = |id: usize| Node {
        id,
        cpus: (id * per_node..(id + 1) * per_node).collect(),
        bytes: None,
        distances: (0..count).map(|other| distance(id, other)).collect(),
    };
    let cache = |first: usize| Cache {
        level: 3,
        kind: CacheKind::Unified,
        bytes: CACHE_BYTES,
        cpus: (first..first + per_cache).collect(),
    };
    Machine {
        cpus: (0..all).map(cpu).collect(),
        nodes: (0..count).map(node).collect(),
        caches: (0..all).step_by(per_cache).map(cache).collect(),
        notes: Vec::new(),
        is_here: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> (usize, usize, usize, usize, usize) {
        let machine = parse(text).unwrap();
        (machine.packages(), machine.nodes.len(), machine.caches.len(), machine.cores(), machine.cpus.len())
    }

    #[test]
    fn levels_multiply_and_those_left_out_are_there_once() {
        assert_eq!(shape("node:4 core:16 pu:2"), (1, 4, 4, 64, 128));
        assert_eq!(shape("package:2 node:2 cache:2 core:8 pu:2"), (2, 4, 8, 64, 128));
        assert_eq!(shape("pu:1"), (1, 1, 1, 1, 1));
        assert_eq!(shape("  core:3\tpu:4\n"), (1, 1, 1, 3, 12));
        assert_eq!(shape("package:2 core:128 pu:64").4, MAX_CPUS);
        assert_eq!(shape("package:4 node:256").1, MAX_NODES);
    }

    #[test]
    fn each_cpu_knows_where_it_is() {
        let machine = parse("package:2 node:2 cache:2 core:3 pu:2").unwrap();
        let cpu = machine.cpus[33];
        assert_eq!(cpu, Cpu { id: 33, core: 32, thread: 1, cache: 30, node: 2, package: 1 });
        assert_eq!(machine.nodes[2].cpus, (24..36).collect::<Vec<_>>());
        assert_eq!(machine.nodes[2].distances, [32, 32, 10, 12]);
        assert_eq!(parse("node:3").unwrap().nodes[1].distances, [20, 10, 20]);
        assert_eq!(machine.caches_of(33).count(), 1);
    }

    #[test]
    fn each_mistake_is_named_with_its_word() {
        use TopologyError::*;
        let word = |word: &str| word.to_owned();
        for (text, error) in [
            ("", Empty),
            (" \n", Empty),
            ("core", Word { word: word("core") }),
            ("node:2 die:2", Level { word: word("die:2") }),
            ("Node:2", Level { word: word("Node:2") }),
            ("core:0", Count { word: word("core:0") }),
            ("core:-1", Count { word: word("core:-1") }),
            ("core:2x", Count { word: word("core:2x") }),
            ("core:", Count { word: word("core:") }),
            ("core:99999999999999999999", Count { word: word("core:99999999999999999999") }),
            ("core:2 node:2", Order { word: word("node:2"), after: "core" }),
            ("pu:2 pu:2", Order { word: word("pu:2"), after: "pu" }),
            ("node:128 core:128 pu:2", TooLarge { word: word("pu:2") }),
            ("node:1025", TooManyNodes { word: word("node:1025") }),
            ("package:2048", TooManyNodes { word: word("package:2048") }),
            ("package:2 node:513", TooManyNodes { word: word("node:513") }),
        ] {
            assert_eq!(parse(text), Err(error.clone()), "{text:?}");
            let said = error.to_string();
            assert!(text.split_whitespace().last().is_none_or(|last| said.contains(last)), "{said}");
        }
    }

    #[test]
    fn random_words_give_a_machine_or_an_error() {
        let words =
            ["node:2", "core:3", "pu:2", ":", "core:", ":4", "cache:16384", "package:9", "ü:2", "core:1:2"];
        let mut generator = crate::steal::Generator::new(7);
        for _ in 0..2000 {
            let text: Vec<_> = (0..generator.below(5)).map(|_| words[generator.below(words.len())]).collect();
            if let Ok(machine) = parse(&text.join(" ")) {
                assert!((1..=MAX_CPUS).contains(&machine.cpus.len()));
            }
        }
    }
}
