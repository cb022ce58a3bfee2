//! Packs a whole slab of a factor into panels, in parallel.
//!
//! Tasks follow the layout, so that each reads long stretches of memory: where neighbours lie side by side a task takes some
//! rows of `k` over the whole slab, else some neighbours over all of `k`.

use std::ops::Range;

use super::operand::{Operand, Side};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};

/// Numbers worth a packing task, some 10 µs of copying.
const WORK: usize = 1 << 15;
/// Rows of `k` that a task copies are a multiple of this, so that their places in a panel are whole cache lines.
const ROWS: usize = 16;

/// Packs `slab` by `span` of a factor: panels of `width`, the level's for `side`, each with all of the span.
pub(super) fn pack_shared(
    shared: Operand<'_>,
    side: Side,
    width: usize,
    slab: Range<usize>,
    span: Range<usize>,
) -> Buffer<f32> {
    let panel = width * span.len();
    let panels = slab.len().div_ceil(width);
    let mut packed = Buffer::unspecified(panels * panel);
    if packed.is_empty() {
        return packed;
    }
    let (down, steps) = if shared.neighbours_adjacent {
        (panels, WORK.div_ceil(panels * width).next_multiple_of(ROWS).min(span.len()))
    } else {
        (WORK.div_ceil(panel).min(panels), span.len())
    };
    let grid = MatMut::new(&mut packed, panels, panel).expect("the panels fill the buffer");
    let tiles = Tiles::new(grid, down, steps * width);
    upbeat::par::for_each(0..tiles.down() * tiles.across(), |index| {
        let (down, across) = (index / tiles.across(), index % tiles.across());
        let (panels, steps) = (tiles.rows_of(down), tiles.cols_of(across));
        let outer = slab.start + panels.start * width..(slab.start + panels.end * width).min(slab.end);
        let k = span.start + steps.start / width..span.start + steps.end / width;
        dispatch(Pack { operand: shared, side, outer, k, tile: tiles.take(down, across) });
    });
    packed
}

/// Packing of some panels over some of `k`, into `tile` with a row for each panel.
struct Pack<'a> {
    operand: Operand<'a>,
    side: Side,
    outer: Range<usize>,
    k: Range<usize>,
    tile: Tile<'a, f32>,
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let width = self.side.width::<S>();
        // Rows in turns of [`ROWS`] over all panels: reads then run along the matrix' rows.
        let turn = if self.operand.neighbours_adjacent { ROWS } else { self.k.len() };
        for from in (0..self.k.len()).step_by(turn) {
            let to = (from + turn).min(self.k.len());
            for panel in 0..self.tile.rows() {
                let first = self.outer.start + panel * width;
                let outer = first..(first + width).min(self.outer.end);
                let k = self.k.start + from..self.k.start + to;
                let into = &mut self.tile.row_mut(panel)[from * width..to * width];
                let len = into.len();
                self.operand.pack(simd, self.side, outer, k, into, len);
            }
        }
    }
}
