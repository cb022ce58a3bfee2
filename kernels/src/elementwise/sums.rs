//! Sums over rows and over everything, in fixed trees.

use crate::blocks::{self, add_to, rows_to_sum, sum_over_rows};
use crate::contract;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::simd::{Kernel, Simd};

/// See [`Element::sum_rows`](crate::Element::sum_rows).
///
/// The error of a column is at most `(max(8192/cols, rows/64) + 8)·2⁻²⁴` of the sum of its absolute values: that many rows are
/// added one after the other.
pub fn sum_rows(x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    let cols = out.len();
    let rows = contract::units("the length of x", x.len(), cols)?;
    if rows == 0 {
        return Ok(());
    }
    let sums = sum_over_rows(rows, rows_to_sum(rows, cols), cols, |_, rows, sums| {
        for row in x[rows.start * cols..rows.end * cols].chunks_exact(cols) {
            add_to(row, sums);
        }
    })?;
    add_to(&sums[..cols], out);
    Ok(())
}

/// Running sums that a block keeps side by side; the compiler makes vectors of them at every level.
const SUMS: usize = 32;

/// The squares of one block.
struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> f64 {
        squares(self.0)
    }
}

/// `Σ x²` in f64, inside a kernel.
#[inline(always)]
fn squares(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; SUMS];
    let (whole, rest) = x.as_chunks::<SUMS>();
    for x in whole {
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(x) * f64::from(x);
    }
    let mut half = SUMS / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// See [`Element::sum_of_squares`](crate::Element::sum_of_squares). The same bits at every level.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    upbeat::par::map_reduce(
        0..x.len().div_ceil(blocks::ELEMENTS),
        |i| {
            let from = i * blocks::ELEMENTS;
            dispatch(Squares(&x[from..x.len().min(from + blocks::ELEMENTS)]))
        },
        |a, b| a + b,
        || 0.0,
    )
}
