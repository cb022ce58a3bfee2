//! Matrices of 8-bit integers with `f32` scales, one a row or one for each group of a row's columns.
//!
//! Quantisation is symmetric: `x ≈ scale·value` with values in `-127..=127` and `scale = max|x| / 127` over the row or
//! group. Products of such matrices are [`super::gemm_int8`]'s.
//!
//! # Accuracy of quantisation
//! `|x - scale·value| ≤ (scale/2)·(1 + 2⁻¹⁵)` while the group's largest magnitude is at least 2⁻¹¹⁹; below that scales lose
//! bits, and the error is at most that or 2⁻¹⁴², whichever is larger. Everything is exact or rounded once, so all levels give the same bits.
//!
//! # Products: order of summation and accuracy
//! `k` is cut into segments over which neither factor's scale changes. A segment is summed in integers, exactly:
//! `s[g] = Σ a·b`, at most 131,071 products of at most 2¹⁴. Then, in `f32`, each step rounded, segments in order:
//! `c = (scale_a·scale_b)·s[0]`, `c = c + (scale_a·scale_b)·s[g]`, and the epilogue. So an element has the same bits at every
//! level, for any `m`, `n`, tiles and workers (but for GELU and SiLU in the epilogue, whose bits are the level's), and
//! `|c - Σ_g scale_a·scale_b·s[g]| ≤ (G + 3)·u·Σ_g |scale_a·scale_b·s[g]|` for `G` segments, with `u = 2⁻²⁴`.

use std::fmt;

use crate::blocks;
use crate::error::{check, checked_len, ShapeError};
use crate::isa::dispatch;
use crate::matrix::{Mat, MatMut};
use crate::simd::{Kernel, Simd};

/// The largest value of a quantised number.
const MOST: f32 = 127.0;
/// Bits of `f32`'s infinity; those of numbers are below, NaN's above.
const INFINITY: u32 = 0x7f80_0000;

/// A matrix `[rows, cols]` of 8-bit integers, and a scale for each group of columns of a row.
///
/// The scales are `[rows, groups]` with `groups = ⌈cols / group⌉`, `[rows, 1]` without groups: number `(i, j)` is
/// `scales[i, j / group]·values[i, j]`. The last group of a row may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    values: Mat<'a, i8>,
    scales: &'a [f32],
    /// Columns of a group, all of them without groups; at least 1.
    group: usize,
}

/// Groups of a row, and columns of a group.
fn grouping(cols: usize, group: Option<usize>) -> Result<(usize, usize), ShapeError> {
    match group {
        Some(0) => Err(ShapeError::Zero { what: "the columns of a group" }),
        Some(group) => Ok((cols.div_ceil(group), group.min(cols).max(1))),
        None => Ok((1, cols.max(1))),
    }
}

impl<'a> Quantized<'a> {
    /// `values` with `scales`, one for each row, or for each `group` columns of a row. Any scales and values may be used,
    /// -128 included.
    ///
    /// # Errors
    /// When the scales are not `rows · groups`, or a group has no columns.
    pub fn new(values: Mat<'a, i8>, scales: &'a [f32], group: Option<usize>) -> Result<Self, ShapeError> {
        let (groups, group) = grouping(values.cols(), group)?;
        check("the number of scales", checked_len("scales", &[values.rows(), groups])?, scales.len())?;
        Ok(Self { values, scales, group })
    }

    /// The integers.
    pub fn values(&self) -> Mat<'a, i8> {
        self.values
    }

    /// The scales `[rows, groups]`.
    pub fn scales(&self) -> &'a [f32] {
        self.scales
    }

    /// Columns of a group; all columns where a row has one scale.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Scales of a row.
    pub fn groups(&self) -> usize {
        self.scales.len().checked_div(self.values.rows()).unwrap_or(1)
    }
}

/// Why a matrix cannot be quantised.
#[derive(Clone, PartialEq, Eq)]
pub enum QuantizeError {
    /// The shapes do not fit.
    Shape(ShapeError),
    /// A number is NaN or infinite.
    NotFinite {
        /// Its row.
        row: usize,
        /// Its column.
        col: usize,
    },
}

impl fmt::Display for QuantizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::NotFinite { row, col } => {
                write!(f, "the number in row {row}, column {col} is NaN or infinite")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for QuantizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantizeError({self})")
    }
}

impl std::error::Error for QuantizeError {}

impl From<ShapeError> for QuantizeError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

/// The largest magnitude, as bits: their order is that of the magnitudes, with infinity and NaN behind.
#[inline(always)]
fn largest(x: &[f32]) -> u32 {
    x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff))
}

/// Looks for a number that is none, in some rows.
struct Finite<'a>(Mat<'a, f32>, std::ops::Range<usize>);

impl Kernel for Finite<'_> {
    type Output = bool;
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> bool {
        self.1.fold(0, |most, row| most.max(largest(self.0.row(row)))) < INFINITY
    }
}

/// Quantises the groups of some rows, the first of which is `row`; `values` and `scales` are theirs.
struct Quantize<'a> {
    x: Mat<'a, f32>,
    row: usize,
    group: usize,
    values: &'a mut [i8],
    scales: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let cols = self.x.cols();
        let groups = self.scales.len() * cols / self.values.len();
        for (i, scales) in self.scales.chunks_exact_mut(groups).enumerate() {
            let (x, values) = (self.x.row(self.row + i), &mut self.values[i * cols..][..cols]);
            for ((x, values), scale) in x.chunks(self.group).zip(values.chunks_mut(self.group)).zip(scales) {
                *scale = f32::from_bits(largest(x)) / MOST;
                if *scale == 0.0 {
                    values.fill(0);
                    continue;
                }
                for (value, &x) in values.iter_mut().zip(x) {
                    *value = (x / *scale).round_ties_even().clamp(-MOST, MOST) as i8;
                }
            }
        }
    }
}

/// Quantises `x: [rows, cols]` to `values: [rows, cols]`, dense, and `scales: [rows, groups]`, one for each row or each
/// `group` columns of it: `scale = max|x| / 127`, `value = x / scale` to the nearest, ties to even. A group of zeros has
/// the scale 0 and values of 0.
///
/// # Errors
/// When the lengths do not fit, a group has no columns, or a number is NaN or infinite; nothing has been written then.
///
/// ```
/// use upbeat_kernels::gemm::quantized::quantize_rows;
/// use upbeat_kernels::Mat;
///
/// let (mut values, mut scales) = ([0i8; 4], [0.0f32; 2]);
/// quantize_rows(Mat::new(&[1.0, -254.0, 0.0, 0.5], 2, 2)?, None, &mut values, &mut scales)?;
/// assert_eq!((values, scales[0]), ([0, -127, 0, 127], 2.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantize_rows(
    x: Mat<'_, f32>,
    group: Option<usize>,
    values: &mut [i8],
    scales: &mut [f32],
) -> Result<(), QuantizeError> {
    let (rows, cols) = (x.rows(), x.cols());
    let (groups, group) = grouping(cols, group)?;
    check("the length of the values", checked_len("values", &[rows, cols])?, values.len())?;
    check("the number of scales", checked_len("scales", &[rows, groups])?, scales.len())?;
    if values.is_empty() {
        scales.fill(0.0);
        return Ok(());
    }
    let block = blocks::rows(cols, blocks::COSTLY_ELEMENTS);
    let rows_of = |b: usize| b * block..((b + 1) * block).min(rows);
    let finite = std::sync::atomic::AtomicBool::new(true);
    upbeat::par::for_each(0..rows.div_ceil(block), |b| {
        if !dispatch(Finite(x, rows_of(b))) {
            finite.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    });
    if !finite.into_inner() {
        let mut all = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let (row, col) = all.find(|&(row, col)| !x.row(row)[col].is_finite()).expect("one was seen");
        return Err(QuantizeError::NotFinite { row, col });
    }
    let scales = crate::grid::Tiles::of_slice(scales, block * groups);
    upbeat::par::chunks_mut(values, block * cols, |b, values| {
        let scales = scales.take(0, b).into_slice();
        dispatch(Quantize { x, row: b * block, group, values, scales });
    });
    Ok(())
}

/// Rows of a quantised matrix, the first of which is `row`, as numbers, at a stride.
struct Dequantize<'a> {
    q: Quantized<'a>,
    row: usize,
    out: &'a mut [f32],
    stride: usize,
}

impl Kernel for Dequantize<'_> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let (groups, group, cols) = (self.q.groups(), self.q.group, self.q.values.cols());
        for (i, out) in self.out.chunks_mut(self.stride).enumerate() {
            let row = self.row + i;
            let values = self.q.values.row(row).chunks(group);
            let out = out[..cols].chunks_mut(group);
            for ((values, out), &scale) in values.zip(out).zip(&self.q.scales[row * groups..]) {
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = scale * f32::from(value);
                }
            }
        }
    }
}

/// `out[i, j] ← scales[i, j / group]·values[i, j]`.
///
/// # Errors
/// When the shapes differ; nothing has been written then.
///
/// ```
/// use upbeat_kernels::gemm::quantized::{dequantize, Quantized};
/// use upbeat_kernels::{Mat, MatMut};
///
/// // Two groups of two columns.
/// let q = Quantized::new(Mat::new(&[1, -2, 3, 127], 1, 4)?, &[0.5, 2.0], Some(2))?;
/// let mut out = [0.0; 4];
/// dequantize(q, MatMut::new(&mut out, 1, 4)?)?;
/// assert_eq!(out, [0.5, -1.0, 6.0, 254.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn dequantize(q: Quantized<'_>, mut out: MatMut<'_, f32>) -> Result<(), ShapeError> {
    check("rows of the output", q.values.rows(), out.rows())?;
    check("columns of the output", q.values.cols(), out.cols())?;
    let (cols, stride) = (out.cols(), out.stride());
    if cols == 0 {
        return Ok(());
    }
    let block = blocks::rows(cols, blocks::ELEMENTS);
    upbeat::par::chunks_mut(out.data_mut(), block * stride, |b, out| {
        dispatch(Dequantize { q, row: b * block, out, stride });
    });
    Ok(())
}
