//! The learned policy in the simulator: regions to learn from, what each configuration makes of them, and who judges the result.
//!
//! A region that comes again and again is a program simulated with one seed after the other. What each configuration makes of each seed is
//! simulated once (`table`); then a policy is replayed on that, invocation by invocation, in as many orders as are wanted. The policy is the
//! runtime's own code.

pub mod cases;
pub mod data;
pub mod exam;
pub mod judge;
pub mod live;
pub mod table;
pub mod train;
