//! Bodies of the fuzz targets: bytes choose shapes, strides and numbers, and whatever they choose must be refused with an error
//! or computed as a plain definition says. `fuzz/` runs them under libFuzzer, `tests/fuzzed.rs` on reproducible bytes.

pub(crate) mod attention;
pub(crate) mod gemm;
pub(crate) mod layout;

/// Bytes as a source of choices; zeros when they are used up.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Reads `data` from its beginning.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether something is left.
    pub(crate) fn more(&self) -> bool {
        !self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `n`, which is at most 256.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// One of `choices`.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// `len` numbers in `-1..1`, from a seed of two bytes.
    pub(crate) fn numbers(&mut self, len: usize) -> Vec<f32> {
        let mut state = u32::from(self.byte()) << 8 | u32::from(self.byte());
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }
}

/// The same numbers in f64.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
