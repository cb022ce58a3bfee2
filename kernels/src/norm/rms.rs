//! RMSNorm (Zhang and Sennrich, 2019).

use super::{rstd_of, TimesNormal, WeightedDot};
use crate::blocks::{add_to, rows, rows_to_sum, sum_over_rows, ELEMENTS};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, Dot, Lanewise};
use crate::simd::{Kernel, Simd};

/// `x·rstd·weight`
#[derive(Clone, Copy)]
struct Normalise(f32);

impl Lanewise<2> for Normalise {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x, weight]: [S::F; 2]) -> S::F {
        simd.mul(simd.mul(x, simd.splat(self.0)), weight)
    }
}

/// A block of rows.
struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f64,
    out: &'a mut [f32],
    rstd: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cols = self.weight.len();
        let rows = self.x.chunks_exact(cols).zip(self.out.chunks_exact_mut(cols));
        for ((x, out), kept) in rows.zip(self.rstd) {
            let rstd = rstd_of(simd.sum(fold(simd, [x, x], Dot)) / cols as f32, self.epsilon);
            lanewise(simd, [x, self.weight], out, Write::Overwrite, Normalise(rstd));
            *kept = rstd;
        }
    }
}

/// See [`Element::rms_norm_forward`](crate::Element::rms_norm_forward). Squares above `f32::MAX` overflow to a row of
/// zeros.
pub fn rms_norm_forward(
    x: &[f32],
    weight: &[f32],
    epsilon: f64,
    out: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), ShapeError> {
    let cols = weight.len();
    contract::norm(x.len(), cols, out.len(), &[rstd.len()], &[])?;
    let block = rows(cols, ELEMENTS);
    let rstds = Tiles::of_slice(rstd, block);
    upbeat::par::chunks_mut(out, (block * cols).max(1), |i, out| {
        let x = &x[i * block * cols..][..out.len()];
        dispatch(Forward { x, weight, epsilon, out, rstd: rstds.take(0, i).into_slice() });
    });
    Ok(())
}

/// `rstd·(dy·weight - x·rstd·mean_gx)`
#[derive(Clone, Copy)]
struct Gradient {
    rstd: f32,
    mean_gx: f32,
}

impl Lanewise<3> for Gradient {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [dy, weight, x]: [S::F; 3]) -> S::F {
        let pull = simd.mul(x, simd.splat(-self.rstd * self.mean_gx));
        simd.mul(simd.fma(dy, weight, pull), simd.splat(self.rstd))
    }
}

/// A block of rows, and the sums that it adds to.
struct Backward<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    weight: &'a [f32],
    rstd: &'a [f32],
    dx: &'a mut [f32],
    write: Write,
    d_weight: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cols = self.weight.len();
        let rows = self.x.chunks_exact(cols).zip(self.dy.chunks_exact(cols));
        for (((x, dy), dx), &rstd) in rows.zip(self.dx.chunks_exact_mut(cols)).zip(self.rstd) {
            let dot = simd.sum(fold(simd, [dy, self.weight, x], WeightedDot { center: 0.0 }));
            let op = Gradient { rstd, mean_gx: dot * rstd / cols as f32 };
            lanewise(simd, [dy, self.weight, x], dx, self.write, op);
            lanewise(simd, [dy, x], self.d_weight, Write::Add, TimesNormal { center: 0.0, rstd });
        }
    }
}

/// See [`Element::rms_norm_backward`](crate::Element::rms_norm_backward); the formula is its twin's.
pub fn rms_norm_backward(
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    write: Write,
    d_weight: &mut [f32],
) -> Result<(), ShapeError> {
    let cols = weight.len();
    let rows = contract::norm(x.len(), cols, dx.len(), &[rstd.len()], &[d_weight.len()])?;
    contract::same(x.len(), &[dy.len()])?;
    if rows == 0 {
        return Ok(());
    }
    let block = rows_to_sum(rows, cols);
    let dxs = Tiles::of_slice(dx, block * cols);
    let sums = sum_over_rows(rows, block, cols, |b, rows, sums| {
        let span = rows.start * cols..rows.end * cols;
        dispatch(Backward {
            dy: &dy[span.clone()],
            x: &x[span],
            weight,
            rstd: &rstd[rows],
            dx: dxs.take(0, b).into_slice(),
            write,
            d_weight: sums,
        });
    })?;
    add_to(&sums[..cols], d_weight);
    Ok(())
}
