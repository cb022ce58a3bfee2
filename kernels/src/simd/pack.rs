//! Copying a block of a matrix into a GEMM panel `[k, R]`: `R` rows of A or columns of B side by side at each `k`.
//!
//! Two layouts come in: `R` neighbours side by side (copied), or each one's `k` side by side (transposed, in blocks of
//! 4 by 4). What lies beyond `width` neighbours is filled with zeros. Which blocks to pack is `gemm`'s business.

use super::tile::span;
use super::{prefetch, Simd};

/// Rows that are asked for ahead of their copy: each may lie in a page of its own, where no prefetcher follows.
pub const AHEAD: usize = 16;

/// Four numbers.
type Four = [f32; 4];

/// `to[p·R + j] ← from[p·stride + j]` for `p < k`, `j < width`, and 0 for `j` in `width..R`.
///
/// # Panics
/// When `width > R`, `from` ends before the last element, `to` holds fewer than `k·R`, or a number of elements overflows.
#[inline(always)]
pub fn copy_panel<const R: usize>(from: &[f32], stride: usize, width: usize, k: usize, to: &mut [f32]) {
    assert!(width <= R, "a panel of {R} cannot hold {width}");
    // Divided, not multiplied: `k * R` may overflow before this holds.
    assert!(to.len() / R >= k, "a panel to fill is too short");
    if k == 0 || width == 0 {
        to[..k * R].fill(0.0);
        return;
    }
    assert!(from.len() >= span(k, stride, width), "a block to pack is too short");
    if width < R {
        for (p, to) in to[..k * R].chunks_exact_mut(R).enumerate() {
            to[..width].copy_from_slice(&from[p * stride..][..width]);
            to[width..].fill(0.0);
        }
        return;
    }
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    for p in 0..k {
        prefetch(from.wrapping_add((p + AHEAD) * stride));
        // SAFETY: both slices were checked to hold `R` numbers at step `p`, and they are borrowed apart.
        unsafe { to.wrapping_add(p * R).copy_from_nonoverlapping(from.wrapping_add(p * stride), R) };
    }
}

/// `to[p·R + i] ← from[i·stride + p]` for `p < k`, `i < width`, and 0 for `i` in `width..R`.
///
/// # Panics
/// As [`copy_panel`].
#[inline(always)]
pub fn transpose_panel<S: Simd, const R: usize>(
    simd: S,
    from: &[f32],
    stride: usize,
    width: usize,
    k: usize,
    to: &mut [f32],
) {
    assert!(width <= R, "a panel of {R} cannot hold {width}");
    // Divided, not multiplied: `k * R` may overflow before this holds.
    assert!(to.len() / R >= k, "a panel to fill is too short");
    if k == 0 || width == 0 {
        to[..k * R].fill(0.0);
        return;
    }
    assert!(from.len() >= span(width, stride, k), "a block to pack is too short");
    // Levels of 8 and 16 lanes have shuffles for whole vectors; a panel narrower than a vector is stored as one nevertheless,
    // and the next step's overwrites what was too much.
    let whole = R.is_multiple_of(S::LANES) || (R < S::LANES && 2 * R >= S::LANES);
    if S::LANES >= 8 && width == R && whole {
        // SAFETY: the block was checked to hold `R` rows of `k` numbers, the panel `k` steps, and `R` is one of those.
        let done = unsafe { turn_vectors::<S, R>(simd, from.as_ptr(), stride, k, to) };
        for p in done..k {
            for i in 0..R {
                to[p * R + i] = from[i * stride + p];
            }
        }
        return;
    }
    if width < R {
        to[..k * R].fill(0.0);
        for i in 0..width {
            for (to, &x) in to[i..].iter_mut().step_by(R).zip(&from[i * stride..][..k]) {
                *to = x;
            }
        }
        return;
    }
    let (first, out) = (from.as_ptr(), to.as_mut_ptr());
    for p in (0..k / 4 * 4).step_by(4) {
        let (first, out) = (first.wrapping_add(p), out.wrapping_add(p * R));
        for i in (0..R / 4 * 4).step_by(4) {
            let row = |r: usize| first.wrapping_add((i + r) * stride).cast::<Four>();
            // SAFETY: row `i` was checked to hold the four numbers from `p`; an array is aligned as its numbers.
            let a = unsafe { row(0).read() };
            // SAFETY: as above, row `i + 1`.
            let b = unsafe { row(1).read() };
            // SAFETY: as above, row `i + 2`.
            let c = unsafe { row(2).read() };
            // SAFETY: as above, row `i + 3`.
            let d = unsafe { row(3).read() };
            for (q, column) in transposed(a, b, c, d).into_iter().enumerate() {
                // SAFETY: step `p + q` of the panel holds `R` numbers, of which these are `i..i + 4`.
                unsafe { out.wrapping_add(q * R + i).cast::<Four>().write(column) };
            }
        }
        for i in R / 4 * 4..R {
            for q in 0..4 {
                // SAFETY: row `i` was checked to hold the number at `p + q`.
                let x = unsafe { first.wrapping_add(i * stride + q).read() };
                // SAFETY: step `p + q` of the panel holds `R` numbers.
                unsafe { out.wrapping_add(q * R + i).write(x) };
            }
        }
    }
    for p in k / 4 * 4..k {
        for i in 0..R {
            to[p * R + i] = from[i * stride + p];
        }
    }
}

/// The first steps of [`transpose_panel`], in blocks of `LANES` by `LANES`; returns how many were done.
///
/// # Safety
/// `from + i * stride` must be valid for reading `k` numbers for each `i < R`, `to` must hold `k·R`, and `R` must be a multiple of `LANES`
/// or half as much or more.
#[inline(always)]
unsafe fn turn_vectors<S: Simd, const R: usize>(
    simd: S,
    from: *const f32,
    stride: usize,
    k: usize,
    to: &mut [f32],
) -> usize {
    let out = to.as_mut_ptr();
    // Where a step is narrower than the vector stored, by half of it at most, one more step must follow.
    let end = if R < S::LANES { k.saturating_sub(1) } else { k };
    // Two blocks of 8 numbers are a cache line: rows a power of two apart drive each other out of the cache, so a line
    // is used up while it is there.
    let mut p = 0;
    while p + S::LANES <= end {
        let blocks = if p + 2 * S::LANES <= end { 2 } else { 1 };
        for i in (0..R).step_by(S::LANES) {
            for p in (p..p + blocks * S::LANES).step_by(S::LANES) {
                let mut block = [simd.splat(0.0); 16];
                let block = &mut block[..S::LANES];
                let rows = (R - i).min(S::LANES);
                // SAFETY: these rows hold `LANES` numbers from `p`.
                unsafe { simd.load_transposed(from.wrapping_add(i * stride + p), stride, rows, block) };
                for (q, step) in block.iter().enumerate() {
                    // SAFETY: step `p + q` of the panel holds `R` numbers, or a step follows it.
                    unsafe { simd.store_ptr(*step, out.wrapping_add((p + q) * R + i)) };
                }
            }
        }
        p += blocks * S::LANES;
    }
    p
}

/// The columns of the matrix with these rows.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(a: Four, b: Four, c: Four, d: Four) -> [Four; 4] {
    use std::arch::x86_64::{__m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    // SAFETY: a vector of four numbers and an array of four have the same bytes; SSE is part of x86-64.
    let [a, b, c, d] = unsafe { std::mem::transmute::<[Four; 4], [__m128; 4]>([a, b, c, d]) };
    // SAFETY: SSE is part of x86-64.
    let (ab, cd) = unsafe { (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d)) };
    // SAFETY: SSE is part of x86-64.
    let (ab_high, cd_high) = unsafe { (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d)) };
    // SAFETY: SSE is part of x86-64.
    let low = unsafe { [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab)] };
    // SAFETY: SSE is part of x86-64.
    let high = unsafe { [_mm_movelh_ps(ab_high, cd_high), _mm_movehl_ps(cd_high, ab_high)] };
    // SAFETY: as in the first step, the other way round.
    unsafe { std::mem::transmute::<[__m128; 4], [Four; 4]>([low[0], low[1], high[0], high[1]]) }
}

/// The columns of the matrix with these rows.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(a: Four, b: Four, c: Four, d: Four) -> [Four; 4] {
    [[a[0], b[0], c[0], d[0]], [a[1], b[1], c[1], d[1]], [a[2], b[2], c[2], d[2]], [a[3], b[3], c[3], d[3]]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::dispatch;
    use crate::simd::{Kernel, Scalar};
    use std::panic::catch_unwind;

    /// Panels of any width, narrow ones too, whose steps are shorter than a vector.
    #[test]
    fn panels_end_where_they_should() {
        struct Transpose<'a, const R: usize>(&'a [f32], usize, &'a mut [f32]);
        impl<const R: usize> Kernel for Transpose<'_, R> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                transpose_panel::<S, R>(simd, self.0, self.1, R, self.1, self.2);
            }
        }
        fn check<const R: usize>() {
            for k in [1, 7, 16, 17, 40] {
                let from: Vec<f32> = (0..R * k).map(|i| i as f32).collect();
                let mut to = vec![-1.0; R * k + 32];
                let (panel, behind) = to.split_at_mut(R * k);
                dispatch(Transpose::<R>(&from, k, panel));
                assert!((0..R * k).all(|at| panel[at] == from[at % R * k + at / R]), "{R} by {k}");
                assert_eq!(behind, [-1.0; 32], "{R} by {k}");
            }
        }
        for check in [check::<1>, check::<4>, check::<6>, check::<8>, check::<12>, check::<16>, check::<32>] {
            check();
        }
    }

    /// These functions are safe to call, so sizes whose products wrap must not pass the checks before the raw copies.
    #[test]
    fn sizes_that_overflow_are_refused() {
        let block = [0.0; 64];
        for (stride, width, k) in
            [(0, 8, 1 << 61), (1 << 61, 8, 9), (usize::MAX, 8, 2), (8, 8, usize::MAX), (1 << 63, 8, 3)]
        {
            let refused = |pack: fn(&[f32], usize, usize, usize, &mut [f32])| {
                catch_unwind(move || pack(&block, stride, width, k, &mut [0.0; 128])).is_err()
            };
            assert!(refused(copy_panel::<8>), "copied {k} rows at {stride}");
            let transpose = |from: &[f32], stride, width, k, to: &mut [f32]| {
                transpose_panel::<_, 8>(Scalar, from, stride, width, k, to);
            };
            assert!(refused(transpose), "transposed {k} at {stride}");
        }
    }
}
