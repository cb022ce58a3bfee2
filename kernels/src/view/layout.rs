//! Shape and strides: which element of a slice an index names. All arithmetic is checked once, when a layout is made; what is derived
//! from it (slices, transpositions, broadcasts) reaches no element that it did not reach.

use std::fmt;
use std::ops::Range;

use super::error::LayoutError;

/// The most axes that a view has.
pub const MAX_RANK: usize = 8;

/// Dimensions and strides of a view, and where its first element lies. Strides count elements and may be negative or 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    rank: usize,
    dims: [usize; MAX_RANK],
    strides: [isize; MAX_RANK],
    offset: usize,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?} from {}", self.dims(), self.strides(), self.offset)
    }
}

/// The product of `dims`, in elements of at most 8 bytes.
fn elements(dims: &[usize]) -> Result<usize, LayoutError> {
    crate::error::checked_len("a view", dims).map_err(|_| LayoutError::Overflow)
}

impl Layout {
    /// Row-major: the last axis' elements lie side by side.
    ///
    /// # Errors
    /// More than [`MAX_RANK`] axes, or a size that overflows.
    pub fn row_major(dims: &[usize]) -> Result<Self, LayoutError> {
        elements(dims)?;
        let mut strides = [0; MAX_RANK];
        let mut stride = 1;
        for (axis, &dim) in dims.iter().enumerate().rev() {
            *strides.get_mut(axis).ok_or(LayoutError::Rank(dims.len()))? = stride as isize;
            stride *= dim.max(1);
        }
        Self::strided(dims, &strides[..dims.len()], 0)
    }

    /// Any strides, with the element of index `[0, 0, …]` at `offset`.
    ///
    /// # Errors
    /// Another number of strides than of dimensions, too many axes, a size that overflows, or an element before the slice's first.
    pub fn strided(dims: &[usize], strides: &[isize], offset: usize) -> Result<Self, LayoutError> {
        let rank = dims.len();
        if rank > MAX_RANK {
            return Err(LayoutError::Rank(rank));
        }
        if strides.len() != rank {
            return Err(LayoutError::Axes { expected: rank, found: strides.len() });
        }
        let mut layout = Self { rank, dims: [1; MAX_RANK], strides: [0; MAX_RANK], offset };
        layout.dims[..rank].copy_from_slice(dims);
        // Strides of no elements mean nothing, and are 0, for they could be anything.
        if elements(dims)? > 0 {
            layout.strides[..rank].copy_from_slice(strides);
            // Both ends of what is reached must be places in some slice.
            let (mut low, mut high) = (offset, offset);
            for (&dim, &stride) in dims.iter().zip(strides) {
                let way = (dim - 1).checked_mul(stride.unsigned_abs()).ok_or(LayoutError::Overflow)?;
                if stride < 0 {
                    low = low.checked_sub(way).ok_or(LayoutError::Outside { needed: way, len: offset })?;
                } else {
                    high = high.checked_add(way).ok_or(LayoutError::Overflow)?;
                }
            }
            if high >= isize::MAX as usize / 8 {
                return Err(LayoutError::Overflow);
            }
        }
        Ok(layout)
    }

    /// Lengths of the axes.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// Elements from one index of an axis to the next.
    pub fn strides(&self) -> &[isize] {
        &self.strides[..self.rank]
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Where index `[0, 0, …]` lies.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Number of elements; 1 without axes.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.dims().contains(&0)
    }

    /// The places reached, from the lowest to one past the highest; empty when there are no elements.
    pub fn reach(&self) -> Range<usize> {
        if self.is_empty() {
            return self.offset..self.offset;
        }
        let (mut low, mut high) = (self.offset, self.offset);
        for (&dim, &stride) in self.dims().iter().zip(self.strides()) {
            let way = (dim - 1) * stride.unsigned_abs();
            if stride < 0 {
                low -= way;
            } else {
                high += way;
            }
        }
        low..high + 1
    }

    /// The place of an index; `None` outside.
    pub fn place(&self, index: &[usize]) -> Option<usize> {
        if index.len() != self.rank || index.iter().zip(self.dims()).any(|(i, dim)| i >= dim) {
            return None;
        }
        let way: isize = index.iter().zip(self.strides()).map(|(&i, &stride)| i as isize * stride).sum();
        Some(self.offset.wrapping_add_signed(way))
    }

    fn check_axis(&self, axis: usize) -> Result<(), LayoutError> {
        if axis < self.rank {
            Ok(())
        } else {
            Err(LayoutError::Axis { axis, rank: self.rank })
        }
    }

    /// `range` of an axis, every `step`-th index; a negative step goes from the range's last index to its first.
    ///
    /// # Errors
    /// No such axis, a range outside it, or a step of 0.
    pub fn slice(&self, axis: usize, range: Range<usize>, step: isize) -> Result<Self, LayoutError> {
        self.check_axis(axis)?;
        let Range { start, end } = range;
        let len = self.dims[axis];
        if start > end || end > len {
            return Err(LayoutError::Range { axis, start, end, len });
        }
        if step == 0 {
            return Err(LayoutError::Step);
        }
        let count = (end - start).div_ceil(step.unsigned_abs());
        let mut layout = *self;
        layout.dims[axis] = count;
        if count > 0 {
            let first = if step > 0 { start } else { end - 1 };
            // Empty views reach nothing: their offset stays.
            if !self.is_empty() {
                layout.offset = self.offset.wrapping_add_signed(first as isize * self.strides[axis]);
            }
        }
        // With one index or none the stride is never used, and the product might overflow.
        if count > 1 && !self.is_empty() {
            layout.strides[axis] = self.strides[axis] * step;
        }
        Ok(layout)
    }

    /// Without an axis, at one of its indices.
    ///
    /// # Errors
    /// No such axis, or an index outside it.
    pub fn index(&self, axis: usize, index: usize) -> Result<Self, LayoutError> {
        let end = index.checked_add(1).ok_or(LayoutError::Overflow)?;
        let mut layout = self.slice(axis, index..end, 1)?;
        layout.dims.copy_within(axis + 1.., axis);
        layout.strides.copy_within(axis + 1.., axis);
        layout.rank -= 1;
        // What lies behind the last axis counts when layouts are compared.
        (layout.dims[layout.rank], layout.strides[layout.rank]) = (1, 0);
        Ok(layout)
    }

    /// The axes in another order: axis `i` of the result is axis `order[i]`. Nothing is copied.
    ///
    /// # Errors
    /// An order that does not name every axis once.
    pub fn permute(&self, order: &[usize]) -> Result<Self, LayoutError> {
        let mut seen = [false; MAX_RANK];
        if order.len() != self.rank {
            return Err(LayoutError::Order);
        }
        let mut layout = *self;
        for (to, &from) in order.iter().enumerate() {
            if from >= self.rank || std::mem::replace(&mut seen[from], true) {
                return Err(LayoutError::Order);
            }
            (layout.dims[to], layout.strides[to]) = (self.dims[from], self.strides[from]);
        }
        Ok(layout)
    }

    /// Two axes exchanged.
    ///
    /// # Errors
    /// No such axis.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Self, LayoutError> {
        self.check_axis(a)?;
        self.check_axis(b)?;
        let mut layout = *self;
        layout.dims.swap(a, b);
        layout.strides.swap(a, b);
        Ok(layout)
    }

    /// The same elements read over and over: axes of length 1, and axes missing in front, take any length (NumPy's rule).
    ///
    /// # Errors
    /// Fewer or too many axes, lengths that are neither equal nor 1, or a size that overflows.
    pub fn broadcast(&self, dims: &[usize]) -> Result<Self, LayoutError> {
        if dims.len() > MAX_RANK {
            return Err(LayoutError::Rank(dims.len()));
        }
        let Some(front) = dims.len().checked_sub(self.rank) else {
            return Err(LayoutError::Axes { expected: self.rank, found: dims.len() });
        };
        elements(dims)?;
        let mut layout = Self { rank: dims.len(), strides: [0; MAX_RANK], ..*self };
        layout.dims[..dims.len()].copy_from_slice(dims);
        for (axis, (&from, &stride)) in self.dims().iter().zip(self.strides()).enumerate() {
            let to = dims[front + axis];
            if from != to && from != 1 {
                return Err(LayoutError::Broadcast { axis: front + axis, from, to });
            }
            layout.strides[front + axis] = if from == to { stride } else { 0 };
        }
        Ok(layout)
    }

    /// The elements, in row-major order, under other dimensions, if strides can say so.
    ///
    /// # Errors
    /// Another number of elements, too many axes, or [`LayoutError::NeedsCopy`].
    pub fn reshape(&self, dims: &[usize]) -> Result<Self, LayoutError> {
        let (expected, found) = (elements(dims)?, self.len());
        if expected != found {
            return Err(LayoutError::Elements { expected, found });
        }
        let mut layout = Self::row_major(dims)?;
        layout.offset = self.offset;
        if found == 0 {
            return Ok(layout);
        }
        // Walk both shapes from the last axis: each merged run of ours must be filled by whole axes of the new one. Axes that fill more
        // than a run leave too few for the others, as both shapes have as many elements.
        let (merged, mut axis) = (self.merged(), dims.len());
        for (&length, &stride) in merged.dims().iter().zip(merged.strides()).rev() {
            let mut filled = 1;
            while filled < length {
                axis = axis.checked_sub(1).ok_or(LayoutError::NeedsCopy)?;
                layout.strides[axis] = filled as isize * stride;
                filled *= dims[axis];
            }
        }
        Ok(layout)
    }

    /// The same elements in the same order with as few axes as can be: those of length 1 are dropped, and neighbours merge where the
    /// outer one's stride is what the inner one covers. One axis of length 0 when there are no elements.
    pub fn merged(&self) -> Self {
        let mut merged = Self { rank: 0, dims: [1; MAX_RANK], strides: [0; MAX_RANK], ..*self };
        if self.is_empty() {
            (merged.rank, merged.dims[0]) = (1, 0);
            return merged;
        }
        for (&dim, &stride) in self.dims().iter().zip(self.strides()).filter(|(&dim, _)| dim > 1) {
            let outer = merged.rank.checked_sub(1).map(|last| merged.strides[last]);
            if outer != Some(dim as isize * stride) {
                merged.rank += 1;
            }
            merged.dims[merged.rank - 1] *= dim;
            merged.strides[merged.rank - 1] = stride;
        }
        merged
    }

    /// Whether the elements lie side by side in row-major order.
    pub fn is_dense(&self) -> bool {
        let merged = self.merged();
        self.is_empty() || merged.rank == 0 || (merged.rank == 1 && merged.strides[0] == 1)
    }

    /// Whether it is certain that no two indices name one place: sorted by stride, each axis steps over all that the smaller ones reach.
    pub fn is_injective(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut axes: Vec<(usize, usize)> = self
            .dims()
            .iter()
            .zip(self.strides())
            .filter(|(&dim, _)| dim > 1)
            .map(|(&dim, &stride)| (stride.unsigned_abs(), dim))
            .collect();
        axes.sort_unstable();
        let mut reached = 0;
        axes.into_iter().all(|(stride, dim)| {
            let steps_over = stride > reached;
            reached += (dim - 1) * stride;
            steps_over
        })
    }

    /// The axis of at least two indices with the longest stride.
    pub(super) fn outermost(&self) -> Option<usize> {
        (0..self.rank)
            .filter(|&axis| self.dims[axis] > 1)
            .max_by_key(|&axis| self.strides[axis].unsigned_abs())
    }

    /// The longest axis.
    pub(super) fn longest(&self) -> Option<usize> {
        (0..self.rank).max_by_key(|&axis| self.dims[axis])
    }

    /// Both parts of an axis cut at `mid`, which lies inside it.
    pub(super) fn halves(&self, axis: usize, mid: usize) -> (Self, Self) {
        let part = |range| self.slice(axis, range, 1).expect("the cut lies inside the axis");
        (part(0..mid), part(mid..self.dims[axis]))
    }

    /// The same, `by` places nearer to the slice's front.
    pub(super) fn moved_down(mut self, by: usize) -> Self {
        self.offset -= by;
        self
    }
}

/// The dimensions to which all of `shapes` broadcast.
///
/// # Errors
/// Lengths that are neither equal nor 1, or too many axes.
pub fn broadcast_dims(shapes: &[&[usize]]) -> Result<Vec<usize>, LayoutError> {
    let rank = shapes.iter().map(|dims| dims.len()).max().unwrap_or(0);
    if rank > MAX_RANK {
        return Err(LayoutError::Rank(rank));
    }
    let mut result = vec![1; rank];
    for dims in shapes {
        let front = rank - dims.len();
        for (axis, &dim) in dims.iter().enumerate() {
            let to = &mut result[front + axis];
            match (*to, dim) {
                (1, _) => *to = dim,
                (to, dim) if to != dim && dim != 1 => {
                    return Err(LayoutError::Broadcast { axis: front + axis, from: dim, to });
                }
                _ => {}
            }
        }
    }
    Ok(result)
}
