//! Reverse-mode autograd, transformer layers and training on the [`upbeat`] runtime.
//!
//! A [`Transformer`] records its forward pass on a [`Tape`], whose backward pass fills [`Gradients`]; an
//! [`AdamWOptimizer`] then changes the parameters. All of it is generic over the precision: `f32` runs the fast
//! kernels, `f64` their reference twins. Results have the same bits for any number of workers.

pub mod checkpoint;
pub mod data;
pub mod generation;
mod gradients;
mod layers;
pub mod model;
mod optimizer;
mod parameter;
pub mod random;
pub mod sampling;
pub mod schedule;
pub mod serving;
pub mod tape;
pub mod tensor;
pub mod train;
pub mod vulkan;

pub use gradients::Gradients;
pub use model::{Config, ConfigError, Decoder, FeedForward, ModelError, Norm, Positions, Transformer};
pub use optimizer::{AdamWConfig, AdamWOptimizer, Moments, RestoreError};
pub use parameter::Parameter;
pub use tape::{Tape, Var};
pub use tensor::{Shape, Tensor};
