//! LayerNorm and RMSNorm over rows, BatchNorm over channels, forward and backward.
//!
//! A row is read once from memory and then swept in the first-level cache: its statistics first, in `f32` with the
//! four-way tree of `lanes::fold`, then the result, in one loop with the statistics of rows behind it. Gradients of the column parameters are summed over fixed
//! blocks of rows in the same pass that makes `dx`. A NaN in a row makes that row NaN, and so does an infinity in
//! LayerNorm; in RMSNorm an infinity gives NaN in its own place and 0 in the others.

mod batch;
mod layer;
mod rms;

pub(crate) use batch::moved as running_moved;
pub use batch::{batch_norm_backward, batch_norm_eval, batch_norm_forward, BatchNorm};
pub use layer::{layer_norm_backward, layer_norm_forward};
pub use rms::{rms_norm_backward, rms_norm_forward};

use crate::element::Write;
use crate::elementwise::functions::is_streamed;
use crate::lanes::{Fold, Lanewise};
use crate::simd::Simd;

/// Rows between the one whose result is made and the one whose statistics are summed in the same loop, so that the loop over a row is one.
const AHEAD: usize = 1;

/// Whether outputs of so many elements are written past the caches: with the input they are more than the last one holds.
fn is_past(elements: usize) -> bool {
    is_streamed(elements.saturating_mul(2), Write::Overwrite)
}

/// `1/√(mean + epsilon)`.
fn rstd_of(mean_square: f32, epsilon: f64) -> f32 {
    (1.0 / (f64::from(mean_square) + epsilon).sqrt()) as f32
}

/// `Σ dy·weight·(x - center)`.
#[derive(Clone, Copy)]
struct WeightedDot {
    center: f32,
}

impl Fold<3> for WeightedDot {
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [dy, weight, x]: [S::F; 3]) -> S::F {
        simd.fma(simd.mul(dy, weight), simd.sub(x, simd.splat(self.center)), sum)
    }
}

/// `dy·(x - center)·rstd`, what a row adds to the gradient of the weight.
#[derive(Clone, Copy)]
struct TimesNormal {
    center: f32,
    rstd: f32,
}

impl Lanewise<2> for TimesNormal {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [dy, x]: [S::F; 2]) -> S::F {
        let normal = simd.mul(simd.sub(x, simd.splat(self.center)), simd.splat(self.rstd));
        simd.mul(dy, normal)
    }
}
