//! A matrix cut into tiles that parallel tasks write at the same time.
//!
//! [`Tiles`] borrows the whole matrix exclusively and hands out each tile at most once, so no two tasks can hold the
//! same element: two tiles of a grid share none, and a second request for a tile panics. The claims are one bit a
//! tile in pooled memory. This file owns the argument for disjointness; what is computed into a tile is not its
//! business. Tensors of heads at any strides are cut in `heads.rs`.

pub(crate) mod heads;

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::matrix::MatMut;
use crate::pool::{Buffer, Tag};

/// A matrix cut into a grid of tiles `[down, across]`, each handed out at most once.
///
/// Rows may come in groups (the sequences of a batch, say): tiles never cross the border between two groups.
pub struct Tiles<'a, T> {
    data: NonNull<T>,
    rows: usize,
    cols: usize,
    stride: usize,
    group_rows: usize,
    tile_rows: usize,
    tile_cols: usize,
    claims: NonNull<u64>,
    /// Owns what `claims` points to; never dereferenced again, so that the atomics are the only access.
    _claims: Buffer<u64>,
    borrows: PhantomData<&'a mut [T]>,
}

// SAFETY: a shared grid gives out exclusive tiles of T, each to one caller, which is sending T.
unsafe impl<T: Send> Sync for Tiles<'_, T> {}
// SAFETY: the grid is an exclusive borrow of T's, which may move to another thread when T may.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T> Tiles<'a, T> {
    /// Cuts `matrix` into tiles of `tile_rows` by `tile_cols`; those at the lower and right border may be smaller.
    ///
    /// # Panics
    /// When a tile dimension is 0.
    pub fn new(matrix: MatMut<'a, T>, tile_rows: usize, tile_cols: usize) -> Self {
        let group_rows = matrix.rows().max(1);
        Self::grouped(matrix, group_rows, tile_rows, tile_cols)
    }

    /// Cuts each group of `group_rows` rows on its own: a group has `⌈group_rows / tile_rows⌉` rows of tiles, and
    /// the last one may be smaller. The last group may have fewer rows, and then fewer tiles.
    ///
    /// # Panics
    /// When `group_rows` or a tile dimension is 0.
    pub fn grouped(matrix: MatMut<'a, T>, group_rows: usize, tile_rows: usize, tile_cols: usize) -> Self {
        assert!(group_rows > 0 && tile_rows > 0 && tile_cols > 0, "a tile has no elements");
        let (rows, cols, stride) = (matrix.rows(), matrix.cols(), matrix.stride());
        let data = NonNull::from(matrix.into_data()).cast();
        let mut grid = Self {
            data,
            rows,
            cols,
            stride,
            group_rows,
            tile_rows,
            tile_cols,
            claims: NonNull::dangling(),
            _claims: Buffer::scratch(0),
            borrows: PhantomData,
        };
        let tiles = grid.down().checked_mul(grid.across()).expect("tiles are no more than elements");
        let mut claims = Buffer::zeroed_as(Tag::Workspace, tiles.div_ceil(64));
        grid.claims = NonNull::from(&mut *claims).cast();
        grid._claims = claims;
        grid
    }

    /// Cuts `data` into pieces of `size` elements, the last one maybe shorter; piece `i` is `take(0, i)`.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn of_slice(data: &'a mut [T], size: usize) -> Self {
        let len = data.len();
        Self::new(MatMut::new(data, 1, len).expect("a slice is a matrix of one row"), 1, size)
    }

    /// Rows of tiles.
    pub fn down(&self) -> usize {
        let whole = self.rows / self.group_rows;
        whole * self.group_rows.div_ceil(self.tile_rows)
            + (self.rows - whole * self.group_rows).div_ceil(self.tile_rows)
    }

    /// Tiles in a row of tiles.
    pub fn across(&self) -> usize {
        self.cols.div_ceil(self.tile_cols)
    }

    /// The matrix rows of tiles `(down, _)`.
    pub fn rows_of(&self, down: usize) -> Range<usize> {
        let in_group = self.group_rows.div_ceil(self.tile_rows);
        let group = down / in_group * self.group_rows;
        let from = group + down % in_group * self.tile_rows;
        from..(from + self.tile_rows).min(group + self.group_rows).min(self.rows)
    }

    /// The matrix columns of tiles `(_, across)`.
    pub fn cols_of(&self, across: usize) -> Range<usize> {
        let from = across * self.tile_cols;
        from..(from + self.tile_cols).min(self.cols)
    }

    /// Hands out tile `(down, across)` for as long as the matrix is borrowed.
    ///
    /// # Panics
    /// When there is no such tile, or when it was handed out before.
    pub fn take(&self, down: usize, across: usize) -> Tile<'a, T> {
        assert!(down < self.down() && across < self.across(), "no tile ({down}, {across})");
        let index = down * self.across() + across;
        // SAFETY: the claims hold a bit for each tile, and `index` is below their number.
        let word = unsafe { self.claims.add(index / 64) };
        // SAFETY: the word is aligned, lives as long as `self`, and is only ever accessed through such atomics.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        let bit = 1 << (index % 64);
        // Relaxed: a claim hands over nothing, and the bit's one modification order lets one caller win.
        assert!(word.fetch_or(bit, Relaxed) & bit == 0, "tile ({down}, {across}) was taken before");
        let (rows, cols) = (self.rows_of(down), self.cols_of(across));
        // SAFETY: the first element of a tile that is not empty lies in the matrix.
        let data = unsafe { self.data.add(rows.start * self.stride + cols.start) };
        Tile { data, rows: rows.len(), cols: cols.len(), stride: self.stride, borrows: PhantomData }
    }
}

/// Exclusive access to a block `[rows, cols]` of a matrix, whose rows lie `stride` elements apart.
///
/// The elements between its rows belong to others: it gives out slices of single rows only.
#[derive(Debug)]
pub struct Tile<'a, T> {
    data: NonNull<T>,
    rows: usize,
    cols: usize,
    stride: usize,
    borrows: PhantomData<&'a mut [T]>,
}

// SAFETY: a tile is an exclusive borrow of its elements.
unsafe impl<T: Send> Send for Tile<'_, T> {}
// SAFETY: a shared tile gives out shared slices only.
unsafe impl<T: Sync> Sync for Tile<'_, T> {}

impl<'a, T> Tile<'a, T> {
    /// A whole matrix as one tile.
    pub fn whole(matrix: MatMut<'a, T>) -> Self {
        let (rows, cols, stride) = (matrix.rows(), matrix.cols(), matrix.stride());
        let data = NonNull::from(matrix.into_data()).cast();
        Self { data, rows, cols, stride, borrows: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row's start to the next one's.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first element, for micro-kernels that check their bounds once: element `(i, j)` with `i < rows`,
    /// `j < cols` is at `i * stride + j` and may be read and written while the tile is borrowed; no other may.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.data.as_ptr()
    }

    /// Row `i`, read only. Panics when there is no such row.
    pub fn row(&self, i: usize) -> &[T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return &[];
        }
        // SAFETY: row `i` starts inside the matrix, at most at its last row.
        let from = unsafe { self.data.add(i * self.stride) };
        // SAFETY: the row's elements are this tile's, which is borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts(from.as_ptr(), self.cols) }
    }

    /// Row `i`. Panics when there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return &mut [];
        }
        // SAFETY: row `i` starts inside the matrix, at most at its last row.
        let from = unsafe { self.data.add(i * self.stride) };
        // SAFETY: the row's elements are this tile's alone, which is borrowed exclusively for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(from.as_ptr(), self.cols) }
    }

    /// The block `rows` by `cols` of this tile, borrowed from it. Panics when it does not lie inside.
    pub fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> Tile<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols, "columns {cols:?} of {}", self.cols);
        let offset =
            if rows.is_empty() || cols.is_empty() { 0 } else { rows.start * self.stride + cols.start };
        // SAFETY: the block's first element lies in this tile (or the offset is 0).
        let data = unsafe { self.data.add(offset) };
        Tile { data, rows: rows.len(), cols: cols.len(), stride: self.stride, borrows: PhantomData }
    }

    /// All elements, when they lie side by side: one row, or rows without gaps.
    ///
    /// # Panics
    /// When there are gaps between the rows.
    pub fn into_slice(self) -> &'a mut [T] {
        if self.rows == 0 || self.cols == 0 {
            return &mut [];
        }
        assert!(self.rows == 1 || self.stride == self.cols, "the tile's rows have gaps between them");
        // SAFETY: without gaps the tile's elements are contiguous, and they are this tile's alone for `'a`.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.rows * self.cols) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_strided_matrix_once() {
        for (rows, cols, stride, group, (tr, tc)) in [
            (7, 5, 6, 7, (2, 3)),
            (12, 4, 4, 5, (2, 4)),
            (1, 1, 1, 1, (9, 9)),
            (6, 3, 8, 3, (1, 1)),
            (0, 3, 3, 2, (1, 1)),
        ] {
            let mut data = vec![0u32; rows * stride];
            let grid = Tiles::grouped(MatMut::strided(&mut data, rows, cols, stride).unwrap(), group, tr, tc);
            upbeat::par::for_each(0..grid.down() * grid.across(), |index| {
                let (i, j) = (index / grid.across(), index % grid.across());
                let (at, mut tile) = (grid.rows_of(i), grid.take(i, j));
                assert_eq!((at.start / group, tile.rows()), ((at.end - 1) / group, at.len()));
                for r in 0..tile.rows() {
                    tile.row_mut(r).iter_mut().for_each(|x| *x += 1);
                }
            });
            for (i, x) in data.iter().enumerate() {
                assert_eq!(*x, u32::from(i % stride < cols), "element {i} of {rows} by {cols}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "was taken before")]
    fn a_tile_is_handed_out_once() {
        let mut data = [0.0f32; 12];
        let grid = Tiles::new(MatMut::new(&mut data, 3, 4).unwrap(), 2, 2);
        let _first = grid.take(1, 1);
        let _again = grid.take(1, 1);
    }

    #[test]
    fn pieces_and_parts_are_where_they_should_be() {
        let mut data: Vec<usize> = (0..20).collect();
        let grid = Tiles::of_slice(&mut data, 8);
        assert_eq!(grid.across(), 3);
        assert_eq!(grid.take(0, 2).into_slice(), &[16, 17, 18, 19]);
        let mut tile = Tile::whole(MatMut::new(&mut data, 4, 5).unwrap());
        let mut part = tile.part(1..3, 2..5);
        assert_eq!((part.row(0), part.row(1), part.stride()), (&[7, 8, 9][..], &[12, 13, 14][..], 5));
        part.row_mut(1)[0] = 99;
        assert_eq!(tile.into_slice()[12], 99);
    }
}
