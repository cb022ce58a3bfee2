//! RMSNorm (Zhang and Sennrich, 2019).

use super::{is_past, rstd_of, TimesNormal, WeightedDot, AHEAD};
use crate::blocks::{add_to, rows, rows_to_sum, sum_over_rows, ELEMENTS, NARROW};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::lanes::{fold, lanewise, lanewise_beside, Dot, Lanewise, Nothing};
use crate::pool::Buffer;
use crate::simd::{stream, Kernel, Simd};

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
    past: bool,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (rows, cols) = (self.rstd.len(), self.weight.len());
        let mut room = Buffer::scratch(if self.past { cols } else { 0 });
        let ahead = if cols <= NARROW { AHEAD } else { 0 };
        let x = |row: usize| &self.x[row * cols..][..cols];
        let rstd = |squares| rstd_of(simd.sum(squares) / cols as f32, self.epsilon);
        for row in 0..rows.min(ahead) {
            self.rstd[row] = rstd(fold(simd, [x(row); 2], Dot));
        }
        for (row, out) in self.out.chunks_exact_mut(cols).enumerate() {
            let to = if self.past { &mut room[..] } else { &mut *out };
            if ahead > 0 && row + ahead < rows {
                let (behind, op) = (x(row + ahead), Normalise(self.rstd[row]));
                let squares = ([behind; 2], Dot);
                let (squares, _) =
                    lanewise_beside(simd, [x(row), self.weight], to, op, squares, ([behind], Nothing));
                self.rstd[row + ahead] = rstd(squares);
            } else {
                if ahead == 0 {
                    self.rstd[row] = rstd(fold(simd, [x(row); 2], Dot));
                }
                lanewise(simd, [x(row), self.weight], to, Write::Overwrite, Normalise(self.rstd[row]));
            }
            if self.past {
                stream::copy_lines(simd, &room, out);
            }
        }
        if self.past {
            stream::finish();
        }
    }
}

/// See [`Element::rms_norm_forward`](crate::Element::rms_norm_forward). Squares above `f32::MAX` overflow to a row of
/// zeros.
///
/// # Panics
/// When `epsilon` is NaN, infinite or below 0.
pub fn rms_norm_forward(
    x: &[f32],
    weight: &[f32],
    epsilon: f64,
    out: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), ShapeError> {
    contract::epsilon(epsilon);
    let cols = weight.len();
    contract::norm(x.len(), cols, out.len(), &[rstd.len()], &[])?;
    let block = rows(cols, ELEMENTS);
    let past = is_past(out.len());
    let rstds = Tiles::of_slice(rstd, block);
    upbeat::par::chunks_mut(out, (block * cols).max(1), |i, out| {
        let x = &x[i * block * cols..][..out.len()];
        dispatch(Forward { x, weight, epsilon, out, rstd: rstds.take(0, i).into_slice(), past });
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

#[cfg(test)]
mod tests {
    use super::Forward;
    use crate::isa::dispatch;

    #[test]
    fn results_past_the_caches_are_the_stored_ones() {
        for (rows, cols) in [(1, 7), (3, 64), (6, 100), (9, 33), (2, 1030)] {
            let x: Vec<f32> = (0..rows * cols).map(|i| (i * 7919 % 1013) as f32 / 64.0).collect();
            let [stored, streamed] = [false, true].map(|past| {
                let (mut out, mut rstd) = (vec![0.0; x.len()], vec![0.0; rows]);
                let (x, weight) = (&x[..], &x[..cols]);
                dispatch(Forward { x, weight, epsilon: 0.5, out: &mut out, rstd: &mut rstd, past });
                (out, rstd)
            });
            assert_eq!(stored, streamed, "{rows} rows of {cols}");
            assert!(stored.1.iter().all(|&rstd| rstd > 0.0));
        }
    }
}
