//! One step of a flow on a few rows of cells: the five-point Laplacian of each field, and what the flow makes of it.
//!
//! A row's neighbours are slices that the caller chose; where rows come from and how the grid closes is
//! [`super::temporal`]'s business. A cell's arithmetic is the same in a whole vector, in a tail, and in a group of any
//! number of rows, so how a grid is cut changes no bit.

use crate::simd::Simd;

/// The most rows of a group, and a neighbour on either side.
pub(super) const WINDOW: usize = 4;

/// What an explicit step makes of `F` fields at a cell.
pub(super) trait Euler<const F: usize>: Copy + Send + Sync {
    /// The next values, from the present ones and `h²` times their Laplacians; mark it `#[inline(always)]`.
    fn step<S: Simd>(self, simd: S, here: [S::F; F], laplacian: [S::F; F]) -> [S::F; F];
}

/// What a group reads: `R + 2` rows of each field; what lies in the others is not looked at.
struct Group<'a, const F: usize, const R: usize> {
    /// As long as the output each.
    centre: [[&'a [f32]; WINDOW]; F],
    /// The rows of the output, one column before and one further.
    left: [[&'a [f32]; R]; F],
    right: [[&'a [f32]; R]; F],
}

impl<const F: usize, const R: usize> Group<'_, F, R> {
    /// Steps the columns from `i` on, a whole vector of them or the `len < LANES` that are left.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // A window has rows that a group of fewer does not look at.
    fn step<S: Simd, E: Euler<F>, const WHOLE: bool>(
        &self,
        simd: S,
        euler: E,
        i: usize,
        to: usize,
    ) -> [[S::F; R]; F] {
        let zero = simd.splat(0.0);
        // All loads stand before the stores: the compiler cannot know that a store leaves the rows as they are.
        let (mut window, mut left, mut right) = ([[zero; WINDOW]; F], [[zero; R]; F], [[zero; R]; F]);
        for f in 0..F {
            for k in 0..R + 2 {
                window[f][k] = load::<S, WHOLE>(simd, &self.centre[f][k][i..to]);
            }
            for r in 0..R {
                left[f][r] = load::<S, WHOLE>(simd, &self.left[f][r][i..to]);
                right[f][r] = load::<S, WHOLE>(simd, &self.right[f][r][i..to]);
            }
        }
        let mut out = [[zero; R]; F];
        for r in 0..R {
            let (mut here, mut laplacian) = ([zero; F], [zero; F]);
            for f in 0..F {
                here[f] = window[f][r + 1];
                let (down, across) =
                    (simd.add(window[f][r], window[f][r + 2]), simd.add(left[f][r], right[f][r]));
                let sum = simd.add(down, across);
                laplacian[f] = simd.fma(simd.splat(-4.0), here[f], sum);
            }
            let next = euler.step(simd, here, laplacian);
            for f in 0..F {
                out[f][r] = next[f];
            }
        }
        out
    }
}

#[inline(always)]
fn load<S: Simd, const WHOLE: bool>(simd: S, from: &[f32]) -> S::F {
    if WHOLE {
        simd.load(from)
    } else {
        simd.load_partial(from)
    }
}

/// Steps `R` rows: `out[field][i]` from `rows[field][i..i + 3]`. Each of `rows` begins one column before those of `out`
/// and has two columns more; those beyond `R + 2` are not looked at.
#[inline(always)]
pub(super) fn sweep<S: Simd, E: Euler<F>, const F: usize, const R: usize>(
    simd: S,
    euler: E,
    rows: [[&[f32]; WINDOW]; F],
    out: [[&mut [f32]; R]; F],
) {
    let n = out[0][0].len();
    // Slices of one length: then one comparison a turn covers every load and store.
    let mut group = Group::<F, R> { centre: [[&[]; WINDOW]; F], left: [[&[]; R]; F], right: [[&[]; R]; F] };
    for f in 0..F {
        for (k, row) in rows[f].iter().enumerate().take(R + 2) {
            group.centre[f][k] = &row[1..][..n];
        }
        for r in 0..R {
            group.right[f][r] = &rows[f][r + 1][2..][..n];
            group.left[f][r] = &rows[f][r + 1][..n];
        }
        assert!(out[f].iter().all(|row| row.len() == n), "rows of a group have one length");
    }
    let mut i = 0;
    while i + S::LANES <= n {
        let to = i + S::LANES;
        let next = group.step::<S, E, true>(simd, euler, i, to);
        for f in 0..F {
            for r in 0..R {
                simd.store(next[f][r], &mut out[f][r][i..to]);
            }
        }
        i = to;
    }
    if i < n {
        let next = group.step::<S, E, false>(simd, euler, i, n);
        for f in 0..F {
            for r in 0..R {
                simd.store_partial(next[f][r], &mut out[f][r][i..]);
            }
        }
    }
}
