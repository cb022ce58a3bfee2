//! What can be wrong with the tokens handed to a model.

use std::fmt;

use upbeat_kernels::ShapeError;

/// Tokens that a model cannot work on.
#[derive(Clone, PartialEq, Eq)]
pub enum ModelError {
    /// A kernel refused a shape or an index, e.g. a token outside the vocabulary.
    Shape(ShapeError),
    /// There is nothing to predict.
    Empty,
    /// The sequences are longer than the model's context, or a decoder's cache is full.
    Context {
        /// Positions asked for.
        positions: usize,
        /// Positions the model has.
        context: usize,
    },
    /// The tokens do not divide into sequences.
    Ragged {
        /// Tokens given.
        tokens: usize,
        /// Length of a sequence.
        seq: usize,
    },
    /// Not one target a token.
    Targets {
        /// Tokens given.
        tokens: usize,
        /// Targets given.
        targets: usize,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::Empty => write!(f, "there are no tokens"),
            Self::Context { positions, context } => {
                write!(f, "{positions} positions do not fit the model's context of {context}")
            }
            Self::Ragged { tokens, seq } => {
                write!(f, "{tokens} tokens do not divide into sequences of {seq}")
            }
            Self::Targets { tokens, targets } => write!(f, "{targets} targets for {tokens} tokens"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelError({self})")
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Shape(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ShapeError> for ModelError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}
