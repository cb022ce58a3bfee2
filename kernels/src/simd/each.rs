//! One vector from up to three, over slices: the loop of every element-wise operation.
//!
//! Lengths are checked once, before the loop; in it an operand costs its loads and an addition. A slice is followed, a
//! number is laid out as a group of elements that is read again and again: both are the same code, and a loop that
//! stores a vector has two loads free.

use super::{stream, Simd};

/// Elements of a group, a multiple of what a turn of any loop here takes: four vectors of 16 lanes.
pub(crate) const UNIT: usize = 64;

/// A group of elements, at the start of a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Unit(pub(crate) [f32; UNIT]);

impl Unit {
    /// A group of one number.
    pub(crate) fn splat(x: f32) -> Self {
        Self([x; UNIT])
    }
}

/// An operation on vectors, lane by lane.
pub(crate) trait Step: Copy + Send + Sync + 'static {
    /// Operands it takes, at most three; the others are any.
    const ARITY: usize;
    /// Whether an element costs tens of instructions.
    const COSTLY: bool = false;
    /// The operation; mark the implementation `#[inline(always)]`.
    fn apply<S: Simd>(simd: S, x: [S::F; 3]) -> S::F;
}

/// What an operation takes for each element.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Elements<'a> {
    /// One number an element.
    Each(&'a [f32]),
    /// The same group over and over.
    Repeated(&'a Unit),
}

/// `out[i] = op(x[0][i], …)` by `N` vectors a turn, past the caches where `past` is set and `out` is aligned to a vector.
///
/// # Panics
/// When `out` is not whole groups of [`UNIT`], or an operand is shorter.
#[inline(always)]
pub(crate) fn each<S: Simd, O: Step, const N: usize>(
    simd: S,
    x: &[Elements<'_>; 3],
    out: &mut [f32],
    past: bool,
) {
    let group = N * S::LANES;
    assert!(UNIT.is_multiple_of(group) && out.len().is_multiple_of(UNIT), "whole groups");
    let mut from = [std::ptr::null::<f32>(); 3];
    let mut step = [0; 3];
    for k in 0..O::ARITY {
        match x[k] {
            Elements::Each(x) => {
                assert!(x.len() >= out.len(), "an operand ends before the output");
                (from[k], step[k]) = (x.as_ptr(), group);
            }
            Elements::Repeated(unit) => from[k] = unit.0.as_ptr(),
        }
    }
    let past = past && stream::is_aligned::<S>(out);
    for out in out.chunks_exact_mut(group) {
        let mut results = [simd.splat(0.0); N];
        for (v, result) in results.iter_mut().enumerate() {
            let mut vector = [simd.splat(0.0); 3];
            for k in 0..O::ARITY {
                // SAFETY: an operand that is followed holds as many elements as the output, of which this is a whole
                // group; one that is not followed is a unit, no shorter than a group.
                vector[k] = unsafe { simd.load_ptr(from[k].wrapping_add(v * S::LANES)) };
            }
            *result = O::apply(simd, vector);
        }
        for k in 0..O::ARITY {
            from[k] = from[k].wrapping_add(step[k]);
        }
        for (v, result) in results.into_iter().enumerate() {
            let to = &mut out[v * S::LANES..][..S::LANES];
            if past {
                // SAFETY: the vector's place is in `out`, whose start and so every vector's was found aligned.
                unsafe { simd.stream_ptr(result, to.as_mut_ptr()) };
            } else {
                simd.store(result, to);
            }
        }
    }
}
