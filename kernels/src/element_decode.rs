//! The kernels of decoding for many sequences at once, by name, for the types that parameters are kept in: `f32` runs the
//! fast ones, `f64` the twins. Nothing is computed here. Proved by `tests/attention_paged.rs` and `tests/elementwise.rs`.

use crate::attention::PagedCache;
use crate::element::RopeShape;
use crate::error::ShapeError;
use crate::{rope, twin};

/// What decoding of many sequences at once needs besides [`Element`](crate::Element), whose [`Wide`](crate::Element::Wide) types have it.
///
/// A row's bits are those that the functions for one sequence give it.
pub trait DecodeElement: Sized {
    /// One query position of each sequence against its pages; see [`PagedCache`].
    ///
    /// # Errors
    /// When shapes do not fit each other, a cache is longer than its pages, or a page does not exist; then nothing was written.
    fn attention_decode_paged(
        cache: &PagedCache<'_, Self>,
        heads: usize,
        q: &[Self],
        out: &mut [Self],
    ) -> Result<(), ShapeError>;

    /// [`rope_forward`](crate::Element::rope_forward) with row `r` at `positions[r]`: rows of many sequences. `shape.seq` and
    /// `shape.first` are not looked at.
    ///
    /// # Errors
    /// When lengths, the heads or the number of positions do not fit each other; then nothing was written.
    fn rope_at(x: &[Self], positions: &[usize], shape: RopeShape, out: &mut [Self])
        -> Result<(), ShapeError>;
}

impl DecodeElement for f32 {
    fn attention_decode_paged(
        cache: &PagedCache<'_, Self>,
        heads: usize,
        q: &[Self],
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        cache.decode(heads, q, out)
    }

    fn rope_at(
        x: &[Self],
        positions: &[usize],
        shape: RopeShape,
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        rope::rope_at(x, positions, shape, out)
    }
}

impl DecodeElement for f64 {
    fn attention_decode_paged(
        cache: &PagedCache<'_, Self>,
        heads: usize,
        q: &[Self],
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        cache.decode(heads, q, out)
    }

    fn rope_at(
        x: &[Self],
        positions: &[usize],
        shape: RopeShape,
        out: &mut [Self],
    ) -> Result<(), ShapeError> {
        twin::rope::rope_at(x, positions, shape, out)
    }
}
