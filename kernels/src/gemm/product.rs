//! Runs a product: packs slabs of the shared factor, then the tasks that multiply their blocks with it.

use std::ops::Range;

use super::blocking::Blocking;
use super::epilogue;
use super::operand::{Operand, Side};
use super::panels::pack_shared;
use crate::element::{Epilogue, Write};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::micro::{multiply, multiply_ahead, tile_cols, tile_rows, Ahead};
use crate::simd::{Kernel, Simd};
use crate::tuning;

/// `C ← act(A·B + bias) + residual`, or all of that added to C one after the other. `m` and `n` are not 0.
pub(super) fn run(
    a: Operand<'_>,
    b: Operand<'_>,
    k: usize,
    c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
) {
    let shape = (a.len, b.len, k);
    let workers = upbeat::current_num_workers();
    let blocking = Blocking::new(shape, dispatch(RegisterTile), workers, tuning::active());
    run_blocked(a, b, k, c, write, epilogue, blocking);
}

/// [`run`] with chosen sizes, which change no bit of the result as long as `block` stays.
fn run_blocked(
    a: Operand<'_>,
    b: Operand<'_>,
    k: usize,
    mut c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
    blocking: Blocking,
) {
    let (mr, nr) = dispatch(RegisterTile);
    let (m, n, stride) = (a.len, b.len, c.stride());
    let (private, shared, shared_side, width) = match blocking.private {
        Side::A => (a, b, Side::B, nr),
        Side::B => (b, a, Side::A, mr),
    };
    let tasks = private.len.div_ceil(blocking.task);

    for slab in parts(shared.len, blocking.slab) {
        // C's part over the slab: all rows and some columns, or some rows and all columns.
        let (first, rows, cols, tile) = match blocking.private {
            Side::A => (slab.start, m, slab.len(), (blocking.task, slab.len())),
            Side::B => (slab.start * stride, slab.len(), n, (slab.len(), blocking.task)),
        };
        for span in parts(k, blocking.span) {
            let packed = pack_shared(shared, shared_side, width, slab.clone(), span.clone());
            let part = MatMut::strided(&mut c.data_mut()[first..], rows, cols, stride);
            let tiles = Tiles::new(part.expect("a slab is a part of C"), tile.0, tile.1);
            let epilogue = Some(epilogue).filter(|e| span.end == k && !epilogue::is_trivial(e));
            let add = write == Write::Add || span.start > 0;
            let phase = Phase {
                private,
                side: blocking.private,
                packed: &packed,
                slab: slab.clone(),
                span,
                block: blocking.block,
                add,
                epilogue,
            };
            let is_far = phase.side == Side::A && is_far(&packed);
            upbeat::par::for_each(0..tasks, |task| {
                let from = task * blocking.task;
                let outer = from..(from + blocking.task).min(private.len);
                let (down, across) = if phase.side == Side::A { (task, 0) } else { (0, task) };
                phase.run(is_far, outer, tiles.take(down, across));
            });
        }
    }
}

/// `C ← act(scale·A·B + bias) + residual`, or that added, with all of B packed already ([`pack_shared`] of `0..n` by `0..k`).
pub(super) fn run_packed(
    a: Operand<'_>,
    b: &[f32],
    (k, n): (usize, usize),
    c: MatMut<'_, f32>,
    write: Write,
    epilogue: &Epilogue<'_, f32>,
) {
    let nr = dispatch(RegisterTile).1;
    let workers = upbeat::current_num_workers();
    let blocking = Blocking::of_packed((a.len, n, k), dispatch(RegisterTile), workers, tuning::active());
    let tiles = Tiles::new(c, blocking.task, blocking.slab);
    let epilogue = Some(epilogue).filter(|e| !epilogue::is_trivial(e));
    let is_far = is_far(b);
    upbeat::par::for_each(0..tiles.down() * tiles.across(), |index| {
        // Slab after slab, so that the workers share one in the last cache.
        let (down, across) = (index % tiles.down(), index / tiles.down());
        let slab = tiles.cols_of(across);
        let phase = Phase {
            private: a,
            side: Side::A,
            packed: &b[slab.start / nr * nr * k..],
            slab,
            span: 0..k,
            block: blocking.block,
            add: write == Write::Add,
            epilogue,
        };
        phase.run(is_far, tiles.rows_of(down), tiles.take(down, across));
    });
}

/// Whether panels are more than what a task's own block leaves of the second level.
fn is_far(panels: &[f32]) -> bool {
    size_of_val(panels) > tuning::active().private_bytes
}

/// `0..len` in parts of `size`; one empty part when `len` is 0.
pub(super) fn parts(len: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len.max(1)).step_by(size).map(move |from| from..(from + size).min(len))
}

/// Rows and columns of the active level's register tile.
pub(crate) struct RegisterTile;

impl Kernel for RegisterTile {
    type Output = (usize, usize);
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> (usize, usize) {
        (tile_rows::<S>(), tile_cols::<S>())
    }
}

/// What the tasks of one slab and one span of `k` have in common.
struct Phase<'a> {
    private: Operand<'a>,
    /// The private factor's side.
    side: Side,
    /// Panels of the shared factor.
    packed: &'a [f32],
    slab: Range<usize>,
    span: Range<usize>,
    /// Length of a block of `k`.
    block: usize,
    /// Whether the first block is added to C.
    add: bool,
    /// Follows the last block.
    epilogue: Option<&'a Epilogue<'a, f32>>,
}

impl Phase<'_> {
    fn run(&self, is_far: bool, outer: Range<usize>, tile: Tile<'_, f32>) {
        match is_far {
            true => dispatch(Task::<true> { phase: self, outer, tile }),
            false => dispatch(Task::<false> { phase: self, outer, tile }),
        }
    }
}

/// One task: `outer` of the private factor times the packed slab, into `tile`. When `FAR` the shared factor is B and too large for a core's own
/// caches, and its next panel is asked for while one is multiplied; else that would take the place of loads.
struct Task<'a, const FAR: bool> {
    phase: &'a Phase<'a>,
    outer: Range<usize>,
    tile: Tile<'a, f32>,
}

impl<const FAR: bool> Kernel for Task<'_, FAR> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { phase, outer, mut tile } = self;
        let (width, shared_width) = match phase.side {
            Side::A => (tile_rows::<S>(), tile_cols::<S>()),
            Side::B => (tile_cols::<S>(), tile_rows::<S>()),
        };
        let span = phase.span.len();
        let panels = outer.len().div_ceil(width);
        let mut block = Buffer::scratch(panels * width * phase.block.min(span));
        for k in parts(span, phase.block) {
            let (len, panel) = (k.len(), width * k.len());
            let k_of_matrix = phase.span.start + k.start..phase.span.start + k.end;
            phase.private.pack(simd, phase.side, outer.clone(), k_of_matrix, &mut block, panel);
            let epilogue = phase.epilogue.filter(|_| k.end == span);
            let shared_panels = phase.slab.len().div_ceil(shared_width);
            for s in 0..shared_panels {
                let shared = &phase.packed[(s * span + k.start) * shared_width..][..len * shared_width];
                // The same block of the next panel, then the first panel's next block; behind the last one may be what other workers write.
                let next = match s + 1 < shared_panels {
                    true => &phase.packed[((s + 1) * span + k.start) * shared_width..],
                    false if k.end < span => &phase.packed[k.end * shared_width..],
                    false => shared,
                };
                for p in 0..panels {
                    let private = &block[p * panel..][..panel];
                    let ((a, i), (b, j)) = match phase.side {
                        Side::A => ((private, p), (shared, s)),
                        Side::B => ((shared, s), (private, p)),
                    };
                    let from = (i * tile_rows::<S>(), j * tile_cols::<S>());
                    let rows = from.0..(from.0 + tile_rows::<S>()).min(tile.rows());
                    let cols = from.1..(from.1 + tile_cols::<S>()).min(tile.cols());
                    let mut to = tile.part(rows.clone(), cols.clone());
                    let add = phase.add || k.start > 0;
                    if FAR {
                        let ahead = Ahead::part::<S>(next, len, p, panels);
                        multiply_ahead(simd, len, a, b, &mut to, add, ahead);
                    } else {
                        multiply(simd, len, a, b, &mut to, add);
                    }
                    if let Some(epilogue) = epilogue {
                        let (down, right) = match phase.side {
                            Side::A => (outer.start, phase.slab.start),
                            Side::B => (phase.slab.start, outer.start),
                        };
                        let rows = down + rows.start..down + rows.end;
                        let cols = right + cols.start..right + cols.end;
                        epilogue::apply(simd, epilogue, rows, cols, &mut to);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocking::block_of_k;
    use super::*;
    use crate::element::Activation;
    use crate::matrix::Mat;

    /// Slabs and spans of matrices larger than the last cache, tried on small ones.
    #[test]
    fn slabs_spans_and_tasks_leave_every_bit() {
        let (m, n, k) = (101, 143, 900);
        let numbers =
            |len: usize| -> Vec<f32> { (0..len).map(|i| (i * 7919 % 1009) as f32 / 500.0 - 1.0).collect() };
        let (data_a, data_b, bias, rest) = (numbers(m * k), numbers(k * n), numbers(n), numbers(m * n));
        let a = Operand::new(Mat::new(&data_a, m, k).unwrap(), m, false);
        let b = Operand::new(Mat::new(&data_b, k, n).unwrap(), n, true);
        let residual = Some(Mat::new(&rest, m, n).unwrap());
        let (mr, nr) = dispatch(RegisterTile);
        let block = block_of_k(k);
        for (write, activation) in [(Write::Overwrite, Activation::Silu), (Write::Add, Activation::Identity)]
        {
            let epilogue = Epilogue { bias: Some(&bias), activation, residual, ..Epilogue::default() };
            let mut want = rest.clone();
            run(a, b, k, MatMut::new(&mut want, m, n).unwrap(), write, &epilogue);
            for (private, width, shared_width) in [(Side::A, mr, nr), (Side::B, nr, mr)] {
                for (task, slab, span) in [(1, 1, block), (2, 3, 2 * block), (100, 100, block), (1, 100, k)] {
                    let mut got = rest.clone();
                    let (task, slab) = (task * width, slab * shared_width);
                    let blocking = Blocking { private, task, slab, span, block };
                    run_blocked(a, b, k, MatMut::new(&mut got, m, n).unwrap(), write, &epilogue, blocking);
                    let same = got.iter().zip(&want).all(|(x, y)| x.to_bits() == y.to_bits());
                    assert!(same, "{blocking:?} changes the result");
                }
            }
        }
    }
}
