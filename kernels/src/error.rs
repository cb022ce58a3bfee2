//! What can be wrong with the shapes handed to a kernel.

use std::fmt;

/// A shape that a kernel cannot work on.
#[derive(Clone, PartialEq, Eq)]
pub enum ShapeError {
    /// A product of dimensions does not fit `isize` bytes.
    Overflow {
        /// Which quantity overflowed.
        what: &'static str,
    },
    /// Two dimensions that must be equal differ.
    Mismatch {
        /// Which dimension, e.g. `"rows of c"`.
        what: &'static str,
        /// What it must be.
        expected: usize,
        /// What it is.
        found: usize,
    },
    /// A length or a dimension is not a whole number of the units it is made of, e.g. rows.
    Multiple {
        /// Which length or dimension, e.g. `"the length of x"`.
        what: &'static str,
        /// The unit; where it is 0, the length must be 0 too.
        unit: usize,
        /// What the length is.
        found: usize,
    },
    /// A row stride is shorter than a row.
    Stride {
        /// Elements in a row.
        cols: usize,
        /// Elements from one row's start to the next one's.
        stride: usize,
    },
    /// A size that must not be 0 is.
    Zero {
        /// Which size, e.g. `"the number of groups"`.
        what: &'static str,
    },
    /// A window (a kernel with its dilation) is larger than what it slides over.
    Window {
        /// What it slides over, e.g. `"the padded height"`.
        what: &'static str,
        /// The window's extent.
        window: usize,
        /// The room there is.
        padded: usize,
    },
    /// A dimension exceeds what the arithmetic is exact for.
    Limit {
        /// Which dimension, e.g. `"numbers summed as integers"`.
        what: &'static str,
        /// The most that there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// An index (a token, a target) points outside its table.
    Index {
        /// Which index, e.g. `"token"`.
        what: &'static str,
        /// The index found.
        index: usize,
        /// How many entries there are.
        len: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflow { what } => write!(f, "{what} is too large: its size in bytes overflows"),
            Self::Mismatch { what, expected, found } => write!(f, "{what} must be {expected} but is {found}"),
            Self::Multiple { what, unit, found } => {
                write!(f, "{what} must be a multiple of {unit} but is {found}")
            }
            Self::Stride { cols, stride } => {
                write!(f, "a row stride of {stride} is shorter than a row of {cols}")
            }
            Self::Zero { what } => write!(f, "{what} must not be 0"),
            Self::Window { what, window, padded } => {
                write!(f, "a window of {window} does not fit {what} of {padded}")
            }
            Self::Limit { what, most, found } => write!(f, "{what} may be {most} at most but are {found}"),
            Self::Index { what, index, len } => write!(f, "{what} {index} is outside the {len} there are"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShapeError({self})")
    }
}

impl std::error::Error for ShapeError {}

/// `Ok` when `found` is `expected`.
pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), ShapeError> {
    if expected == found {
        Ok(())
    } else {
        Err(ShapeError::Mismatch { what, expected, found })
    }
}

/// The product of `dims`; 0 when one of them is.
///
/// # Errors
/// [`ShapeError::Overflow`] naming `what`, when the size in bytes (8 an element) would not fit `isize`, whichever
/// of the dimensions are 0.
pub fn checked_len(what: &'static str, dims: &[usize]) -> Result<usize, ShapeError> {
    let mut len = 1usize;
    let mut any_zero = false;
    for &d in dims {
        any_zero |= d == 0;
        len = len.checked_mul(d.max(1)).ok_or(ShapeError::Overflow { what })?;
    }
    if len > isize::MAX as usize / 8 {
        return Err(ShapeError::Overflow { what });
    }
    Ok(if any_zero { 0 } else { len })
}
