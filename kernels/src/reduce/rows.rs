//! The reductions for each row of `x: [rows, cols]`, with a result a row: rows in parallel, each with the bits of the
//! reduction of its slice alone (rounded to f32).
//!
//! # Errors
//! All of these give [`ShapeError`] when `x` is not `out.len()` rows of `cols`, before anything is written. Rows of width
//! 0 are empty slices.

use super::{Place, Reduction};
use crate::blocks::{self, ELEMENTS};
use crate::error::{check, checked_len, ShapeError};
use crate::isa::dispatch;
use crate::simd::{Kernel, Simd};

/// Rows that fit a block, one result each.
struct Rows<'a> {
    reduction: Reduction,
    x: &'a [f32],
    cols: usize,
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (x, out) in self.x.chunks_exact(self.cols).zip(self.out) {
            *out = self.reduction.finish(self.reduction.part(simd, x), self.cols) as f32;
        }
    }
}

fn reduce(reduction: Reduction, x: &[f32], cols: usize, out: &mut [f32]) -> Result<(), ShapeError> {
    check("the length of x", checked_len("x", &[out.len(), cols])?, x.len())?;
    let block = blocks::rows(cols, ELEMENTS);
    upbeat::par::chunks_mut(out, block, |i, out| {
        let x = &x[i * block * cols..][..out.len() * cols];
        if (1..=ELEMENTS).contains(&cols) {
            dispatch(Rows { reduction, x, cols, out });
        } else {
            // Nothing, or more than a block: one row at a time, whose blocks are joined as those of a slice.
            out.iter_mut()
                .enumerate()
                .for_each(|(r, out)| *out = reduction.of(&x[r * cols..][..cols]) as f32);
        }
    });
    Ok(())
}

/// A function for each line.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident = $reduction:ident;)*) => { $(
        $(#[$doc])*
        pub fn $name(x: &[f32], cols: usize, out: &mut [f32]) -> Result<(), ShapeError> {
            reduce(Reduction::$reduction, x, cols, out)
        }
    )* };
}

rows! {
    /// [`sum`](super::sum) of each row.
    sum = Sum;
    /// [`mean`](super::mean) of each row.
    mean = Mean;
    /// [`max`](super::max()) of each row.
    max = Max;
    /// [`min`](super::min()) of each row.
    min = Min;
    /// [`log_sum_exp`](super::log_sum_exp) of each row.
    log_sum_exp = LogSumExp;
    /// [`norm_1`](super::norm_1) of each row.
    norm_1 = Norm1;
    /// [`norm_max`](super::norm_max) of each row.
    norm_max = NormMax;
}

/// [`norm_2`](super::norm_2) of each row.
pub fn norm_2(x: &[f32], cols: usize, out: &mut [f32]) -> Result<(), ShapeError> {
    check("the length of x", checked_len("x", &[out.len(), cols])?, x.len())?;
    let block = blocks::rows(cols, ELEMENTS);
    upbeat::par::chunks_mut(out, block, |i, out| {
        for (r, out) in out.iter_mut().enumerate() {
            *out = super::norm_2(&x[(i * block + r) * cols..][..cols]) as f32;
        }
    });
    Ok(())
}

/// [`argmax`](super::argmax()) of each row. Rows of width 0 have none: [`ShapeError::Index`].
pub fn argmax(x: &[f32], cols: usize, out: &mut [u32]) -> Result<(), ShapeError> {
    check("the length of x", checked_len("x", &[out.len(), cols])?, x.len())?;
    if !out.is_empty() && (cols == 0 || u32::try_from(cols - 1).is_err()) {
        return Err(ShapeError::Index { what: "the place of a row's largest element", index: 0, len: cols });
    }
    let block = blocks::rows(cols, ELEMENTS);
    upbeat::par::chunks_mut(out, block, |i, out| {
        let x = &x[i * block * cols..][..out.len() * cols];
        for (x, out) in x.chunks_exact(cols).zip(out) {
            let place = if cols <= ELEMENTS { dispatch(Largest(x)) } else { super::argmax(x) };
            *out = place.expect("the row has a largest element") as u32;
        }
    });
    Ok(())
}

/// A row that fits a block.
struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<usize> {
        let value = Reduction::Max.part(simd, self.0).value as f32;
        Place { x: self.0, value }.run(simd)
    }
}
