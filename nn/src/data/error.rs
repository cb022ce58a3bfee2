//! What can be wrong with the text to train on, one sentence each.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A text that cannot be trained on.
pub enum DataError {
    /// A path that does not exist.
    Missing(PathBuf),
    /// A path that is neither a regular file nor a folder (a device, a socket).
    NotAFile(PathBuf),
    /// The system refused to read a file or folder.
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Folders without a file of the wanted kinds.
    NoFiles {
        /// Where files were looked for.
        paths: Vec<PathBuf>,
        /// The endings that were looked for, without the dot.
        extensions: Vec<String>,
    },
    /// Files were found and hold no character.
    Empty {
        /// How many files were read.
        files: usize,
    },
    /// Fewer characters than one window of training and one of evaluation need.
    TooShort {
        /// Characters in the text.
        tokens: usize,
        /// Characters that the context needs.
        needed: usize,
        /// Length of a window.
        context: usize,
    },
    /// A stored vocabulary that is not one.
    Vocabulary(&'static str),
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "the text {} does not exist", path.display()),
            Self::NotAFile(path) => write!(f, "the text {} is neither a file nor a folder", path.display()),
            Self::Unreadable { path, source } => {
                write!(f, "the text {} cannot be read: {source}", path.display())
            }
            Self::NoFiles { paths, extensions } => {
                let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
                let endings: Vec<_> = extensions.iter().map(|e| format!(".{e}")).collect();
                write!(f, "there is no {} file in {}", endings.join(" or "), paths.join(", "))
            }
            Self::Empty { files: 1 } => write!(f, "the text is empty: its one file holds no character"),
            Self::Empty { files } => write!(f, "the text is empty: its {files} files hold no character"),
            Self::TooShort { tokens, needed, context } => write!(
                f,
                "the text is too short: it has {tokens} characters, and a context of {context} needs at least {needed}"
            ),
            Self::Vocabulary(reason) => write!(f, "the vocabulary is invalid: {reason}"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataError({self})")
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
