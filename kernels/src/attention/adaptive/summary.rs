//! What is known of each tile of keys: means, radii, and how far keys and values spread in their widest direction.
//!
//! One task a tile. Which tiles are then taken for their means is not this file's business.

use super::super::view::{Heads, Rows};
use super::TILE;
use crate::error::{check, ShapeError};
use crate::isa;
use crate::pool::Buffer;
use crate::simd::tile::{width, Left, Product, Right, Start};
use crate::simd::transpose::transpose;
use crate::simd::{Kernel, Simd};

/// Numbers of a tile besides its two means.
const SPREADS: usize = 5;
/// Distances are rounded; these factors keep them bounds.
const RADIUS: f32 = 1.0 + 1e-5;
const DEVIATION: f32 = 1.01;
/// What the squares of a component may lose by underflow: a length may be this much longer, times the root of the number of components.
pub(super) const UNDERFLOW: f32 = 2e-19;
/// Below it a sum of squares is too inexact to take parts of.
const LEAST_TRACE: f32 = 1e-30;

/// Summaries of the tiles of 32 keys and values of each head of each sequence, for [`adaptive`](super::super::Attention::adaptive) attention.
/// They take a 32nd of the memory of the keys and values and a little more, and as long to make as attention of some 200 queries.
///
/// While a cache of keys grows, [`extend`](Self::extend) makes only those of new tiles.
#[derive(Clone, Debug)]
pub struct Summary {
    batch: usize,
    kv_heads: usize,
    dim: usize,
    /// For each head of each sequence.
    heads: Vec<Tiles>,
}

/// The tiles of one head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiles {
    /// `[tiles, 2·dim + SPREADS]`: the mean key, the mean value, and what [`Spread`] has.
    rows: Vec<f32>,
    /// The mean of the mean values.
    pub(crate) centre: Vec<f32>,
    /// How far a value of the tiles may lie from it.
    pub(crate) reach: f32,
}

/// How far a tile's keys and values lie from their means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The largest distance of a key.
    pub(crate) key_radius: f32,
    /// Upper estimate of the largest standard deviation of the keys in any direction.
    pub(crate) key_deviation: f32,
    pub(crate) value_radius: f32,
    pub(crate) value_deviation: f32,
    /// From the head's centre to the mean value.
    pub(crate) offset: f32,
}

impl Summary {
    /// Of all whole tiles of `k` and `v`, `[batch, positions, kv_heads, dim]` each.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn new(k: Heads<'_, f32>, v: Heads<'_, f32>) -> Result<Self, ShapeError> {
        let [batch, _, kv_heads, dim] = k.shape();
        let mut summary = Self { batch, kv_heads, dim, heads: vec![Tiles::default(); batch * kv_heads] };
        summary.extend(k, v)?;
        Ok(summary)
    }

    /// The number of whole tiles of each sequence that are summarised.
    pub fn tiles(&self) -> usize {
        self.heads.first().map_or(0, |tiles| tiles.count(self.dim))
    }

    /// Adds the tiles that `k` and `v` have more than before: whatever was summarised must be as it was.
    ///
    /// # Errors
    /// Another batch, number of heads or width, or fewer positions than were summarised.
    pub fn extend(&mut self, k: Heads<'_, f32>, v: Heads<'_, f32>) -> Result<(), ShapeError> {
        let [batch, positions, kv_heads, dim] = k.shape();
        check("the batch of the keys", self.batch, batch)?;
        check("the heads of the keys", self.kv_heads, kv_heads)?;
        check("the width of the keys", self.dim, dim)?;
        for (axis, what) in [
            (0, "the batch of the values"),
            (1, "the positions of the values"),
            (2, "the heads of the values"),
            (3, "the width of the values"),
        ] {
            check(what, k.shape()[axis], v.shape()[axis])?;
        }
        let (known, tiles) = (self.tiles(), positions / TILE);
        if tiles < known {
            let what = "positions that are summarised already";
            return Err(ShapeError::Limit { what, most: positions, found: known * TILE });
        }
        if dim == 0 || tiles == known {
            return Ok(());
        }
        let width = 2 * dim + SPREADS;
        for (index, head) in self.heads.iter_mut().enumerate() {
            head.rows.resize(tiles * width, 0.0);
            upbeat::par::chunks_mut(&mut head.rows[known * width..], width, |tile, out| {
                let sides = [k, v].map(|x| x.rows(index / kv_heads, (known + tile) * TILE, index % kv_heads));
                isa::dispatch(OfTile { sides, dim, out });
            });
            head.measure(dim);
        }
        Ok(())
    }

    /// Those of a head.
    pub(crate) fn head(&self, sequence: usize, kv_head: usize) -> &Tiles {
        &self.heads[sequence * self.kv_heads + kv_head]
    }

    /// `[batch, kv_heads, dim]`
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.batch, self.kv_heads, self.dim]
    }
}

impl Tiles {
    fn count(&self, dim: usize) -> usize {
        self.rows.len() / (2 * dim + SPREADS)
    }

    pub(crate) fn k_means(&self, dim: usize) -> Rows<'_, f32> {
        Rows { data: &self.rows, stride: 2 * dim + SPREADS }
    }

    pub(crate) fn v_means(&self, dim: usize) -> Rows<'_, f32> {
        Rows { data: self.rows.get(dim..).unwrap_or(&[]), stride: 2 * dim + SPREADS }
    }

    pub(crate) fn spread(&self, tile: usize, dim: usize) -> Spread {
        let row = &self.rows[tile * (2 * dim + SPREADS) + 2 * dim..][..SPREADS];
        Spread {
            key_radius: row[0],
            key_deviation: row[1],
            value_radius: row[2],
            value_deviation: row[3],
            offset: row[4],
        }
    }

    /// The centre of the mean values, and how far all lie from it.
    fn measure(&mut self, dim: usize) {
        let width = 2 * dim + SPREADS;
        let tiles = self.count(dim);
        let mut sums = vec![0.0_f64; dim];
        for row in self.rows.chunks_exact(width) {
            sums.iter_mut().zip(&row[dim..]).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        self.centre = sums.iter().map(|sum| (sum / tiles.max(1) as f64) as f32).collect();
        self.reach = 0.0;
        for row in self.rows.chunks_exact_mut(width) {
            let offset = distance(&row[dim..2 * dim], &self.centre);
            row[2 * dim + 4] = offset;
            self.reach = farther(self.reach, offset + row[2 * dim + 2]);
        }
    }
}

/// The distance of two vectors, rounded up.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt() as f32 * RADIUS
}

/// The larger, or NaN if one is.
pub(super) fn farther(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() {
        a
    } else {
        b
    }
}

/// One tile: means and spreads of keys and values to `out`.
struct OfTile<'a> {
    sides: [Rows<'a, f32>; 2],
    dim: usize,
    out: &'a mut [f32],
}

impl Kernel for OfTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { sides, dim, out } = self;
        let (means, spreads) = out.split_at_mut(2 * dim);
        let width = width::<S>();
        let sizes = [TILE * dim, dim * width, TILE * TILE, TILE * TILE];
        let mut scratch = Buffer::<f32>::scratch(sizes.iter().sum());
        let mut left = &mut scratch[..];
        let [centred, turned, gram, square] =
            sizes.map(|size| left.split_off_mut(..size).expect("the scratch holds the sum of sizes"));
        for (side, rows) in sides.into_iter().enumerate() {
            let mean = &mut means[side * dim..][..dim];
            mean.fill(0.0);
            for row in 0..TILE {
                mean.iter_mut().zip(rows.row(row, dim)).for_each(|(sum, x)| *sum += x);
            }
            mean.iter_mut().for_each(|sum| *sum /= TILE as f32);
            for (row, centred) in centred.chunks_exact_mut(dim).enumerate() {
                for ((to, x), mean) in centred.iter_mut().zip(rows.row(row, dim)).zip(&*mean) {
                    *to = x - mean;
                }
            }
            // The Gram matrix of the centred vectors has the eigenvalues of their covariance, but for a factor.
            for at in (0..TILE).step_by(width) {
                transpose(simd, (width, dim), &centred[at * dim..], dim, turned, width);
                let product = Product {
                    rows: TILE,
                    depth: dim,
                    left: Left { data: centred, row: dim, step: 1 },
                    right: Right { data: turned, stride: width },
                };
                product.run(simd, &mut gram[at..], TILE, |_| 0, Start::Zero);
            }
            let diagonal = || (0..TILE).map(|i| gram[i * TILE + i]);
            let lost = UNDERFLOW * (dim as f32).sqrt();
            let radius = (diagonal().fold(0.0, farther).sqrt() + lost) * RADIUS;
            let trace: f32 = diagonal().sum();
            spreads[2 * side] = radius;
            // In no direction do they deviate by more than the radius.
            spreads[2 * side + 1] = if trace < LEAST_TRACE {
                radius
            } else {
                // The largest eigenvalue is at most the fourth root of the sum of all fourth powers. Parts of the trace do not underflow.
                gram.iter_mut().for_each(|x| *x /= trace);
                for at in (0..TILE).step_by(width) {
                    let product = Product {
                        rows: TILE,
                        depth: TILE,
                        left: Left { data: gram, row: TILE, step: 1 },
                        right: Right { data: &gram[at..], stride: TILE },
                    };
                    product.run(simd, &mut square[at..], TILE, |_| 0, Start::Zero);
                }
                let fourth: f32 = square.iter().map(|x| x * x).sum();
                (trace / TILE as f32 * fourth.sqrt().sqrt()).sqrt() * DEVIATION + lost
            };
        }
    }
}
