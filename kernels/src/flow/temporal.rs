//! Temporal blocking: several steps of a flow on each tile of a grid while the tile is in a core's own caches.
//!
//! A pass does `depth` steps, in place. Tasks are bands of whole rows; what neighbouring bands overwrite, `depth` rows on either side, is
//! saved before. A band runs its tiles of columns from left to right. A tile streams its rows through rings of a few rows, one
//! ring a step: as soon as step `t − 1` has the rows around a group, step `t` does the group, `t` rows behind the row that was read
//! last (3.5-D blocking: Nguyen et al., SC 2010). Cells around a tile are computed by both neighbours, from the same numbers by
//! the same operations, so a pass has the bits of single steps and the cut changes none.
//!
//! How a step computes a cell is [`super::stencil`]'s business.

use std::ops::Range;

use super::stencil::{sweep, Euler, WINDOW};
use super::FlowError;
use crate::error::checked_len;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::pool::Buffer;
use crate::simd::{prefetch_lines, Kernel, Simd, LINE};

/// Rows that a step does at once: rows of a pair share what they load.
const GROUP: usize = 2;
/// Rows of a ring: a group, and the row on either side.
const SLOTS: usize = GROUP + 2;
const _: () = assert!(SLOTS <= WINDOW);
/// Columns kept on either side of a tile, and so the most steps of a pass.
const HALO: usize = 8;
/// Where a tile's first column lies in a row of a ring: before it are the halo, the rest of a vector of it, and its neighbour.
const ORIGIN: usize = 32;

/// Steps of a pass: one step at memory speed takes as long as several in a cache.
const DEPTH: usize = HALO;
/// Columns of a tile: the rings of two fields then fill 150 KiB of a second-level cache, and halos are 3 % of the columns.
const WIDTH: usize = 512;
/// Bands for each worker, so that unequal ones balance.
const BANDS: usize = 4;
/// Fewest rows of a band, of which `2·DEPTH` are computed twice.
const LOWEST: usize = 64;
/// Most rows of a band: what a tile keeps of each row for the next tile should stay in the second-level cache.
const HIGHEST: usize = 512;

/// How a pass is cut. Nothing here changes a bit of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    /// Steps of a pass, at most [`HALO`].
    pub(super) depth: usize,
    /// Columns of a tile, about.
    pub(super) width: usize,
    /// Rows of a band.
    pub(super) height: usize,
}

impl Blocking {
    /// For a grid of `rows` rows on `workers`.
    fn new(rows: usize, workers: usize) -> Self {
        // A grid of few rows would be computed many times over.
        let depth = DEPTH.min(rows.saturating_add(1));
        let bands = if workers == 1 { 1 } else { BANDS * workers };
        Self { depth, width: WIDTH, height: rows.div_ceil(bands).clamp(LOWEST, HIGHEST) }
    }
}

/// Advances `fields`, each `[rows, cols]`, periodic and of the right length, by `steps` steps.
pub(super) fn advance<E: Euler<F>, const F: usize>(
    euler: E,
    shape: [usize; 2],
    steps: usize,
    fields: [&mut [f32]; F],
) -> Result<(), FlowError> {
    let blocking = Blocking::new(shape[0], upbeat::current_num_workers());
    advance_by(euler, shape, steps, fields, blocking)
}

fn advance_by<E: Euler<F>, const F: usize>(
    euler: E,
    [rows, cols]: [usize; 2],
    steps: usize,
    mut fields: [&mut [f32]; F],
    blocking: Blocking,
) -> Result<(), FlowError> {
    if rows == 0 || cols == 0 || steps == 0 {
        return Ok(());
    }
    let Blocking { depth: deepest, width, height } = blocking;
    assert!((1..=HALO).contains(&deepest) && width >= 2 * LINE && height > 0, "{blocking:?}");
    let bands = rows.div_ceil(height);
    // Where a band and its halo are more than the grid, the grid is all there is to save.
    let kept = |depth: usize| (2 * depth).min(rows);
    let per_band = checked_len("the saved rows of a band", &[F, kept(deepest.min(steps)), cols])?;
    let mut saved = Buffer::<f32>::unspecified(checked_len("the saved rows", &[bands, per_band])?);
    let mut left = steps;
    while left > 0 {
        let depth = left.min(deepest);
        let kept = kept(depth);
        let per_band = F * kept * cols;
        let saved = &mut saved[..bands * per_band];
        {
            let fields = fields.each_ref();
            upbeat::par::chunks_mut(saved, kept * cols, |i, saved| {
                let (band, field) = (i / F, fields[i % F]);
                let halo = Halo { rows, depth, band: band * height..rows.min((band + 1) * height) };
                for (k, saved) in saved.chunks_exact_mut(cols).enumerate() {
                    saved.copy_from_slice(&field[halo.row(k) * cols..][..cols]);
                }
            });
        }
        let saved = &*saved;
        let grids = fields.each_mut().map(|field| Tiles::of_slice(field, height * cols));
        upbeat::par::for_each(0..bands, |b| {
            let halo = Halo { rows, depth, band: b * height..rows.min((b + 1) * height) };
            let fields = grids.each_ref().map(|grid| grid.take(0, b).into_slice());
            let saved = &saved[b * per_band..][..per_band];
            let mut band = Band::new(euler, halo, cols, width, fields, saved);
            dispatch(Run(&mut band));
        });
        left -= depth;
    }
    Ok(())
}

/// The rows around a band that are saved.
#[derive(Clone, Debug)]
struct Halo {
    /// Rows of the grid.
    rows: usize,
    depth: usize,
    /// The band's own rows.
    band: Range<usize>,
}

impl Halo {
    /// Whether the whole grid is saved, rather than `depth` rows on either side.
    fn is_all(&self) -> bool {
        self.rows <= 2 * self.depth
    }

    /// The row of the grid that saved row `k` is.
    fn row(&self, k: usize) -> usize {
        match k {
            _ if self.is_all() => k,
            _ if k < self.depth => (self.band.start + self.rows - self.depth + k) % self.rows,
            _ => (self.band.end + k - self.depth) % self.rows,
        }
    }

    /// Where row `p` is, counted from `depth` rows above the band: a row of the band, or a saved one.
    #[inline(always)]
    fn find(&self, p: usize) -> Place {
        match p.checked_sub(self.depth) {
            Some(own) if own < self.band.len() => Place::Own(own),
            _ if self.is_all() => {
                // At most `depth < 9` rows above the first.
                Place::Saved((self.band.start + p + HALO * self.rows - self.depth) % self.rows)
            }
            None => Place::Saved(p),
            Some(below) => Place::Saved(self.depth + below - self.band.len()),
        }
    }
}

enum Place {
    Own(usize),
    Saved(usize),
}

/// A band of rows, and what a task needs to advance it.
struct Band<'a, E, const F: usize> {
    euler: E,
    halo: Halo,
    cols: usize,
    tiles: usize,
    /// Each `[rows of the band, cols]`.
    fields: [&'a mut [f32]; F],
    /// `[F, saved rows, cols]`
    saved: &'a [f32],
    /// Elements of a row of a ring.
    stride: usize,
    /// `[depth, SLOTS, stride]` each.
    rings: [Buffer<f32>; F],
    /// The last columns of the tile before, and the first ones of the first tile, as they were: `[rows of the band, HALO]` each.
    before: [Buffer<f32>; F],
    first: [Buffer<f32>; F],
}

struct Run<'a, 'b, E, const F: usize>(&'a mut Band<'b, E, F>);

impl<E: Euler<F>, const F: usize> Kernel for Run<'_, '_, E, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for tile in 0..self.0.tiles {
            self.0.advance_tile(simd, tile);
        }
    }
}

impl<'a, E: Euler<F>, const F: usize> Band<'a, E, F> {
    fn new(
        euler: E,
        halo: Halo,
        cols: usize,
        width: usize,
        fields: [&'a mut [f32]; F],
        saved: &'a [f32],
    ) -> Self {
        let tiles = cols.div_ceil(width);
        let widest = cols.div_ceil(tiles) + LINE;
        let stride = ORIGIN + widest.next_multiple_of(LINE) + ORIGIN;
        let height = halo.band.len();
        let strips =
            || std::array::from_fn(|_| Buffer::unspecified(if tiles > 1 { height * HALO } else { 0 }));
        // Zeroed: vectors reach beyond what is computed, and what lies there should stay finite.
        let rings = std::array::from_fn(|_| Buffer::zeroed(halo.depth * SLOTS * stride));
        Self { euler, halo, cols, tiles, fields, saved, stride, rings, before: strips(), first: strips() }
    }

    #[inline(always)]
    fn advance_tile<S: Simd>(&mut self, simd: S, tile: usize) {
        let (depth, height, columns) =
            (self.halo.depth, self.halo.band.len(), columns_of(self.cols, self.tiles, tile));
        let fetched = height + 2 * depth;
        let mut base = 0;
        // Row `p` of every step is row `p - depth` of the band; step `t` has the rows `t..fetched - t` right.
        while base < fetched {
            for p in base..fetched.min(base + GROUP) {
                self.fetch(tile, &columns, p);
            }
            for t in 1..=depth {
                if base < 2 * t {
                    break;
                }
                self.ask(&columns, base + AHEAD, t);
                let p = base - t;
                if t < depth {
                    self.step_in_ring(simd, t, p, columns.len());
                } else {
                    self.step_to_grid(simd, p, height, &columns);
                }
            }
            base += GROUP;
        }
    }

    /// Asks memory for the `t`-th part of the rows `p..p + GROUP` of the grid: a processor can wait for a few lines at a time, so
    /// each step asks for some.
    #[inline(always)]
    fn ask(&self, columns: &Range<usize>, p: usize, t: usize) {
        let (depth, width) = (self.halo.depth, columns.len());
        let Some(own) = p.checked_sub(depth).filter(|own| own + GROUP <= self.halo.band.len()) else {
            return;
        };
        let lines = width.div_ceil(LINE);
        for field in &self.fields {
            for row in own..own + GROUP {
                let row = field[row * self.cols..].as_ptr().wrapping_add(columns.start);
                let (from, to) = (lines * (t - 1) / depth, lines * t / depth);
                prefetch_lines(row.wrapping_add(from * LINE), (to - from) * LINE);
            }
        }
    }

    /// The rows `p - 1..=p + GROUP` that step `t - 1` left, from column `from` of a ring's row on.
    #[inline(always)]
    fn window<'r>(
        rings: &[&'r [f32]; F],
        stride: usize,
        t: usize,
        p: usize,
        columns: Range<usize>,
    ) -> [[&'r [f32]; WINDOW]; F] {
        let mut rows = [[&[][..]; WINDOW]; F];
        for f in 0..F {
            let ring = &rings[f][(t - 1) * SLOTS * stride..][..SLOTS * stride];
            for (k, row) in rows[f].iter_mut().enumerate() {
                *row = &ring[(p - 1 + k) % SLOTS * stride..][..stride][columns.clone()];
            }
        }
        rows
    }

    /// A group of step `t < depth`, with the columns that later steps need, rounded to whole vectors.
    #[inline(always)]
    fn step_in_ring<S: Simd>(&mut self, simd: S, t: usize, p: usize, width: usize) {
        let stride = self.stride;
        let margin = self.halo.depth - t;
        let before = margin.next_multiple_of(S::LANES);
        let from = ORIGIN - before;
        let to = from + (before + width + margin).next_multiple_of(S::LANES);
        let mut below = [&[][..]; F];
        let mut out = [const { [const { nothing() }; GROUP] }; F];
        for (f, ring) in self.rings.iter_mut().enumerate() {
            let (done, next) = ring.split_at_mut(t * SLOTS * stride);
            below[f] = done;
            let at = |r: usize| {
                let row = (p + r) % SLOTS * stride;
                row + from..row + to
            };
            out[f] = next.get_disjoint_mut([at(0), at(1)]).expect("slots of a ring lie apart");
        }
        let rows = Self::window(&below, stride, t, p, from - 1..to + 1);
        sweep(simd, self.euler, rows, out);
    }

    /// A group of the last step, which goes to the grid; of the last group only what the band has.
    #[inline(always)]
    fn step_to_grid<S: Simd>(&mut self, simd: S, p: usize, height: usize, columns: &Range<usize>) {
        let (cols, depth) = (self.cols, self.halo.depth);
        let rings = self.rings.each_ref().map(|ring| &ring[..]);
        let window = ORIGIN - 1..ORIGIN + columns.len() + 1;
        let rows = Self::window(&rings, self.stride, depth, p, window);
        let own = p - depth;
        let at = |r: usize| (own + r) * cols + columns.start..(own + r) * cols + columns.end;
        if own + GROUP <= height {
            let mut out = [const { [const { nothing() }; GROUP] }; F];
            for (out, field) in out.iter_mut().zip(&mut self.fields) {
                *out = field.get_disjoint_mut([at(0), at(1)]).expect("rows lie apart");
            }
            sweep(simd, self.euler, rows, out);
        } else {
            let mut out = [const { [const { nothing() }; 1] }; F];
            for (out, field) in out.iter_mut().zip(&mut self.fields) {
                *out = [&mut field[at(0)]];
            }
            sweep(simd, self.euler, rows, out);
        }
    }

    /// Reads row `p` of a tile and its halo into the first ring, and keeps what tiles to the right will miss.
    #[inline(always)]
    fn fetch(&mut self, tile: usize, columns: &Range<usize>, p: usize) {
        let (cols, stride, width) = (self.cols, self.stride, columns.len());
        let place = self.halo.find(p);
        let saved_rows = self.saved.len() / F / cols;
        let (is_first, is_last) = (tile == 0, tile + 1 == self.tiles);
        for f in 0..F {
            let to = &mut self.rings[f][p % SLOTS * stride..][..stride];
            let (own, row) = match place {
                Place::Own(own) => (Some(own), &self.fields[f][own * cols..][..cols]),
                Place::Saved(k) => (None, &self.saved[(f * saved_rows + k) * cols..][..cols]),
            };
            to[ORIGIN..ORIGIN + width].copy_from_slice(&row[columns.clone()]);
            if self.tiles == 1 {
                wrap(to, width);
                continue;
            }
            let strip = own.map_or(0..0, |own| own * HALO..(own + 1) * HALO);
            let left = match own {
                Some(_) if !is_first => &self.before[f][strip.clone()],
                _ if is_first => &row[cols - HALO..],
                _ => &row[columns.start - HALO..columns.start],
            };
            copy_halo(left, &mut to[ORIGIN - HALO..ORIGIN]);
            let right = match own {
                Some(_) if is_last => &self.first[f][strip.clone()],
                _ if is_last => &row[..HALO],
                _ => &row[columns.end..columns.end + HALO],
            };
            copy_halo(right, &mut to[ORIGIN + width..ORIGIN + width + HALO]);
            if own.is_some() {
                copy_halo(&row[columns.end - HALO..columns.end], &mut self.before[f][strip.clone()]);
                if is_first {
                    copy_halo(&row[..HALO], &mut self.first[f][strip]);
                }
            }
        }
    }
}

/// The columns of a tile: they begin at a cache line where the grid does, and no tile of several is narrower than a halo.
fn columns_of(cols: usize, tiles: usize, tile: usize) -> Range<usize> {
    let at = |tile: usize| {
        if tile == tiles {
            cols
        } else {
            (cols / tiles * tile + tile.min(cols % tiles)) / LINE * LINE
        }
    };
    at(tile)..at(tile + 1)
}

/// Rows that are asked for ahead of the one that is read: pages end the processor's own streams.
const AHEAD: usize = 4;

/// What an array of slices is made of.
const fn nothing<'a>() -> &'a mut [f32] {
    &mut []
}

/// Copies a halo; its length is a constant, so no call is made.
#[inline(always)]
fn copy_halo(from: &[f32], to: &mut [f32]) {
    let from: &[f32; HALO] = from.try_into().expect("a halo");
    let to: &mut [f32; HALO] = to.try_into().expect("a halo");
    *to = *from;
}

/// The halo of a row that a tile has all of, as often around as it takes.
fn wrap(to: &mut [f32], width: usize) {
    for i in 0..HALO {
        to[ORIGIN + width + i] = to[ORIGIN + i % width];
        to[ORIGIN - 1 - i] = to[ORIGIN + width - 1 - i % width];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mixes each cell with its neighbours and the fields with each other.
    #[derive(Clone, Copy)]
    struct Mixing;

    impl Euler<2> for Mixing {
        #[inline(always)]
        fn step<S: Simd>(self, s: S, [u, v]: [S::F; 2], [lap_u, lap_v]: [S::F; 2]) -> [S::F; 2] {
            let rate = s.splat(0.2);
            [s.fma(rate, lap_u, s.mul(u, v)), s.fma(rate, lap_v, s.sub(u, v))]
        }
    }

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0).collect()
    }

    fn advanced(shape: [usize; 2], steps: usize, blocking: Blocking) -> Vec<u32> {
        let (mut u, mut v) = (numbers(shape[0] * shape[1], 1), numbers(shape[0] * shape[1], 2));
        advance_by(Mixing, shape, steps, [&mut u, &mut v], blocking).unwrap();
        u.iter().chain(&v).map(|x| x.to_bits()).collect()
    }

    #[test]
    fn no_cut_changes_a_bit() {
        for shape in [[1, 1], [1, 100], [3, 2], [2, 70], [7, 65], [20, 33], [41, 131]] {
            for steps in [1, 3, 8, 17] {
                let plain = advanced(shape, steps, Blocking { depth: 1, width: 1024, height: 1024 });
                for (depth, width, height) in
                    [(8, 32, 1), (8, 1024, 3), (5, 32, 17), (3, 48, 5), (2, 64, 2), (1, 32, 1)]
                {
                    let blocking = Blocking { depth, width, height };
                    assert!(advanced(shape, steps, blocking) == plain, "{shape:?} {steps} {blocking:?}");
                }
            }
        }
    }

    #[test]
    fn a_saved_row_is_found_where_it_was_put() {
        for rows in 1..40 {
            for (depth, height) in [(1, 64), (8, 64), (8, 1), (3, 7), (8, 16)] {
                for start in (0..rows).step_by(height) {
                    let halo = Halo { rows, depth, band: start..rows.min(start + height) };
                    for p in 0..halo.band.len() + 2 * depth {
                        let row = (start + p + rows * depth - depth) % rows;
                        let found = match halo.find(p) {
                            Place::Own(own) => start + own,
                            Place::Saved(k) => halo.row(k),
                        };
                        assert_eq!(found, row, "row {p} around {halo:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn tiles_are_wide_enough_for_a_halo() {
        for cols in (1..3000usize).chain([1 << 40]) {
            for width in [32usize, 100, 512] {
                let tiles = cols.div_ceil(width);
                let all = |tile| columns_of(cols, tiles, tile);
                let checked = if tiles < 200 { (0..tiles).collect() } else { vec![0, 1, tiles - 1] };
                for tile in checked {
                    let columns = all(tile);
                    assert!(tiles == 1 || columns.len() >= HALO, "{columns:?} of {cols}");
                    assert!(columns.len() <= cols.div_ceil(tiles) + LINE, "{columns:?} of {cols}");
                    assert_eq!(columns.end, if tile + 1 == tiles { cols } else { all(tile + 1).start });
                }
            }
        }
    }
}
