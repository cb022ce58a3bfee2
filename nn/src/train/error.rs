//! Why a training cannot start, go on or be resumed, one sentence each.

use std::fmt;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::model::{ConfigError, ModelError};

/// A training that stops.
pub enum TrainError {
    /// A model that cannot be.
    Config(ConfigError),
    /// A setting out of its range.
    Setting {
        /// Which one.
        what: &'static str,
        /// What it must be.
        must: &'static str,
        /// What it is.
        found: f64,
    },
    /// A batch whose activations are too large to address.
    BatchOverflow {
        /// Sequences in the batch.
        batch: usize,
    },
    /// The text cannot be trained on.
    Data(DataError),
    /// The model refused a batch.
    Model(ModelError),
    /// The text differs from the one that the checkpoint was trained on.
    OtherText,
    /// Loss or gradients are NaN or infinite. The parameters are those before the step.
    NotFinite {
        /// The step, the first one being 1.
        step: u64,
        /// What is not finite.
        what: &'static str,
    },
    /// A checkpoint cannot be written or read.
    Checkpoint(CheckpointError),
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Setting { what, must, found } => write!(f, "the {what} must be {must}, and it is {found}"),
            Self::BatchOverflow { batch } => {
                write!(f, "a batch of {batch} sequences is too large: its size in bytes overflows")
            }
            Self::Data(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::OtherText => write!(
                f,
                "the text is not the one that the checkpoint was trained on, so resuming would not be exact; \
                 pass the same text, or start anew in another folder"
            ),
            Self::NotFinite { step, what } => {
                write!(f, "the {what} of step {step} is not finite, so training stopped before that step")
            }
            Self::Checkpoint(error) => error.fmt(f),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrainError({self})")
    }
}

impl std::error::Error for TrainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Data(error) => Some(error),
            Self::Model(error) => Some(error),
            Self::Checkpoint(error) => Some(error),
            Self::Setting { .. } | Self::BatchOverflow { .. } | Self::OtherText | Self::NotFinite { .. } => {
                None
            }
        }
    }
}

impl From<ConfigError> for TrainError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<ModelError> for TrainError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<CheckpointError> for TrainError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}
