//! Folds over sliding windows: each output takes one number from every tap of its window, a vector of outputs at once.
//!
//! The source is a strip whose padding is already in place ([`crate::conv`] makes it), so that a tap of a whole row of
//! windows is a row of the strip shifted by the tap's offset. Bounds are checked once a call. Every output takes its
//! taps in their order, whatever its neighbours.

use super::Simd;
use crate::grid::Tile;

/// Rows of windows that are folded together: enough independent chains to hide a multiply-add's latency.
const ROWS: usize = 4;

/// What happens to the numbers of a window, in `N` running values.
pub(crate) trait WindowFold<const N: usize>: Copy {
    /// The running values before the first tap; mark the implementation `#[inline(always)]`.
    fn start<S: Simd>(self, simd: S) -> [S::F; N];
    /// Takes tap number `tap`; mark the implementation `#[inline(always)]`.
    fn take<S: Simd>(self, simd: S, values: [S::F; N], x: S::F, tap: usize) -> [S::F; N];
}

/// `out[n][y, x]` becomes running value `n` of the window at `(y, x)`: it takes `strip[taps[t] + y·stride + x]` for each
/// tap `t`. The tiles are of one size.
///
/// # Panics
/// When the strip ends before the last tap of the last window, its columns rounded up to a whole vector.
#[inline(always)]
pub(crate) fn fold_windows<S: Simd, const N: usize, O: WindowFold<N>>(
    simd: S,
    strip: &[f32],
    taps: &[usize],
    stride: usize,
    op: O,
    out: &mut [Tile<'_, f32>; N],
) {
    let (rows, cols) = (out[0].rows(), out[0].cols());
    if rows == 0 || cols == 0 {
        return;
    }
    let width = cols.checked_next_multiple_of(S::LANES);
    let last = (rows - 1).checked_mul(stride).zip(width).and_then(|(down, width)| down.checked_add(width));
    let last = last.and_then(|last| last.checked_add(taps.iter().copied().max().unwrap_or(0)));
    assert!(last.is_some_and(|last| last <= strip.len()), "the strip is too short");
    for y in (0..rows).step_by(ROWS) {
        let here = (rows - y).min(ROWS);
        // Rows behind the last one repeat it; they are not stored.
        let mut lines = [strip.as_ptr(); ROWS];
        for (i, line) in lines.iter_mut().enumerate() {
            *line = line.wrapping_add((y + i.min(here - 1)) * stride);
        }
        for x in (0..cols).step_by(S::LANES) {
            let mut values = [op.start(simd); ROWS];
            for (tap, &offset) in taps.iter().enumerate() {
                for (line, values) in lines.iter().zip(&mut values) {
                    // SAFETY: the strip was checked to hold the furthest tap of the last window of the last row.
                    let at = unsafe { simd.load_ptr(line.wrapping_add(offset + x)) };
                    *values = op.take(simd, *values, at, tap);
                }
            }
            let end = cols.min(x + S::LANES);
            for (i, values) in values.iter().enumerate().take(here) {
                for (out, value) in out.iter_mut().zip(values) {
                    simd.store_partial(*value, &mut out.row_mut(y + i)[x..end]);
                }
            }
        }
    }
}

/// Taps whose sums run together.
const TAPS: usize = 4;

/// `sums[t] += Σ x[y, x]·strip[taps[t] + y·stride + x]` for each tap, over the rows of `cols` numbers in `x`.
///
/// # Panics
/// As [`fold_windows`], and when `sums` has fewer numbers than there are taps.
#[inline(always)]
pub(crate) fn dot_windows<S: Simd>(
    simd: S,
    strip: &[f32],
    taps: &[usize],
    stride: usize,
    cols: usize,
    x: &[f32],
    sums: &mut [f32],
) {
    for (taps, sums) in taps.chunks(TAPS).zip(sums[..taps.len()].chunks_mut(TAPS)) {
        let mut totals = [simd.splat(0.0); TAPS];
        // Taps behind the last one repeat it; their sums are not stored.
        let mut offsets = [taps[taps.len() - 1]; TAPS];
        offsets[..taps.len()].copy_from_slice(taps);
        for (y, x) in x.chunks_exact(cols).enumerate() {
            let lines = &strip[y * stride..];
            for at in (0..cols).step_by(S::LANES) {
                let end = cols.min(at + S::LANES);
                if end - at == S::LANES {
                    let x = simd.load(&x[at..end]);
                    for (total, offset) in totals.iter_mut().zip(offsets) {
                        *total = simd.fma(x, simd.load(&lines[offset + at..offset + end]), *total);
                    }
                } else {
                    let x = simd.load_partial(&x[at..end]);
                    for (total, offset) in totals.iter_mut().zip(offsets) {
                        *total = simd.fma(x, simd.load_partial(&lines[offset + at..offset + end]), *total);
                    }
                }
            }
        }
        for (sum, total) in sums.iter_mut().zip(totals) {
            *sum += simd.sum(total);
        }
    }
}
