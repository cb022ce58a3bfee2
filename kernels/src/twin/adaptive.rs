//! Adaptive attention in f64, given which tiles are taken for their means: outputs, log-sums and certificates as
//! `docs/adaptive-attention.md` has them.

use crate::attention::{self, Attention, Head, Heads, HeadsMut, Problem};
use crate::error::{check, ShapeError};
use crate::grid::heads::HeadTiles;

/// Which tiles are taken for their means.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    /// Keys of a tile.
    pub tile: usize,
    /// Queries that share a choice.
    pub queries: usize,
    /// Tiles that a choice has.
    pub tiles: usize,
    /// `[batch, heads, queries / self.queries, tiles]`, rounded up: 1 for those whose mean stands for them.
    pub coarse: &'a [u8],
}

/// One key, or a tile's mean.
struct Virtual {
    /// The logit, with the logarithm of how many keys it stands for.
    logit: f64,
    value: Vec<f64>,
    /// `A` and `b` of a tile.
    excess: Option<[f64; 2]>,
}

/// The mean of vectors, their radius around it, and an upper estimate of their largest deviation in any direction.
fn measure(x: &[&[f64]]) -> (Vec<f64>, f64, f64) {
    let n = x.len() as f64;
    let mean: Vec<f64> = (0..x[0].len()).map(|d| x.iter().map(|x| x[d]).sum::<f64>() / n).collect();
    let centred: Vec<Vec<f64>> =
        x.iter().map(|x| x.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram: Vec<Vec<f64>> =
        centred.iter().map(|a| centred.iter().map(|b| dot(a, b) / n).collect()).collect();
    let radius = centred.iter().map(|x| dot(x, x).sqrt()).fold(0.0, f64::max);
    // λ is at most the fourth root of the trace of the fourth power. Taken in parts of the trace, which underflow less.
    let trace: f64 = (0..x.len()).map(|i| gram[i][i]).sum();
    if trace == 0.0 {
        return (mean, radius, 0.0);
    }
    let part: Vec<Vec<f64>> = gram.iter().map(|row| row.iter().map(|x| x / trace).collect()).collect();
    let fourth: f64 = part.iter().flat_map(|a| part.iter().map(|b| dot(a, b).powi(2))).sum();
    (mean, radius, (trace * fourth.powf(0.25)).sqrt())
}

/// `A` and `b` for a query of norm `norm`, the scale included.
fn excess(norm: f64, (radius, deviation): (f64, f64), (v_radius, v_deviation): (f64, f64)) -> [f64; 2] {
    let (delta, sigma) = (norm * radius, norm * deviation);
    // (e^Δ - 1 - Δ)/Δ² and (e^Δ - 1)/Δ
    let second = if delta < 1e-3 {
        0.5 + delta / 6.0 + delta * delta / 24.0
    } else {
        (delta.exp_m1() - delta) / (delta * delta)
    };
    let first = 1.0 + delta * second;
    let cosh = 2.0 * (delta / 2.0).sinh().powi(2);
    [cosh.min(sigma * sigma * second), (v_radius * delta.sinh()).min(sigma * v_deviation * first)]
}

fn row(from: &Head<'_, f64>, i: usize, cut: &Cut<'_>, coarse: &[u8]) -> (Vec<f64>, f64, f64) {
    let (dim, seen) = (from.dim, from.band.seen(i));
    let query = from.q.row(i, dim);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = from.scale.abs() * dot(query, query).sqrt();
    let mut keys = Vec::new();
    let mut j = seen.start;
    while j < seen.end {
        let tile = j / cut.tile;
        if j == tile * cut.tile && coarse.get(tile) == Some(&1) {
            let members = j..j + cut.tile;
            let of = |rows: &attention::Rows<'_, f64>| {
                measure(&members.clone().map(|j| rows.row(j, dim)).collect::<Vec<_>>())
            };
            let ((key, radius, deviation), (value, v_radius, v_deviation)) = (of(&from.k), of(&from.v));
            keys.push(Virtual {
                logit: from.scale * dot(query, &key) + (cut.tile as f64).ln(),
                value,
                excess: Some(excess(norm, (radius, deviation), (v_radius, v_deviation))),
            });
            j += cut.tile;
        } else {
            let logit = from.scale * dot(query, from.k.row(j, dim));
            keys.push(Virtual { logit, value: from.v.row(j, dim).to_vec(), excess: None });
            j += 1;
        }
    }
    let lse = super::log_sum_exp(keys.len(), |n| keys[n].logit);
    let weight = |key: &Virtual| (key.logit - lse).exp();
    let mut out = vec![0.0; dim];
    for key in &keys {
        out.iter_mut().zip(&key.value).for_each(|(out, v)| *out += weight(key) * v);
    }
    let mut bound = 0.0;
    for key in &keys {
        if let Some([a, b]) = key.excess {
            let distance = key.value.iter().zip(&out).map(|(v, o)| (v - o).powi(2)).sum::<f64>().sqrt();
            bound += weight(key) * (b + a * distance);
        }
    }
    (out, lse, bound)
}

/// The twin of [`Attention::adaptive`] for a given cut, of which no tile is coarse that a query of its block sees only part of. `bounds` is
/// shaped as `lse`.
///
/// # Errors
/// As there; a cut of another length.
pub fn forward(
    attention: &Attention<'_, f64>,
    cut: &Cut<'_>,
    [q, k, v]: [Heads<'_, f64>; 3],
    out: HeadsMut<'_, f64>,
    lse: &mut [f64],
    bounds: &mut [f64],
) -> Result<(), ShapeError> {
    let problem = Problem::new(attention, q, k, v)?;
    attention::check_shape("output", q.shape(), out.shape())?;
    problem.check_lse(lse.len())?;
    problem.check_lse(bounds.len())?;
    let [batch, queries, heads, _] = q.shape();
    let blocks = queries.div_ceil(cut.queries);
    check("the length of the cut", batch * heads * blocks * cut.tiles, cut.coarse.len())?;
    let [sums, bounds] = [lse, bounds].map(|x| HeadTiles::new(x, problem.lse_layout()));
    let (out, layout) = out.into_parts();
    let outs = HeadTiles::new(out, layout);
    upbeat::par::for_each(0..batch * heads * queries, |index| {
        let (head, i) = (index / queries, index % queries);
        let (sequence, head) = (head / heads, head % heads);
        let choice = (sequence * heads + head) * blocks + i / cut.queries;
        let coarse = &cut.coarse[choice * cut.tiles..][..cut.tiles];
        let (row, sum, bound) = row(&problem.head(sequence, head), i, cut, coarse);
        outs.take(sequence, head, i..i + 1).row_mut(0).copy_from_slice(&row);
        sums.take(sequence, head, i..i + 1).into_slice()[0] = sum;
        bounds.take(sequence, head, i..i + 1).into_slice()[0] = bound;
    });
    Ok(())
}
