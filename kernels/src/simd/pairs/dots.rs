//! AVX-512 BF16: dot products of two pairs in each of 16 lanes.

use std::arch::x86_64::*;

use super::{Block, BLOCK, STEP};

/// Rows whose sums are in registers at a time, two vectors each.
const ROWS: usize = 8;

/// See [`super::Blocks::whole`].
///
/// # Safety
/// As there, and AVX-512F and BF16 must have been detected.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply(block: &Block) {
    for first in (0..BLOCK).step_by(ROWS) {
        let (a, c) =
            (block.a.wrapping_add(first * block.a_stride), block.c.wrapping_add(first * block.c_stride));
        // SAFETY: the caller vouches for these rows.
        unsafe { rows(&Block { a, c, ..*block }) };
    }
}

/// [`multiply`] for the first [`ROWS`].
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rows(block: &Block) {
    let Block { steps, a, a_stride, a_step, b, c, c_stride, add } = *block;
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    if add {
        for (i, sum) in sums.iter_mut().enumerate() {
            let row = c.wrapping_add(i * c_stride);
            // SAFETY: the caller vouches for two vectors of each row.
            *sum = unsafe { [_mm512_loadu_ps(row), _mm512_loadu_ps(row.wrapping_add(16))] };
        }
    }
    for q in 0..steps * STEP / 2 {
        let columns = b.wrapping_add(q * BLOCK);
        // SAFETY: the caller vouches for two vectors of words at each of these steps.
        let columns = unsafe { [_mm512_loadu_ps(columns), _mm512_loadu_ps(columns.wrapping_add(16))] };
        for (i, sum) in sums.iter_mut().enumerate() {
            let pair = a.wrapping_add(i * a_stride + q / (STEP / 2) * a_step + 2 * q % STEP).cast::<i32>();
            // SAFETY: the caller vouches for two numbers here, which need not be aligned as one.
            let pair = bits(_mm512_set1_epi32(unsafe { pair.read_unaligned() }));
            for (sum, columns) in sum.iter_mut().zip(columns) {
                *sum = _mm512_dpbf16_ps(*sum, pair, bits(_mm512_castps_si512(columns)));
            }
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        let row = c.wrapping_add(i * c_stride);
        // SAFETY: the caller vouches for two vectors of each row.
        unsafe { _mm512_storeu_ps(row, sum[0]) };
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(row.wrapping_add(16), sum[1]) };
    }
}

/// The same bits as pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bits(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits of any content.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
}
