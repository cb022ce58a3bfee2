//! Softmax over rows, forward and backward.
//!
//! A NaN or a `∞` in a row makes the whole row NaN; a row of nothing but `-∞` gives zeros.

use crate::blocks::{rows, COSTLY_ELEMENTS, ELEMENTS};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, Dot, Fold, Lanewise, Largest};
use crate::math;
use crate::simd::{Kernel, Simd};

/// `exp(x - shift)`
#[derive(Clone, Copy)]
struct Shifted(f32);

impl Lanewise<1> for Shifted {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F; 1]) -> S::F {
        math::exp(simd, simd.sub(x, simd.splat(self.0)))
    }
}

/// `x·factor`, in place.
#[inline(always)]
fn scale<S: Simd>(simd: S, x: &mut [f32], factor: f32) {
    let factor = simd.splat(factor);
    let mut vectors = x.chunks_exact_mut(S::LANES);
    for x in &mut vectors {
        let scaled = simd.mul(simd.load(x), factor);
        simd.store(scaled, x);
    }
    let rest = vectors.into_remainder();
    let scaled = simd.mul(simd.load_partial(rest), factor);
    simd.store_partial(scaled, rest);
}

/// `Σ exp(x - shift)`
#[derive(Clone, Copy)]
pub(crate) struct SumOfExp(pub(crate) f32);

impl Fold<1> for SumOfExp {
    fn padding(self) -> [f32; 1] {
        [f32::NEG_INFINITY]
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        simd.add(sum, math::exp(simd, simd.sub(x, simd.splat(self.0))))
    }
}

/// `(shift, Σ exp(x - shift))`: the shift is the largest number, or 0 where all are `-∞`.
#[inline(always)]
pub(crate) fn shifted_sum<S: Simd>(simd: S, x: &[f32]) -> (f32, f32) {
    let shift = shift(simd, x);
    (shift, simd.sum(fold(simd, [x], SumOfExp(shift))))
}

#[inline(always)]
fn shift<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let largest = simd.max_lane(fold(simd, [x], Largest));
    if largest == f32::NEG_INFINITY {
        0.0
    } else {
        largest
    }
}

/// A block of rows.
struct Forward<'a> {
    x: &'a [f32],
    cols: usize,
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.x.chunks_exact(self.cols).zip(self.out.chunks_exact_mut(self.cols));
        for (x, out) in rows {
            let shift = shift(simd, x);
            lanewise(simd, [x], out, Write::Overwrite, Shifted(shift));
            let sum = simd.sum(fold(simd, [&*out], crate::lanes::Sum));
            scale(simd, out, if sum == 0.0 { 0.0 } else { 1.0 / sum });
        }
    }
}

/// See [`Element::softmax_forward`](crate::Element::softmax_forward).
pub fn softmax_forward(x: &[f32], cols: usize, out: &mut [f32]) -> Result<(), ShapeError> {
    contract::rows(x.len(), cols, out.len())?;
    let block = rows(cols, COSTLY_ELEMENTS) * cols;
    upbeat::par::chunks_mut(out, block.max(1), |i, out| {
        dispatch(Forward { x: &x[i * block..][..out.len()], cols, out });
    });
    Ok(())
}

/// `y·(dy - dot)`
#[derive(Clone, Copy)]
struct Gradient(f32);

impl Lanewise<2> for Gradient {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [y, dy]: [S::F; 2]) -> S::F {
        simd.mul(y, simd.sub(dy, simd.splat(self.0)))
    }
}

/// A block of rows.
struct Backward<'a> {
    dy: &'a [f32],
    y: &'a [f32],
    cols: usize,
    dx: &'a mut [f32],
    write: Write,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.y.chunks_exact(self.cols).zip(self.dy.chunks_exact(self.cols));
        for ((y, dy), dx) in rows.zip(self.dx.chunks_exact_mut(self.cols)) {
            let dot = simd.sum(fold(simd, [y, dy], Dot));
            lanewise(simd, [y, dy], dx, self.write, Gradient(dot));
        }
    }
}

/// See [`Element::softmax_backward`](crate::Element::softmax_backward).
pub fn softmax_backward(
    dy: &[f32],
    y: &[f32],
    cols: usize,
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    contract::rows(y.len(), cols, dx.len())?;
    contract::same(y.len(), &[dy.len()])?;
    let block = rows(cols, ELEMENTS) * cols;
    upbeat::par::chunks_mut(dx, block.max(1), |i, dx| {
        let (dy, y) = (&dy[i * block..][..dx.len()], &y[i * block..][..dx.len()]);
        dispatch(Backward { dy, y, cols, dx, write });
    });
    Ok(())
}
