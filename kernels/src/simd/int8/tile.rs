//! The micro-kernel over words: a tile of sums in registers while a panel of A meets a panel of B.
//!
//! Panels are as in [`crate::simd::micro`], `[steps, rows]` and `[steps, columns]`, each number being a word's 32 bits; the
//! packing copies them without looking at them. The whole tile is always computed: panels are filled up with zeros.

use super::Dots;

/// The largest tile of any level, in sums.
pub(crate) const LARGEST: usize = 12 * 32;

/// Rows of a tile, those of [`crate::simd::micro::tile_rows`].
pub(crate) const fn rows<D: Dots>() -> usize {
    if D::LANES == 16 {
        12
    } else {
        6
    }
}

/// Columns of a tile: two vectors.
pub(crate) const fn cols<D: Dots>() -> usize {
    2 * D::LANES
}

/// `sums[i, j] ← Σ_p a[p, i]·b[p, j]` over `steps` words, rows [`cols`] apart. Sums wrap.
///
/// # Panics
/// When a panel is too short.
#[inline(always)]
pub(crate) fn multiply<D: Dots>(dots: D, steps: usize, a: &[f32], b: &[f32], sums: &mut [i32; LARGEST]) {
    assert!(a.len() / rows::<D>() >= steps && b.len() / cols::<D>() >= steps, "a panel is too short");
    let (a, b) = (a.as_ptr().cast(), b.as_ptr().cast());
    if D::LANES == 16 {
        // SAFETY: the panels hold `steps` steps of the tile's rows and columns.
        unsafe { tile::<D, 12>(dots, steps, a, b, sums) }
    } else {
        // SAFETY: as above.
        unsafe { tile::<D, 6>(dots, steps, a, b, sums) }
    }
}

/// [`multiply`] for `M` rows.
///
/// # Safety
/// `a` must be valid for `steps` times `M` words, `b` for `steps` times two vectors.
#[inline(always)]
unsafe fn tile<D: Dots, const M: usize>(
    dots: D,
    steps: usize,
    mut a: *const u32,
    mut b: *const u32,
    to: &mut [i32; LARGEST],
) {
    const { assert!(M * cols::<D>() <= LARGEST, "the tile is too large") };
    let mut sums = [[dots.zero(); 2]; M];
    for _ in 0..steps {
        // SAFETY: the panel of B holds two vectors in this step.
        let left = unsafe { dots.load(b) };
        // SAFETY: as above.
        let right = unsafe { dots.load(b.wrapping_add(D::LANES)) };
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the panel of A holds `M` words in this step.
            let x = dots.splat(unsafe { a.wrapping_add(i).read() });
            *sum = [dots.dot(sum[0], x, left), dots.dot(sum[1], x, right)];
        }
        a = a.wrapping_add(M);
        b = b.wrapping_add(cols::<D>());
    }
    for (i, sum) in sums.iter().enumerate() {
        for (v, sum) in sum.iter().enumerate() {
            // SAFETY: the tile has room for `M` rows of two vectors.
            unsafe { dots.store(*sum, to.as_mut_ptr().wrapping_add(i * cols::<D>() + v * D::LANES)) };
        }
    }
}
