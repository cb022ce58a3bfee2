//! What can be wrong with a layout or with views that are to be used together.

use std::fmt;

/// A layout that cannot be, or views that do not go together.
#[derive(Clone, PartialEq, Eq)]
pub enum LayoutError {
    /// More axes than [`MAX_RANK`](super::MAX_RANK).
    Rank(usize),
    /// The number of elements, or the place of one, does not fit `isize` bytes.
    Overflow,
    /// Lists that describe one axis an entry differ in length.
    Axes {
        /// Entries that were expected.
        expected: usize,
        /// Entries found.
        found: usize,
    },
    /// The layout reaches an element outside the slice.
    Outside {
        /// Elements from the first one reached to the last, or the offset.
        needed: usize,
        /// Elements that there are.
        len: usize,
    },
    /// There is no such axis.
    Axis {
        /// The axis asked for.
        axis: usize,
        /// How many there are.
        rank: usize,
    },
    /// A range or an index outside an axis, or a range that ends before it begins.
    Range {
        /// Which axis.
        axis: usize,
        /// First index.
        start: usize,
        /// One past the last index.
        end: usize,
        /// Length of the axis.
        len: usize,
    },
    /// A step of 0.
    Step,
    /// An order that does not name every axis once.
    Order,
    /// Dimensions that do not broadcast: lengths must be equal or 1.
    Broadcast {
        /// The axis, counted in the result.
        axis: usize,
        /// Its length.
        from: usize,
        /// The length asked for.
        to: usize,
    },
    /// The number of elements differs from the shape's.
    Elements {
        /// Elements of the shape.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// The shape cannot be had by strides alone; copy first.
    NeedsCopy,
    /// Elements of a writable view may share a place in memory.
    Overlap,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank(rank) => write!(f, "{rank} axes are more than the {} of a view", super::MAX_RANK),
            Self::Overflow => write!(f, "the layout is too large: a size in bytes overflows"),
            Self::Axes { expected, found } => write!(f, "{expected} axes were expected, {found} are named"),
            Self::Outside { needed, len } => {
                write!(f, "the layout reaches over {needed} elements, but the slice has {len}")
            }
            Self::Axis { axis, rank } => write!(f, "there is no axis {axis} in a view of {rank}"),
            Self::Range { axis, start, end, len } => {
                write!(f, "the range {start}..{end} is not in axis {axis} of length {len}")
            }
            Self::Step => write!(f, "a step of 0 names one element for ever"),
            Self::Order => write!(f, "the order must name every axis once"),
            Self::Broadcast { axis, from, to } => {
                write!(f, "axis {axis} of length {from} cannot be broadcast to {to}")
            }
            Self::Elements { expected, found } => {
                write!(f, "the shape has {expected} elements, but {found} are there")
            }
            Self::NeedsCopy => write!(f, "no strides give this shape; copy the view first"),
            Self::Overlap => write!(f, "elements of the writable view may lie in one place"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayoutError({self})")
    }
}

impl std::error::Error for LayoutError {}
