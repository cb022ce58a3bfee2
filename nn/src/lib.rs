//! Autograd and training.

pub mod checkpoint;
pub mod data;
pub mod random;
pub mod sampling;
pub mod schedule;
