//! How a command ends when it does not end well: one sentence on stderr and an exit code.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use upbeat_kernels::tuning::TuningError;
use upbeat_nn::checkpoint::CheckpointError;
use upbeat_nn::data::DataError;
use upbeat_nn::generation::GenerationError;
use upbeat_nn::model::{ConfigError, ModelError};
use upbeat_nn::sampling::SamplingError;
use upbeat_nn::serving::{RequestError, ServerError};
use upbeat_nn::train::TrainError;
use upbeat_vulkan::VulkanError;

/// An end that is not success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something the user gave cannot be worked with: exit code 2.
    Input(String),
    /// The work itself failed: exit code 1.
    Work(String),
    /// Ctrl-C, or a request to terminate; what was trained is saved: exit code 130.
    Interrupted,
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Work(_) => ExitCode::from(1),
            Self::Input(_) => ExitCode::from(2),
            Self::Interrupted => ExitCode::from(130),
        }
    }

    /// A file of the output folder that the system would not write.
    pub(crate) fn write(path: &Path, source: &io::Error) -> Self {
        Self::Input(format!("{} cannot be written: {source}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(sentence) | Self::Work(sentence) => f.write_str(sentence),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::NotFinite { .. } | TrainError::Model(_) => Self::Work(error.to_string()),
            _ => Self::Input(error.to_string()),
        }
    }
}

impl From<TuningError> for Failure {
    fn from(error: TuningError) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<upbeat_vulkan::tuning::TuningError> for Failure {
    fn from(error: upbeat_vulkan::tuning::TuningError) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<GenerationError> for Failure {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::EmptyPrompt => Self::Input(error.to_string()),
            GenerationError::Model(_) | GenerationError::Sampling(_) => Self::Work(error.to_string()),
            GenerationError::Vulkan(_) => Self::Work(format!("{error}; --device cpu always works")),
        }
    }
}

impl From<VulkanError> for Failure {
    fn from(error: VulkanError) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Work(error.to_string())
    }
}

macro_rules! input {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Input(error.to_string())
            }
        })*
    };
}
input!(
    CheckpointError,
    ConfigError,
    DataError,
    SamplingError,
    ServerError,
    upbeat::BuildError,
    upbeat_kernels::isa::IsaError,
    upbeat_kernels::simd::pairs::UnitError
);
