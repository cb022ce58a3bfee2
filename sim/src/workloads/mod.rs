//! The workloads: programs whose shape is drawn from a seed, sized so that each worker has about a millisecond of work.
//!
//! Costs are whole nanoseconds made by integer arithmetic alone, so that they are the same on every host. Sizes and costs are those of the
//! design's pilot where it had them.

mod loops;
mod quicksort;
mod service;
mod trees;

use crate::program::Program;

pub use loops::{Items, Loops};
pub use quicksort::Quicksort;
pub use service::Service;
pub use trees::{Search, Tree};

/// What sizes a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Workers that it is sized for.
    pub workers: u32,
    /// Nodes that its data lies on, in equal blocks.
    pub nodes: u32,
    /// Seed of its shape and costs.
    pub seed: u64,
}

/// A workload by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A balanced tree of leaves of 500 ns.
    Tree,
    /// The same; three fifths of a leaf wait for memory, which lies in blocks on the nodes.
    MemoryTree,
    /// Unbalanced tree search (binomial), 250 ns a node.
    Search,
    /// A loop whose last items cost a dozen times as much as its first.
    SkewedLoop,
    /// Quicksort: each partition is a step without a fork.
    Quicksort,
    /// 16 layers of a network, 40 µs a worker each, that begin on one worker.
    Layers,
    /// The same, dealt out to the workers.
    PlacedLayers,
    /// Tiles of causal attention: later ones see more keys.
    Attention,
    /// Jobs of 40 tiles that come from outside, at 70 % load.
    Service,
}

impl Workload {
    /// Every one of them.
    pub const ALL: [Workload; 9] = [
        Self::Tree,
        Self::MemoryTree,
        Self::Search,
        Self::SkewedLoop,
        Self::Quicksort,
        Self::Layers,
        Self::PlacedLayers,
        Self::Attention,
        Self::Service,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::MemoryTree => "memory-tree",
            Self::Search => "uts",
            Self::SkewedLoop => "skewed-loop",
            Self::Quicksort => "quicksort",
            Self::Layers => "layers",
            Self::PlacedLayers => "layers-placed",
            Self::Attention => "attention",
            Self::Service => "service",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// The program.
    pub fn program(self, shape: Shape) -> Box<dyn Program> {
        let Shape { workers, nodes, seed } = shape;
        let layers = Loops {
            items: workers * 8,
            phases: 16,
            costs: Items::Even { ns: 5_000, noise: 256 },
            memory: 717,
            nodes,
            seed,
            is_placed: false,
        };
        match self {
            Self::Tree => Box::new(Tree { leaves: workers * 2_000, ns: 500, memory: 0, nodes }),
            Self::MemoryTree => Box::new(Tree { leaves: workers * 2_000, ns: 500, memory: 614, nodes }),
            Self::Search => {
                Box::new(Search { root: workers * 30, children: 8, chance: 8_321_499, ns: 250, seed })
            }
            Self::SkewedLoop => Box::new(Loops {
                items: workers * 1_000,
                phases: 1,
                costs: Items::Skewed { ns: 200, more: 2_400 },
                memory: 307,
                ..layers
            }),
            Self::Quicksort => Box::new(Quicksort { elements: workers * 16_384, memory: 307, nodes, seed }),
            Self::Layers => Box::new(layers),
            Self::PlacedLayers => Box::new(Loops { is_placed: true, ..layers }),
            Self::Attention => Box::new(Loops {
                items: workers * 64,
                phases: 2,
                costs: Items::Causal { ns: 500, blocks: 32 },
                memory: 410,
                ..layers
            }),
            Self::Service => Box::new(Service::new(workers, nodes, seed)),
        }
    }
}

/// All bits mixed (splitmix64's finaliser).
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The random number that belongs to an index.
pub(crate) fn hash(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// A number below `bound`, of the upper bits of a hash.
fn below(hash: u64, bound: u64) -> u64 {
    ((hash >> 32) * bound) >> 32
}

/// The node that index `i` of `count` lies on.
fn block(i: u32, count: u32, nodes: u32) -> u32 {
    (u64::from(i.min(count.saturating_sub(1))) * u64::from(nodes) / u64::from(count.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::walk;

    const SHAPE: Shape = Shape { workers: 8, nodes: 2, seed: 3 };

    #[test]
    fn each_gives_a_worker_about_a_millisecond() {
        for workload in Workload::ALL {
            let total = walk(&*workload.program(SHAPE));
            let each = total.ns / 8;
            // The service is 40 jobs a worker instead.
            let expected =
                if workload == Workload::Service { 7_500_000..8_500_000 } else { 300_000..1_800_000 };
            assert!(expected.contains(&each), "{}: {each} ns a worker", workload.name());
            assert!(total.leaves > 100 && total.span < total.ns, "{}: {total:?}", workload.name());
        }
    }

    #[test]
    fn seeds_draw_shapes_and_the_same_seed_the_same() {
        for workload in [Workload::Search, Workload::SkewedLoop, Workload::Quicksort, Workload::Layers] {
            let of = |seed| walk(&*workload.program(Shape { seed, ..SHAPE }));
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2), "{}", workload.name());
        }
    }

    #[test]
    fn names_lead_back_to_workloads() {
        for workload in Workload::ALL {
            assert_eq!(Workload::named(workload.name()), Some(workload));
        }
        assert_eq!(Workload::named("forest"), None);
    }

    #[test]
    fn blocks_are_equal_and_in_order() {
        let nodes: Vec<u32> = (0..10).map(|i| block(i, 10, 3)).collect();
        assert_eq!(nodes, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!((block(10, 10, 3), block(0, 0, 3)), (2, 0));
    }
}
