//! Products of small tiles for attention: a left factor read at any stride, one number at a time, times a panel of
//! `2·LANES` columns whose rows are whole vectors.
//!
//! Operands stay where they are in cache; only the panel's rows must be dense. Bounds are checked once a product, and
//! the unsafe code is the micro-kernel below. Every element of the result sums over the depth in ascending order, so
//! its bits depend neither on the blocking of rows nor on its neighbours. Blocked GEMM is elsewhere.

use super::Simd;

/// Columns of a panel: two vectors.
pub(crate) const fn width<S: Simd>() -> usize {
    2 * S::LANES
}

/// Rows of the register tile: with two vectors of a panel's row and one broadcast they fill the registers.
pub(crate) const fn height<S: Simd>() -> usize {
    if S::REGISTERS >= 32 {
        12
    } else {
        6
    }
}

/// The left factor: element `(i, k)` is `data[i * row + k * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) step: usize,
}

/// The right factor: row `k` is the panel's width from `data[k * stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Start<F> {
    /// Nothing: the old result is ignored.
    Zero,
    /// The old result.
    Old,
    /// The old result, each column times its factor.
    Scaled([F; 2]),
}

/// `left · right`, `[rows, depth] · [depth, width]`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) left: Left<'a>,
    pub(crate) right: Right<'a>,
}

/// One past the last index of `rows` rows at `stride`, the last one `tail` long.
pub(super) fn span(rows: usize, stride: usize, tail: usize) -> usize {
    let last = rows.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride));
    last.and_then(|last| last.checked_add(tail)).expect("a tile's extent fits usize")
}

impl Product<'_> {
    /// Writes `start + left · right` to `out`, whose rows lie `stride` apart. The rows of
    /// a register tile that begins at row `i` skip the first `skip(i)` of the depth.
    ///
    /// # Panics
    /// When an operand is too short.
    #[inline(always)]
    pub(crate) fn run<S: Simd>(
        &self,
        simd: S,
        out: &mut [f32],
        stride: usize,
        skip: impl Fn(usize) -> usize,
        start: Start<S::F>,
    ) {
        let Self { rows, depth, left, right } = *self;
        if rows == 0 {
            return;
        }
        let width = width::<S>();
        assert!(span(rows, stride, width) <= out.len(), "the result does not hold the product");
        if depth > 0 {
            assert!(span(depth, right.stride, width) <= right.data.len(), "the right factor is too short");
            let first_column = span(rows, left.row, 0);
            assert!(span(depth, left.step, first_column) < left.data.len(), "the left factor is too short");
        }
        let mut row = 0;
        while row < rows {
            let height = chunk(rows - row, height::<S>());
            let skipped = skip(row).min(depth);
            let micro = Micro {
                // With a depth of 0 nothing is read, so the addresses need not exist.
                left: left.data.as_ptr().wrapping_add(row * left.row + skipped * left.step),
                left_row: left.row,
                left_step: left.step,
                right: right.data.as_ptr().wrapping_add(skipped * right.stride),
                right_stride: right.stride,
                depth: depth - skipped,
                out: out[row * stride..].as_mut_ptr(),
                out_stride: stride,
            };
            // SAFETY: by the assertions above rows `row..row + height` lie in `out`, and for them and every `k` in
            // `skipped..depth` the elements lie in the left factor and the rows in the right one.
            unsafe { micro.of_height(simd, height, start) };
            row += height;
        }
    }
}

/// Rows of the next register tile of `rows` that are left: full ones, but the last two share what is left, since a
/// tile of one or two rows waits for its own additions.
fn chunk(rows: usize, full: usize) -> usize {
    if rows >= 2 * full || rows <= full {
        rows.min(full)
    } else {
        rows.div_ceil(2)
    }
}

/// One register tile.
#[derive(Clone, Copy)]
struct Micro {
    left: *const f32,
    left_row: usize,
    left_step: usize,
    right: *const f32,
    right_stride: usize,
    depth: usize,
    out: *mut f32,
    out_stride: usize,
}

impl Micro {
    /// Picks the code for `height` rows.
    ///
    /// # Safety
    /// As [`Micro::tile`] with `HEIGHT = height`, which is in `1..=height::<S>()`.
    #[inline(always)]
    unsafe fn of_height<S: Simd>(self, simd: S, height: usize, start: Start<S::F>) {
        macro_rules! heights {
            ($($height:literal)*) => {
                match height {
                    $(
                        // SAFETY: the caller's promise for this height.
                        $height => unsafe { self.tile::<S, $height>(simd, start) },
                    )*
                    _ => unreachable!("a register tile of {height} rows"),
                }
            };
        }
        if S::REGISTERS >= 32 {
            heights!(1 2 3 4 5 6 7 8 9 10 11 12)
        } else {
            heights!(1 2 3 4 5 6)
        }
    }

    /// `out[i] = start + Σ_k left[i, k] · right[k]` for `HEIGHT` rows.
    ///
    /// # Safety
    /// For `i < HEIGHT` and `k < depth`: `left + i * left_row + k * left_step` must be valid for reading a number,
    /// `right + k * right_stride` for reading a panel's width, and `out + i * out_stride` for reading and writing one;
    /// `out` overlaps neither factor.
    #[inline(always)]
    unsafe fn tile<S: Simd, const HEIGHT: usize>(self, simd: S, start: Start<S::F>) {
        let mut sums = [[simd.splat(0.0); 2]; HEIGHT];
        for (i, sum) in sums.iter_mut().enumerate() {
            let row = self.out.wrapping_add(i * self.out_stride);
            // SAFETY: the caller vouches for a panel's width at every row.
            let low = unsafe { simd.load_ptr(row) };
            // SAFETY: as above.
            let high = unsafe { simd.load_ptr(row.wrapping_add(S::LANES)) };
            *sum = match start {
                Start::Zero => continue,
                Start::Old => [low, high],
                Start::Scaled(factors) => [simd.mul(low, factors[0]), simd.mul(high, factors[1])],
            };
        }
        let (mut left, mut right) = (self.left, self.right);
        for _ in 0..self.depth {
            // SAFETY: the caller vouches for a panel's width at each of `depth` rows.
            let low = unsafe { simd.load_ptr(right) };
            // SAFETY: as above.
            let high = unsafe { simd.load_ptr(right.wrapping_add(S::LANES)) };
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller vouches for every element of `HEIGHT` rows and `depth` steps.
                let factor = simd.splat(unsafe { left.wrapping_add(i * self.left_row).read() });
                sum[0] = simd.fma(factor, low, sum[0]);
                sum[1] = simd.fma(factor, high, sum[1]);
            }
            left = left.wrapping_add(self.left_step);
            right = right.wrapping_add(self.right_stride);
        }
        for (i, sum) in sums.iter().enumerate() {
            let row = self.out.wrapping_add(i * self.out_stride);
            // SAFETY: the caller vouches for a panel's width at every row.
            unsafe { simd.store_ptr(sum[0], row) };
            // SAFETY: as above.
            unsafe { simd.store_ptr(sum[1], row.wrapping_add(S::LANES)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Scalar;

    #[test]
    fn rows_are_cut_into_tiles_that_keep_the_pipes_busy() {
        for rows in 1..100 {
            let (mut left, mut smallest) = (rows, usize::MAX);
            while left > 0 {
                let height = chunk(left, 6);
                assert!((1..=6).contains(&height));
                smallest = smallest.min(height);
                left -= height;
            }
            assert!(smallest >= rows.min(3), "{rows} rows have a tile of {smallest}");
        }
    }

    #[test]
    fn a_product_is_the_sum_of_products() {
        let simd = Scalar;
        let width = width::<Scalar>();
        for (rows, depth) in [(0, 3), (1, 0), (1, 1), (5, 4), (7, 3), (13, 9)] {
            // The left factor is stored by columns, the panel with gaps.
            let left: Vec<f32> = (0..rows * depth).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let right: Vec<f32> = (0..depth * (width + 3)).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut out = vec![1.0; rows * (width + 1)];
            let product = Product {
                rows,
                depth,
                left: Left { data: &left, row: 1, step: rows },
                right: Right { data: &right, stride: width + 3 },
            };
            let skip = |row: usize| usize::from(row >= 6);
            product.run(simd, &mut out, width + 1, skip, Start::Scaled([simd.splat(2.0); 2]));
            for (at, &found) in out.iter().enumerate() {
                let (i, j) = (at / (width + 1), at % (width + 1));
                // The tile that row i is in begins at the last start that is not after it.
                let mut begin = 0;
                while begin + chunk(rows - begin, 6) <= i {
                    begin += chunk(rows - begin, 6);
                }
                let from = skip(begin).min(depth);
                let sum: f32 = (from..depth)
                    .map(|k| left[k * rows + i] * right[k * (width + 3) + j.min(width - 1)])
                    .sum();
                let expected = if j < width { 2.0 + sum } else { 1.0 };
                assert_eq!(found, expected, "element ({i}, {j}) of {rows} by {depth}");
            }
        }
    }
}
