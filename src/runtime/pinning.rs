//! Which CPUs each worker stays on.
//!
//! Decisions only, so those for any machine are tested on this one; `topology::affinity` carries them out. Why nodes are the default where
//! there are several: `src/topology/README.md`.

use crate::topology::{Machine, Topology};

/// Whether workers stay where they are dealt to. Best effort: a refusal of the system leaves the worker where it may be. Workers on a machine
/// that was [described](crate::Builder::topology) are never pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pin {
    /// The default: [`Nodes`](Self::Nodes) on a machine with several memory nodes if each has a worker, else [`None`](Self::None).
    #[default]
    Auto,
    /// The operating system moves them as it likes.
    None,
    /// Each worker stays on a core: on all of the core's CPUs if it is the only worker there, else on one of its own. Two programs that
    /// both do this share the first cores, however many are idle. A caller that [takes a worker's place](crate::Builder::enrol_callers) takes
    /// that of a worker of the CPU it runs on.
    Cores,
    /// Each worker stays on a memory node, so what it has put there is near; on the node the operating system moves it as it likes. A
    /// caller that takes a worker's place takes that of one of its node.
    Nodes,
}

/// The CPUs of each worker; `None` when they are not pinned.
pub(super) fn masks(pin: Pin, machine: &Machine, topology: &Topology) -> Option<Vec<Vec<usize>>> {
    if !machine.is_here() {
        return None;
    }
    let workers = 0..topology.workers();
    let all = |keep: &dyn Fn(&crate::topology::Cpu) -> bool| -> Vec<usize> {
        machine.cpus.iter().filter(|cpu| keep(cpu)).map(|cpu| cpu.id).collect()
    };
    let with_cpus = machine.nodes.iter().filter(|node| !node.cpus.is_empty()).count();
    match pin {
        Pin::Nodes => Some(workers.map(|worker| all(&|cpu| cpu.node == topology.cpu(worker).node)).collect()),
        Pin::Auto if with_cpus > 1 && topology.nodes().len() == with_cpus => {
            masks(Pin::Nodes, machine, topology)
        }
        Pin::Cores => {
            let cpus: Vec<_> = workers.clone().map(|worker| topology.cpu(worker)).collect();
            let is_alone = |core| cpus.iter().filter(|cpu| cpu.core == core).count() == 1;
            let of_worker = |worker: usize| match cpus[worker] {
                own if is_alone(own.core) => all(&|cpu| cpu.core == own.core),
                own => vec![own.id],
            };
            Some(workers.map(of_worker).collect())
        }
        Pin::Auto | Pin::None => None,
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    fn decided(pin: Pin, description: &str, workers: usize) -> Option<Vec<Vec<usize>>> {
        let machine = Machine::synthetic(description).unwrap().made_ours();
        masks(pin, &machine, &Topology::dealt(&machine, workers))
    }

    #[test]
    fn a_worker_alone_on_its_core_has_all_of_it() {
        assert_eq!(decided(Pin::Cores, "core:2 pu:2", 2), Some(vec![vec![0, 1], vec![2, 3]]));
        assert_eq!(decided(Pin::Cores, "core:2 pu:2", 3), Some(vec![vec![0], vec![2, 3], vec![1]]));
        assert_eq!(decided(Pin::Cores, "core:1", 2), Some(vec![vec![0], vec![0]]));
    }

    #[test]
    fn nodes_are_kept_where_each_has_a_worker() {
        let halves = Some(vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        assert_eq!(decided(Pin::Nodes, "node:2 core:2 pu:2", 2), halves);
        assert_eq!(decided(Pin::Auto, "node:2 core:2 pu:2", 2), halves);
        assert_eq!(
            decided(Pin::Auto, "node:2 core:2 pu:2", 1),
            None,
            "many programs of one worker would meet"
        );
        assert_eq!(decided(Pin::Auto, "package:2 core:4", 8).map(|masks| masks.len()), Some(8));
        assert_eq!(decided(Pin::Auto, "core:8 pu:2", 16), None, "one node");
        assert_eq!(decided(Pin::None, "node:2 core:2", 4), None);
    }

    #[test]
    fn nobody_is_pinned_to_a_machine_that_was_described() {
        let machine = Machine::synthetic("node:2 core:2").unwrap();
        for pin in [Pin::Auto, Pin::None, Pin::Cores, Pin::Nodes] {
            assert_eq!(masks(pin, &machine, &Topology::dealt(&machine, 4)), None);
        }
    }
}
