//! Softmax over rows, forward and backward.
//!
//! A NaN or a `∞` in a row makes the whole row NaN; a row of nothing but `-∞` gives zeros. A number more than 87.69 below its row's
//! largest gives 0: its share is below 2⁻¹²⁶.

use crate::blocks::{rows, COSTLY_ELEMENTS, ELEMENTS, NARROW};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, load_padded, Dot, Fold, Lanewise, Largest};
use crate::math;
use crate::simd::{prefetch_lines, Double, Kernel, Simd};

/// `out = exp(x - shift)`, and the sum of that in the tree of [`fold`]. What lies `ahead` elements behind is asked for meanwhile.
#[inline(always)]
fn exps<S: Simd>(simd: S, x: &[f32], shift: f32, out: &mut [f32], ahead: usize) -> S::F {
    // Two vectors hand in hand, and the next two beside them.
    let pair = Double::of(simd);
    let group = 4 * S::LANES;
    let mut sums = [pair.splat(0.0); 2];
    let (groups, mut places) = (x.chunks_exact(group), out.chunks_exact_mut(group));
    let rest = groups.remainder();
    for (x, out) in groups.zip(&mut places) {
        prefetch_lines(x.as_ptr().wrapping_add(ahead), group);
        let halves = x.split_at(2 * S::LANES);
        let terms = [pair.load(halves.0), pair.load(halves.1)];
        let terms = [term(pair, terms[0], shift), term(pair, terms[1], shift)];
        sums = [pair.add(sums[0], terms[0]), pair.add(sums[1], terms[1])];
        let halves = out.split_at_mut(2 * S::LANES);
        pair.store(terms[0], halves.0);
        pair.store(terms[1], halves.1);
    }
    let [[a, b], [c, d]] = sums;
    let mut sums = [a, b, c, d];
    for ((x, out), turn) in rest.chunks(S::LANES).zip(places.into_remainder().chunks_mut(S::LANES)).zip(0..) {
        let is_whole = x.len() == S::LANES;
        let x = if is_whole { simd.load(x) } else { load_padded(simd, x, f32::NEG_INFINITY) };
        let value = term(simd, x, shift);
        let sum = if is_whole { turn } else { 3 };
        sums[sum] = simd.add(sums[sum], value);
        simd.store_partial(value, out);
    }
    simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]))
}

/// `exp(x - shift)` for `x ≤ shift`.
#[inline(always)]
fn term<S: Simd>(simd: S, x: S::F, shift: f32) -> S::F {
    math::exp_or_zero(simd, simd.sub(x, simd.splat(shift)))
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

/// The same, and in the same loop the largest of another row as long.
#[inline(always)]
fn scale_beside<S: Simd>(simd: S, x: &mut [f32], factor: f32, other: &[f32]) -> S::F {
    assert_eq!(x.len(), other.len(), "rows have one length");
    let factor_of_all = simd.splat(factor);
    let group = 4 * S::LANES;
    let mut largest = [simd.splat(f32::NEG_INFINITY); 4];
    let (mut groups, others) = (x.chunks_exact_mut(group), other.chunks_exact(group));
    let rest = fold(simd, [others.remainder()], Largest);
    for (x, other) in (&mut groups).zip(others) {
        let vectors = x.chunks_exact_mut(S::LANES).zip(other.chunks_exact(S::LANES));
        for ((x, other), largest) in vectors.zip(&mut largest) {
            let scaled = simd.mul(simd.load(x), factor_of_all);
            simd.store(scaled, x);
            *largest = simd.max(*largest, simd.load(other));
        }
    }
    scale(simd, groups.into_remainder(), factor);
    let [a, b, c, d] = largest;
    simd.max(simd.max(simd.max(a, b), simd.max(c, d)), rest)
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
        simd.add(sum, term(simd, x, self.0))
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
    shift_of(simd, fold(simd, [x], Largest))
}

#[inline(always)]
fn shift_of<S: Simd>(simd: S, largest: S::F) -> f32 {
    let largest = simd.max_lane(largest);
    if largest == f32::NEG_INFINITY {
        0.0
    } else {
        largest
    }
}

/// Rows between the one whose result is made and the one whose largest number is sought in the same loop.
const AHEAD: usize = 3;

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
        let cols = self.cols;
        let rows = self.x.len() / cols;
        // The exponentials of a row are made before the row in front of it is scaled, and the largest number of a row is known two rows
        // before it is needed: nothing waits for what is left of a sum after its last vector. A long row is alone.
        let (together, ahead) = if cols <= NARROW { (rows, (AHEAD - 1) * cols) } else { (1, cols) };
        for (x, out) in self.x.chunks(together * cols).zip(self.out.chunks_mut(together * cols)) {
            let rows = x.len() / cols;
            let x = |row: usize| &x[row * cols..][..cols];
            let mut shifts = [0.0; AHEAD];
            for (row, known) in shifts.iter_mut().enumerate().take(rows) {
                *known = shift(simd, x(row));
            }
            let mut factor = 0.0;
            for row in 0..=rows {
                let last = factor;
                if row < rows {
                    let out = &mut out[row * cols..][..cols];
                    let sum = simd.sum(exps(simd, x(row), shifts[row % AHEAD], out, ahead));
                    factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
                }
                if let Some(done) = row.checked_sub(1) {
                    let out = &mut out[done * cols..][..cols];
                    if done + AHEAD < rows {
                        let largest = scale_beside(simd, out, last, x(done + AHEAD));
                        shifts[done % AHEAD] = shift_of(simd, largest);
                    } else {
                        scale(simd, out, last);
                    }
                }
            }
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
