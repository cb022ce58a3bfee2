//! The kernels' benchmarks as a library, for `cargo bench --bench kernels` and for `upbeat bench kernels`.
//!
//! Owns the cases (each with its check, what it moves or computes, and its goal), the limits of the machine measured in the same
//! rounds, and the table that comes of it; what peers link, and programs of others that take turns with us. `requests` is for `upbeat bench batch`. It prints nothing by itself. The programs in `kernels/benches/` measure single
//! kernels in more shapes; here is one row for each row of the design's table that this machine can run.

#[allow(unsafe_code)]
pub mod allocations;
pub mod case;
pub mod cases;
pub mod external;
pub mod limits;
pub mod measure;
pub mod report;
pub mod requests;
