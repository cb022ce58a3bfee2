//! Products of numbers in bf16, two along the depth at a time, summed in f32 by instructions made for that.
//!
//! A [`Unit`] multiplies a block of 32 rows with a panel of as many columns. Rows lie as they are stored, their depth side by
//! side; a panel is `[depth / 2, 32]` words of 32 bits, each a column's next two numbers (the earlier one in the lower
//! half), and so has the layout of a panel of `f32`. Depths are multiples of 32: what is missing is filled with zeros,
//! which change no bit of a sum that is not -0.
//!
//! # Arithmetic
//! Subnormal numbers count as 0, operands, intermediate sums and results alike. An element takes its depth in ascending order, by fused
//! multiplications, so that its bits depend on its row and its column alone (but for which of two NaNs' payloads it gets): `twin` says
//! how, for AMX. With `u = 2⁻²⁴`, an element over `k` numbers, of factors whose subnormal numbers are 0 and with `c` the old element where
//! it counts, is off by at most `k·u·(|c| + Σ|a·b|) + 2k·2⁻¹²⁶` unless it overflows.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dots;
mod twin;
mod unit;

pub use unit::{Unit, UnitError};

use super::tile::span;
use crate::bf16;
use crate::grid::Tile;
use crate::matrix::MatMut;

/// Rows of a block and columns of a panel.
pub(crate) const BLOCK: usize = 32;
/// What depths are multiples of.
pub(crate) const STEP: usize = 32;

/// A word of two numbers along the depth, as an `f32` that nobody computes with.
#[inline(always)]
pub(crate) fn word([low, high]: [bf16; 2]) -> f32 {
    f32::from_bits(u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16)
}

/// Whole blocks of rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    numbers: &'a [bf16],
    /// From a row of a block to the next, from [`STEP`] numbers of a row to the next ones, and from a block to the next.
    stride: usize,
    step: usize,
    block: usize,
}

impl<'a> Rows<'a> {
    /// Rows as they are stored: row `i` begins at number `i * stride`.
    pub(crate) fn stored(numbers: &'a [bf16], stride: usize) -> Self {
        Self { numbers, stride, step: STEP, block: BLOCK.saturating_mul(stride) }
    }

    /// Rows packed as words `[blocks, steps, BLOCK, STEP / 2]`: a tile after the other, as they are read.
    pub(crate) fn packed(words: &'a [f32], steps: usize) -> Self {
        // SAFETY: the slice's bytes are as many numbers of 16 bits, which may have any bits and are no more strictly aligned.
        let numbers = unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 2 * words.len()) };
        Self { numbers, stride: STEP, step: BLOCK * STEP, block: steps * BLOCK * STEP }
    }
}

/// One block's product: `c[i, j] ← Σ_p a[i, p]·b[p, j]`, or that added to `c`.
#[derive(Clone, Copy)]
struct Block {
    /// The depth in units of [`STEP`].
    steps: usize,
    /// [`BLOCK`] rows, `a_stride` numbers apart, each [`STEP`] of a row `a_step` after those before.
    a: *const bf16,
    a_stride: usize,
    a_step: usize,
    /// The panel's words.
    b: *const f32,
    /// [`BLOCK`] rows of as many sums, `c_stride` apart.
    c: *mut f32,
    c_stride: usize,
    /// Whether the old sums count.
    add: bool,
}

impl Unit {
    /// Runs `f`, which may multiply blocks on this thread, and must not come here again. The unit must have been detected.
    pub(crate) fn within<R>(self, f: impl FnOnce(&Blocks) -> R) -> R {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        let _configured = (self == Unit::Amx).then(amx::Configured::new);
        f(&Blocks { unit: self })
    }

    /// Multiplies and adds as fast as the unit can, for some milliseconds at most, for the measurement of a machine's limit. Returns the operations
    /// done, a multiplication and an addition being two.
    ///
    /// # Panics
    /// When this machine lacks the unit.
    pub fn exert(self) -> f64 {
        self.check();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self == Unit::Amx {
            return self.within(|_| amx::exert(100_000));
        }
        // A product of what lies in the first-level cache.
        let (steps, turns) = (8, if self == Unit::Twin { 1 } else { 4000 });
        let words = vec![0.0f32; steps * STEP / 2 * BLOCK];
        let mut sums = [0.0; BLOCK * BLOCK];
        let matrix = MatMut::new(&mut sums, BLOCK, BLOCK).expect("a whole block");
        let mut tile = Tile::whole(matrix);
        self.within(|blocks| {
            for _ in 0..turns {
                blocks.multiply(Rows::packed(&words, steps), 0, &words, steps, &mut tile, true);
            }
        });
        (2 * turns * BLOCK * BLOCK * steps * STEP) as f64
    }
}

/// The multiplication of blocks, ready on this thread.
pub(crate) struct Blocks {
    unit: Unit,
}

impl Blocks {
    /// `part ← rows·panel`, or that added, over `steps` of the depth: the rows of block `index`, of which `part` has all or the first;
    /// what rows and panel hold beyond it does not matter.
    ///
    /// # Panics
    /// When rows or panel are too short, or `part` is larger than a block.
    pub(crate) fn multiply(
        &self,
        rows: Rows<'_>,
        index: usize,
        panel: &[f32],
        steps: usize,
        part: &mut Tile<'_, f32>,
        add: bool,
    ) {
        let (height, width, depth) = (part.rows(), part.cols(), steps * STEP);
        assert!(height <= BLOCK && width <= BLOCK, "a part of {height} by {width}");
        assert!(panel.len() >= depth / 2 * BLOCK, "a panel is too short");
        let numbers = &rows.numbers[index * rows.block..];
        let row = span(steps, rows.step, STEP);
        assert!(steps == 0 || numbers.len() >= span(BLOCK, rows.stride, row), "a row is too short");
        let mut block = Block {
            steps,
            a: numbers.as_ptr(),
            a_stride: rows.stride,
            a_step: rows.step,
            b: panel.as_ptr(),
            c: part.as_mut_ptr(),
            c_stride: part.stride(),
            add,
        };
        if (height, width) == (BLOCK, BLOCK) {
            // SAFETY: rows and panel were checked, and the part is a whole block that nobody else has.
            unsafe { self.whole(&block) };
            return;
        }
        let mut beside = [0.0f32; BLOCK * BLOCK];
        if add {
            for (i, to) in beside.chunks_exact_mut(BLOCK).enumerate().take(height) {
                to[..width].copy_from_slice(part.row(i));
            }
        }
        (block.c, block.c_stride) = (beside.as_mut_ptr(), BLOCK);
        // SAFETY: rows and panel were checked, and what is beside is a whole block.
        unsafe { self.whole(&block) };
        for (i, from) in beside.chunks_exact(BLOCK).enumerate().take(height) {
            part.row_mut(i).copy_from_slice(&from[..width]);
        }
    }

    /// Computes a whole block.
    ///
    /// # Safety
    /// `a` must be valid for reading `steps·STEP` numbers of [`BLOCK`] rows, `b` for half as many times [`BLOCK`] words, and `c` for
    /// reading and writing [`BLOCK`] rows of as many; `c` overlaps neither.
    unsafe fn whole(&self, block: &Block) {
        match self.unit {
            // SAFETY: the unit was detected, the tiles are configured, and the caller vouches for the memory.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx => unsafe { amx::multiply(block) },
            // SAFETY: the unit was detected, and the caller vouches for the memory.
            #[cfg(target_arch = "x86_64")]
            Unit::Dots => unsafe { dots::multiply(block) },
            // SAFETY: the caller vouches for the memory.
            Unit::Twin => unsafe { twin::multiply(block) },
            // A unit is named by `Unit::active` alone, after its detection.
            #[allow(unreachable_patterns)]
            unit => unreachable!("{unit:?} on a machine that lacks it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes, subnormal ones among them.
    fn numbers(len: usize, mut state: u32) -> Vec<bf16> {
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let exponent = match state >> 28 {
                    0 => 0,
                    1 => 1 + (state >> 20 & 7),
                    2 => 60,
                    _ => 120 + (state >> 20 & 15),
                };
                bf16::from_bits(((state >> 31 << 15) | exponent << 7 | state >> 8 & 127) as u16)
            })
            .collect()
    }

    fn product(unit: Unit, steps: usize, a: &[bf16], a_stride: usize, b: &[bf16], add: bool) -> Vec<f32> {
        let words: Vec<f32> = b.as_chunks::<2>().0.iter().map(|&pair| word(pair)).collect();
        let mut c = vec![0.375; BLOCK * (BLOCK + 3)];
        // Old sums that count as 0 or not, and NaN where they are not read.
        (c[1], c[2]) = (1e-40, f32::MIN_POSITIVE);
        if !add {
            c[5] = f32::NAN;
        }
        assert!(a.len() >= (BLOCK - 1) * a_stride + steps * STEP && words.len() >= steps * STEP / 2 * BLOCK);
        let (a, b, c_stride) = (a.as_ptr(), words.as_ptr(), BLOCK + 3);
        let block = Block { steps, a, a_stride, a_step: STEP, b, c: c.as_mut_ptr(), c_stride, add };
        // SAFETY: the lengths were checked, and C holds its rows.
        unit.within(|blocks| unsafe { blocks.whole(&block) });
        c
    }

    #[test]
    fn amx_computes_the_twins_bits() {
        if !Unit::Amx.is_supported() {
            eprintln!("skipped: this machine has no AMX");
            return;
        }
        for (steps, a_stride, add) in
            [(0, 0, false), (0, 0, true), (1, 32, false), (1, 37, true), (5, 161, true)]
        {
            let (a, b) = (numbers(BLOCK * (a_stride + STEP * steps), 1), numbers(steps * STEP * BLOCK, 2));
            let [found, expected] =
                [Unit::Amx, Unit::Twin].map(|unit| product(unit, steps, &a, a_stride, &b, add));
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(
                    found.to_bits(),
                    expected.to_bits(),
                    "{found:e} {expected:e}, number {i} of {steps} steps"
                );
            }
        }
    }

    #[test]
    fn units_exert_themselves() {
        for unit in Unit::ALL.into_iter().filter(|unit| unit.is_supported()) {
            assert!(unit.exert() >= (2 * BLOCK * BLOCK * STEP) as f64, "{unit:?}");
        }
    }

    #[test]
    fn every_unit_is_as_accurate_as_it_says() {
        for unit in Unit::ALL.into_iter().filter(|unit| unit.is_supported()) {
            let steps = 3;
            let (k, a_stride) = (steps * STEP, 99);
            let (a, b) = (numbers(BLOCK * (a_stride + k), 3), numbers(k * BLOCK, 4));
            let c = product(unit, steps, &a, a_stride, &b, true);
            for i in 0..BLOCK {
                for j in 0..BLOCK {
                    let terms = (0..k).map(|p| {
                        let of_b = b[(p / 2 * BLOCK + j) * 2 + p % 2];
                        let flushed = |x: bf16| if x.to_f32().is_subnormal() { 0.0 } else { f64::from(x) };
                        flushed(a[i * a_stride + p]) * flushed(of_b)
                    });
                    let old = f64::from([0.375, 0.0, f32::MIN_POSITIVE][if i == 0 && j < 3 { j } else { 0 }]);
                    let (exact, sizes) = terms.fold((old, old), |(sum, sizes), x| (sum + x, sizes + x.abs()));
                    let bound = k as f64 * (sizes * 2f64.powi(-24) + 2.0 * 2f64.powi(-126));
                    let error = (f64::from(c[i * (BLOCK + 3) + j]) - exact).abs();
                    assert!(error <= bound, "{unit:?}: ({i}, {j}) is {error:e} off, of {bound:e}");
                }
            }
            assert!(
                (0..BLOCK).all(|i| c[i * (BLOCK + 3) + BLOCK..][..3] == [0.375; 3]),
                "{unit:?} leaves gaps alone"
            );
        }
    }
}
