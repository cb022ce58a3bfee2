//! What can be wrong with shapes, saved or given.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Shapes that cannot be used or kept.
pub enum TuningError {
    /// A file that the system would not read.
    Read(PathBuf, io::Error),
    /// A file that the system would not write.
    Write(PathBuf, io::Error),
    /// A line that is no `name = shape`, or a name twice, unknown or missing: the file, and what is wrong.
    Malformed(PathBuf, String),
    /// Saved for another device, or with another driver.
    OtherDevice {
        /// The file.
        path: PathBuf,
        /// What it was saved for.
        saved: String,
        /// What this is.
        here: String,
    },
    /// A shape that the kernels do not have.
    Unknown {
        /// The tunable's name.
        name: &'static str,
        /// What was asked for.
        shape: String,
    },
    /// A shape that the device cannot run.
    TooLarge {
        /// The tunable's name.
        name: &'static str,
        /// The shape.
        shape: String,
        /// What it needs too much of.
        what: &'static str,
        /// How much it needs.
        needed: u32,
        /// How much the device allows.
        most: u32,
    },
    /// What is wrong with a shape of a file.
    In(PathBuf, Box<TuningError>),
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
            Self::OtherDevice { path, saved, here } => {
                write!(f, "{} was saved for {saved}, and this is {here}: tune again", path.display())
            }
            Self::Unknown { name, shape } => write!(f, "{name} = {shape} is no shape that there is"),
            Self::TooLarge { name, shape, what, needed, most } => {
                write!(f, "{name} = {shape} needs {needed} {what}, and the device has {most}")
            }
            Self::In(path, error) => write!(f, "{}: {error}: tune again", path.display()),
            Self::NoFolder => write!(
                f,
                "no folder for the tuning file is known: set XDG_CACHE_HOME or HOME, or name a file"
            ),
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
            Self::In(_, error) => Some(error),
            _ => None,
        }
    }
}
