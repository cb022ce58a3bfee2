//! LayerNorm (Ba, Kiros and Hinton, 2016), two passes over the row for mean and variance, so that neither cancels.

use super::{rstd_of, TimesNormal, WeightedDot};
use crate::blocks::{add_to_lanes, rows, rows_to_sum, sum_over_rows, ELEMENTS};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, Dot, Fold, Lanewise, Sum};
use crate::simd::{Kernel, Simd};

/// `Σ (x - center)²`.
#[derive(Clone, Copy)]
pub(super) struct SquaredDistance {
    pub(super) center: f32,
}

impl Fold<1> for SquaredDistance {
    fn padding(self) -> [f32; 1] {
        [self.center]
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        let distance = simd.sub(x, simd.splat(self.center));
        simd.fma(distance, distance, sum)
    }
}

/// `(x - mean)·rstd·weight`
#[derive(Clone, Copy)]
struct Normalise {
    mean: f32,
    rstd: f32,
}

impl Lanewise<2> for Normalise {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x, weight]: [S::F; 2]) -> S::F {
        let normal = simd.mul(simd.sub(x, simd.splat(self.mean)), simd.splat(self.rstd));
        simd.mul(normal, weight)
    }
}

impl Lanewise<3> for Normalise {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x, weight, bias]: [S::F; 3]) -> S::F {
        let normal = simd.mul(simd.sub(x, simd.splat(self.mean)), simd.splat(self.rstd));
        simd.fma(normal, weight, bias)
    }
}

/// A block of rows.
struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f64,
    out: &'a mut [f32],
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cols = self.weight.len();
        let rows = self.x.chunks_exact(cols).zip(self.out.chunks_exact_mut(cols));
        let kept = self.mean.iter_mut().zip(self.rstd);
        for ((x, out), (kept_mean, kept_rstd)) in rows.zip(kept) {
            let mean = simd.sum(fold(simd, [x], Sum)) / cols as f32;
            let squares = simd.sum(fold(simd, [x], SquaredDistance { center: mean }));
            let rstd = rstd_of(squares / cols as f32, self.epsilon);
            let op = Normalise { mean, rstd };
            match self.bias {
                Some(bias) => lanewise(simd, [x, self.weight, bias], out, Write::Overwrite, op),
                None => lanewise(simd, [x, self.weight], out, Write::Overwrite, op),
            }
            (*kept_mean, *kept_rstd) = (mean, rstd);
        }
    }
}

/// See [`Element::layer_norm_forward`](crate::Element::layer_norm_forward).
pub fn layer_norm_forward(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    epsilon: f64,
    out: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), ShapeError> {
    let cols = weight.len();
    let widths = [bias.map_or(cols, <[f32]>::len)];
    contract::norm(x.len(), cols, out.len(), &[mean.len(), rstd.len()], &widths)?;
    let block = rows(cols, ELEMENTS);
    let (means, rstds) = (Tiles::of_slice(mean, block), Tiles::of_slice(rstd, block));
    upbeat::par::chunks_mut(out, (block * cols).max(1), |i, out| {
        let x = &x[i * block * cols..][..out.len()];
        let (mean, rstd) = (means.take(0, i).into_slice(), rstds.take(0, i).into_slice());
        dispatch(Forward { x, weight, bias, epsilon, out, mean, rstd });
    });
    Ok(())
}

/// `rstd·(dy·weight - mean_g - normal·mean_gx)`
#[derive(Clone, Copy)]
struct Gradient {
    mean: f32,
    rstd: f32,
    mean_g: f32,
    mean_gx: f32,
}

impl Lanewise<3> for Gradient {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [dy, weight, x]: [S::F; 3]) -> S::F {
        let normal = simd.mul(simd.sub(x, simd.splat(self.mean)), simd.splat(self.rstd));
        let g = simd.fma(dy, weight, simd.splat(-self.mean_g));
        simd.mul(simd.fma(normal, simd.splat(-self.mean_gx), g), simd.splat(self.rstd))
    }
}

/// A block of rows, and the sums that it adds to.
struct Backward<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    weight: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    dx: &'a mut [f32],
    write: Write,
    /// `[d_weight]` or `[d_weight | d_bias]`.
    sums: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cols = self.weight.len();
        let (d_weight, d_bias) = self.sums.split_at_mut(cols);
        let rows = self.x.chunks_exact(cols).zip(self.dy.chunks_exact(cols));
        let kept = self.mean.iter().zip(self.rstd);
        for (((x, dy), dx), (&mean, &rstd)) in rows.zip(self.dx.chunks_exact_mut(cols)).zip(kept) {
            let mean_g = simd.sum(fold(simd, [dy, self.weight], Dot)) / cols as f32;
            let dot = simd.sum(fold(simd, [dy, self.weight, x], WeightedDot { center: mean }));
            let op = Gradient { mean, rstd, mean_g, mean_gx: dot * rstd / cols as f32 };
            lanewise(simd, [dy, self.weight, x], dx, self.write, op);
            lanewise(simd, [dy, x], d_weight, Write::Add, TimesNormal { center: mean, rstd });
            if !d_bias.is_empty() {
                add_to_lanes(simd, dy, d_bias);
            }
        }
    }
}

/// See [`Element::layer_norm_backward`](crate::Element::layer_norm_backward); the formula is its twin's.
#[allow(clippy::too_many_arguments)]
pub fn layer_norm_backward(
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    write: Write,
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) -> Result<(), ShapeError> {
    let cols = weight.len();
    let widths = [d_weight.len(), d_bias.as_ref().map_or(cols, |d| d.len())];
    let rows = contract::norm(x.len(), cols, dx.len(), &[mean.len(), rstd.len()], &widths)?;
    contract::same(x.len(), &[dy.len()])?;
    if rows == 0 {
        return Ok(());
    }
    let block = rows_to_sum(rows, cols);
    let dxs = Tiles::of_slice(dx, block * cols);
    let width = if d_bias.is_some() { 2 * cols } else { cols };
    let sums = sum_over_rows(rows, block, width, |b, rows, sums| {
        let span = rows.start * cols..rows.end * cols;
        dispatch(Backward {
            dy: &dy[span.clone()],
            x: &x[span],
            weight,
            mean: &mean[rows.clone()],
            rstd: &rstd[rows],
            dx: dxs.take(0, b).into_slice(),
            write,
            sums,
        });
    })?;
    crate::blocks::add_to(&sums[..cols], d_weight);
    if let Some(d_bias) = d_bias {
        crate::blocks::add_to(&sums[cols..][..cols], d_bias);
    }
    Ok(())
}
