//! Text for training: files are read ([`files`]), characters become tokens ([`tokenizer`]), tokens become random
//! windows of one batch ([`dataset`]).
//!
//! Everything here is a function of the files' content and a seed: the same text and the same seed give the same
//! batches on every machine. The state of the window generator is one number, part of a checkpoint.

pub mod dataset;
pub mod error;
pub mod files;
pub mod tokenizer;

pub use dataset::{Dataset, Windows};
pub use error::DataError;
pub use files::{read_texts, Text};
pub use tokenizer::Tokenizer;
