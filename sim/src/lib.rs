//! Simulates upbeat's workers on machines that are not at hand: discrete events, bit-identical for a seed.
//!
//! ```
//! use upbeat_sim::machine::Machine;
//! use upbeat_sim::settings::{Always, Idling, Settings};
//! use upbeat_sim::workloads::{Shape, Workload};
//! use upbeat_sim::{simulate, Plan};
//!
//! let machine = Machine::preset("2x32").unwrap();
//! let program = Workload::MemoryTree.program(Shape { workers: 8, nodes: machine.nodes, seed: 1 });
//! let plan = Plan { machine: &machine, workers: 8, idling: Idling::TODAY, seed: 1 };
//! let outcome = simulate(&*program, plan, &mut Always(Settings::TODAY));
//! assert_eq!(outcome.leaves, 16_000);
//! assert_eq!(outcome, simulate(&*program, plan, &mut Always(Settings::TODAY)));
//! ```
//!
//! What is modelled, what is left out, and where the times come from: `sim/README.md`. Every result is a simulated one; what was measured
//! on a real machine is in `docs/benchmarks/`.

pub mod calibrate;
pub mod compare;
mod engine;
pub mod graph;
pub mod learn;
pub mod machine;
mod outcome;
pub mod picture;
pub mod policy;
pub mod program;
pub mod queue;
mod rate;
pub mod record;
pub mod scaling;
pub mod settings;
pub mod spin;
pub mod workloads;

pub use engine::{simulate, Plan};
pub use outcome::Outcome;
