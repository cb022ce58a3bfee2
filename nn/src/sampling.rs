//! Picks the next token from logits: temperature, then nucleus (top-p) sampling, from a seed.
//!
//! Everything is computed in f64 with ties broken by token number, so a seed gives the same text on every machine that
//! computes the same logits.

use std::fmt;

use upbeat_kernels::Element;

use crate::random::Random;

/// A sampler that cannot be made, or logits that cannot be sampled.
#[derive(Clone, Copy, PartialEq)]
pub enum SamplingError {
    /// A temperature that is negative or not finite.
    Temperature(f64),
    /// A `top_p` outside `(0, 1]`.
    TopP(f64),
    /// No logits, or one that is NaN or `+∞`, or all of them `-∞`.
    Logits,
}

impl fmt::Display for SamplingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temperature(t) => write!(f, "the temperature must be a number of 0 or more, and it is {t}"),
            Self::TopP(p) => write!(f, "top-p must be more than 0 and at most 1, and it is {p}"),
            Self::Logits => write!(f, "the model's output is not finite, so nothing can be sampled from it"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for SamplingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SamplingError({self})")
    }
}

impl std::error::Error for SamplingError {}

/// Draws tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    random: Random,
    /// `(probability, token)`, kept between draws.
    candidates: Vec<(f64, u32)>,
}

impl Sampler {
    /// A sampler that divides logits by `temperature` and draws among the most probable tokens that together reach
    /// probability `top_p` (Holtzman et al., 2020). Temperature 0 takes the most probable token; `top_p` 1 keeps all.
    ///
    /// # Errors
    /// A temperature or `top_p` out of range.
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Self, SamplingError> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(SamplingError::Temperature(temperature));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplingError::TopP(top_p));
        }
        Ok(Self { temperature, top_p, random: Random::new(seed), candidates: Vec::new() })
    }

    /// The next token for `logits: [vocabulary]`.
    ///
    /// # Errors
    /// [`SamplingError::Logits`] when there is no finite distribution to draw from.
    pub fn pick<E: Element>(&mut self, logits: &[E]) -> Result<u32, SamplingError> {
        let logits = logits.iter().map(|x| x.to_f64());
        let mut best = (f64::NEG_INFINITY, 0);
        for (logit, token) in logits.clone().zip(0..) {
            if logit.is_nan() || logit == f64::INFINITY {
                return Err(SamplingError::Logits);
            }
            if logit > best.0 {
                best = (logit, token);
            }
        }
        if best.0 == f64::NEG_INFINITY {
            return Err(SamplingError::Logits);
        }
        if self.temperature == 0.0 {
            return Ok(best.1);
        }
        self.candidates.clear();
        self.candidates.extend(logits.zip(0..).map(|(x, t)| (((x - best.0) / self.temperature).exp(), t)));
        self.candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let total: f64 = self.candidates.iter().map(|c| c.0).sum();
        let mut mass = 0.0;
        let kept = self.candidates.iter().position(|c| {
            mass += c.0;
            mass >= self.top_p * total
        });
        let kept = kept.map_or(self.candidates.len(), |last| last + 1);
        let mut left = self.random.unit() * mass;
        for &(probability, token) in &self.candidates[..kept] {
            left -= probability;
            if left < 0.0 {
                return Ok(token);
            }
        }
        // Rounding left a remainder: it belongs to the last candidate.
        Ok(self.candidates[kept - 1].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(temperature: f64, top_p: f64, logits: &[f64]) -> Vec<f64> {
        let mut sampler = Sampler::new(temperature, top_p, 11).unwrap();
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[sampler.pick(logits).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_follow_the_softmax_of_the_scaled_logits() {
        let logits = [0.0, 2.0f64.ln(), 5.0f64.ln()];
        for (temperature, weights) in [(1.0, [1.0, 2.0, 5.0]), (0.5, [1.0, 4.0, 25.0])] {
            let total: f64 = weights.iter().sum();
            for (share, weight) in shares(temperature, 1.0, &logits).iter().zip(weights) {
                // Five standard deviations of a share of 20 000 draws are below 0.018.
                assert!(
                    (share - weight / total).abs() < 0.018,
                    "{temperature}: {share} for {weight}/{total}"
                );
            }
        }
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        let logits = [0.1f64.ln(), 0.5f64.ln(), 0.1f64.ln(), 0.3f64.ln()];
        let kept = |p| shares(1.0, p, &logits).iter().map(|&s| s > 0.0).collect::<Vec<_>>();
        assert_eq!(kept(0.4), [false, true, false, false]);
        assert_eq!(kept(0.7), [false, true, false, true]);
        assert_eq!(kept(0.85), [true, true, false, true], "ties keep the lower token");
        assert_eq!(kept(1.0), [true, true, true, true]);
        assert!((shares(1.0, 0.7, &logits)[1] - 5.0 / 8.0).abs() < 0.018, "shares are renormalised");
    }

    #[test]
    fn temperature_zero_takes_the_most_probable_and_minus_infinity_never_comes() {
        let mut greedy = Sampler::new(0.0, 0.9, 1).unwrap();
        assert_eq!(greedy.pick(&[0.5f64, 3.0, 3.0, -1.0]), Ok(1));
        assert_eq!(shares(1.0, 1.0, &[f64::NEG_INFINITY, 0.0])[0], 0.0);
        let mut hot = Sampler::new(1e-300, 1.0, 1).unwrap();
        assert_eq!(hot.pick(&[1.0f64, 2.0, -5.0]), Ok(1), "a tiny temperature does not divide to NaN");
    }

    #[test]
    fn what_cannot_be_sampled_is_refused() {
        for t in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Sampler::new(t, 1.0, 0), Err(SamplingError::Temperature(_))));
        }
        for p in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(matches!(Sampler::new(1.0, p, 0), Err(SamplingError::TopP(_))));
        }
        let mut sampler = Sampler::new(1.0, 1.0, 0).unwrap();
        for logits in [&[][..], &[f64::NAN, 0.0], &[f64::INFINITY, 0.0], &[f64::NEG_INFINITY; 2]] {
            assert_eq!(sampler.pick(logits), Err(SamplingError::Logits), "{logits:?}");
        }
    }

    #[test]
    fn a_seed_repeats() {
        let draw = |seed| {
            let mut sampler = Sampler::new(0.8, 0.95, seed).unwrap();
            (0..50).map(|i| sampler.pick(&[0.1 * f64::from(i), 0.4, 0.2, 0.9]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
