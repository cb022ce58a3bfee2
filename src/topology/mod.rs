//! Which CPUs, caches and memory nodes a machine has, how near they are to each other, and where a runtime's workers are.
//!
//! [`machine`] is the machine that this runs on; [`Machine::read`] and [`Machine::synthetic`] are others, to see what a runtime decides on
//! them. With the feature `hwloc`, `Machine::from_hwloc` asks the library of that name instead. [`Topology`] says where each worker is.
//! Decisions and their reasons: `README.md` beside this file.

#[allow(unsafe_code)]
pub(crate) mod affinity;
mod assembly;
mod error;
#[cfg(feature = "hwloc")]
mod hwloc;
mod machine;
#[allow(unsafe_code)]
pub mod memory;
mod placement;
mod synthetic;
mod sysfs;

pub use error::{TopologyError, MAX_CPUS, MAX_NODES};
pub use machine::{machine, Cache, CacheKind, Cpu, Machine, Node};
pub use placement::{Distance, Topology};
