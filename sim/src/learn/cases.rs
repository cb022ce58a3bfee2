//! Regions drawn at random: what is run, how fine it is, on what machine, with how many workers.

use upbeat::Generator;

use crate::machine::Machine;
use crate::program::{Cost, Program, Start, Step, Task};
use crate::settings::Idling;
use crate::workloads::{Shape, Workload};

/// Workloads that are one region: the service is many at a time.
pub const FAMILIES: [Workload; 8] = [
    Workload::Tree,
    Workload::MemoryTree,
    Workload::Search,
    Workload::SkewedLoop,
    Workload::Quicksort,
    Workload::Layers,
    Workload::PlacedLayers,
    Workload::Attention,
];

/// A region on a machine.
#[derive(Clone, Debug)]
pub struct Case {
    /// The machine.
    pub machine: Machine,
    /// Number of workers.
    pub workers: usize,
    /// What they do before they sleep.
    pub idling: Idling,
    /// What is run.
    pub workload: Workload,
    /// What every cost is multiplied by, in 1/1024.
    pub grain: u64,
    /// Workers that the program is sized for.
    pub sized_for: u32,
}

impl Case {
    /// Case `number` of those that are learned from: 1, 2 or 8 nodes, 2 to 64 workers, latencies a quarter to four times the preset's, costs
    /// a quarter to eight times the workload's.
    pub fn drawn(number: u64) -> Self {
        let mut generator = Generator::new(number.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x1ea4);
        let nodes = [1, 2, 8][generator.below(3)];
        Self::of_nodes(nodes, &mut generator)
    }

    /// Case `number` of those that are judged with: as above, on machines of 4 nodes, which are not learned from.
    pub fn held_out(number: u64) -> Self {
        let mut generator = Generator::new(number.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x0e1d);
        let mut case = Self::of_nodes(4, &mut generator);
        // As many of each family.
        case.workload = FAMILIES[number as usize % FAMILIES.len()];
        case
    }

    fn of_nodes(nodes: u32, generator: &mut Generator) -> Self {
        let mut machine = Machine::preset("8x32").expect("a preset");
        machine.name = format!("{nodes} nodes");
        machine.nodes = nodes;
        machine.package = [1, 2, 4][generator.below(3)].min(nodes);
        machine.scale(generator);
        for slow in &mut machine.slow {
            *slow = 1024 + (*slow - 1024) * (2 + generator.below(7) as u32) / 4;
        }
        let workers = 2 << generator.below(6);
        let idling = [Idling::TODAY, Idling::SPIN][generator.below(2)];
        let workload = FAMILIES[generator.below(FAMILIES.len())];
        let grain = 256 << generator.below(6);
        let sized_for = (workers as u32 * [1, 2, 4][generator.below(3)]).div_ceil(4).max(2);
        Self { machine, workers, idling, workload, grain, sized_for }
    }

    /// The program of one invocation.
    pub fn program(&self, seed: u64) -> Scaled {
        let shape = Shape { workers: self.sized_for, nodes: self.machine.nodes, seed };
        Scaled { program: self.workload.program(shape), grain: self.grain }
    }
}

/// A program whose costs are multiplied.
pub struct Scaled {
    program: Box<dyn Program>,
    grain: u64,
}

impl Scaled {
    fn scaled(&self, cost: Cost) -> Cost {
        Cost { ns: cost.ns * self.grain / 1024, ..cost }
    }
}

impl Program for Scaled {
    fn start(&self) -> Start {
        self.program.start()
    }

    fn step(&self, task: Task) -> Step {
        let step = self.program.step(task);
        // The whole program is the region here.
        Step { cost: self.scaled(step.cost), region: None, ..step }
    }

    fn stretch(&self, of: Task) -> Cost {
        self.scaled(self.program.stretch(of))
    }

    fn home(&self, task: Task) -> Option<u32> {
        self.program.home(task)
    }

    fn is_placed(&self) -> bool {
        self.program.is_placed()
    }

    fn job(&self, index: u32) -> (u64, Task) {
        self.program.job(index)
    }
}
