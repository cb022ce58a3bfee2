//! The scheduler's benchmarks as a library, for `cargo bench --bench scheduler` and for `upbeat bench`.
//!
//! Owns the workloads (each written once and stamped out for every runtime), the interleaved measurements, the rows with
//! their goals, and what is made of results. It prints nothing by itself and decides nothing about the machine: who
//! calls it chooses what to run. How to measure: `docs/benchmarks/README.md`.

#[allow(unsafe_code)]
pub mod affinity;
pub mod batches;
pub mod contenders;
pub mod gaps;
pub mod outcome;
pub mod picture;
pub mod policies;
pub mod probe;
pub mod process;
pub mod report;
pub mod rounds;
pub mod rows;
pub mod scaling;
pub mod serial;
pub mod timing;
pub mod workloads;
