//! A tensor `[batch, positions, heads, dim]` at any strides, cut into runs of one head's positions that parallel tasks
//! write at the same time.
//!
//! As [`super::Tiles`], but a task names the positions it wants: the claims are one bit a row of `dim` elements, so runs
//! of any length may be handed out and a second request for any row panics. What is computed is not this file's business.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Tile;
use crate::error::{checked_len, ShapeError};
use crate::pool::{Buffer, Tag};

/// Where the elements of `[batch, positions, heads, dim]` lie: `dim` side by side, the others at `strides`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `[batch, positions, heads, dim]`
    pub(crate) shape: [usize; 4],
    /// Elements from one sequence, position and head to the next.
    pub(crate) strides: [usize; 3],
}

impl Layout {
    /// Without gaps.
    pub(crate) fn dense(shape: [usize; 4]) -> Result<Self, ShapeError> {
        let [_, positions, heads, dim] = shape;
        checked_len("heads", &shape)?;
        Ok(Self { shape, strides: [positions * heads * dim, heads * dim, dim] })
    }

    /// Elements from the first to the last one, 0 when there are none.
    pub(crate) fn extent(&self) -> Result<usize, ShapeError> {
        let overflow = ShapeError::Overflow { what: "the extent of strided heads" };
        if checked_len("heads", &self.shape)? == 0 {
            return Ok(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let mut last = steps.map(|(size, stride)| (size - 1).checked_mul(*stride));
        let last = last.try_fold(self.shape[3], |sum, step| sum.checked_add(step?));
        last.filter(|&extent| extent <= isize::MAX as usize / 8).ok_or(overflow)
    }

    /// That no two indices name one element: each stride passes over all that the shorter ones reach.
    pub(crate) fn check_disjoint(&self) -> Result<(), ShapeError> {
        self.extent()?;
        let mut steps = [0, 1, 2].map(|axis| (self.strides[axis], self.shape[axis]));
        steps.sort_unstable();
        let mut reached = self.shape[3];
        if self.shape.contains(&0) {
            return Ok(());
        }
        for (stride, size) in steps.into_iter().filter(|(_, size)| *size > 1) {
            if stride < reached {
                return Err(ShapeError::Stride { cols: reached, stride });
            }
            reached += stride * (size - 1);
        }
        Ok(())
    }

    /// Where a vector begins, in a tensor that has elements.
    pub(crate) fn at(&self, batch: usize, position: usize, head: usize) -> usize {
        batch * self.strides[0] + position * self.strides[1] + head * self.strides[2]
    }
}

/// An exclusive borrow of such a tensor that hands out each row of `dim` elements at most once.
pub(crate) struct HeadTiles<'a, T> {
    data: NonNull<T>,
    layout: Layout,
    /// Claims of one head of one sequence begin at a word of their own.
    words: usize,
    claims: NonNull<u64>,
    /// Owns what `claims` points to; never dereferenced again, so that the atomics are the only access.
    _claims: Buffer<u64>,
    borrows: PhantomData<&'a mut [T]>,
}

// SAFETY: a shared value gives out exclusive tiles of T, each to one caller, which is sending T.
unsafe impl<T: Send> Sync for HeadTiles<'_, T> {}
// SAFETY: it is an exclusive borrow of T's, which may move to another thread when T may.
unsafe impl<T: Send> Send for HeadTiles<'_, T> {}

impl<'a, T> HeadTiles<'a, T> {
    /// # Panics
    /// When two indices name one element, or `data` is too short.
    pub(crate) fn new(data: &'a mut [T], layout: Layout) -> Self {
        layout.check_disjoint().expect("every element has one index");
        assert!(
            layout.extent().is_ok_and(|extent| extent <= data.len()),
            "the heads do not lie in their slice"
        );
        let [batch, positions, heads, _] = layout.shape;
        let words = positions.div_ceil(64);
        let mut claims = Buffer::zeroed_as(Tag::Workspace, batch * heads * words);
        let at = NonNull::from(&mut *claims).cast();
        Self {
            data: NonNull::from(data).cast(),
            layout,
            words,
            claims: at,
            _claims: claims,
            borrows: PhantomData,
        }
    }

    /// Rows `positions` of a head of a sequence, for as long as the tensor is borrowed.
    ///
    /// # Panics
    /// When they do not exist, or when one of them was handed out before.
    pub(crate) fn take(&self, batch: usize, head: usize, positions: Range<usize>) -> Tile<'a, T> {
        let [batches, all, heads, dim] = self.layout.shape;
        assert!(batch < batches && head < heads, "no head {head} of sequence {batch}");
        assert!(positions.start <= positions.end && positions.end <= all, "no positions {positions:?}");
        let (first, rows) = (positions.start, positions.len());
        let words = if rows == 0 { 0..0 } else { first / 64..positions.end.div_ceil(64) };
        for word in words {
            let from = first.max(word * 64) - word * 64;
            let to = positions.end.min(word * 64 + 64) - word * 64;
            let bits = (u64::MAX >> (64 - (to - from))) << from;
            // SAFETY: `word` is below `words`, and the claims hold that many for each head of each sequence.
            let at = unsafe { self.claims.add((batch * heads + head) * self.words + word) };
            // SAFETY: the word is aligned, lives as long as `self`, and is only ever accessed through such atomics.
            let at = unsafe { AtomicU64::from_ptr(at.as_ptr()) };
            // Relaxed: a claim hands over nothing, and the word's one modification order lets one caller win.
            assert!(at.fetch_or(bits, Relaxed) & bits == 0, "rows of {positions:?} were taken before");
        }
        let empty = rows == 0 || dim == 0;
        let offset = if empty { 0 } else { self.layout.at(batch, first, head) };
        // SAFETY: a row that has elements begins inside the slice.
        let data = unsafe { self.data.add(offset) };
        Tile { data, rows, cols: dim, stride: self.layout.strides[1], borrows: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_strided_heads_once() {
        let shape = [2, 70, 3, 4];
        // By position, by head, and with gaps; a single sequence may have any stride.
        for strides in [[840, 12, 4], [840, 4, 280], [1500, 20, 5], [2000, 6, 600]] {
            let layout = Layout { shape, strides };
            let mut data = vec![0u32; layout.extent().unwrap()];
            let tiles = HeadTiles::new(&mut data, layout);
            upbeat::par::for_each(0..2 * 3 * 3, |index| {
                let (batch, head, part) = (index / 9, index / 3 % 3, index % 3);
                let cuts = [0, 5, 64, 70];
                let mut tile = tiles.take(batch, head, cuts[part]..cuts[part + 1]);
                for row in 0..tile.rows() {
                    tile.row_mut(row).iter_mut().for_each(|x| *x += 1);
                }
            });
            assert_eq!(data.iter().map(|x| *x as usize).sum::<usize>(), 2 * 70 * 3 * 4);
            assert!(data.iter().all(|x| *x <= 1));
        }
    }

    #[test]
    fn overlaps_and_overflows_are_refused() {
        let check = |shape, strides| Layout { shape, strides }.check_disjoint();
        assert!(check([1, 4, 2, 3], [0, 6, 3]).is_ok());
        assert!(check([1, 4, 2, 3], [0, 5, 3]).is_err());
        assert!(check([2, 4, 2, 3], [0, 6, 3]).is_err());
        assert!(check([2, 4, 1, 3], [12, 3, 0]).is_ok());
        assert!(check([0, 4, 2, 3], [0, 0, 0]).is_ok());
        assert!(check([2, 2, 2, 2], [usize::MAX, 4, 2]).is_err());
        assert!(check([usize::MAX, 2, 2, 2], [8, 4, 2]).is_err());
    }

    #[test]
    #[should_panic(expected = "were taken before")]
    fn a_row_is_handed_out_once() {
        let mut data = [0.0f32; 200];
        let tiles = HeadTiles::new(&mut data, Layout::dense([1, 100, 1, 2]).unwrap());
        // No rows are no claim, wherever they begin.
        assert_eq!((tiles.take(0, 0, 65..65).rows(), tiles.take(0, 0, 65..65).rows()), (0, 0));
        let _first = tiles.take(0, 0, 60..70);
        let _again = tiles.take(0, 0, 69..71);
    }
}
