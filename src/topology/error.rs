//! What a description of a machine can have wrong.

use std::fmt;

/// Why a machine that was described cannot be.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopologyError {
    /// The description has no words.
    Empty,
    /// A word is not a level, a colon and a number.
    Word {
        /// The word.
        word: String,
    },
    /// A word names no level.
    Level {
        /// The word.
        word: String,
    },
    /// A number is zero, too large or none at all.
    Count {
        /// The word.
        word: String,
    },
    /// A level comes twice, or inside of one that it contains.
    Order {
        /// The word.
        word: String,
        /// The level before it.
        after: &'static str,
    },
    /// The machine would have more than [`MAX_CPUS`] CPUs.
    TooLarge {
        /// The word at which it does.
        word: String,
    },
    /// The machine would have more than [`MAX_NODES`] memory nodes.
    TooManyNodes {
        /// The word at which it does.
        word: String,
    },
    /// The machine has no CPU to run anything on.
    NoCpus,
    /// hwloc does not give this machine.
    #[cfg(feature = "hwloc")]
    Hwloc {
        /// What it said.
        reason: String,
    },
    /// hwloc cannot read a description.
    #[cfg(feature = "hwloc")]
    HwlocDescription {
        /// The description.
        description: String,
        /// What it said.
        reason: String,
    },
    /// A file cannot be read, or hwloc cannot read what is in it.
    #[cfg(feature = "hwloc")]
    HwlocFile {
        /// The file.
        path: std::path::PathBuf,
        /// What it, or the system, said.
        reason: String,
    },
}

/// The most CPUs that a synthetic machine may have.
pub const MAX_CPUS: usize = 1 << 14;
/// The most memory nodes that a synthetic machine may have; Linux knows no more, and each knows its distance from each.
pub const MAX_NODES: usize = 1 << 10;

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "a machine is described by words such as \"node:4 core:16 pu:2\", and there are none",
            ),
            Self::Word { word } => {
                write!(f, "{word:?} is not a level, a colon and a number, as core:16 is")
            }
            Self::Level { word } => {
                write!(f, "{word:?} names none of the levels package, node, cache, core and pu")
            }
            Self::Count { word } => write!(f, "{word:?} does not say a number from 1 to {MAX_CPUS}"),
            Self::Order { word, after } => {
                write!(f, "{word:?} cannot follow {after}: the order is package, node, cache, core, pu, each at most once")
            }
            Self::TooLarge { word } => {
                write!(f, "with {word:?} the machine has more than {MAX_CPUS} CPUs, which is the most")
            }
            Self::TooManyNodes { word } => {
                write!(
                    f,
                    "with {word:?} the machine has more than {MAX_NODES} memory nodes, which is the most"
                )
            }
            Self::NoCpus => f.write_str("the machine has no CPU left to run on; keep at least one"),
            #[cfg(feature = "hwloc")]
            Self::Hwloc { reason } => write!(
                f,
                "hwloc does not give this machine ({reason}); if HWLOC_SYNTHETIC or HWLOC_XMLFILE is set, unset it, \
                 else use upbeat::topology::machine()"
            ),
            #[cfg(feature = "hwloc")]
            Self::HwlocDescription { description, reason } => write!(
                f,
                "{description:?}: {reason}; write hwloc's levels from the outside in, such as \
                 \"package:2 numa:2 l3:2 core:8 pu:2\""
            ),
            #[cfg(feature = "hwloc")]
            Self::HwlocFile { path, reason } => {
                write!(f, "{}: {reason}; give a file that `lstopo FILE.xml` wrote", path.display())
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopologyError({self})")
    }
}

impl std::error::Error for TopologyError {}
