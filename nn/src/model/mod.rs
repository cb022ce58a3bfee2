//! The transformer: its configuration, its parameters, its forward and backward passes, and decoding with a cache.

mod config;
mod decoder;
mod error;
mod transformer;

pub use config::{Config, ConfigError, FeedForward, Norm, Positions};
pub use decoder::Decoder;
pub use error::ModelError;
pub use transformer::Transformer;
