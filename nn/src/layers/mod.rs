//! The parts that a transformer is made of. A layer owns no numbers: it names its parameters in the model's list,
//! records itself on a tape (`forward`) and computes rows without one for decoding (`apply`).

mod attention;
mod embedding;
mod feed_forward;
mod linear;
mod norm;

pub(crate) use attention::{Attention, Cache};
pub(crate) use embedding::Embedding;
pub(crate) use feed_forward::FeedForward;
pub(crate) use linear::Linear;
pub(crate) use norm::Norm;

/// Standard deviation of the normal numbers that matrices and tables start from, as in GPT-2.
pub(crate) const INITIAL_DEVIATION: f64 = 0.02;
