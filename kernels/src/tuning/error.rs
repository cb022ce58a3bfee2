//! What can be wrong with saved sizes.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Sizes that cannot be used or kept.
pub enum TuningError {
    /// A file that the system would not read.
    Read(PathBuf, io::Error),
    /// A file that the system would not write.
    Write(PathBuf, io::Error),
    /// A line that is no `name = value`, or a name twice, unknown or missing: the file, and what is wrong.
    Malformed(PathBuf, String),
    /// Saved on another machine, or for another instruction set.
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it was saved for.
        saved: String,
        /// What this is.
        here: String,
    },
    /// A value that makes no sense.
    OutOfRange {
        /// The field of [`Tuning`](super::Tuning).
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it may be.
        range: RangeInclusive<usize>,
    },
    /// No folder for caches is known: neither `XDG_CACHE_HOME` nor `HOME` is set.
    NoFolder,
}

impl fmt::Display for TuningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, source) => {
                write!(f, "the tuning file {} cannot be read: {source}", path.display())
            }
            Self::Write(path, source) => {
                write!(f, "the tuning file {} cannot be written: {source}", path.display())
            }
            Self::Malformed(path, what) => write!(f, "{} is no tuning file: {what}", path.display()),
            Self::OtherMachine { path, saved, here } => {
                write!(f, "{} was saved for {saved}, and this is {here}: tune again", path.display())
            }
            Self::OutOfRange { name, value, range } => {
                write!(f, "{name} = {value} is not between {} and {}", range.start(), range.end())
            }
            Self::NoFolder => {
                write!(
                    f,
                    "no folder for the tuning file is known: set XDG_CACHE_HOME or HOME, or name a file"
                )
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for TuningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TuningError({self})")
    }
}

impl std::error::Error for TuningError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, source) | Self::Write(_, source) => Some(source),
            _ => None,
        }
    }
}
