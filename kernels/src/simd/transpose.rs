//! Transposed copies between strided blocks: whole blocks of `LANES × LANES` in registers, edges one by one.

use super::tile::span;
use super::{Simd, MOST_LANES};

/// Copies the block `[rows, cols]` at `from`, rows `from_stride` apart, to `[cols, rows]` at `to`, rows `to_stride`
/// apart.
///
/// # Panics
/// When a slice is too short.
#[inline(always)]
pub(crate) fn transpose<S: Simd>(
    simd: S,
    (rows, cols): (usize, usize),
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(span(rows, from_stride, cols) <= from.len(), "the block does not lie in its slice");
    assert!(span(cols, to_stride, rows) <= to.len(), "the transposed block does not lie in its slice");
    let (whole_rows, whole_cols) = (rows / S::LANES * S::LANES, cols / S::LANES * S::LANES);
    for row in (0..whole_rows).step_by(S::LANES) {
        for col in (0..whole_cols).step_by(S::LANES) {
            let mut block = [simd.splat(0.0); MOST_LANES];
            let block = &mut block[..S::LANES];
            let source = from[row * from_stride + col..].as_ptr();
            // SAFETY: columns `col..col + LANES` of rows `row..row + LANES` lie in the block, and so in the slice.
            unsafe { simd.load_transposed(source, from_stride, S::LANES, block) };
            let target = to[col * to_stride + row..].as_mut_ptr();
            for (j, line) in block.iter().enumerate() {
                // SAFETY: columns `row..row + LANES` of row `col + j` lie in the transposed block.
                unsafe { simd.store_ptr(*line, target.wrapping_add(j * to_stride)) };
            }
        }
        for col in whole_cols..cols {
            for i in row..row + S::LANES {
                to[col * to_stride + i] = from[i * from_stride + col];
            }
        }
    }
    for row in whole_rows..rows {
        for col in 0..cols {
            to[col * to_stride + row] = from[row * from_stride + col];
        }
    }
}

/// Transposes `LANES` vectors through memory, for levels that have no shuffles of their own.
#[inline(always)]
pub(super) fn through_memory<S: Simd>(simd: S, block: &mut [S::F]) {
    let mut lines = [[0.0f32; MOST_LANES]; MOST_LANES];
    for (line, v) in lines.iter_mut().zip(block.iter()) {
        simd.store(*v, line);
    }
    for (j, v) in block.iter_mut().enumerate() {
        let mut column = [0.0f32; MOST_LANES];
        for (to, line) in column.iter_mut().zip(&lines) {
            *to = line[j];
        }
        *v = simd.load(&column);
    }
}

#[cfg(test)]
mod tests {
    use super::transpose;
    use crate::isa;
    use crate::simd::{Kernel, Simd};

    struct Transpose<'a>((usize, usize), &'a [f32], usize, &'a mut [f32], usize);

    impl Kernel for Transpose<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            transpose(simd, self.0, self.1, self.2, self.3, self.4);
        }
    }

    #[test]
    fn every_element_lands_at_its_mirror() {
        for (rows, cols) in [(0, 0), (1, 1), (8, 8), (16, 16), (17, 9), (3, 40), (33, 16), (16, 7)] {
            let (from_stride, to_stride) = (cols + 2, rows + 1);
            let from: Vec<f32> = (0..rows * from_stride).map(|i| i as f32).collect();
            let mut to = vec![-1.0; cols * to_stride];
            isa::dispatch(Transpose((rows, cols), &from, from_stride, &mut to, to_stride));
            for (at, &found) in to.iter().enumerate() {
                let (j, i) = (at / to_stride, at % to_stride);
                assert_eq!(found, if i < rows { from[i * from_stride + j] } else { -1.0 });
            }
        }
    }
}
