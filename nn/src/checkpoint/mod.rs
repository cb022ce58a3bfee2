//! Checkpoints: parameters and training state as one generation of files that is whole or absent.
//!
//! [`store`] keeps generations and survives crashes, [`archive`] turns arrays into safetensors, [`record`] holds
//! settings, [`hash`] finds damage. What is in a training's checkpoint is the business of [`crate::train`].

pub mod archive;
pub mod disk;
pub mod error;
pub mod hash;
mod manifest;
pub mod record;
pub mod store;

pub use archive::{Archive, Array, Numbers};
pub use error::CheckpointError;
pub use record::Record;
pub use store::{load, Store};
