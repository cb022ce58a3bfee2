//! What happens to a tile of C right after its last block of `k`, while it is in the first-level cache.

use std::ops::Range;

use crate::element::{Activation, Epilogue};
use crate::grid::Tile;
use crate::isa::dispatch;
use crate::math;
use crate::simd::{Kernel, Simd};

/// Whether there is anything to do.
pub(super) fn is_trivial(epilogue: &Epilogue<'_, f32>) -> bool {
    epilogue.scale.is_none()
        && epilogue.bias.is_none()
        && epilogue.activation == Activation::Identity
        && epilogue.residual.is_none()
}

/// `tile ← act(scale·tile + bias) + residual`; the tile is C's `rows` by `cols`.
#[inline(always)]
pub(super) fn apply<S: Simd>(
    simd: S,
    epilogue: &Epilogue<'_, f32>,
    rows: Range<usize>,
    cols: Range<usize>,
    tile: &mut Tile<'_, f32>,
) {
    let bias = epilogue.bias.map(|bias| &bias[cols.clone()]);
    for (i, row) in rows.enumerate() {
        let residual = epilogue.residual.map(|residual| &residual.row(row)[cols.clone()]);
        let to = tile.row_mut(i);
        for from in (0..to.len()).step_by(S::LANES) {
            let lanes = from..(from + S::LANES).min(to.len());
            let mut x = simd.load_partial(&to[lanes.clone()]);
            if let Some(scale) = epilogue.scale {
                x = simd.mul(simd.splat(scale), x);
            }
            if let Some(bias) = bias {
                x = simd.add(x, simd.load_partial(&bias[lanes.clone()]));
            }
            x = match epilogue.activation {
                Activation::Identity => x,
                Activation::Gelu => math::gelu(simd, x),
                Activation::GeluTanh => math::gelu_tanh(simd, x),
                Activation::Silu => math::silu(simd, x),
                // `max` keeps a NaN in its second argument.
                Activation::Relu => simd.max(simd.splat(0.0), x),
            };
            if let Some(residual) = residual {
                x = simd.add(x, simd.load_partial(&residual[lanes.clone()]));
            }
            simd.store_partial(x, &mut to[lanes]);
        }
    }
}

/// [`apply`] at the active level, where there is anything to do.
pub(super) fn finish(
    epilogue: &Epilogue<'_, f32>,
    rows: Range<usize>,
    cols: Range<usize>,
    tile: &mut Tile<'_, f32>,
) {
    struct Finish<'a, 'b>(&'a Epilogue<'a, f32>, Range<usize>, Range<usize>, &'a mut Tile<'b, f32>);
    impl Kernel for Finish<'_, '_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            apply(simd, self.0, self.1, self.2, self.3);
        }
    }
    if !is_trivial(epilogue) {
        dispatch(Finish(epilogue, rows, cols, tile));
    }
}
