//! How wrong a tile's mean may be for a query, before anything is computed and after.
//!
//! With `Δ = |scale|·‖q‖·r` and `σ = |scale|·‖q‖·√λ`, a tile of mean logit `a` (with the logarithm of its size) whose keys lie within `r` of
//! their mean and deviate by `√λ` at most has
//!
//! - `A = min(cosh Δ − 1, σ²·(e^Δ − 1 − Δ)/Δ²)`: by how much its sum of exponentials may exceed `e^a`, as a part of that;
//! - `b = min(ρ·sinh Δ, σ·√λ_V·(e^Δ − 1)/Δ)`: how far its sum of weighted values may lie from the mean value, times `e^a`.
//!
//! All are computed times `e^−Δ`, which then goes into the exponent: nothing overflows that is not large itself.

use super::super::softmax::{both, exp2, load, store};
use super::super::view::Rows;
use super::summary::{Spread, Tiles, UNDERFLOW};
use super::TILE;
use crate::pool::Buffer;
use crate::simd::tile::{width, Left, Product, Right, Start};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};
use std::f32::consts::LOG2_E;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// What rounding may take from a bound is given back.
const SLACK: f32 = 1.0 + 4e-5;
/// What rounding may add to [`least_excess`] is taken away.
const LEAST: f32 = 1.0 - 1e-3;

/// One query tile against a head's tiles.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) q: Rows<'a, f32>,
    /// Queries, from the first row of `q` on.
    pub(super) queries: usize,
    pub(super) dim: usize,
    pub(super) scale: f32,
    pub(super) tiles: &'a Tiles,
    /// From the centre to the farthest value.
    pub(super) reach: f32,
}

/// Before: logits of the tiles, and the largest share of the error that each may cause.
pub(super) struct Before<'a> {
    pub(super) view: View<'a>,
    /// The tiles that may be taken for their means.
    pub(super) tiles: Range<usize>,
    /// Larger shares need not be known.
    pub(super) most: f32,
    /// `[panels, tiles, width]`, a panel as wide as the level's.
    pub(super) logits: &'a mut [f32],
    /// `[tiles]`: the most over all queries; `∞` where it is not known, or some number above `most`.
    pub(super) shares: &'a mut [f32],
}

/// After: the certificates of the queries.
pub(super) struct After<'a> {
    pub(super) view: View<'a>,
    pub(super) tiles: Range<usize>,
    /// Those that were taken for their means, in runs.
    pub(super) coarse: &'a [Range<usize>],
    /// What [`Before`] left.
    pub(super) logits: &'a [f32],
    /// `[queries, dim]`
    pub(super) out: Rows<'a, f32>,
    /// `[queries]`
    pub(super) lse: &'a [f32],
    pub(super) bounds: &'a mut [f32],
    /// `[queries]`: lower bounds of `Ẑ/Z`.
    pub(super) quality: &'a mut [f32],
}

/// Panels of so many queries.
pub(super) fn panels(queries: usize, width: usize) -> usize {
    queries.div_ceil(width)
}

/// `e^x`; `∞` from `x = 87` on.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    let power = exp2(simd, simd.mul(x, simd.splat(LOG2_E)));
    simd.select(simd.less(x, simd.splat(87.0)), power, simd.splat(f32::INFINITY))
}

/// The first terms of `(e^Δ − 1 − Δ)/Δ²`: all of it below 1, and never more.
#[inline(always)]
fn series<S: Simd>(simd: S, delta: S::F) -> S::F {
    let mut series = simd.splat(1.0 / 40320.0);
    for coefficient in [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = simd.fma(series, delta, simd.splat(coefficient));
    }
    series
}

/// At most `A·farthest + b`, without an exponential or a quotient: `cosh Δ − 1 ≥ (e^Δ − 1 − Δ)/2` and `sinh Δ ≥ (e^Δ − 1)/2`.
#[inline(always)]
fn least_excess<S: Simd>(simd: S, norm: S::F, spread: Spread, farthest: S::F) -> S::F {
    let splat = |x| simd.splat(x);
    let delta = simd.mul(norm, splat(spread.key_radius));
    let sigma = simd.mul(norm, splat(spread.key_deviation));
    let half = simd.mul(delta, splat(0.5));
    let second = series(simd, delta);
    let first = simd.fma(delta, second, splat(1.0));
    let a = simd.mul(simd.min(simd.mul(half, delta), simd.mul(sigma, sigma)), second);
    let chord = simd.mul(half, splat(spread.value_radius));
    let b = simd.mul(simd.min(chord, simd.mul(sigma, splat(spread.value_deviation))), first);
    simd.fma(a, farthest, b)
}

/// `Δ`, and `A` and `b` times `e^−Δ`, for queries whose norms times the scale are `norm`.
#[inline(always)]
fn excess<S: Simd>(simd: S, norm: S::F, spread: Spread) -> [S::F; 3] {
    let splat = |x| simd.splat(x);
    let (one, half) = (splat(1.0), splat(0.5));
    let delta = simd.mul(norm, splat(spread.key_radius));
    let sigma = simd.mul(norm, splat(spread.key_deviation));
    let m = exp2(simd, simd.mul(delta, splat(-LOG2_E)));
    // By the series where the differences cancel.
    let series = series(simd, delta);
    let small = simd.less(delta, one);
    // Where the series is taken, nothing divides by 0.
    let divisor = simd.select(small, one, delta);
    let rest = simd.sub(simd.sub(one, m), simd.mul(delta, m));
    let second = simd.select(small, simd.mul(m, series), simd.div(simd.div(rest, divisor), divisor));
    let first =
        simd.select(small, simd.mul(m, simd.fma(delta, series, one)), simd.div(simd.sub(one, m), divisor));
    // 1 - e^-Δ
    let lost = simd.mul(delta, first);
    let cosh = simd.mul(half, simd.mul(lost, lost));
    let sinh = simd.mul(half, simd.mul(lost, simd.add(one, m)));
    let a = simd.min(cosh, simd.mul(simd.mul(sigma, sigma), second));
    let chord = simd.mul(splat(spread.value_radius), sinh);
    let spread = simd.mul(simd.mul(sigma, splat(spread.value_deviation)), first);
    [delta, a, simd.min(chord, spread)]
}

/// The queries of a panel `[dim, width]`, zeros past the last; and `|scale|·‖q‖` of each.
#[inline(always)]
fn panel<S: Simd>(simd: S, view: &View<'_>, panel: usize, queries: &mut [f32]) -> [S::F; 2] {
    let width = width::<S>();
    let rows = width.min(view.queries - panel * width);
    if rows < width {
        queries.fill(0.0);
    }
    let from = view.q.from(panel * width);
    transpose(simd, (rows, view.dim), from.data, from.stride, queries, width);
    let mut squares = [simd.splat(0.0); 2];
    for row in queries.chunks_exact(width) {
        let x = load(simd, row);
        squares = both!(half => simd.fma(x[half], x[half], squares[half]));
    }
    let (scale, lost) = (simd.splat(view.scale.abs() * SLACK), UNDERFLOW * (view.dim as f32).sqrt());
    both!(half => simd.mul(simd.add(simd.sqrt(squares[half]), simd.splat(lost)), scale))
}

impl Kernel for Before<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { view, tiles, most, logits, shares } = self;
        let (width, dim, count) = (width::<S>(), view.dim, tiles.len());
        let mut scratch = Buffer::<f32>::scratch((dim + count) * width);
        let (queries, powers) = scratch.split_at_mut(dim * width);
        let means = view.tiles.k_means(dim).from(tiles.start);
        let log_tile = simd.splat((TILE as f32).ln());
        shares.fill(0.0);
        for number in 0..panels(view.queries, width) {
            let norm = panel(simd, &view, number, queries);
            let logits = &mut logits[number * count * width..][..count * width];
            let product = Product {
                rows: count,
                depth: dim,
                left: Left { data: means.data, row: means.stride, step: 1 },
                right: Right { data: queries, stride: width },
            };
            product.run(simd, logits, width, |_| 0, Start::Zero);
            let scale = simd.splat(view.scale);
            let mut max = [simd.splat(f32::NEG_INFINITY); 2];
            for row in logits.chunks_exact_mut(width) {
                let logit = load(simd, row);
                let logit = both!(half => simd.fma(logit[half], scale, log_tile));
                // Nothing is less than NaN: such a tile's share is infinite, the others' are what they are.
                max = both!(half => simd.select(simd.less(max[half], logit[half]), logit[half], max[half]));
                store(simd, logit, row);
            }
            let mut sum = [simd.splat(0.0); 2];
            for (row, powers) in logits.chunks_exact(width).zip(powers.chunks_exact_mut(width)) {
                let logit = load(simd, row);
                let power = both!(half => {
                    let power = exp(simd, simd.sub(logit[half], max[half]));
                    let is_number = simd.less(logit[half], simd.splat(f32::INFINITY));
                    simd.select(is_number, power, simd.splat(0.0))
                });
                sum = both!(half => simd.add(sum[half], power[half]));
                store(simd, power, powers);
            }
            // Each share is divided by the sum of all, of which this is a lower bound: a refined tile only adds.
            let factor = both!(half => simd.div(simd.splat(SLACK), sum[half]));
            let rows = logits.chunks_exact(width).zip(powers.chunks_exact(width));
            for (((row, powers), share), tile) in rows.zip(shares.iter_mut()).zip(tiles.clone()) {
                if *share > most {
                    continue;
                }
                let spread = view.tiles.spread(tile, dim);
                let farthest = simd.splat(spread.offset + view.reach);
                // Where nothing can be saved, this decides most tiles.
                if most < f32::INFINITY {
                    let power = load(simd, powers);
                    let least = both!(half => {
                        let excess = least_excess(simd, norm[half], spread, farthest);
                        simd.mul(simd.mul(power[half], factor[half]), excess)
                    });
                    let least = LEAST * simd.max_lane(simd.max(least[0], least[1]));
                    if least > most {
                        *share = f32::INFINITY;
                        continue;
                    }
                }
                let logit = load(simd, row);
                let error = both!(half => {
                    let [delta, a, b] = excess(simd, norm[half], spread);
                    let weight = exp(simd, simd.add(simd.sub(logit[half], max[half]), delta));
                    let error = simd.mul(simd.mul(weight, factor[half]), simd.fma(a, farthest, b));
                    let infinite = simd.splat(f32::INFINITY);
                    // NaN is not less than anything.
                    simd.select(simd.less(error, infinite), error, infinite)
                });
                *share = share.max(simd.max_lane(simd.max(error[0], error[1])));
            }
        }
    }
}

impl Kernel for After<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { view, tiles, coarse, logits, out, lse, bounds, quality } = self;
        let (width, dim, count) = (width::<S>(), view.dim, tiles.len());
        let mut scratch = Buffer::<f32>::scratch((2 * dim + count) * width);
        let (queries, scratch) = scratch.split_at_mut(dim * width);
        let (outputs, products) = scratch.split_at_mut(dim * width);
        // An inner product of so many terms is off by so much of the product of the norms.
        let rounding = simd.splat(1.2e-7 * (dim + 8) as f32);
        for number in 0..panels(view.queries, width) {
            let norm = panel(simd, &view, number, queries);
            let first = number * width;
            let rows = width.min(view.queries - first);
            if rows < width {
                outputs.fill(0.0);
            }
            let from = out.from(first);
            transpose(simd, (rows, dim), from.data, from.stride, outputs, width);
            let mut squares = [simd.splat(0.0); 2];
            let mut along = [simd.splat(0.0); 2];
            for (row, centre) in outputs.chunks_exact_mut(width).zip(&view.tiles.centre) {
                let centre = simd.splat(*centre);
                let x = load(simd, row);
                let x = both!(half => simd.sub(x[half], centre));
                squares = both!(half => simd.fma(x[half], x[half], squares[half]));
                along = both!(half => simd.fma(x[half], centre, along[half]));
                store(simd, x, row);
            }
            let mut sums = [0.0; 32];
            sums[..rows].copy_from_slice(&lse[first..first + rows]);
            let sums = load(simd, &sums);
            let logits = &logits[number * count * width..][..count * width];
            let (mut error, mut excesses) = ([simd.splat(0.0); 2], [simd.splat(0.0); 2]);
            for run in coarse {
                let means = view.tiles.v_means(dim).from(run.start);
                let product = Product {
                    rows: run.len(),
                    depth: dim,
                    left: Left { data: means.data, row: means.stride, step: 1 },
                    right: Right { data: outputs, stride: width },
                };
                product.run(
                    simd,
                    &mut products[(run.start - tiles.start) * width..],
                    width,
                    |_| 0,
                    Start::Zero,
                );
            }
            for tile in coarse.iter().flat_map(Range::clone) {
                let spread = view.tiles.spread(tile, dim);
                let at = (tile - tiles.start) * width;
                let (inner, logit) = (load(simd, &products[at..]), load(simd, &logits[at..]));
                let offset = simd.splat(spread.offset * spread.offset);
                // As far as was taken for granted before.
                let farthest = simd.splat(spread.offset + view.reach);
                let parts = both!(half => {
                    let both = simd.add(offset, squares[half]);
                    let inner = simd.sub(inner[half], along[half]);
                    let square = simd.fma(inner, simd.splat(-2.0), both);
                    let distance = simd.sqrt(simd.fma(both, rounding, simd.max(square, simd.splat(0.0))));
                    let distance = simd.min(distance, farthest);
                    let [delta, a, b] = excess(simd, norm[half], spread);
                    let weight = exp(simd, simd.add(simd.sub(logit[half], sums[half]), delta));
                    [simd.mul(weight, simd.fma(a, distance, b)), simd.mul(weight, a)]
                });
                error = both!(half => simd.add(error[half], parts[half][0]));
                excesses = both!(half => simd.add(excesses[half], parts[half][1]));
            }
            let (mut errors, mut more) = ([0.0; 32], [0.0; 32]);
            store(simd, both!(half => simd.mul(error[half], simd.splat(SLACK))), &mut errors);
            store(simd, excesses, &mut more);
            for (i, (bound, quality)) in
                bounds[first..].iter_mut().zip(&mut quality[first..]).take(rows).enumerate()
            {
                // What cannot be bounded is not.
                *bound = if errors[i].is_nan() { f32::INFINITY } else { errors[i] };
                *quality = if more[i].is_nan() { 0.0 } else { 1.0 / (1.0 + more[i] * SLACK) };
            }
        }
    }
}
