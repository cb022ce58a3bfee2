//! Cross-entropy of logits against target classes, through the log of the sum of exponentials.
//!
//! A NaN or a `∞` among a row's logits, or nothing but `-∞`, makes the loss NaN; a target whose logit is `-∞` beside
//! a finite one makes it `∞`.

use crate::blocks::{rows, COSTLY_ELEMENTS};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::lanes::{lanewise, Lanewise};
use crate::math;
use crate::simd::{Kernel, Simd};
use crate::softmax::shifted_sum;

/// A block of rows; its output is the sum of their losses.
struct Forward<'a> {
    logits: &'a [f32],
    classes: usize,
    targets: &'a [u32],
    lse: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let mut loss = 0.0;
        let rows = self.logits.chunks_exact(self.classes).zip(self.targets);
        for ((row, &target), lse) in rows.zip(self.lse) {
            let (shift, sum) = shifted_sum(simd, row);
            let log = f64::from(sum).ln();
            *lse = (f64::from(shift) + log) as f32;
            // The difference of nearly equal numbers is taken before the log is added, so that little is lost.
            loss += (f64::from(shift) - f64::from(row[target as usize])) + log;
        }
        loss
    }
}

/// See [`Element::cross_entropy_forward`](crate::Element::cross_entropy_forward). The mean is taken in f64; no rows
/// give 0.
pub fn cross_entropy_forward(
    logits: &[f32],
    classes: usize,
    targets: &[u32],
    lse: &mut [f32],
) -> Result<f64, ShapeError> {
    contract::cross_entropy(logits.len(), classes, targets, lse.len())?;
    let block = rows(classes, COSTLY_ELEMENTS);
    let lses = Tiles::of_slice(lse, block);
    let loss = upbeat::par::map_reduce(
        0..targets.len().div_ceil(block),
        |i| {
            let targets = &targets[i * block..targets.len().min((i + 1) * block)];
            let logits = &logits[i * block * classes..][..targets.len() * classes];
            dispatch(Forward { logits, classes, targets, lse: lses.take(0, i).into_slice() })
        },
        |a, b| a + b,
        || 0.0,
    );
    Ok(loss / targets.len().max(1) as f64)
}

/// `scale·exp(x - lse)`
#[derive(Clone, Copy)]
struct Probability {
    lse: f32,
    scale: f32,
}

impl Lanewise<1> for Probability {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F; 1]) -> S::F {
        simd.mul(math::exp(simd, simd.sub(x, simd.splat(self.lse))), simd.splat(self.scale))
    }
}

/// A block of rows.
struct Backward<'a> {
    logits: &'a [f32],
    classes: usize,
    targets: &'a [u32],
    lse: &'a [f32],
    scale: f32,
    dx: &'a mut [f32],
    write: Write,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.logits.chunks_exact(self.classes).zip(self.dx.chunks_exact_mut(self.classes));
        for ((row, dx), (&target, &lse)) in rows.zip(self.targets.iter().zip(self.lse)) {
            let scale = self.scale;
            let target = target as usize;
            let old = dx[target];
            lanewise(simd, [row], dx, self.write, Probability { lse, scale });
            // One target's probability may be near 1: subtract before scaling, as the twin does.
            let probability = f64::from(row[target] - lse).exp() - 1.0;
            let value = (f64::from(scale) * probability) as f32;
            dx[target] = if self.write == Write::Add { old + value } else { value };
        }
    }
}

/// See [`Element::cross_entropy_backward`](crate::Element::cross_entropy_backward).
pub fn cross_entropy_backward(
    logits: &[f32],
    classes: usize,
    targets: &[u32],
    lse: &[f32],
    scale: f64,
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    contract::cross_entropy(logits.len(), classes, targets, lse.len())?;
    contract::same(logits.len(), &[dx.len()])?;
    let block = rows(classes, COSTLY_ELEMENTS);
    let scale = scale as f32;
    upbeat::par::chunks_mut(dx, (block * classes).max(1), |i, dx| {
        let rows = i * block..targets.len().min((i + 1) * block);
        let logits = &logits[i * block * classes..][..dx.len()];
        let (targets, lse) = (&targets[rows.clone()], &lse[rows]);
        dispatch(Backward { logits, classes, targets, lse, scale, dx, write });
    });
    Ok(())
}
