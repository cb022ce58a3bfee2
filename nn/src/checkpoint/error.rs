//! Why a checkpoint was not written or not read, one sentence each.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A checkpoint that cannot be written or read. Whatever the reason, an older checkpoint stays as it was.
pub enum CheckpointError {
    /// The folder holds no checkpoint.
    None(PathBuf),
    /// Another process writes checkpoints to the folder.
    Busy(PathBuf),
    /// The system refused an operation while saving.
    Write {
        /// File or folder.
        path: PathBuf,
        /// Why, e.g. no space left.
        source: io::Error,
    },
    /// The system refused an operation while loading.
    Read {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not those that were written: truncated, changed, or never a checkpoint.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A training that computes in another type, which going on would change.
    Dtype {
        /// The type that it began in.
        saved: String,
        /// The type asked for.
        asked: &'static str,
    },
    /// A whole checkpoint that does not fit what it is loaded into.
    Shape(String),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(folder) => write!(f, "there is no checkpoint in {}", folder.display()),
            Self::Busy(folder) => {
                write!(f, "another process is saving checkpoints to {}", folder.display())
            }
            Self::Write { path, source } => {
                write!(f, "the checkpoint cannot be saved to {}: {source}", path.display())
            }
            Self::Read { path, source } => {
                write!(f, "the checkpoint {} cannot be read: {source}", path.display())
            }
            Self::Damaged { path, reason } => {
                write!(f, "the checkpoint {} is damaged: {reason}", path.display())
            }
            Self::Dtype { saved, asked } => {
                write!(f, "the checkpoint is of a training in {saved}, not in {asked}: go on in {saved}")
            }
            Self::Shape(reason) => write!(f, "the checkpoint has another shape: {reason}"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointError({self})")
    }
}

impl std::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write { source, .. } | Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}
