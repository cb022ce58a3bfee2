//! Dropout (Srivastava et al., 2014) from a counter-based generator: which elements are kept is a function of seed and
//! position alone, so the backward pass needs no stored mask, and any cut over workers or calls drops the same.
//!
//! # The stream
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, 2011),
//! keyed by the seed (low word first). Position `p` of the stream has the 32-bit word `(p / 16) % 4` of the block whose
//! counter is `(p / 64)·16 + p % 16`, a 128-bit number of which the upper half is 0: sixteen consecutive counters fill 64
//! positions, word by word. A call takes positions `offset..offset + x.len()`. An element is kept when its word is at
//! least `probability·2³²`, rounded to the nearest whole number.
//!
//! Give each layer and step its own part of the stream by `offset`, or its own seed.

use std::fmt;

use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::simd::{Kernel, Simd};

/// Positions that share sixteen counters.
const GROUP: usize = 64;
/// Counters computed side by side; the compiler makes vectors of them at every level.
const COUNTERS: usize = 16;
/// Elements of a task, a multiple of a group.
const ELEMENTS: usize = 1 << 14;

/// A probability that is not in `0..=1`.
#[derive(Clone, Copy, PartialEq)]
pub struct ProbabilityError(pub f64);

impl fmt::Display for ProbabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no probability: it is not in 0..=1", self.0)
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ProbabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProbabilityError({self})")
    }
}

impl std::error::Error for ProbabilityError {}

/// Which elements are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    probability: f64,
    seed: u64,
    offset: u64,
}

impl Dropout {
    /// Drops each element with `probability`, by the stream of `seed` from position `offset` on.
    ///
    /// # Errors
    /// A probability that is not in `0..=1`, NaN included.
    ///
    /// ```
    /// use upbeat_kernels::dropout::{forward, Dropout};
    /// let dropout = Dropout::new(0.5, 42, 0)?;
    /// let (mut whole, mut half) = ([0.0; 200], [0.0; 100]);
    /// forward(&dropout, &[1.0; 200], &mut whole)?;
    /// assert!(whole.iter().all(|&x| x == 0.0 || x == 2.0));
    /// // The second half by itself.
    /// forward(&Dropout::new(0.5, 42, 100)?, &[1.0; 100], &mut half)?;
    /// assert_eq!(whole[100..], half);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(probability: f64, seed: u64, offset: u64) -> Result<Self, ProbabilityError> {
        if !(0.0..=1.0).contains(&probability) {
            return Err(ProbabilityError(probability));
        }
        Ok(Self { probability, seed, offset })
    }

    /// Words below this one are dropped.
    pub(crate) fn threshold(&self) -> u64 {
        (self.probability * (1u64 << 32) as f64).round() as u64
    }

    /// What kept elements are multiplied by, `1/(1 - probability)`; 1 where nothing is kept.
    pub(crate) fn scale(&self) -> f64 {
        if self.threshold() > u64::from(u32::MAX) {
            1.0
        } else {
            1.0 / (1.0 - self.probability)
        }
    }

    /// Whether the element at `index` of a call is kept.
    pub fn keeps(&self, index: u64) -> bool {
        let position = self.offset.wrapping_add(index);
        let counter = u128::from(position / 64 * 16 + position % 16);
        u64::from(philox(counter, self.seed)[(position / 16 % 4) as usize]) >= self.threshold()
    }

    /// Checks the lengths, and that the stream is long enough.
    pub(crate) fn check(&self, x: usize, out: usize) -> Result<(), ShapeError> {
        contract::same(x, &[out])?;
        let end = self.offset.checked_add(x as u64);
        end.map(drop).ok_or(ShapeError::Overflow { what: "the end of the stream" })
    }
}

/// Philox's multipliers and key increments.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// The block of four words, first word first, that Philox4x32-10 makes of `counter` (lowest word first) and `key`.
pub fn philox(counter: u128, key: u64) -> [u32; 4] {
    let mut words = [0, 32, 64, 96].map(|shift| [(counter >> shift) as u32]);
    philox_lanes(&mut words, key);
    words.map(|[word]| word)
}

/// The blocks of `N` counters at once, in place: `words[w][i]` is word `w` of counter `i`, then of its block.
#[inline(always)]
fn philox_lanes<const N: usize>(words: &mut [[u32; N]; 4], key: u64) {
    let mut key = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        let [a, b, c, d] = &mut *words;
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let first = u64::from(MULTIPLIERS[0]) * u64::from(*a);
            let second = u64::from(MULTIPLIERS[1]) * u64::from(*c);
            *a = (second >> 32) as u32 ^ *b ^ key[0];
            *b = second as u32;
            *c = (first >> 32) as u32 ^ *d ^ key[1];
            *d = first as u32;
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
}

/// A block of elements, the first of them at `position` of the stream.
struct Block<'a> {
    dropout: Dropout,
    position: u64,
    x: &'a [f32],
    out: &'a mut [f32],
    write: Write,
}

impl Block<'_> {
    /// The elements from `from` on that lie in the group of stream position `group·64`.
    #[inline(always)]
    fn group(&mut self, group: u64, elements: std::ops::Range<usize>, factors: (u32, f32)) {
        let (threshold, scale) = factors;
        let mut words = [[0u32; COUNTERS]; 4];
        let [low, high, ..] = &mut words;
        for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
            let counter = group * COUNTERS as u64 + i as u64;
            (*low, *high) = (counter as u32, (counter >> 32) as u32);
        }
        philox_lanes(&mut words, self.dropout.seed);
        // Multiplied by 0, NaN would stay: what is dropped is 0 whatever it was.
        let mut kept = [0u32; GROUP];
        for (kept, words) in kept.chunks_exact_mut(COUNTERS).zip(&words) {
            for (kept, &word) in kept.iter_mut().zip(words) {
                *kept = if word >= threshold { u32::MAX } else { 0 };
            }
        }
        let skipped = (self.position + elements.start as u64 - group * GROUP as u64) as usize;
        let (x, out) = (&self.x[elements.clone()], &mut self.out[elements]);
        let kept = &kept[skipped..][..out.len()];
        let add = self.write == Write::Add;
        for ((out, &x), &kept) in out.iter_mut().zip(x).zip(kept) {
            let value = f32::from_bits((x * scale).to_bits() & kept);
            *out = if add { *out + value } else { value };
        }
    }
}

impl Kernel for Block<'_> {
    type Output = ();
    /// Plain loops; the level only widens what the compiler makes of them.
    #[inline(always)]
    fn run<S: Simd>(mut self, _simd: S) {
        let threshold = u32::try_from(self.dropout.threshold());
        let Ok(threshold) = threshold else {
            // Every word is below 2³².
            if self.write == Write::Overwrite {
                self.out.fill(0.0);
            }
            return;
        };
        let factors = (threshold, self.dropout.scale() as f32);
        let mut from = 0;
        while from < self.out.len() {
            let position = self.position + from as u64;
            let room = GROUP - (position % GROUP as u64) as usize;
            let to = self.out.len().min(from + room);
            self.group(position / GROUP as u64, from..to, factors);
            from = to;
        }
    }
}

/// `out = x/(1 - probability)` where the element is kept, else 0, whatever `x` is. Both have one length.
///
/// # Errors
/// Different lengths, or a stream that ends before they do; nothing has been written then.
///
/// An example is at [`Dropout::new`].
pub fn forward(dropout: &Dropout, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    backward(dropout, x, out, Write::Overwrite)
}

/// Gradient of [`forward`] with the same [`Dropout`]: `dx = dy/(1 - probability)` where the element was kept, else 0;
/// overwritten or added to as `write` says.
///
/// # Errors
/// As [`forward`].
///
/// ```
/// use upbeat_kernels::{dropout::{backward, Dropout}, Write};
/// let dropout = Dropout::new(0.25, 7, 1 << 40)?;
/// let mut dx = [1.0; 3];
/// backward(&dropout, &[3.0; 3], &mut dx, Write::Add)?;
/// assert!((0..3).all(|i| dx[i] == if dropout.keeps(i as u64) { 5.0 } else { 1.0 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn backward(dropout: &Dropout, dy: &[f32], dx: &mut [f32], write: Write) -> Result<(), ShapeError> {
    dropout.check(dy.len(), dx.len())?;
    upbeat::par::chunks_mut(dx, ELEMENTS, |chunk, out| {
        let first = chunk * ELEMENTS;
        let (x, position) = (&dy[first..][..out.len()], dropout.offset + first as u64);
        dispatch(Block { dropout: *dropout, position, x, out, write });
    });
    Ok(())
}
