//! Runs a product with few rows of A (decoding) as tasks over columns, without packing.

use super::blocking::block_of_k;
use super::{epilogue, operand::Operand};
use crate::element::{Epilogue, Write};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::simd::skinny::{multiply, Factors, MAX_ROWS};
use crate::simd::{Kernel, Simd};

/// Numbers of B worth a task: 512 KiB, some 20 µs of reading.
const TASK_NUMBERS: usize = 1 << 17;
/// Tasks take multiples of this many columns, the widest group of any level.
const GROUP: usize = 128;

/// Whether [`run`] takes this product.
pub(super) fn takes(a: &Operand<'_>) -> bool {
    a.len <= MAX_ROWS && !a.neighbours_adjacent
}

/// As [`super::product::run`], for products that [`takes`] accepts.
pub(super) fn run(
    a: Operand<'_>,
    b: Operand<'_>,
    k: usize,
    c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
) {
    let (m, n) = (a.len, b.len);
    let width = TASK_NUMBERS.div_ceil(k.max(1)).next_multiple_of(GROUP).min(n);
    let tiles = Tiles::new(c, m, width);
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
    b: Operand<'a>,
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
        let transposed = !self.b.neighbours_adjacent;
        let start = if transposed { self.first * self.b.stride } else { self.first };
        let factors = Factors {
            a: self.a.data,
            a_stride: self.a.stride,
            b: &self.b.data[start.min(self.b.data.len())..],
            b_stride: self.b.stride,
            transposed,
        };
        multiply(simd, factors, self.k, block_of_k(self.k), &mut self.tile, self.add);
        if let Some(epilogue) = self.epilogue {
            let (rows, cols) = (0..self.tile.rows(), self.first..self.first + self.tile.cols());
            epilogue::apply(simd, epilogue, rows, cols, &mut self.tile);
        }
    }
}
