//! What attention reads and writes: vectors of heads at any strides, and biases.
//!
//! A view is checked when it is made, so that kernels need not check again. How views fit together is
//! `problem.rs`'s business.

use std::ops::Range;

use crate::error::{check, checked_len, ShapeError};
use crate::grid::heads::Layout;
use crate::simd::{prefetch_later, Simd, LINE};

/// Vectors `[batch, positions, heads, dim]` to read. The `dim` numbers of a vector lie side by side; sequences, positions
/// and heads lie at any distance, 0 included.
///
/// ```
/// use upbeat_kernels::attention::Heads;
///
/// // The keys of projections packed as [batch, positions, 3, heads, dim].
/// let [batch, positions, heads, dim] = [2, 5, 4, 8];
/// let qkv = vec![0.0f32; batch * positions * 3 * heads * dim];
/// let row = 3 * heads * dim;
/// let strides = [positions * row, row, dim];
/// let keys = Heads::strided(&qkv[heads * dim..], [batch, positions, heads, dim], strides)?;
/// assert_eq!(keys.shape(), [2, 5, 4, 8]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a, T> {
    data: &'a [T],
    layout: Layout,
}

impl<'a, T> Heads<'a, T> {
    /// Dense vectors; `data` must hold exactly the product of `[batch, positions, heads, dim]`.
    ///
    /// # Errors
    /// Another length, or a product whose size in bytes overflows.
    pub fn new(data: &'a [T], shape: [usize; 4]) -> Result<Self, ShapeError> {
        check("the length of dense heads", checked_len("heads", &shape)?, data.len())?;
        Ok(Self { data, layout: Layout::dense(shape)? })
    }

    /// Vectors whose sequences, positions and heads lie `strides` elements apart; `data` may be longer than needed.
    ///
    /// # Errors
    /// Too few elements, or an extent that overflows.
    pub fn strided(data: &'a [T], shape: [usize; 4], strides: [usize; 3]) -> Result<Self, ShapeError> {
        let layout = Layout { shape, strides };
        let extent = layout.extent()?;
        if data.len() < extent {
            return Err(too_short(extent, data.len()));
        }
        Ok(Self { data: &data[..extent], layout })
    }

    /// `[batch, positions, heads, dim]`
    pub fn shape(&self) -> [usize; 4] {
        self.layout.shape
    }

    /// Whether there is no element.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A head's vectors from a position of a sequence on.
    pub(crate) fn rows(&self, batch: usize, position: usize, head: usize) -> Rows<'a, T> {
        let stride = self.layout.strides[1];
        if self.data.is_empty() {
            return Rows { data: &[], stride: 0 };
        }
        // From one position too many on there are no elements.
        Rows { data: self.data.get(self.layout.at(batch, position, head)..).unwrap_or(&[]), stride }
    }
}

/// One head's vectors, `stride` elements apart; whoever asks for them knows how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Those from row `row` on.
    #[inline(always)]
    pub(crate) fn from(&self, row: usize) -> Self {
        Self { data: self.data.get(row * self.stride..).unwrap_or(&[]), stride: self.stride }
    }

    /// The `dim` numbers of row `row`.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize, dim: usize) -> &'a [T] {
        &self.data[row * self.stride..][..dim]
    }
}

impl<'a> Rows<'a, f32> {
    /// The first `count` rows of `dim`, copied side by side to `to`; or where they are, when `to` is empty.
    #[inline(always)]
    pub(crate) fn copied<'c, S: Simd>(
        self,
        simd: S,
        (count, dim): (usize, usize),
        to: &'c mut [f32],
    ) -> Rows<'c, f32>
    where
        'a: 'c,
    {
        if to.is_empty() {
            return self;
        }
        for (row, to) in to.chunks_exact_mut(dim).take(count).enumerate() {
            for (from, to) in self.row(row, dim).chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
                simd.store_partial(simd.load_partial(from), to);
            }
        }
        Rows { data: to, stride: dim }
    }

    /// Asks for `rows` of `dim`, to be copied later.
    #[inline(always)]
    pub(super) fn ask(self, rows: Range<usize>, dim: usize) {
        for row in rows {
            let first = self.data.as_ptr().wrapping_add(row * self.stride);
            for line in (0..dim).step_by(LINE) {
                prefetch_later(first.wrapping_add(line));
            }
        }
    }
}

/// Vectors `[batch, positions, heads, dim]` to write, as [`Heads`]; no two of them share an element.
#[derive(Debug)]
pub struct HeadsMut<'a, T> {
    data: &'a mut [T],
    layout: Layout,
}

impl<'a, T> HeadsMut<'a, T> {
    /// Dense vectors; `data` must hold exactly the product of `[batch, positions, heads, dim]`.
    ///
    /// # Errors
    /// Another length, or a product whose size in bytes overflows.
    pub fn new(data: &'a mut [T], shape: [usize; 4]) -> Result<Self, ShapeError> {
        check("the length of dense heads", checked_len("heads", &shape)?, data.len())?;
        Ok(Self { data, layout: Layout::dense(shape)? })
    }

    /// Vectors whose sequences, positions and heads lie `strides` elements apart; `data` may be longer than needed. What
    /// lies between the vectors is not touched.
    ///
    /// # Errors
    /// Too few elements, an extent that overflows, or strides at which vectors overlap.
    pub fn strided(data: &'a mut [T], shape: [usize; 4], strides: [usize; 3]) -> Result<Self, ShapeError> {
        let layout = Layout { shape, strides };
        layout.check_disjoint()?;
        let extent = layout.extent()?;
        if data.len() < extent {
            return Err(too_short(extent, data.len()));
        }
        Ok(Self { data: &mut data[..extent], layout })
    }

    /// `[batch, positions, heads, dim]`
    pub fn shape(&self) -> [usize; 4] {
        self.layout.shape
    }

    /// The elements and where they lie.
    pub(crate) fn into_parts(self) -> (&'a mut [T], Layout) {
        (self.data, self.layout)
    }
}

fn too_short(expected: usize, found: usize) -> ShapeError {
    ShapeError::Mismatch { what: "the length of strided heads", expected, found }
}

/// What is added to the logits: `[sequences, heads, queries, keys]`, where each of the first three may be 1 and then
/// counts for all. `-∞` hides a key from a query.
///
/// A query and a key are counted from their own sequence's start. With sequences of several lengths there are as many
/// queries and keys as the longest has.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a, T> {
    data: &'a [T],
    shape: [usize; 4],
    strides: [usize; 3],
}

impl<'a, T> Bias<'a, T> {
    /// A dense bias; `data` must hold exactly the product of `[sequences, heads, queries, keys]`.
    ///
    /// # Errors
    /// Another length, or a product whose size in bytes overflows.
    pub fn new(data: &'a [T], shape: [usize; 4]) -> Result<Self, ShapeError> {
        check("the length of a dense bias", checked_len("a bias", &shape)?, data.len())?;
        let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3]];
        Ok(Self { data, shape, strides })
    }

    /// A bias whose sequences, heads and queries lie `strides` elements apart, 0 included; a query's keys lie side by
    /// side.
    ///
    /// # Errors
    /// Too few elements, or an extent that overflows.
    pub fn strided(data: &'a [T], shape: [usize; 4], strides: [usize; 3]) -> Result<Self, ShapeError> {
        let extent = Layout { shape, strides }.extent()?;
        if data.len() < extent {
            return Err(too_short(extent, data.len()));
        }
        Ok(Self { data, shape, strides })
    }

    /// That it fits so many sequences and heads of at most so many queries and keys.
    pub(crate) fn check(&self, [sequences, heads, queries, keys]: [usize; 4]) -> Result<(), ShapeError> {
        let broadcast =
            |what, expected, found| if found == 1 { Ok(()) } else { check(what, expected, found) };
        broadcast("the sequences of the bias", sequences, self.shape[0])?;
        broadcast("the heads of the bias", heads, self.shape[1])?;
        broadcast("the queries of the bias", queries, self.shape[2])?;
        check("the keys of the bias", keys, self.shape[3])
    }

    /// A head's biases in a sequence: one row of keys a query.
    pub(crate) fn rows(&self, sequence: usize, head: usize) -> Rows<'a, T> {
        let [sequences, heads, queries, _] = self.shape.map(|size| usize::from(size > 1));
        let at = sequences * sequence * self.strides[0] + heads * head * self.strides[1];
        Rows { data: self.data.get(at..).unwrap_or(&[]), stride: queries * self.strides[2] }
    }
}
