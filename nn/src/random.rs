//! The generator behind batches and samples: SplitMix64 (Steele, Lea and Flood, 2014), whose whole state is one number,
//! so that it fits a checkpoint.

/// A seeded sequence of random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of `seed`; equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// What [`Random::new`] needs to go on from here.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..n` (0 when `n` is 0) by the high half of a product (Lemire, 2019); its bias, at most `n / 2^64`,
    /// is beyond measuring.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A uniform number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.bits(), random.bits(), random.bits()], expected);
        let mut resumed = Random::new(random.state());
        assert_eq!(resumed.bits(), random.bits());
    }

    #[test]
    fn numbers_stay_in_range_and_cover_it() {
        let mut random = Random::new(3);
        let mut counts = [0u32; 7];
        for _ in 0..7000 {
            counts[random.below(7) as usize] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        // Six standard deviations around 1000.
        assert!(counts.iter().all(|&c| (824..=1176).contains(&c)), "{counts:?}");
    }
}
