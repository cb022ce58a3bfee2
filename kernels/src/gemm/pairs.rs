//! Products of two factors in bf16 by instructions that multiply pairs ([`crate::simd::pairs`]): tasks over tiles of C, the right
//! factor packed into panels once, the left one as each task needs it.
//!
//! With few rows of A the factors change places: B's rows are read as they are stored and A becomes the panel, so that B is read
//! once and not copied. An element's products are added in the same order either way, and over any blocks of `k`: its bits depend
//! on its row, its column and `k` alone, a NaN's payload excepted.

use std::ops::Range;

use super::epilogue;
use super::pairs_panels::{packed_rows, panel_words, panels, Factor};
use super::product::parts;
use crate::bf16;
use crate::convert::{narrow_lanes, widen_lanes};
use crate::element::{Epilogue, Write};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::pairs::{Unit, BLOCK, STEP};
use crate::simd::{Kernel, Simd};

/// Numbers of `k` multiplied at once: a panel over them takes 32 KiB of the first-level cache.
const DEPTH: usize = 512;
/// Most columns of a task, and most of its rows: with what it reads a task stays in the second-level cache.
const COLUMNS: usize = 1024;
const ROWS: usize = 256;
/// Numbers of C from which on a tile is computed in memory of its own: the unit's stores of 16 rows at a time wait for each line that
/// is in no cache, where copying rows does not.
const LARGE: usize = 1 << 20;
/// Numbers of B worth a task where A has few rows: 256 KiB.
const TASK_NUMBERS: usize = 1 << 17;

/// Where results go.
pub(super) enum Target<'a> {
    /// As they are summed.
    Wide(MatMut<'a, f32>),
    /// Rounded.
    Stored(MatMut<'a, bf16>),
}

/// C's tiles.
enum Grid<'a> {
    /// Computed in place, or beside where the flag is set.
    Wide(Tiles<'a, f32>, bool),
    Stored(Tiles<'a, bf16>),
}

impl<'a> Grid<'a> {
    fn new(c: Target<'a>, rows: usize, cols: usize) -> Self {
        match c {
            Target::Wide(c) => {
                let large = c.rows() * c.cols() > LARGE;
                Self::Wide(Tiles::new(c, rows, cols), large)
            }
            Target::Stored(c) => Self::Stored(Tiles::new(c, rows, cols)),
        }
    }

    /// Lets `fill` compute a tile in f32; `add` says whether it is to hold C's old content.
    fn fill(&self, down: usize, across: usize, add: bool, fill: impl FnOnce(&mut Tile<'_, f32>)) {
        match self {
            Self::Wide(tiles, false) => fill(&mut tiles.take(down, across)),
            Self::Wide(tiles, true) => beside(&mut tiles.take(down, across), add, fill),
            Self::Stored(tiles) => beside(&mut tiles.take(down, across), add, fill),
        }
    }
}

/// An element of C; mark implementations `#[inline(always)]`.
trait Cell: Copy + Send + Sync {
    /// A row's numbers in f32.
    fn widen(row: &[Self], to: &mut [f32]);
    /// A row from the first numbers of `from`.
    fn narrow(from: &[f32], row: &mut [Self]);
}

impl Cell for f32 {
    #[inline(always)]
    fn widen(row: &[Self], to: &mut [f32]) {
        to.copy_from_slice(row);
    }
    #[inline(always)]
    fn narrow(from: &[f32], row: &mut [Self]) {
        row.copy_from_slice(&from[..row.len()]);
    }
}

impl Cell for bf16 {
    #[inline(always)]
    fn widen(row: &[Self], to: &mut [f32]) {
        widen_lanes(row, to);
    }
    #[inline(always)]
    fn narrow(from: &[f32], row: &mut [Self]) {
        narrow_lanes(from, row);
    }
}

/// Lets `fill` compute a tile in memory of its own, from C's old content where `add` is set, and writes it to C.
fn beside<T: Cell>(tile: &mut Tile<'_, T>, add: bool, fill: impl FnOnce(&mut Tile<'_, f32>)) {
    let (rows, cols) = (tile.rows(), tile.cols());
    // A cache line more than a power of two may be: rows that far apart would share few places in a cache.
    let stride = cols.next_multiple_of(BLOCK) + BLOCK / 2;
    let mut sums = Buffer::<f32>::scratch(rows * stride);
    if add {
        dispatch(Widen { tile, to: &mut sums, stride });
    }
    let matrix = MatMut::strided(&mut sums, rows, cols, stride).expect("the sums' rows fit the buffer");
    fill(&mut Tile::whole(matrix));
    dispatch(Narrow { from: &sums, stride, tile });
}

struct Widen<'a, 'b, T> {
    tile: &'a Tile<'b, T>,
    to: &'a mut [f32],
    stride: usize,
}

impl<T: Cell> Kernel for Widen<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (i, to) in self.to.chunks_exact_mut(self.stride).enumerate() {
            T::widen(self.tile.row(i), &mut to[..self.tile.cols()]);
        }
    }
}

struct Narrow<'a, 'b, T> {
    from: &'a [f32],
    stride: usize,
    tile: &'a mut Tile<'b, T>,
}

impl<T: Cell> Kernel for Narrow<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (i, from) in self.from.chunks_exact(self.stride).enumerate() {
            T::narrow(from, self.tile.row_mut(i));
        }
    }
}

/// `C ← act(scale·A·B + bias) + residual`, or the product added to C where there is neither scale nor activation. No size is 0.
pub(super) fn run(
    unit: Unit,
    a: Factor<'_>,
    b: Factor<'_>,
    k: usize,
    c: Target<'_>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
) {
    let job = Job { unit, k, add: write == Write::Add, epilogue };
    if a.len <= BLOCK && !b.neighbours_adjacent {
        job.few_rows(a, b, c);
    } else {
        job.tiles(a, b, c);
    }
}

/// What all tasks share.
#[derive(Clone, Copy)]
struct Job<'a> {
    unit: Unit,
    k: usize,
    add: bool,
    epilogue: &'a Epilogue<'a, f32>,
}

impl Job<'_> {
    /// Any shape: B's panels are shared, each task has some rows of A.
    fn tiles(self, a: Factor<'_>, b: Factor<'_>, c: Target<'_>) {
        let packed = panels(b, self.k);
        let workers = upbeat::current_num_workers();
        let cols = b.len.div_ceil(b.len.div_ceil(COLUMNS)).next_multiple_of(BLOCK);
        let enough = |rows: &usize| a.len.div_ceil(*rows) * b.len.div_ceil(cols) >= 4 * workers;
        let rows = [ROWS, ROWS / 2, ROWS / 4].into_iter().find(enough).unwrap_or(BLOCK);
        let rows = if workers == 1 { ROWS } else { rows };
        let grid = Grid::new(c, rows, cols);
        let (down, across) = (a.len.div_ceil(rows), b.len.div_ceil(cols));
        upbeat::par::for_each(0..down * across, |index| {
            let (down, across) = (index % down, index / down);
            let rows = down * rows..((down + 1) * rows).min(a.len);
            let panels = &packed[across * cols / BLOCK * panel_words(self.k)..];
            grid.fill(down, across, self.add, |tile| self.tile(a, rows, panels, across * cols, tile));
        });
    }

    /// The `tile` of C from the rows of A and column `first_col`, which `panels` begin at.
    fn tile(
        &self,
        a: Factor<'_>,
        rows: Range<usize>,
        panels: &[f32],
        first_col: usize,
        tile: &mut Tile<'_, f32>,
    ) {
        let words = rows.len().div_ceil(BLOCK) * panel_words(DEPTH.min(self.k));
        let mut room = Buffer::<f32>::scratch(words);
        for depth in parts(self.k, DEPTH) {
            let factor = packed_rows(a, rows.clone(), depth.clone(), &mut room);
            let last = depth.end == self.k;
            self.unit.within(|blocks| {
                for (j, panel) in parts(tile.cols(), BLOCK).zip(panels.chunks(panel_words(self.k))) {
                    let panel = &panel[panel_words(depth.start)..][..panel_words(depth.len())];
                    for i in parts(tile.rows(), BLOCK) {
                        let mut part = tile.part(i.clone(), j.clone());
                        let add = self.add || depth.start > 0;
                        blocks.multiply(
                            factor,
                            i.start / BLOCK,
                            panel,
                            depth.len().div_ceil(STEP),
                            &mut part,
                            add,
                        );
                        if last {
                            let rows = rows.start + i.start..rows.start + i.end;
                            let cols = first_col + j.start..first_col + j.end;
                            epilogue::finish(self.epilogue, rows, cols, &mut part);
                        }
                    }
                }
            });
        }
    }

    /// Few rows of A, which become one panel; each task has some rows of B, as it is stored.
    fn few_rows(self, a: Factor<'_>, b: Factor<'_>, c: Target<'_>) {
        let panel = panels(a, self.k);
        let cols = TASK_NUMBERS.div_ceil(self.k).next_multiple_of(BLOCK);
        let grid = Grid::new(c, a.len, cols);
        upbeat::par::for_each(0..b.len.div_ceil(cols), |task| {
            let columns = task * cols..((task + 1) * cols).min(b.len);
            grid.fill(0, task, self.add, |tile| {
                let mut room = Buffer::<f32>::scratch(panel_words(DEPTH));
                // C's transposed block: a row for each of B's.
                let mut sums = [0.0; BLOCK * BLOCK];
                for part in parts(columns.len(), BLOCK) {
                    let rows = columns.start + part.start..columns.start + part.end;
                    if self.add {
                        for (i, row) in (0..tile.rows()).map(|i| (i, tile.row(i))) {
                            for (sums, &x) in sums.chunks_exact_mut(BLOCK).zip(&row[part.clone()]) {
                                sums[i] = x;
                            }
                        }
                    }
                    // What is read as it is stored, and a rest that is copied.
                    let whole = self.k / STEP * STEP;
                    for depth in [0..whole, whole..self.k] {
                        for depth in depth.clone().step_by(DEPTH).map(|p| p..(p + DEPTH).min(depth.end)) {
                            let factor = b
                                .direct(&rows, &depth)
                                .unwrap_or_else(|| packed_rows(b, rows.clone(), depth.clone(), &mut room));
                            let panel = &panel[panel_words(depth.start)..][..panel_words(depth.len())];
                            let matrix = MatMut::new(&mut sums, BLOCK, BLOCK).expect("a whole block");
                            let add = self.add || depth.start > 0;
                            self.unit.within(|blocks| {
                                let steps = depth.len().div_ceil(STEP);
                                blocks.multiply(factor, 0, panel, steps, &mut Tile::whole(matrix), add);
                            });
                        }
                    }
                    for i in 0..tile.rows() {
                        for (sums, x) in sums.chunks_exact(BLOCK).zip(&mut tile.row_mut(i)[part.clone()]) {
                            *x = sums[i];
                        }
                    }
                }
                epilogue::finish(self.epilogue, 0..a.len, columns, tile);
            });
        });
    }
}
