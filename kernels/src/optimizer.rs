//! The AdamW step, one pass over parameter, gradient and both moments.

use crate::blocks::ELEMENTS;
use crate::contract;
use crate::element::AdamW;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::simd::{Kernel, Simd};

/// The numbers of a step in `f32`, combined in f64 first.
#[derive(Clone, Copy)]
struct Factors {
    gradient_scale: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    /// `1 - lr·decay`
    keep: f32,
    /// `-lr/(1 - β₁ᵗ)`
    rate: f32,
    /// `1/√(1 - β₂ᵗ)`
    root_scale: f32,
    epsilon: f32,
}

impl Factors {
    fn new(step: &AdamW) -> Self {
        let [correction1, correction2] = step.bias_corrections();
        Self {
            gradient_scale: step.gradient_scale as f32,
            beta1: step.beta1 as f32,
            one_minus_beta1: (1.0 - step.beta1) as f32,
            beta2: step.beta2 as f32,
            one_minus_beta2: (1.0 - step.beta2) as f32,
            keep: (1.0 - step.learning_rate * step.weight_decay) as f32,
            rate: (-step.learning_rate / correction1) as f32,
            root_scale: (1.0 / correction2.sqrt()) as f32,
            epsilon: step.epsilon as f32,
        }
    }
}

/// A block of parameters.
struct Step<'a> {
    factors: Factors,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Factors {
    /// The next `[parameter, first, second]` of one vector.
    #[inline(always)]
    fn update<S: Simd>(self, simd: S, [p, g, m, v]: [S::F; 4]) -> [S::F; 3] {
        let g = simd.mul(g, simd.splat(self.gradient_scale));
        let m = simd.fma(g, simd.splat(self.one_minus_beta1), simd.mul(m, simd.splat(self.beta1)));
        let square = simd.mul(simd.mul(g, simd.splat(self.one_minus_beta2)), g);
        let v = simd.fma(v, simd.splat(self.beta2), square);
        let root = simd.fma(simd.sqrt(v), simd.splat(self.root_scale), simd.splat(self.epsilon));
        let update = simd.div(simd.mul(m, simd.splat(self.rate)), root);
        [simd.fma(p, simd.splat(self.keep), update), m, v]
    }
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let n = self.parameter.len();
        let Step { factors, parameter, gradient, first, second } = self;
        let (gradient, first, second) = (&gradient[..n], &mut first[..n], &mut second[..n]);
        let mut i = 0;
        while i + S::LANES <= n {
            let at = i..i + S::LANES;
            let read = |x: &[f32]| simd.load(&x[at.clone()]);
            let old = [read(parameter), read(gradient), read(first), read(second)];
            let [p, m, v] = factors.update(simd, old);
            simd.store(p, &mut parameter[at.clone()]);
            simd.store(m, &mut first[at.clone()]);
            simd.store(v, &mut second[at]);
            i += S::LANES;
        }
        let read = |x: &[f32]| simd.load_partial(&x[i..]);
        let old = [read(parameter), read(gradient), read(first), read(second)];
        let [p, m, v] = factors.update(simd, old);
        simd.store_partial(p, &mut parameter[i..]);
        simd.store_partial(m, &mut first[i..]);
        simd.store_partial(v, &mut second[i..]);
    }
}

/// See [`Element::adamw_step`](crate::Element::adamw_step); the formula is its twin's.
///
/// A NaN or infinite gradient makes its own element's moments and parameter NaN or infinite, no other's.
pub fn adamw_step(
    step: &AdamW,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) -> Result<(), ShapeError> {
    contract::same(parameter.len(), &[gradient.len(), first.len(), second.len()])?;
    let factors = Factors::new(step);
    let (firsts, seconds) = (Tiles::of_slice(first, ELEMENTS), Tiles::of_slice(second, ELEMENTS));
    upbeat::par::chunks_mut(parameter, ELEMENTS, |i, parameter| {
        let gradient = &gradient[i * ELEMENTS..][..parameter.len()];
        let (first, second) = (firsts.take(0, i).into_slice(), seconds.take(0, i).into_slice());
        dispatch(Step { factors, parameter, gradient, first, second });
    });
    Ok(())
}
