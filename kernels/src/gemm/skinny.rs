//! Runs a product with few rows of A (decoding) as tasks over columns, without packing A, and B at most a panel at a time.

use super::blocking::block_of_k;
use super::operand::{Numbers, Operand, Side};
use super::{epilogue, product::parts};
use crate::element::{Epilogue, Write};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::micro::{accumulate_rows, multiply_rows, tile_cols, Ahead, MAX_COLS, MAX_ROWS};
use crate::simd::skinny::{across, along, group, groups, Factors, MAX_ROWS_ACROSS, MAX_ROWS_ALONG};
use crate::simd::{skinny_bf16, Kernel, Simd};

/// Numbers of B worth a task: 512 KiB, some 20 µs of reading.
const TASK_NUMBERS: usize = 1 << 17;
/// Tasks take multiples of this many columns, the widest group of any level.
const GROUP: usize = 128;
/// Columns of a task where B's rows are read along: 4 KiB of each, as prefetchers stop at the end of a page.
const ALONG: usize = 1024;
/// Most rows of A for which a panel of transposed B, multiplied while it is in the first-level cache, is better than blocks
/// of both factors.
pub(super) const MAX_ROWS_BY_PANEL: usize = 32;
/// Steps of `k` that a packed panel of B is multiplied for at a time: 16 KiB of it at most, so that it stays in the first-level cache beside A's
/// rows while one group of rows after the other is multiplied with it.
const PART: usize = 128;

/// Whether [`run`] takes this product.
pub(super) fn takes(a: &Operand<'_>, b: &Operand<'_>) -> bool {
    a.len <= if b.neighbours_adjacent && b.is_f32() { MAX_ROWS_ALONG } else { MAX_ROWS_BY_PANEL }
}

/// The right factor.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// As stored.
    Stored(Operand<'a>),
    /// Packed into panels with all of `k`.
    Packed { panels: &'a [f32], n: usize },
}

impl Right<'_> {
    /// Columns.
    fn len(&self) -> usize {
        match self {
            Right::Stored(b) => b.len,
            Right::Packed { n, .. } => *n,
        }
    }
}

/// As [`super::product::run`], for products that [`takes`] accepts, or with B packed.
pub(super) fn run(
    a: Operand<'_>,
    b: Right<'_>,
    k: usize,
    c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
) {
    let (m, n) = (a.len, b.len());
    let mut dense = Buffer::unspecified(0);
    let a = a.by_rows(k, &mut dense);
    let mut width = TASK_NUMBERS.div_ceil(k.max(1)).next_multiple_of(GROUP);
    if matches!(b, Right::Stored(b) if b.neighbours_adjacent) {
        // Four tasks at least, where there is enough to read.
        width = width.max(n.div_ceil(4).next_multiple_of(GROUP).min(ALONG));
    }
    let tiles = Tiles::new(c, m, width.min(n));
    let epilogue = Some(epilogue).filter(|epilogue| !epilogue::is_trivial(epilogue));
    upbeat::par::for_each(0..tiles.across(), |task| {
        let first = tiles.cols_of(task).start;
        let tile = tiles.take(0, task);
        dispatch(Task { a, b, k, first, tile, add: write == Write::Add, epilogue });
    });
}

/// One task: all rows, and the columns of `tile` from `first`.
struct Task<'a> {
    a: Operand<'a>,
    b: Right<'a>,
    k: usize,
    first: usize,
    tile: Tile<'a, f32>,
    add: bool,
    epilogue: Option<&'a Epilogue<'a, f32>>,
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let block = block_of_k(self.k);
        match self.b {
            Right::Stored(b) if b.neighbours_adjacent && b.is_f32() => {
                along(simd, self.factors(b, self.first), self.k, block, &mut self.tile, self.add);
            }
            Right::Stored(b) if self.a.len <= MAX_ROWS_ACROSS && b.is_f32() => {
                let factors = self.factors(b, self.first * b.stride);
                across(simd, factors, self.k, block, &mut self.tile, self.add);
            }
            Right::Stored(Operand {
                data: Numbers::Bf16(numbers),
                stride,
                neighbours_adjacent: false,
                ..
            }) if self.a.len <= MAX_ROWS_ACROSS && skinny_bf16::takes::<S>(stride) => {
                let factors = skinny_bf16::Factors {
                    a: self.a.data.f32(),
                    a_stride: self.a.stride,
                    b: &numbers[(self.first * stride).min(numbers.len())..],
                    b_stride: stride,
                };
                skinny_bf16::across(simd, factors, self.k, block, &mut self.tile, self.add);
            }
            _ => self.by_panels(simd, block),
        }
        if let Some(epilogue) = self.epilogue {
            let (rows, cols) = (0..self.tile.rows(), self.first..self.first + self.tile.cols());
            epilogue::apply(simd, epilogue, rows, cols, &mut self.tile);
        }
    }
}

impl<'a> Task<'a> {
    /// The factors as they are stored, B from element `start`.
    #[inline(always)]
    fn factors(&self, b: Operand<'a>, start: usize) -> Factors<'a> {
        let b_numbers = b.data.f32();
        let rest = &b_numbers[start.min(b_numbers.len())..];
        Factors { a: self.a.data.f32(), a_stride: self.a.stride, b: rest, b_stride: b.stride }
    }

    /// Multiplies all rows of A with one panel of B over one block of `k`: packed first, or read from memory a part that stays in the
    /// first-level cache after the other.
    #[inline(always)]
    fn by_panels<S: Simd>(&mut self, simd: S, block: usize) {
        let (width, rows, a) = (tile_cols::<S>(), self.tile.rows(), self.a.data.f32());
        let mut beside = match self.b {
            Right::Stored(_) => Buffer::unspecified(block.min(self.k) * width),
            Right::Packed { .. } => Buffer::unspecified(0),
        };
        // A panel that was just packed is in a cache, and nothing is behind it.
        let (size, is_read_once) = match self.b {
            Right::Stored(_) => (block, false),
            Right::Packed { .. } => (PART, true),
        };
        let groups = groups(rows, MAX_ROWS);
        let mut sums = [0.0f32; MAX_ROWS_BY_PANEL * MAX_COLS];
        for cols in parts(self.tile.cols(), width) {
            let outer = self.first + cols.start..self.first + cols.end;
            for k in parts(self.k, block) {
                let (panel, after) = match self.b {
                    Right::Stored(b) => {
                        b.pack(simd, Side::B, outer.clone(), k.clone(), &mut beside, width * k.len());
                        (&beside[..], &[][..])
                    }
                    Right::Packed { panels, .. } => {
                        let from = outer.start / width * width * self.k + k.start * width;
                        (&panels[from..][..k.len() * width], &panels[from..])
                    }
                };
                for part in parts(k.len(), size) {
                    let panel = &panel[part.start * width..];
                    // What follows is the next part, the next block, or the next panel.
                    let next = after.get(part.end * width..).unwrap_or(panel);
                    for index in 0..groups {
                        let (first, height) = group(rows, groups, index);
                        let from = first * self.a.stride + k.start + part.start;
                        let a = (&a[from.min(a.len())..], self.a.stride);
                        let sums = &mut sums[first * width..][..height * width];
                        let ahead = Ahead::part::<S>(next, part.len(), index, groups);
                        if part.end < k.len() {
                            accumulate_rows(simd, part.len(), a, panel, sums, part.start == 0, ahead);
                            continue;
                        }
                        let sums = (part.start > 0).then_some(&*sums);
                        let mut to = self.tile.part(first..first + height, cols.clone());
                        let add = self.add || k.start > 0;
                        let ahead = is_read_once.then_some(ahead);
                        multiply_rows(simd, part.len(), a, panel, &mut to, (add, sums), ahead);
                    }
                }
            }
        }
    }
}
