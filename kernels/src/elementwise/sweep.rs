//! One operation over slices: a loop for each operation and level, chosen once and run on a block of elements at a time.
//!
//! The loops ([`each`]) take whole groups of elements. What is left at the end is computed in a group of its own beside the
//! operands, so each operation is compiled once a level.

use std::marker::PhantomData;

use crate::isa::dispatch;
use crate::simd::each::{each, Elements, Step, Unit, UNIT};
use crate::simd::{Double, Kernel, Simd};

/// `out[i] = op(x[0][i], …)`, for a multiple of [`UNIT`] elements; past the caches where the flag is set.
pub(crate) type Run = fn(&[Elements<'_>; 3], &mut [f32], bool);

/// The operation at the active level.
pub(crate) fn run<O: Step>(x: &[Elements<'_>; 3], out: &mut [f32], stream: bool) {
    dispatch(Sweep::<O> { x, out, stream, op: PhantomData });
}

/// `out[i] = op(x[0][i], …)`, past the caches where `stream` is set and `out` begins at a cache line.
pub(crate) fn sweep(run: Run, x: &[Elements<'_>; 3], out: &mut [f32], stream: bool) {
    let rest = out.len() % UNIT;
    let whole = out.len() - rest;
    if whole > 0 {
        run(x, &mut out[..whole], stream);
    }
    if rest > 0 {
        let mut units = [Unit::splat(0.0); 4];
        let [a, b, c, result] = &mut units;
        for (unit, x) in [&mut *a, &mut *b, &mut *c].into_iter().zip(x) {
            match x {
                Elements::Each(x) => unit.0[..rest].copy_from_slice(&x[whole..whole + rest]),
                Elements::Repeated(x) => *unit = **x,
            }
        }
        run(&[a, b, c].map(|unit| Elements::Each(&unit.0)), &mut result.0, false);
        out[whole..].copy_from_slice(&result.0[..rest]);
    }
}

struct Sweep<'a, 'x, O> {
    x: &'a [Elements<'x>; 3],
    out: &'a mut [f32],
    stream: bool,
    op: PhantomData<O>,
}

impl<O: Step> Kernel for Sweep<'_, '_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if O::COSTLY && S::LANES <= 8 {
            // Two vectors hand in hand: the second one's operations run while the first one's wait for each other.
            each::<_, O, 1>(Double::of(simd), self.x, self.out, self.stream);
        } else if O::COSTLY {
            // One wide vector: two would need more constants in registers than there are, and the processor looks far ahead.
            each::<_, O, 1>(simd, self.x, self.out, self.stream);
        } else {
            each::<_, O, 4>(simd, self.x, self.out, self.stream);
        }
    }
}
