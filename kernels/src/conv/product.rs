//! Convolution as a matrix product whose right factor is never stored: its panels are gathered from the image.
//!
//! The left factor is the weights, packed once. The right one has a column for each window and a row for each channel
//! and tap. A task takes a range of windows; for each block of `k` it copies what they read to a strip
//! ([`super::axis`]), gathers a few panels from it by copies of whole vectors, and multiplies them with all panels of
//! weights by GEMM's micro-kernel. The gradient of the input is such a product too.
//!
//! An element's sum runs as GEMM's: blocks of `k` whose length depends on `k` alone, so its bits depend neither on the
//! cut into tasks nor on the other images.

use std::ops::Range;

use super::axis::{Axis, Strip};
use super::shape::{Conv2d, Sizes};
use crate::element::Write;
use crate::gemm::block_of_k;
use crate::grid::Tile;
use crate::pool::Buffer;
use crate::simd::micro::{multiply, tile_cols, tile_rows};
use crate::simd::pack::copy_panel;
use crate::simd::{Kernel, Simd};
use crate::tuning;

/// Panels gathered before they are multiplied: their reads share cache lines and pages.
const PANELS: usize = 4;

/// The right factor for one image and group, all but its numbers: `[channels · taps, windows]`.
pub(super) struct Gather<'a> {
    pub(super) vertical: &'a Axis,
    pub(super) horizontal: &'a Axis,
    /// Rows and columns of windows.
    pub(super) grid: (usize, usize),
    pub(super) channels: usize,
    /// Elements of a source plane.
    pub(super) plane: usize,
}

/// `max(·, 0)`, bias and residual for the tile of one task.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// One value a row of the tile.
    pub(super) bias: Option<&'a [f32]>,
    /// From the tile's first element on, and from one row to the next.
    pub(super) residual: Option<(&'a [f32], usize)>,
    pub(super) relu: bool,
}

impl Finish<'_> {
    /// Finishes the part of the tile that begins at `(row, col)`.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(&self, simd: S, (row, col): (usize, usize), part: &mut Tile<'_, f32>) {
        let cols = part.cols();
        for i in 0..part.rows() {
            let bias = simd.splat(self.bias.map_or(0.0, |bias| bias[row + i]));
            let residual = self.residual.map(|(from, stride)| &from[(row + i) * stride + col..][..cols]);
            let to = part.row_mut(i);
            for from in (0..cols).step_by(S::LANES) {
                let lanes = from..cols.min(from + S::LANES);
                let mut x = simd.load_partial(&to[lanes.clone()]);
                if self.bias.is_some() {
                    x = simd.add(x, bias);
                }
                if let Some(residual) = residual {
                    x = simd.add(x, simd.load_partial(&residual[lanes.clone()]));
                }
                if self.relu {
                    x = simd.max(simd.splat(0.0), x);
                }
                simd.store_partial(x, &mut to[lanes]);
            }
        }
    }
}

impl<'a> Gather<'a> {
    /// The windows of a layer's input, as its forward pass and its weights' gradient read them.
    pub(super) fn of_windows(
        shape: &Conv2d,
        sizes: &Sizes,
        vertical: &'a Axis,
        horizontal: &'a Axis,
    ) -> Self {
        Self {
            vertical,
            horizontal,
            grid: (sizes.out_height, sizes.out_width),
            channels: sizes.inputs,
            plane: shape.height * shape.width,
        }
    }

    /// Length of a sum.
    pub(super) fn depth(&self) -> usize {
        self.channels * self.vertical.taps() * self.horizontal.taps()
    }

    /// Whether the windows are the source's elements themselves.
    fn is_identity(&self) -> bool {
        self.vertical.is_identity(self.grid.0) && self.horizontal.is_identity(self.grid.1)
    }

    /// Rows and columns of a task's tile, for `count` products with `rows` rows.
    pub(super) fn cut(&self, count: usize, rows: usize, (mr, nr): (usize, usize)) -> (usize, usize) {
        let (workers, tuning) = (upbeat::current_num_workers(), tuning::active());
        let windows = self.grid.0 * self.grid.1;
        let spread = count.saturating_mul(windows).div_ceil(tuning.tasks * workers);
        let worth = tuning.task_work.div_ceil(rows.saturating_mul(self.depth()).max(1));
        let cols = spread.max(worth).min(self.fitting(nr)).clamp(1, windows);
        let cols = windows.div_ceil(windows.div_ceil(cols)).next_multiple_of(nr);
        let tasks = count * windows.div_ceil(cols);
        let parts = (2 * workers).div_ceil(tasks);
        (rows.div_ceil(parts).max(1).next_multiple_of(mr), cols)
    }

    /// Windows whose strip takes no more than half of a second-level cache.
    fn fitting(&self, nr: usize) -> usize {
        let limit = tuning::active().private_bytes / size_of::<f32>();
        let taps = (self.vertical.taps() * self.horizontal.taps()).max(1);
        let channels = block_of_k(self.depth()).div_ceil(taps) + 1;
        if self.is_identity() {
            return limit / channels * 4;
        }
        let lines = channels * self.vertical.residues() * self.horizontal.residues();
        let line = lines.saturating_mul(self.grid.1 + self.horizontal.reach());
        let rows = (limit / line.max(1)).saturating_sub(self.vertical.reach());
        let one_row = limit / lines.saturating_mul(1 + self.vertical.reach()).max(1);
        (rows * self.grid.1).max(one_row.min(self.grid.1)).max(4 * nr)
    }

    /// The channels of the elements `k` of a sum.
    fn channels_of(&self, k: &Range<usize>) -> Range<usize> {
        let taps = (self.vertical.taps() * self.horizontal.taps()).max(1);
        (k.start / taps).min(self.channels)..k.end.div_ceil(taps).min(self.channels)
    }

    /// How the right factor is found for `windows`.
    pub(super) fn place(&self, windows: &Range<usize>) -> Place<'_> {
        let across = self.grid.1;
        let nothing = Place { first: (0, 0), direct: self.is_identity(), strip: None };
        if nothing.direct || windows.is_empty() || self.depth() == 0 {
            return nothing;
        }
        let rows = windows.start / across..(windows.end - 1) / across + 1;
        let cols =
            if rows.len() == 1 { windows.start % across..(windows.end - 1) % across + 1 } else { 0..across };
        let first = (rows.start, cols.start);
        Place {
            first,
            direct: false,
            strip: Strip::new(self.vertical, self.horizontal, rows, cols).if_dense(),
        }
    }

    /// Where the first window's number is on the strip, for each of `k`.
    pub(super) fn bases(&self, strip: &Strip<'_>, k: Range<usize>, to: &mut [usize]) {
        let (rows, cols) = (self.vertical.taps(), self.horizontal.taps());
        let first = k.start / (rows * cols);
        for (k, to) in k.zip(to) {
            let (channel, tap) = (k / (rows * cols) - first, k % (rows * cols));
            *to = channel * strip.plane() + strip.tap(tap / cols, tap % cols);
        }
    }

    /// Gathers the panels of `group`, counted from the task's first window, for `k`.
    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        _level: S,
        right: &Right<'_>,
        group: Range<usize>,
        k: Range<usize>,
        to: &mut [f32],
    ) {
        match tile_cols::<S>() {
            2 => self.gather_panels::<2>(right, group, k, to),
            8 => self.gather_panels::<8>(right, group, k, to),
            16 => self.gather_panels::<16>(right, group, k, to),
            32 => self.gather_panels::<32>(right, group, k, to),
            width => unreachable!("panels of {width}"),
        }
    }

    #[inline(always)]
    fn gather_panels<const R: usize>(
        &self,
        right: &Right<'_>,
        group: Range<usize>,
        k: Range<usize>,
        to: &mut [f32],
    ) {
        let source = right.source;
        for (p, from) in group.clone().step_by(R).enumerate() {
            let width = R.min(group.end - from);
            let first = right.first + from;
            let to = &mut to[p * k.len() * R..][..(k.len() + 1) * R];
            if k.is_empty() {
                continue;
            }
            if right.place.direct {
                copy_panel::<R>(&source[k.start * self.plane + first..], self.plane, width, k.len(), to);
            } else if let Some(strip) = &right.place.strip {
                let mut runs = [(0, 0); R];
                let runs = self.runs(right.place, strip, first..first + width, &mut runs);
                from_strip::<R>(right.strip, right.bases, runs, to);
            } else {
                self.one_by_one::<R>(source, first..first + width, k.clone(), to);
            }
        }
    }

    /// Runs of windows in one row: the lane of a panel and the place on the strip, from the tap's base, where each begins.
    pub(super) fn runs<'r>(
        &self,
        place: &Place<'_>,
        strip: &Strip<'_>,
        windows: Range<usize>,
        runs: &'r mut [(usize, usize)],
    ) -> &'r [(usize, usize)] {
        let across = self.grid.1;
        let (mut count, mut lane) = (0, 0);
        while lane < windows.len() {
            let (row, col) = ((windows.start + lane) / across, (windows.start + lane) % across);
            runs[count] = (lane, (row - place.first.0) * strip.stride() + col - place.first.1);
            count += 1;
            lane += across - col;
        }
        &runs[..count]
    }

    /// For shapes whose strip would be mostly padding: each number by its coordinates.
    pub(super) fn one_by_one<const R: usize>(
        &self,
        source: &[f32],
        windows: Range<usize>,
        k: Range<usize>,
        to: &mut [f32],
    ) {
        for (k, to) in k.zip(to.chunks_exact_mut(R)) {
            to.fill(0.0);
            for (window, to) in windows.clone().zip(to) {
                *to = self.element(source, window, k);
            }
        }
    }

    /// Element `[k, window]` of the right factor.
    pub(super) fn element(&self, source: &[f32], window: usize, k: usize) -> f32 {
        let (rows, cols) = (self.vertical.taps(), self.horizontal.taps());
        let (channel, tap) = (k / (rows * cols), k % (rows * cols));
        let row = self.vertical.coordinate(window / self.grid.1, tap / cols);
        let col = self.horizontal.coordinate(window % self.grid.1, tap % cols);
        match row.zip(col) {
            Some((row, col)) => source[channel * self.plane + row * self.horizontal.source() + col],
            None => 0.0,
        }
    }
}

/// Where a task finds its right factor.
pub(super) struct Place<'a> {
    /// Row and column of the strip's first window.
    pub(super) first: (usize, usize),
    /// Whether it is the source as it lies.
    pub(super) direct: bool,
    pub(super) strip: Option<Strip<'a>>,
}

/// A strip, filled for one block of `k`.
struct Right<'a> {
    source: &'a [f32],
    /// The task's first window.
    first: usize,
    place: &'a Place<'a>,
    strip: &'a [f32],
    bases: &'a [usize],
}

/// One tile of a product: `tile ← A·B` for the `windows`, or that added to it, then finished.
pub(super) struct Task<'a> {
    pub(super) gather: &'a Gather<'a>,
    /// The image's channels.
    pub(super) source: &'a [f32],
    /// Panels of A, each with all of `k`, from that of the tile's first row on.
    pub(super) packed: &'a [f32],
    pub(super) windows: Range<usize>,
    pub(super) tile: Tile<'a, f32>,
    pub(super) write: Write,
    pub(super) finish: Option<Finish<'a>>,
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { gather, source, packed, windows, mut tile, write, finish } = self;
        let (mr, nr) = (tile_rows::<S>(), tile_cols::<S>());
        let depth = gather.depth();
        let block = block_of_k(depth);
        let place = gather.place(&windows);
        let plane = place.strip.as_ref().map_or(0, Strip::plane);
        let held = (gather.channels_of(&(0..block)).len() + 1).min(gather.channels);
        let mut strip = Buffer::<f32>::unspecified(held * plane + nr);
        let mut bases = Buffer::<usize>::unspecified(block.min(depth));
        let mut panels = Buffer::<f32>::unspecified((PANELS * block.min(depth) + 1) * nr);
        for k in (0..depth.max(1)).step_by(block) {
            let k = k..depth.min(k + block);
            let channels = gather.channels_of(&k);
            if let Some(place) = &place.strip {
                let planes = &source[channels.start * gather.plane..channels.end * gather.plane];
                place.fill(planes, 0.0, &mut strip[..channels.len() * plane]);
                gather.bases(place, k.clone(), &mut bases);
            }
            let bases = &bases[..k.len()];
            let right = Right { source, first: windows.start, place: &place, strip: &strip, bases };
            for group in (0..windows.len()).step_by(PANELS * nr) {
                let group = group..windows.len().min(group + PANELS * nr);
                gather.gather(simd, &right, group.clone(), k.clone(), &mut panels);
                for (p, from) in group.clone().step_by(nr).enumerate() {
                    let b = &panels[p * k.len() * nr..][..k.len() * nr];
                    let cols = from..group.end.min(from + nr);
                    for row in (0..tile.rows()).step_by(mr) {
                        let a = &packed[row * depth + k.start * mr..][..k.len() * mr];
                        let rows = row..tile.rows().min(row + mr);
                        let mut to = tile.part(rows, cols.clone());
                        multiply(simd, k.len(), a, b, &mut to, write == Write::Add || k.start > 0);
                        if let Some(finish) = finish.as_ref().filter(|_| k.end == depth) {
                            finish.apply(simd, (row, cols.start), &mut to);
                        }
                    }
                }
            }
        }
    }
}

/// Fills a panel `[bases.len(), R]` and up to `R` numbers behind it. Each run is copied as if it had a whole panel's
/// width: what it writes too much lies in lanes that the next run or the next `k` fills, and last behind the panel.
#[inline(always)]
pub(super) fn from_strip<const R: usize>(
    strip: &[f32],
    bases: &[usize],
    runs: &[(usize, usize)],
    to: &mut [f32],
) {
    if let [(0, at)] = *runs {
        for (&base, to) in bases.iter().zip(to.chunks_exact_mut(R)) {
            to.copy_from_slice(&strip[base + at..][..R]);
        }
        return;
    }
    for (k, &base) in bases.iter().enumerate() {
        for &(lane, at) in runs {
            to[k * R + lane..][..R].copy_from_slice(&strip[base + at..][..R]);
        }
    }
}
