//! LayerNorm (Ba, Kiros and Hinton, 2016), two passes over the row for mean and variance, so that neither cancels.

use super::{is_past, rstd_of, TimesNormal, WeightedDot, AHEAD};
use crate::blocks::{add_to_lanes, rows, rows_to_sum, sum_over_rows, ELEMENTS, NARROW};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, lanewise_beside, Dot, Fold, Lanewise, Sum};
use crate::pool::Buffer;
use crate::simd::{stream, Kernel, Simd};

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
    past: bool,
}

impl Forward<'_> {
    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, sum: S::F) -> f32 {
        simd.sum(sum) / self.weight.len() as f32
    }

    #[inline(always)]
    fn rstd<S: Simd>(&self, simd: S, squares: S::F) -> f32 {
        rstd_of(simd.sum(squares) / self.weight.len() as f32, self.epsilon)
    }

    /// Rows `first..first + rows`.
    #[inline(always)]
    fn rows<S: Simd>(&mut self, simd: S, first: usize, rows: usize, room: &mut [f32]) {
        let cols = self.weight.len();
        let x = &self.x[first * cols..][..rows * cols];
        let x = |row: usize| &x[row * cols..][..cols];
        let distances = |center| SquaredDistance { center };
        for row in 0..rows.min(2 * AHEAD) {
            self.mean[first + row] = self.mean(simd, fold(simd, [x(row)], Sum));
        }
        for row in 0..rows.min(AHEAD) {
            let center = self.mean[first + row];
            self.rstd[first + row] = self.rstd(simd, fold(simd, [x(row)], distances(center)));
        }
        for row in 0..rows {
            let op = Normalise { mean: self.mean[first + row], rstd: self.rstd[first + row] };
            let out = if self.past { &mut room[..] } else { &mut self.out[(first + row) * cols..][..cols] };
            if row + 2 * AHEAD < rows {
                let second = ([x(row + AHEAD)], distances(self.mean[first + row + AHEAD]));
                let third = ([x(row + 2 * AHEAD)], Sum);
                let (squares, sum) = match self.bias {
                    Some(bias) => lanewise_beside(simd, [x(row), self.weight, bias], out, op, second, third),
                    None => lanewise_beside(simd, [x(row), self.weight], out, op, second, third),
                };
                self.rstd[first + row + AHEAD] = self.rstd(simd, squares);
                self.mean[first + row + 2 * AHEAD] = self.mean(simd, sum);
            } else {
                match self.bias {
                    Some(bias) => lanewise(simd, [x(row), self.weight, bias], out, Write::Overwrite, op),
                    None => lanewise(simd, [x(row), self.weight], out, Write::Overwrite, op),
                }
                if row + AHEAD < rows {
                    let center = self.mean[first + row + AHEAD];
                    let squares = fold(simd, [x(row + AHEAD)], distances(center));
                    self.rstd[first + row + AHEAD] = self.rstd(simd, squares);
                }
            }
            if self.past {
                stream::copy_lines(simd, room, &mut self.out[(first + row) * cols..][..cols]);
            }
        }
    }
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (rows, cols) = (self.mean.len(), self.weight.len());
        let mut room = Buffer::scratch(if self.past { cols } else { 0 });
        let together = if cols <= NARROW { rows.max(1) } else { 1 };
        for first in (0..rows).step_by(together) {
            self.rows(simd, first, together.min(rows - first), &mut room);
        }
        if self.past {
            stream::finish();
        }
    }
}

/// See [`Element::layer_norm_forward`](crate::Element::layer_norm_forward).
///
/// # Panics
/// When `epsilon` is NaN, infinite or below 0.
pub fn layer_norm_forward(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    epsilon: f64,
    out: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), ShapeError> {
    contract::epsilon(epsilon);
    let cols = weight.len();
    let widths = [bias.map_or(cols, <[f32]>::len)];
    contract::norm(x.len(), cols, out.len(), &[mean.len(), rstd.len()], &widths)?;
    let block = rows(cols, ELEMENTS);
    let past = is_past(out.len());
    let (means, rstds) = (Tiles::of_slice(mean, block), Tiles::of_slice(rstd, block));
    upbeat::par::chunks_mut(out, (block * cols).max(1), |i, out| {
        let x = &x[i * block * cols..][..out.len()];
        let (mean, rstd) = (means.take(0, i).into_slice(), rstds.take(0, i).into_slice());
        dispatch(Forward { x, weight, bias, epsilon, out, mean, rstd, past });
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

#[cfg(test)]
mod tests {
    use super::Forward;
    use crate::isa::dispatch;

    #[test]
    fn results_past_the_caches_are_the_stored_ones() {
        for (rows, cols) in [(1, 7), (3, 64), (6, 100), (9, 33), (2, 1030)] {
            let numbers: Vec<f32> = (0..rows * cols).map(|i| (i * 7919 % 1013) as f32 / 64.0).collect();
            let (x, weight) = (&numbers, &numbers[..cols]);
            for bias in [None, Some(weight)] {
                let [stored, streamed] = [false, true].map(|past| {
                    let (mut out, mut mean, mut rstd) =
                        (vec![0.0; x.len()], vec![0.0; rows], vec![0.0; rows]);
                    let (out_of, mean_of, rstd_of) = (&mut out[..], &mut mean[..], &mut rstd[..]);
                    dispatch(Forward {
                        x,
                        weight,
                        bias,
                        epsilon: 0.5,
                        out: out_of,
                        mean: mean_of,
                        rstd: rstd_of,
                        past,
                    });
                    (out, mean, rstd)
                });
                assert_eq!(stored, streamed, "{rows} rows of {cols}");
                assert!(stored.2.iter().all(|&rstd| rstd > 0.0));
            }
        }
    }
}
