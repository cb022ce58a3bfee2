//! The arithmetic of AMX's `tdpbf16ps` in plain code: what the fast units are tested against, and what stands in for them where a
//! machine has none (Intel, Software Developer's Manual, volume 2, TDPBF16PS).
//!
//! Over each [`STEP`] numbers of the depth two sums begin at 0, that of the even numbers and that of the odd ones, each by fused
//! multiplications in ascending order. Their sum is added to the element. Where a result lies within half a unit of its last place below the
//! smallest normal number, the processor may give 0 and the twin that number: it looks whether the result is normal before it rounds as a
//! subnormal one would be.

use super::{Block, BLOCK, STEP};
use crate::bf16;

/// The number, 0 of its sign where it is subnormal.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0f32.copysign(x)
    } else {
        x
    }
}

fn wide(bits: u16) -> f32 {
    flushed(f32::from_bits(u32::from(bits) << 16))
}

/// See [`super::Blocks::whole`].
///
/// # Safety
/// As there.
pub(super) unsafe fn multiply(block: &Block) {
    let Block { steps, a, a_stride, a_step, b, c, c_stride, add } = *block;
    for i in 0..BLOCK {
        for j in 0..BLOCK {
            let to = c.wrapping_add(i * c_stride + j);
            // SAFETY: the caller vouches for `BLOCK` rows of as many sums.
            let mut sum = if add { unsafe { to.read() } } else { 0.0 };
            for step in 0..steps {
                let mut parts = [0f32; 2];
                for q in 0..STEP / 2 {
                    // SAFETY: the caller vouches for `steps * STEP` words of half as many steps of the panel.
                    let word = unsafe { b.wrapping_add((step * STEP / 2 + q) * BLOCK + j).read() }.to_bits();
                    let pair: *const bf16 = a.wrapping_add(i * a_stride + step * a_step + 2 * q);
                    // SAFETY: the caller vouches for `steps * STEP` numbers of row `i`.
                    let pair = [unsafe { pair.read() }, unsafe { pair.wrapping_add(1).read() }];
                    for ((part, x), y) in parts.iter_mut().zip(pair).zip([word as u16, (word >> 16) as u16]) {
                        *part = flushed(wide(x.to_bits()).mul_add(wide(y), *part));
                    }
                }
                sum = flushed(flushed(sum) + flushed(parts[0] + parts[1]));
            }
            // SAFETY: as above.
            unsafe { to.write(sum) };
        }
    }
}
