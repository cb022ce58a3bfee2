//! Products of 8-bit integers with scales: contract and cut; `int8_tiles` runs large ones, `int8_rows` those with few rows.
//! The order of summation and the accuracy are said in [`super::quantized`], for users to read.

use std::ops::Range;

use super::quantized::Quantized;
use super::{epilogue, int8_rows, int8_tiles};
use crate::contract;
use crate::element::Epilogue;
use crate::error::ShapeError;
use crate::grid::Tile;
use crate::matrix::MatMut;

/// Most products in a segment: `2¹⁴·LONGEST` fits 31 bits.
const LONGEST: usize = (i32::MAX as usize) >> 14;
/// Most rows of A that are multiplied with B as it is stored: beyond that packing it pays.
const MOST_ROWS: usize = 8;

/// `C ← act(scale·A·Bᵀ + bias) + residual` with quantised factors.
#[derive(Debug)]
pub struct GemmInt8<'a> {
    /// Left factor `[m, k]`, such as activations with a scale a row.
    pub a: Quantized<'a>,
    /// Right factor, stored transposed as weights are, `[n, k]`.
    pub b: Quantized<'a>,
    /// Output `[m, n]`.
    pub c: MatMut<'a, f32>,
    /// Applied to the finished product.
    pub epilogue: Epilogue<'a, f32>,
}

/// `k` in parts over which no scale changes.
#[derive(Clone, Copy)]
pub(super) struct Segments {
    /// Numbers in each part but the last; not 0.
    pub(super) len: usize,
    pub(super) k: usize,
}

impl Segments {
    /// How many there are.
    pub(super) fn count(self) -> usize {
        self.k.div_ceil(self.len)
    }

    /// The numbers of segment `s`.
    #[inline(always)]
    pub(super) fn range(self, s: usize) -> Range<usize> {
        s * self.len..((s + 1) * self.len).min(self.k)
    }

    /// Those of two factors.
    fn of(a: Quantized<'_>, b: Quantized<'_>) -> Result<Self, ShapeError> {
        let len = match (a.group(), b.group()) {
            (x, y) if x == y => x,
            (x, y) if x.max(y) == a.values().cols() => x.min(y),
            (expected, found) => {
                return Err(ShapeError::Mismatch { what: "columns in a group of b", expected, found })
            }
        };
        if len > LONGEST {
            let what = "numbers that are summed as integers";
            return Err(ShapeError::Limit { what, most: LONGEST, found: len });
        }
        Ok(Self { len, k: a.values().cols() })
    }
}

/// A factor's scale for row `i` and segment `s`: `scales[i * row + s * segment]`.
#[derive(Clone, Copy)]
pub(super) struct Scales<'a> {
    pub(super) scales: &'a [f32],
    row: usize,
    segment: usize,
}

impl<'a> Scales<'a> {
    /// Those of `q`.
    pub(super) fn of(q: Quantized<'a>) -> Self {
        Self { scales: q.scales(), row: q.groups(), segment: usize::from(q.groups() > 1) }
    }

    /// The scale of a row in a segment.
    #[inline(always)]
    pub(super) fn get(&self, row: usize, segment: usize) -> f32 {
        self.scales[row * self.row + segment * self.segment]
    }

    /// Whether each segment has its own.
    pub(super) fn are_grouped(&self) -> bool {
        self.segment > 0
    }
}

/// Multiplies, with each segment summed exactly; [`quantized`](super::quantized) says in which order the rest is rounded.
///
/// The scales of a factor are one a row, or one for each group of columns; where both have groups they must be equally long.
///
/// # Errors
/// When the shapes do not fit, groups differ, or more than 131,071 products would be summed as integers (a group, or `k`
/// without groups); nothing has been written then.
///
/// ```
/// use upbeat_kernels::gemm::{gemm_int8, quantized::Quantized, GemmInt8};
/// use upbeat_kernels::{Epilogue, Mat, MatMut};
///
/// let activations = Quantized::new(Mat::new(&[1, -2, 3], 1, 3)?, &[0.5], None)?;
/// let weights = Quantized::new(Mat::new(&[4, 5, 6, 127, 0, -127], 2, 3)?, &[1.0, 2.0], None)?;
/// let mut c = [0.0; 2];
/// gemm_int8(GemmInt8 {
///     a: activations,
///     b: weights,
///     c: MatMut::new(&mut c, 1, 2)?,
///     epilogue: Epilogue { bias: Some(&[0.0, 1.0]), ..Epilogue::default() },
/// })?;
/// assert_eq!(c, [6.0, -253.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn gemm_int8(g: GemmInt8<'_>) -> Result<(), ShapeError> {
    let GemmInt8 { a, b, mut c, epilogue } = g;
    let (m, k, n) = (a.values().rows(), a.values().cols(), b.values().rows());
    contract::product((m, k), (b.values().cols(), n), (c.rows(), c.cols()), &epilogue)?;
    let segments = Segments::of(a, b)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        (0..m).for_each(|row| c.row_mut(row).fill(0.0));
        epilogue::finish(&epilogue, 0..m, 0..n, &mut Tile::whole(c));
        return Ok(());
    }
    if m <= MOST_ROWS {
        int8_rows::run(a, b, segments, c, &epilogue);
        return Ok(());
    }
    int8_tiles::run(a, b, segments, c, &epilogue)
}
