//! Attention whose resolution follows the information in the keys, with a proven bound on every output's error.
//!
//! Keys lie in tiles of 32. Where the logits of a tile hardly vary for a query, the tile's mean key and mean value stand for all of it, as
//! one key of 32 times the weight; elsewhere its keys are taken one by one. [`Summary`] has what bounds the error of that: radii and
//! deviations of keys and values (`docs/adaptive-attention.md` has the formulas and their proofs). Each 64 queries of a head
//!
//! 1. bound, for every tile that all of them see whole, what its mean could cost;
//! 2. give up the cheapest ones, up to the [`Resolution`];
//! 3. attend to the means and to the remaining keys, and merge the two by their log-sums;
//! 4. bound the error of the result, which is far less than the bounds of step 1 add up to.
//!
//! A task is of several such choices, which share the copies of keys, values and means (`task.rs`). What is added to logits
//! ([`Bias`](super::Bias)) may vary within a tile and makes every tile exact.

mod bound;
mod cut;
mod summary;
mod task;

use super::forward::{queries_of_a_task, run as run_exact};
use super::problem::{check_shape, Attention, Items, Problem};
use super::view::{Heads, HeadsMut, Rows};
use crate::error::{check, ShapeError};
use crate::grid::heads::{HeadTiles, Layout};
pub use cut::Resolution;
pub use summary::Summary;
use summary::{distance, farther};
use task::Task;

/// Keys of a tile.
pub const TILE: usize = 32;
/// Queries that share a choice: a multiple of every level's panel.
pub const QUERIES: usize = 64;

/// What [`Attention::adaptive`] did, and how far it may be off.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// `[batch, heads, queries]`: the most by which an output may differ from exact attention, `‖o − ô‖₂`; 0 where every key was taken by
    /// itself. In exact arithmetic: the rounding of logits, which plain attention has too, may add `2·max‖v‖·(e^ε − 1)` with
    /// `ε = |scale|·‖q‖·max‖k‖·2⁻²²`, and that of sums some `4e-6·max‖v‖·ln 2n`. The same holds of what a tolerance promises.
    pub bounds: Vec<f32>,
    /// `[batch, heads, queries]`: a lower bound of `Ẑ/Z = e^−KL`, the part of the information that was kept.
    pub quality: Vec<f32>,
    /// `[batch, heads, queries / 64, tiles]`, rounded up: 1 where the tile was taken for its mean.
    pub coarse: Vec<u8>,
    /// Pairs of a query and a key that it sees.
    pub visible: u64,
    /// Work that was done, in the same unit: pairs of a query and a key, or mean, that were computed, half a pair for each logit of a mean
    /// and each distance of a bound, and what the summary took.
    pub cost: f64,
}

impl Adapted {
    /// The largest bound of all, 0 where there is none.
    pub fn bound(&self) -> f32 {
        self.bounds.iter().copied().fold(0.0, f32::max)
    }

    /// The mean quality over all queries, and the least; 1 where there are none.
    pub fn qualities(&self) -> (f32, f32) {
        let sum: f64 = self.quality.iter().map(|quality| f64::from(*quality)).sum();
        let mean = if self.quality.is_empty() { 1.0 } else { sum / self.quality.len() as f64 };
        (mean as f32, self.quality.iter().copied().fold(1.0, f32::min))
    }

    /// The part of the work of plain attention that this took, the summary and the bounds included.
    pub fn share(&self) -> f64 {
        if self.visible == 0 {
            1.0
        } else {
            self.cost / self.visible as f64
        }
    }
}

impl Attention<'_, f32> {
    /// [`forward`](Self::forward) at a [`Resolution`], by means of tiles that `summary` has. Tiles after the summary's are exact. The bits
    /// are the same for any number of workers; with nothing coarse they are those of `forward`. `lse` is that of the means and keys that
    /// were taken, `ln Ẑ`. Takes pooled memory as [`forward`](Self::forward), and for each task in flight, of `n` queries (512 at
    /// most), `8·n·dim` bytes and `4·n + 128` bytes a tile.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); a summary of another batch, number of heads or width, or of more keys than there are; sequences of
    /// several lengths, which have no summary. Then nothing was written.
    ///
    /// ```
    /// use upbeat_kernels::attention::{Attention, Heads, HeadsMut, Mask, Resolution, Summary};
    ///
    /// // Keys that change slowly: 2048 positions, one head of 16.
    /// let wave = |phase: f32| (0..2048 * 16).map(|i| ((i / 16) as f32 / 300.0 + phase * (i % 16) as f32).sin()).collect::<Vec<_>>();
    /// let (q, k, v) = (wave(0.1), wave(0.4), wave(0.7));
    /// let of = |x| Heads::new(x, [1, 2048, 1, 16]);
    /// let (q, k, v) = (of(&q)?, of(&k)?, of(&v)?);
    /// let summary = Summary::new(k, v)?;
    /// let (mut out, mut lse) = (vec![0.0; 2048 * 16], vec![0.0; 2048]);
    /// let done = Attention::new().mask(Mask::Causal).adaptive(
    ///     Resolution::Tolerance(0.05), &summary, q, k, v, HeadsMut::new(&mut out, [1, 2048, 1, 16])?, &mut lse,
    /// )?;
    /// assert!(done.bound() <= 0.05 && done.share() < 0.6);
    /// # Ok::<(), upbeat_kernels::ShapeError>(())
    /// ```
    #[allow(clippy::too_many_arguments)]
    pub fn adaptive(
        &self,
        resolution: Resolution,
        summary: &Summary,
        q: Heads<'_, f32>,
        k: Heads<'_, f32>,
        v: Heads<'_, f32>,
        out: HeadsMut<'_, f32>,
        lse: &mut [f32],
    ) -> Result<Adapted, ShapeError> {
        let problem = Problem::new(self, q, k, v)?;
        check_shape("output", q.shape(), out.shape())?;
        problem.check_lse(lse.len())?;
        if let Some((offsets, _)) = self.offsets {
            let what = "packed sequences of adaptive attention";
            return Err(ShapeError::Limit { what, most: 0, found: offsets.len().saturating_sub(1) });
        }
        let [batch, positions, kv_heads, dim] = k.shape();
        for (what, expected, found) in [
            ("the batch of the summary", batch, summary.shape()[0]),
            ("the heads of the summary", kv_heads, summary.shape()[1]),
            ("the width of the summary", dim, summary.shape()[2]),
        ] {
            check(what, expected, found)?;
        }
        if summary.tiles() * TILE > positions {
            let found = summary.tiles() * TILE;
            return Err(ShapeError::Limit { what: "positions of the summary", most: positions, found });
        }
        Ok(run(&problem, resolution, summary, (v, out), lse))
    }
}

fn run(
    problem: &Problem<'_, f32>,
    resolution: Resolution,
    summary: &Summary,
    (v, out): (Heads<'_, f32>, HeadsMut<'_, f32>),
    lse: &mut [f32],
) -> Adapted {
    let ([batch, queries, heads, dim], tiles) = (out.shape(), summary.tiles());
    let blocks = queries.div_ceil(QUERIES);
    let band = problem.band(0);
    let visible = (0..queries).map(|i| band.seen(i).len() as u64).sum::<u64>() * (batch * heads) as u64;
    let mut adapted = Adapted {
        bounds: vec![0.0; lse.len()],
        quality: vec![1.0; lse.len()],
        coarse: vec![0; batch * heads * blocks * tiles],
        visible,
        cost: visible as f64,
    };
    let is_exact = match resolution {
        Resolution::Exact => true,
        Resolution::Tolerance(most) => most.is_nan() || most <= 0.0,
        Resolution::Budget(_) => false,
    };
    if dim == 0 || tiles == 0 || lse.is_empty() || problem.is_biased() || is_exact {
        run_exact(problem, out, lse);
        return adapted;
    }
    let reaches: Vec<f32> = (0..batch * problem.kv_heads)
        .map(|index| {
            let (sequence, kv_head) = (index / problem.kv_heads, index % problem.kv_heads);
            reach(summary, v.rows(sequence, 0, kv_head), (sequence, kv_head), problem.keys(0).1.len(), dim)
        })
        .collect();
    let (out, layout) = out.into_parts();
    let outs = HeadTiles::new(out, layout);
    let of_queries = problem.lse_layout();
    let [sums, bounds, qualities] =
        [lse, &mut adapted.bounds, &mut adapted.quality].map(|x| HeadTiles::new(x, of_queries));
    let of_choices = Layout { shape: [1, batch * heads * blocks, 1, tiles], strides: [0, tiles, 0] };
    let marks = HeadTiles::new(&mut adapted.coarse, of_choices);
    // Plain attention's tasks are whole choices. No bit depends on how many.
    let size = queries_of_a_task(problem).next_multiple_of(QUERIES);
    let parts = queries.div_ceil(size);
    let items = Items::new(batch, |_| heads * parts);
    upbeat::par::for_each(0..items.len(), |item| {
        let (sequence, index) = items.find(item);
        let (head, part) = (index / parts, index % parts);
        let part = part * size..queries.min((part + 1) * size);
        let kv_head = head / problem.group();
        let task = Task {
            from: problem.head(sequence, head),
            queries: part.clone(),
            resolution,
            tiles: summary.head(sequence, kv_head),
            whole: tiles,
            reach: reaches[sequence * problem.kv_heads + kv_head],
        };
        let mut out = outs.take(sequence, head, part.clone());
        let [lse, bounds, quality] =
            [&sums, &bounds, &qualities].map(|x| x.take(sequence, head, part.clone()).into_slice());
        let first = (sequence * heads + head) * blocks;
        let choices = first + part.start / QUERIES..first + part.end.div_ceil(QUERIES);
        let marks = marks.take(0, 0, choices).into_slice();
        task.run(lse, bounds, quality, marks, |row, from| out.row_mut(row).copy_from_slice(from));
    });
    drop(marks);
    adapted.cost = cost(&adapted, [batch, heads, queries], tiles, problem.kv_heads);
    adapted
}

/// As [`Adapted::cost`] says.
fn cost(adapted: &Adapted, [batch, heads, queries]: [usize; 3], tiles: usize, kv_heads: usize) -> f64 {
    let blocks = queries.div_ceil(QUERIES);
    let mut cost = adapted.visible as f64;
    for (index, marks) in adapted.coarse.chunks_exact(tiles).enumerate() {
        let block = index % blocks;
        let rows = (queries - block * QUERIES).min(QUERIES) as f64;
        let coarse = marks.iter().filter(|mark| **mark == 1).count() as f64;
        cost -= rows * coarse * (TILE - 1) as f64;
        // A logit of each mean before, the distance to each mean after.
        cost += rows * tiles as f64;
    }
    debug_assert!(batch * heads * blocks * tiles == adapted.coarse.len());
    // Two Gram matrices, each half a pair a number.
    cost + (batch * kv_heads * tiles * TILE * TILE) as f64
}

/// How far a head's values lie from the centre at most, those after the last whole tile included.
fn reach(
    summary: &Summary,
    values: Rows<'_, f32>,
    (sequence, kv_head): (usize, usize),
    keys: usize,
    dim: usize,
) -> f32 {
    let tiles = summary.head(sequence, kv_head);
    let after = summary.tiles() * TILE..keys;
    after.fold(tiles.reach, |reach, j| farther(reach, distance(values.row(j, dim), &tiles.centre)))
}
