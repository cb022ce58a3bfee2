//! The small network: from what was counted in a region's first runs to what the other arms would make of it.
//!
//! 16 features, 16 hidden units (rectified), 16 outputs: for each arm the expected log time beside arm 0's and the logarithm of its
//! standard deviation; four are spare, so that a row is a vector.

use super::bandit::Prior;
use super::configuration::ARMS;
use super::features::{Features, FEATURES};
use super::numbers::exp;

/// Hidden units, and outputs.
pub const WIDTH: usize = 16;
/// Weights and biases.
pub const PARAMETERS: usize = WIDTH * FEATURES + WIDTH + WIDTH * WIDTH + WIDTH;

/// Standard deviations that a prior may have: nobody is certain, and nobody knows less than nothing.
const DEVIATIONS: (f32, f32) = (0.02, 1.0);
/// Means beyond this are not believed: a tenth, or ten times.
const MOST: f32 = 2.3;

/// Weights in f32: the hidden layer, its biases, the output layer, its biases. A layer has a row for each of its inputs, so that a row times the input is a
/// vector and is added to the sums; each sum has one order on every host.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// See [`PARAMETERS`].
    pub parameters: [f32; PARAMETERS],
}

/// What was computed on the way, for learning.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The hidden units.
    pub hidden: [f32; WIDTH],
    /// The outputs.
    pub out: [f32; WIDTH],
}

const BIAS: usize = WIDTH * FEATURES;
const OUT: usize = BIAS + WIDTH;
const OUT_BIAS: usize = OUT + WIDTH * WIDTH;

impl Network {
    /// One forward pass.
    pub fn forward(&self, features: &Features) -> Pass {
        let p = &self.parameters;
        let hidden = layer(&p[..BIAS], &p[BIAS..OUT], features).map(|sum| sum.max(0.0));
        let out = layer(&p[OUT..OUT_BIAS], &p[OUT_BIAS..], &hidden);
        Pass { hidden, out }
    }

    /// Calls `add` with each parameter's index and its part of the gradient, when that of the outputs is `gradient`.
    pub fn backward(
        &self,
        features: &Features,
        pass: &Pass,
        gradient: &[f32; WIDTH],
        mut add: impl FnMut(usize, f32),
    ) {
        let mut of_hidden = [0.0; WIDTH];
        for (row, &slope) in gradient.iter().enumerate().filter(|(_, slope)| **slope != 0.0) {
            add(OUT_BIAS + row, slope);
            for (unit, of_hidden) in of_hidden.iter_mut().enumerate() {
                add(OUT + unit * WIDTH + row, slope * pass.hidden[unit]);
                *of_hidden += slope * self.parameters[OUT + unit * WIDTH + row];
            }
        }
        for unit in (0..WIDTH).filter(|&unit| pass.hidden[unit] > 0.0) {
            add(BIAS + unit, of_hidden[unit]);
            for (feature, value) in features.iter().enumerate() {
                add(feature * WIDTH + unit, of_hidden[unit] * value);
            }
        }
    }
}

/// What outputs say of the arms.
pub fn prior(out: &[f32; WIDTH]) -> Prior {
    let number = |x: f32, or: f32| if x.is_finite() { x } else { or };
    let mut prior = Prior { mean: [0.0; ARMS], deviation: [0.0; ARMS] };
    for arm in 1..ARMS {
        prior.mean[arm] = number(out[arm], 0.0).clamp(-MOST, MOST);
        prior.deviation[arm] = number(exp(out[ARMS + arm]), DEVIATIONS.1).clamp(DEVIATIONS.0, DEVIATIONS.1);
    }
    prior
}

fn layer(weights: &[f32], biases: &[f32], inputs: &[f32; 16]) -> [f32; WIDTH] {
    let mut sums: [f32; WIDTH] = std::array::from_fn(|unit| biases[unit]);
    for (row, input) in weights.chunks_exact(WIDTH).zip(inputs) {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += weight * input;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steal::Generator;

    pub(super) fn random(seed: u64) -> Network {
        let mut generator = Generator::new(seed);
        Network { parameters: std::array::from_fn(|_| generator.below(2001) as f32 / 1000.0 - 1.0) }
    }

    #[test]
    fn the_gradient_is_what_small_changes_do() {
        let network = random(3);
        let features: Features = std::array::from_fn(|i| (i as f32 * 0.7).sin());
        let loss = |network: &Network| -> f64 {
            let out = network.forward(&features).out;
            out.iter().enumerate().map(|(i, x)| f64::from(*x) * (i as f64 - 7.0)).sum()
        };
        let gradient: [f32; WIDTH] = std::array::from_fn(|i| i as f32 - 7.0);
        let mut analytic = vec![0.0; PARAMETERS];
        let pass = network.forward(&features);
        network.backward(&features, &pass, &gradient, |at, part| analytic[at] += part);
        for at in (0..PARAMETERS).step_by(7) {
            let moved = |by: f32| {
                let mut moved = network.clone();
                moved.parameters[at] += by;
                loss(&moved)
            };
            let numeric = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((numeric - f64::from(analytic[at])).abs() < 2e-2 * numeric.abs().max(1.0), "{at}");
        }
    }

    #[test]
    fn an_opinion_is_finite_whatever_the_outputs() {
        let mut out = [f32::NAN; WIDTH];
        let opinion = prior(&out);
        assert_eq!((opinion.mean, opinion.deviation[1]), ([0.0; ARMS], DEVIATIONS.1));
        out = [1e30; WIDTH];
        assert_eq!((prior(&out).mean[3], prior(&out).deviation[3]), (MOST, DEVIATIONS.1));
        out = [-1e30; WIDTH];
        assert_eq!((prior(&out).mean[3], prior(&out).deviation[3]), (-MOST, DEVIATIONS.0));
    }
}
