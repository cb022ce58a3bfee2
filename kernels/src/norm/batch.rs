//! BatchNorm (Ioffe and Szegedy, 2015) over `[batch, channels, plane]`: each channel by its statistics over batch and plane.
//!
//! A task has one channel: it is read once from memory and swept again in cache. Rows of at most 4096 numbers are summed in
//! vectors of `f32`, and their sums in `f64`, image by image; the variance is that of the differences from the mean. A NaN or
//! an infinity makes its channel NaN when training, and stays in its place when evaluating.

use super::layer::SquaredDistance;
use crate::blocks;
use crate::contract;
use crate::conv::LearnedNorm;
use crate::element::Write;
use crate::error::{check, checked_len, ShapeError};
use crate::grid::{Tile, Tiles};
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, Fold, Lanewise, Sum};
use crate::matrix::MatMut;
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};

/// Numbers summed in `f32`.
const ROW: usize = 4096;

/// Shape of what is normalised: `[batch, channels, plane]`, a plane being `height · width`, or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNorm {
    /// Images.
    pub batch: usize,
    /// Channels, each normalised on its own.
    pub channels: usize,
    /// Elements of a channel of one image.
    pub plane: usize,
}

impl BatchNorm {
    /// Checks the lengths of tensors and of channel parameters.
    pub(crate) fn check(&self, tensors: &[usize], channels: &[usize]) -> Result<(), ShapeError> {
        let len = checked_len("the input", &[self.batch, self.channels, self.plane])?;
        tensors.iter().try_for_each(|&found| check("the length of a tensor", len, found))?;
        channels
            .iter()
            .try_for_each(|&found| check("the length of a channel parameter", self.channels, found))
    }

    /// Elements that a channel's statistics are of.
    pub(crate) fn count(&self) -> usize {
        self.batch * self.plane
    }

    /// The rows of a channel, at most [`ROW`] long.
    fn rows<'a>(&self, x: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let Self { batch, channels, plane } = *self;
        (0..batch).flat_map(move |image| x[(image * channels + channel) * plane..][..plane].chunks(ROW))
    }

    /// Tiles of one channel each, `[batch, plane]`.
    fn channels<'a>(&self, out: &'a mut [f32]) -> Result<Tiles<'a, f32>, ShapeError> {
        let out = MatMut::new(out, self.batch, self.channels * self.plane)?;
        Ok(Tiles::new(out, self.batch.max(1), self.plane))
    }
}

/// A running mean or variance after a batch: the old one, moved by `momentum` of the difference.
pub(crate) fn moved(old: f64, momentum: f64, seen: f64) -> f64 {
    (1.0 - momentum) * old + momentum * seen
}

/// `Σ dy·(x - center)`
#[derive(Clone, Copy)]
struct Pull {
    center: f32,
}

impl Fold<2> for Pull {
    fn padding(self) -> [f32; 2] {
        [0.0, self.center]
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [dy, x]: [S::F; 2]) -> S::F {
        simd.fma(dy, simd.sub(x, simd.splat(self.center)), sum)
    }
}

/// `(x - center)·factor + summand`
#[derive(Clone, Copy)]
struct Normalise {
    center: f32,
    factor: f32,
    summand: f32,
}

impl Lanewise<1> for Normalise {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F; 1]) -> S::F {
        let away = simd.sub(x, simd.splat(self.center));
        simd.fma(away, simd.splat(self.factor), simd.splat(self.summand))
    }
}

/// `(dy - (x - center)·pull - mean)·factor`
#[derive(Clone, Copy)]
struct Gradient {
    center: f32,
    pull: f32,
    mean: f32,
    factor: f32,
}

impl Lanewise<2> for Gradient {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [dy, x]: [S::F; 2]) -> S::F {
        let away = simd.sub(x, simd.splat(self.center));
        let rest = simd.fma(away, simd.splat(-self.pull), simd.sub(dy, simd.splat(self.mean)));
        simd.mul(rest, simd.splat(self.factor))
    }
}

/// One channel forward. Gives its mean and variance.
struct Forward<'a> {
    shape: &'a BatchNorm,
    channel: usize,
    x: &'a [f32],
    weight: f32,
    bias: f32,
    epsilon: f64,
    out: Tile<'a, f32>,
}

impl Kernel for Forward<'_> {
    type Output = [f64; 2];
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> [f64; 2] {
        let count = self.shape.count() as f64;
        let mut mean = 0.0;
        for row in self.shape.rows(self.x, self.channel) {
            mean += f64::from(simd.sum(fold(simd, [row], Sum)));
        }
        mean /= count;
        let center = mean as f32;
        let mut variance = 0.0;
        for row in self.shape.rows(self.x, self.channel) {
            variance += f64::from(simd.sum(fold(simd, [row], SquaredDistance { center })));
        }
        variance /= count;
        let factor = (f64::from(self.weight) / (variance + self.epsilon).sqrt()) as f32;
        let op = Normalise { center, factor, summand: self.bias };
        let plane = self.shape.plane;
        for image in 0..self.shape.batch {
            let x = &self.x[(image * self.shape.channels + self.channel) * plane..][..plane];
            lanewise(simd, [x], self.out.row_mut(image), Write::Overwrite, op);
        }
        [mean, variance]
    }
}

/// Normalises by the batch's own statistics: `out = (x - mean)·rstd·weight + bias` with `rstd = 1/√(variance + ε)` and the
/// biased variance. `mean` and `rstd`, `[channels]`, are kept for the backward pass. Running statistics move by `momentum`
/// of what was seen: `running = (1 - momentum)·running + momentum·seen`, the variance seen being the unbiased one (divided
/// by `count - 1`; of a single element it is 0).
///
/// Where a batch has no elements, `mean` becomes 0, `rstd` `1/√ε`, and the running statistics stay.
///
/// # Errors
/// When a length does not fit the shape; nothing has been written then.
///
/// # Panics
/// When `epsilon` is NaN, infinite or below 0.
///
/// ```
/// use upbeat_kernels::norm::{batch_norm_forward, BatchNorm};
/// let shape = BatchNorm { batch: 2, channels: 1, plane: 2 };
/// let (mut running_mean, mut running_variance) = ([0.0], [1.0]);
/// let (mut out, mut mean, mut rstd) = ([0.0; 4], [0.0], [0.0]);
/// let x = [1.0, 1.0, 3.0, 3.0];
/// batch_norm_forward(
///     &shape, &x, &[2.0], &[1.0], 0.0, 0.1, &mut running_mean, &mut running_variance, &mut out, &mut mean, &mut rstd,
/// )?;
/// assert_eq!((out, mean, rstd), ([-1.0, -1.0, 3.0, 3.0], [2.0], [1.0]));
/// assert_eq!(running_mean, [0.2]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_forward(
    shape: &BatchNorm,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f64,
    momentum: f64,
    running_mean: &mut [f32],
    running_variance: &mut [f32],
    out: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), ShapeError> {
    contract::epsilon(epsilon);
    let channels =
        [weight.len(), bias.len(), running_mean.len(), running_variance.len(), mean.len(), rstd.len()];
    shape.check(&[x.len(), out.len()], &channels)?;
    let count = shape.count();
    if count == 0 {
        mean.fill(0.0);
        rstd.fill((1.0 / epsilon.sqrt()) as f32);
        return Ok(());
    }
    let tiles = shape.channels(out)?;
    let mut seen = Buffer::<f64>::unspecified(2 * shape.channels);
    upbeat::par::chunks_mut(&mut seen, 2, |channel, seen| {
        let (weight, bias, out) = (weight[channel], bias[channel], tiles.take(0, channel));
        seen.copy_from_slice(&dispatch(Forward { shape, channel, x, weight, bias, epsilon, out }));
    });
    let unbiased = count as f64 / (count - 1).max(1) as f64;
    for (channel, seen) in seen.chunks_exact(2).enumerate() {
        mean[channel] = seen[0] as f32;
        rstd[channel] = (1.0 / (seen[1] + epsilon).sqrt()) as f32;
        let running = (&mut running_mean[channel], &mut running_variance[channel]);
        *running.0 = moved(f64::from(*running.0), momentum, seen[0]) as f32;
        *running.1 = moved(f64::from(*running.1), momentum, seen[1] * unbiased) as f32;
    }
    Ok(())
}

/// Rows of planes.
struct Evaluate<'a> {
    norm: &'a LearnedNorm<'a, f32>,
    /// The first row.
    first: usize,
    plane: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Evaluate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.x.chunks_exact(self.plane).zip(self.out.chunks_exact_mut(self.plane));
        for (row, (x, out)) in rows.enumerate() {
            let channel = (self.first + row) % self.norm.mean.len();
            let variance = f64::from(self.norm.variance[channel]) + self.norm.epsilon;
            let factor = (f64::from(self.norm.weight[channel]) / variance.sqrt()) as f32;
            let (center, summand) = (self.norm.mean[channel], self.norm.bias[channel]);
            lanewise(simd, [x], out, Write::Overwrite, Normalise { center, factor, summand });
        }
    }
}

/// Normalises by learned statistics: `out = (x - mean)·weight/√(variance + ε) + bias`. Behind a convolution,
/// [`fold_batch_norm`](crate::conv::fold_batch_norm) costs nothing at all.
///
/// # Errors
/// When a length does not fit the shape; nothing has been written then.
///
/// # Panics
/// When the norm's epsilon is NaN, infinite or below 0.
///
/// ```
/// use upbeat_kernels::{conv::LearnedNorm, norm::{batch_norm_eval, BatchNorm}};
/// let norm = LearnedNorm { weight: &[2.0], bias: &[1.0], mean: &[3.0], variance: &[4.0], epsilon: 0.0 };
/// let mut out = [0.0; 2];
/// batch_norm_eval(&BatchNorm { batch: 2, channels: 1, plane: 1 }, &[3.0, 5.0], &norm, &mut out)?;
/// assert_eq!(out, [1.0, 3.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn batch_norm_eval(
    shape: &BatchNorm,
    x: &[f32],
    norm: &LearnedNorm<'_, f32>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    norm.check(shape.channels)?;
    shape.check(&[x.len(), out.len()], &[])?;
    let rows = blocks::rows(shape.plane, blocks::ELEMENTS);
    upbeat::par::chunks_mut(out, (rows * shape.plane).max(1), |block, out| {
        let x = &x[block * rows * shape.plane..][..out.len()];
        dispatch(Evaluate { norm, first: block * rows, plane: shape.plane, x, out });
    });
    Ok(())
}

/// One channel backward. Gives what it adds to the gradients of weight and bias.
struct Backward<'a> {
    shape: &'a BatchNorm,
    channel: usize,
    dy: &'a [f32],
    x: &'a [f32],
    weight: f32,
    mean: f32,
    rstd: f32,
    write: Write,
    dx: Tile<'a, f32>,
}

impl Kernel for Backward<'_> {
    type Output = [f64; 2];
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> [f64; 2] {
        let (count, rstd) = (self.shape.count() as f64, f64::from(self.rstd));
        let (mut sum, mut pull) = (0.0, 0.0);
        for dy in self.shape.rows(self.dy, self.channel) {
            sum += f64::from(simd.sum(fold(simd, [dy], Sum)));
        }
        let rows = self.shape.rows(self.dy, self.channel).zip(self.shape.rows(self.x, self.channel));
        for (dy, x) in rows {
            pull += f64::from(simd.sum(fold(simd, [dy, x], Pull { center: self.mean })));
        }
        let op = Gradient {
            center: self.mean,
            pull: (rstd * rstd * pull / count) as f32,
            mean: (sum / count) as f32,
            factor: self.rstd * self.weight,
        };
        let plane = self.shape.plane;
        for image in 0..self.shape.batch {
            let from = (image * self.shape.channels + self.channel) * plane;
            let (dy, x) = (&self.dy[from..][..plane], &self.x[from..][..plane]);
            lanewise(simd, [dy, x], self.dx.row_mut(image), self.write, op);
        }
        [rstd * pull, sum]
    }
}

/// Gradient of [`batch_norm_forward`], with the `mean` and `rstd` that it kept. `dx` as `write` says; `d_weight` and
/// `d_bias`, `[channels]`, are added to.
///
/// With `x̂ = (x - mean)·rstd` and means over the channel: `dx = rstd·weight·(dy - mean(dy) - x̂·mean(dy·x̂))`,
/// `d_weight = Σ dy·x̂`, `d_bias = Σ dy`.
///
/// # Errors
/// When a length does not fit the shape; nothing has been written then.
///
/// ```
/// use upbeat_kernels::{norm::{batch_norm_backward, BatchNorm}, Write};
/// let shape = BatchNorm { batch: 1, channels: 1, plane: 2 };
/// let (mut dx, mut d_weight, mut d_bias) = ([0.0; 2], [0.0], [0.0]);
/// let (dy, x) = ([1.0, 3.0], [-1.0, 1.0]);
/// batch_norm_backward(
///     &shape, &dy, &x, &[1.0], &[0.0], &[1.0], &mut dx, Write::Overwrite, &mut d_weight, &mut d_bias,
/// )?;
/// assert_eq!((dx, d_weight, d_bias), ([0.0; 2], [2.0], [4.0]));
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward(
    shape: &BatchNorm,
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    write: Write,
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) -> Result<(), ShapeError> {
    let channels = [weight.len(), mean.len(), rstd.len(), d_weight.len(), d_bias.len()];
    shape.check(&[dx.len(), x.len()], &channels)?;
    contract::same(x.len(), &[dy.len()])?;
    if shape.count() == 0 {
        return Ok(());
    }
    let tiles = shape.channels(dx)?;
    let mut sums = Buffer::<f64>::unspecified(2 * shape.channels);
    upbeat::par::chunks_mut(&mut sums, 2, |channel, sums| {
        let (weight, mean, rstd) = (weight[channel], mean[channel], rstd[channel]);
        let dx = tiles.take(0, channel);
        sums.copy_from_slice(&dispatch(Backward { shape, channel, dy, x, weight, mean, rstd, write, dx }));
    });
    for (channel, sums) in sums.chunks_exact(2).enumerate() {
        d_weight[channel] += sums[0] as f32;
        d_bias[channel] += sums[1] as f32;
    }
    Ok(())
}
