//! One task: some choices of one head, each of 64 queries, that share the copies of keys, values and means.
//!
//! Each choice is made for itself. Then all queries walk over the keys once, and over the means once: a block that is exact for any of
//! them is copied once, and computed with those for which it is exact. What a choice computes, and in which order, is the same in a task
//! of its own.

use std::ops::Range;

use super::super::forward::{Block, Runs};
use super::super::mask::Mask;
use super::super::problem::Head;
use super::super::softmax::Factors;
use super::super::view::Rows;
use super::bound::{After, Before, View};
use super::cut::{choose, Resolution};
use super::summary::Tiles;
use super::{QUERIES, TILE};
use crate::grid::heads::{HeadTiles, Layout};
use crate::isa;
use crate::pool::Buffer;

/// Some queries of one head, the first at a multiple of [`QUERIES`].
pub(super) struct Task<'a> {
    pub(super) from: Head<'a, f32>,
    pub(super) queries: Range<usize>,
    pub(super) resolution: Resolution,
    pub(super) tiles: &'a Tiles,
    /// Summarised tiles.
    pub(super) whole: usize,
    pub(super) reach: f32,
}

/// The choice of up to [`QUERIES`] queries.
struct Choice {
    queries: Range<usize>,
    /// The tiles that all of them see whole.
    tiles: Range<usize>,
    /// Where the task keeps their logits.
    logits: Range<usize>,
    /// The keys that are taken one by one, and the tiles that are not, in runs.
    exact: Vec<Range<usize>>,
    coarse: Vec<Range<usize>>,
}

impl Task<'_> {
    /// Attends, marks the tiles that were taken for their means in `marks: [choices, tiles]`, and gives the outputs' rows to `put`.
    pub(super) fn run(
        &self,
        lse: &mut [f32],
        bounds: &mut [f32],
        quality: &mut [f32],
        marks: &mut [u8],
        mut put: impl FnMut(usize, &[f32]),
    ) {
        let (dim, count) = (self.from.dim, self.queries.len());
        let mut choices = self.choices();
        let numbers = choices.last().map_or(0, |choice| choice.logits.end);
        let tiles = choices.iter().map(|choice| choice.tiles.len()).max().unwrap_or(0);
        let mut scratch = Buffer::<f32>::scratch(2 * count * dim + count + numbers + tiles);
        let (out, rest) = scratch.split_at_mut(count * dim);
        let (means, rest) = rest.split_at_mut(count * dim);
        let (of_means, rest) = rest.split_at_mut(count);
        let (logits, shares) = rest.split_at_mut(numbers);
        let mut order = Buffer::<u32>::scratch(tiles);
        for (choice, marks) in choices.iter_mut().zip(marks.chunks_exact_mut(self.whole)) {
            // The queries of the next one arrive meanwhile.
            let next = choice.queries.end..self.queries.end.min(choice.queries.end + QUERIES);
            self.from.q.from(next.start).ask(0..next.len(), dim);
            let marks = &mut marks[choice.tiles.clone()];
            self.choose(choice, &mut logits[choice.logits.clone()], shares, &mut order, marks);
        }

        self.attend(self.from, &choices, |choice| &choice.exact, out, lse);
        if choices.iter().any(|choice| !choice.coarse.is_empty()) {
            let (k, v) = (self.tiles.k_means(dim), self.tiles.v_means(dim));
            let band = Mask::None.band(self.from.band.queries, self.whole);
            let from = Head { k, v, bias: None, band, ..self.from };
            self.attend(from, &choices, |choice| &choice.coarse, means, of_means);
        }
        for choice in choices.iter().filter(|choice| !choice.coarse.is_empty()) {
            let rows = choice.queries.start - self.queries.start..choice.queries.end - self.queries.start;
            let numbers = rows.start * dim..rows.end * dim;
            let (out, lse) = (&mut out[numbers.clone()], &mut lse[rows.clone()]);
            merge(out, lse, &means[numbers], &of_means[rows.clone()], dim);
            isa::dispatch(After {
                view: self.view(choice),
                tiles: choice.tiles.clone(),
                coarse: &choice.coarse,
                logits: &logits[choice.logits.clone()],
                out: Rows { data: out, stride: dim },
                lse,
                bounds: &mut bounds[rows.clone()],
                quality: &mut quality[rows],
            });
        }
        out.chunks_exact(dim).enumerate().for_each(|(row, out)| put(row, out));
    }

    /// The task's choices, not made yet.
    fn choices(&self) -> Vec<Choice> {
        let mut numbers = 0;
        let choice = |start: usize| {
            let queries = start..self.queries.end.min(start + QUERIES);
            let inner = self.from.band.seen_by_all(queries.clone());
            let end = (inner.end / TILE).min(self.whole);
            let tiles = inner.start.div_ceil(TILE).min(end)..end;
            let logits = numbers..numbers + QUERIES * tiles.len();
            numbers = logits.end;
            Choice { queries, tiles, logits, exact: Vec::new(), coarse: Vec::new() }
        };
        self.queries.clone().step_by(QUERIES).map(choice).collect()
    }

    /// Makes a choice: bounds what each tile's mean may cost, leaves the logits of the means, marks and lists those that are taken.
    fn choose(
        &self,
        choice: &mut Choice,
        logits: &mut [f32],
        shares: &mut [f32],
        order: &mut [u32],
        marks: &mut [u8],
    ) {
        let tiles = choice.tiles.clone();
        if self.resolution.gives_up(tiles.len()) {
            let (shares, order) = (&mut shares[..tiles.len()], &mut order[..tiles.len()]);
            let (view, most) = (self.view(choice), self.resolution.most());
            isa::dispatch(Before { view, tiles: tiles.clone(), most, logits, shares });
            choose(self.resolution, shares, order, marks);
        }
        let seen = self.from.band.seen_by(choice.queries.clone());
        (choice.exact, choice.coarse) = runs(seen, &tiles, marks);
    }

    fn view(&self, choice: &Choice) -> View<'_> {
        View {
            q: self.from.q.from(choice.queries.start),
            queries: choice.queries.len(),
            dim: self.from.dim,
            scale: self.from.scale as f32,
            tiles: self.tiles,
            reach: self.reach,
        }
    }

    /// All queries, those of each choice with the keys of its runs.
    fn attend(
        &self,
        from: Head<'_, f32>,
        choices: &[Choice],
        runs: impl Fn(&Choice) -> &[Range<usize>],
        out: &mut [f32],
        lse: &mut [f32],
    ) {
        let (rows, dim) = (self.queries.len(), from.dim);
        let runs: Vec<_> = choices.iter().map(runs).collect();
        let outs = HeadTiles::new(out, Layout { shape: [1, rows, 1, dim], strides: [0, dim, 0] });
        isa::dispatch(Block {
            from,
            queries: self.queries.clone(),
            runs: Runs { of: &runs, share: QUERIES },
            factors: Factors::new(from.scale, false),
            out: outs.take(0, 0, 0..rows),
            lse,
        });
    }
}

/// The keys of `seen` that are taken one by one, and the tiles that are not, in runs.
fn runs(seen: Range<usize>, tiles: &Range<usize>, marks: &[u8]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut exact, mut coarse) = (Vec::new(), Vec::<Range<usize>>::new());
    let mut from = seen.start;
    for (tile, _) in tiles.clone().zip(marks).filter(|(_, mark)| **mark == 1) {
        if from < tile * TILE {
            exact.push(from..tile * TILE);
        }
        from = (tile + 1) * TILE;
        match coarse.last_mut() {
            Some(run) if run.end == tile => run.end += 1,
            _ => coarse.push(tile..tile + 1),
        }
    }
    if from < seen.end {
        exact.push(from..seen.end);
    }
    (exact, coarse)
}

/// Adds outputs over means, each of a whole tile's weight, to those over keys.
fn merge(out: &mut [f32], lse: &mut [f32], means: &[f32], of_means: &[f32], dim: usize) {
    for (((out, lse), mean), of_mean) in
        out.chunks_exact_mut(dim).zip(lse).zip(means.chunks_exact(dim)).zip(of_means)
    {
        let of_mean = f64::from(*of_mean) + (TILE as f64).ln();
        let most = of_mean.max(f64::from(*lse));
        let sum = most + ((of_mean - most).exp() + (f64::from(*lse) - most).exp()).ln();
        let (a, b) = ((f64::from(*lse) - sum).exp() as f32, (of_mean - sum).exp() as f32);
        out.iter_mut().zip(mean).for_each(|(out, mean)| *out = a * *out + b * mean);
        *lse = sum as f32;
    }
}
