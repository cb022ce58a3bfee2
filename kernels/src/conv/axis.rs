//! One axis of sliding windows: which numbers of the source its windows read, and where those lie on a strip.
//!
//! Window `p` reads source coordinate `p·step + offset` for each tap's offset. A strip holds what a range of windows
//! reads, zeros beyond the source included, sorted by the coordinate's residue modulo the step: then the windows'
//! numbers for one tap lie side by side whatever the step, and residues that no tap reads are left out.

use std::ops::Range;

use crate::pool::Buffer;

/// Windows along one axis.
pub(crate) struct Axis {
    /// Elements of the source.
    source: usize,
    step: usize,
    /// The smallest offset of a tap.
    low: i64,
    /// Residues of the taps' offsets above `low` modulo `step`, ascending, each once.
    residues: Buffer<usize>,
    /// For each tap: the rank of its residue, and how many steps above the residue it is.
    taps: Buffer<usize>,
    /// The most steps that a tap is above its residue.
    reach: usize,
}

impl Axis {
    /// Windows that begin `step` apart on `source` elements, with taps at `offsets`.
    pub(crate) fn new(source: usize, step: usize, offsets: impl Iterator<Item = i64> + Clone) -> Self {
        let count = offsets.clone().count();
        let low = offsets.clone().min().unwrap_or(0);
        let above = |offset: i64| (offset - low) as usize;
        let mut all = Buffer::unspecified(count);
        for (residue, offset) in all.iter_mut().zip(offsets.clone()) {
            *residue = above(offset) % step;
        }
        all.sort_unstable();
        let mut different = 0;
        for i in 0..count {
            if i == 0 || all[i] != all[different - 1] {
                all[different] = all[i];
                different += 1;
            }
        }
        let residues = Buffer::copied(&all[..different]);
        let mut taps = Buffer::unspecified(2 * count);
        let mut reach = 0;
        for (tap, offset) in taps.chunks_exact_mut(2).zip(offsets) {
            let (residue, steps) = (above(offset) % step, above(offset) / step);
            tap[0] = residues.partition_point(|&other| other < residue);
            tap[1] = steps;
            reach = reach.max(steps);
        }
        Self { source, step, low, residues, taps, reach }
    }

    /// Taps.
    pub(crate) fn taps(&self) -> usize {
        self.taps.len() / 2
    }

    /// Steps from the first number that a window reads to the last.
    pub(crate) fn reach(&self) -> usize {
        self.reach
    }

    /// Residues that taps read.
    pub(crate) fn residues(&self) -> usize {
        self.residues.len()
    }

    /// Elements of the source.
    pub(crate) fn source(&self) -> usize {
        self.source
    }

    /// Whether `windows` windows are the source's elements, one by one.
    pub(crate) fn is_identity(&self, windows: usize) -> bool {
        self.taps() == 1 && self.step == 1 && self.low == 0 && self.source == windows
    }

    /// The source coordinate that tap `tap` of window `p` reads, unless it is padding.
    pub(crate) fn coordinate(&self, p: usize, tap: usize) -> Option<usize> {
        let above = self.residues[self.taps[2 * tap]] + (self.taps[2 * tap + 1] + p) * self.step;
        usize::try_from(self.low + above as i64).ok().filter(|&at| at < self.source)
    }

    /// Slots of a residue on a strip for `windows`.
    fn slots(&self, windows: &Range<usize>) -> usize {
        windows.len() + self.reach
    }
}

/// What the windows `rows` by `cols` read of each channel: `[channel][row residue][row slot][column residue][column
/// slot]`.
#[derive(Clone)]
pub(crate) struct Strip<'a> {
    vertical: &'a Axis,
    horizontal: &'a Axis,
    rows: Range<usize>,
    cols: Range<usize>,
}

impl<'a> Strip<'a> {
    /// The strip of windows `rows` by `cols`, neither empty.
    pub(crate) fn new(
        vertical: &'a Axis,
        horizontal: &'a Axis,
        rows: Range<usize>,
        cols: Range<usize>,
    ) -> Self {
        Self { vertical, horizontal, rows, cols }
    }

    /// The strip, unless it would hold far more than the windows read: with a wide dilation, or mostly padding.
    pub(crate) fn if_dense(self) -> Option<Self> {
        let slots =
            |axis: &Axis, windows: &Range<usize>| axis.residues.len().checked_mul(axis.slots(windows));
        let size = slots(self.vertical, &self.rows)?.checked_mul(slots(self.horizontal, &self.cols)?)?;
        let taps = self.vertical.taps() * self.horizontal.taps();
        let read = taps.saturating_mul(self.rows.len() * self.cols.len());
        (size / 4 <= read.max(1 << 10)).then_some(self)
    }

    /// From one row of windows to the next one's numbers for the same tap. Neighbours in a row are adjacent.
    pub(crate) fn stride(&self) -> usize {
        self.horizontal.residues.len() * self.horizontal.slots(&self.cols)
    }

    /// Numbers for each channel.
    pub(crate) fn plane(&self) -> usize {
        self.vertical.residues.len() * self.vertical.slots(&self.rows) * self.stride()
    }

    /// Where the first window's number for a tap is.
    pub(crate) fn tap(&self, row: usize, col: usize) -> usize {
        let (rows, cols) = (&self.vertical.taps, &self.horizontal.taps);
        let down = rows[2 * row] * self.vertical.slots(&self.rows) + rows[2 * row + 1];
        let right = cols[2 * col] * self.horizontal.slots(&self.cols) + cols[2 * col + 1];
        down * self.stride() + right
    }

    /// Copies from `planes`, whole source planes one after the other, one for each [`plane`](Self::plane) of `to`;
    /// `padding` where there is no source.
    pub(crate) fn fill(&self, planes: &[f32], padding: f32, to: &mut [f32]) {
        let (height, width) = (self.vertical.source, self.horizontal.source);
        let slots = self.vertical.slots(&self.rows);
        let planes = planes.chunks_exact((height * width).max(1));
        let empty: &[f32] = &[];
        let planes = planes.map(Some).chain(std::iter::repeat(None));
        for (plane, to) in planes.zip(to.chunks_exact_mut(self.plane())) {
            let mut lines = to.chunks_exact_mut(self.stride());
            for &residue in self.vertical.residues.iter() {
                let first = self.vertical.low + (self.rows.start * self.vertical.step + residue) as i64;
                for slot in 0..slots {
                    let line = lines.next().expect("a strip has a line for each slot");
                    let at = first + (slot * self.vertical.step) as i64;
                    let inside = (0..height as i64).contains(&at).then_some(at as usize);
                    let from = match (plane, inside) {
                        (Some(plane), Some(row)) => &plane[row * width..][..width],
                        _ => empty,
                    };
                    self.fill_line(from, padding, line);
                }
            }
        }
    }

    /// One row of the source, or padding when it is empty.
    fn fill_line(&self, from: &[f32], padding: f32, to: &mut [f32]) {
        let Axis { step, low, .. } = *self.horizontal;
        let slots = self.horizontal.slots(&self.cols);
        for (to, &residue) in to.chunks_exact_mut(slots).zip(self.horizontal.residues.iter()) {
            let first = low + (self.cols.start * step + residue) as i64;
            // Slots before the source begins, and slots before it ends.
            let before = (-first.min(0) as usize).div_ceil(step).min(slots);
            let until = (from.len() as i64 - first).max(0) as usize;
            let until = until.div_ceil(step).min(slots).max(before);
            to[..before].fill(padding);
            to[until..].fill(padding);
            if before == until {
                continue;
            }
            let from = &from[(first + (before * step) as i64) as usize..];
            if step == 1 {
                to[before..until].copy_from_slice(&from[..until - before]);
            } else {
                for (to, &x) in to[before..until].iter_mut().zip(from.iter().step_by(step)) {
                    *to = x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_holds_what_each_window_reads() {
        let source: Vec<f32> = (1..=2 * 5 * 7).map(|i| i as f32).collect();
        for (step, offsets) in
            [(1, [-1, 0, 1]), (2, [-1, 0, 1]), (3, [-4, 0, 5]), (5, [2, 3, 3]), (2, [-2, 0, 2])]
        {
            let vertical = Axis::new(5, step, offsets.iter().copied());
            let horizontal = Axis::new(7, step, offsets.iter().copied());
            let (rows, cols) = (1..3, 0..4);
            let strip = Strip::new(&vertical, &horizontal, rows.clone(), cols.clone());
            let mut held = vec![f32::NAN; 2 * strip.plane()];
            strip.fill(&source, -1.0, &mut held);
            for (channel, y, x) in
                (0..2).flat_map(|c| (1..3).flat_map(move |y| (0..4).map(move |x| (c, y, x))))
            {
                for (r, s) in (0..3).flat_map(|r| (0..3).map(move |s| (r, s))) {
                    let at = |p: usize, tap: usize| (p * step) as i64 + offsets[tap];
                    let (row, col) = (at(y, r), at(x, s));
                    let inside = (0..5).contains(&row) && (0..7).contains(&col);
                    let want = if inside { source[channel * 35 + (row * 7 + col) as usize] } else { -1.0 };
                    let found = channel * strip.plane() + strip.tap(r, s) + (y - 1) * strip.stride() + x;
                    assert_eq!(held[found], want, "step {step}, window ({y}, {x}), tap ({r}, {s})");
                    assert_eq!(vertical.coordinate(y, r), usize::try_from(row).ok().filter(|&row| row < 5));
                }
            }
        }
    }

    #[test]
    fn mostly_padding_is_refused() {
        let wide = Axis::new(3, 1, [-1_000_000, 0, 1_000_000].into_iter());
        assert!(Strip::new(&wide, &wide, 0..3, 0..3).if_dense().is_none());
    }
}
