//! Parameters: named, trained arrays, and the seeded generator that fills them at the start.
//!
//! Every number is a function of the seed, the parameter's place in the list and the element's index, so the
//! bits do not depend on how many workers fill them.

use upbeat_kernels::{Buffer, Element};

use crate::random::Random;

/// A named array that training changes.
#[derive(Clone, Debug)]
pub struct Parameter<E: Element> {
    /// Path of the parameter in the model, e.g. `blocks.0.attention.qkv.weight`.
    pub name: String,
    /// Dimensions, outermost first; a linear weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub values: Buffer<E>,
    /// Whether weight decay applies. By default it does for matrices and tables, not for the norms' gains.
    pub decay: bool,
}

/// Elements one task fills, from a generator of its own.
const FILL_BLOCK: usize = 4096;

/// Index of a parameter in its model's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParameterId(pub(crate) usize);

/// Collects the parameters of a model while its layers are made.
pub(crate) struct ParameterList<E: Element> {
    parameters: Vec<Parameter<E>>,
    seed: u64,
}

impl<E: Element> ParameterList<E> {
    pub(crate) fn new(seed: u64) -> Self {
        Self { parameters: Vec::new(), seed }
    }

    /// A matrix of independent normal numbers of mean 0.
    pub(crate) fn normal(&mut self, name: String, rows: usize, cols: usize, deviation: f64) -> ParameterId {
        let mut values = Buffer::<E>::unspecified(rows * cols);
        let stream = Random::new(self.seed).bits() ^ self.parameters.len() as u64;
        upbeat::par::chunks_mut(&mut values, FILL_BLOCK, |block, values| {
            let block_stream = Random::new(stream).bits() ^ block as u64;
            let mut random = Random::new(Random::new(block_stream).bits());
            for pair in values.chunks_mut(2) {
                for (value, x) in pair.iter_mut().zip(normal_pair(&mut random)) {
                    *value = E::from_f64(deviation * x);
                }
            }
        });
        self.push(Parameter { name, shape: vec![rows, cols], values, decay: true })
    }

    /// A vector of ones, the gain of a norm.
    pub(crate) fn ones(&mut self, name: String, len: usize) -> ParameterId {
        let mut values = Buffer::<E>::unspecified(len);
        values.fill(E::from_f64(1.0));
        self.push(Parameter { name, shape: vec![len], values, decay: false })
    }

    pub(crate) fn finish(self) -> Vec<Parameter<E>> {
        self.parameters
    }

    fn push(&mut self, parameter: Parameter<E>) -> ParameterId {
        self.parameters.push(parameter);
        ParameterId(self.parameters.len() - 1)
    }
}

/// Two independent standard normal numbers by the transform of Box and Muller (1958).
fn normal_pair(random: &mut Random) -> [f64; 2] {
    // 1 - unit() is in (0, 1], so its logarithm is finite.
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * random.unit()).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut list = ParameterList::<f64>::new(7);
        list.normal("w".into(), 400, 251, 0.5);
        let parameters = list.finish();
        let values = &parameters[0].values;
        let n = values.len() as f64;
        let moment = |k: i32| values.iter().map(|x| (x / 0.5).powi(k)).sum::<f64>() / n;
        // Standard errors: 1/√n = 0.003 for the mean, √(2/n), √(15/n), √(96/n) for the next ones.
        assert!(moment(1).abs() < 0.02, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.06, "third moment {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.16, "fourth moment {}", moment(4));
        assert!(values.windows(2).all(|w| w[0] != w[1]));
    }

    #[test]
    fn streams_differ_by_seed_and_by_parameter() {
        let fill = |seed| {
            let mut list = ParameterList::<f64>::new(seed);
            list.normal("a".into(), 3, 5, 1.0);
            list.normal("b".into(), 3, 5, 1.0);
            list.finish()
        };
        let (one, same, other) = (fill(1), fill(1), fill(2));
        assert_eq!(&*one[0].values, &*same[0].values);
        assert_ne!(&*one[0].values, &*one[1].values);
        assert_ne!(&*one[0].values, &*other[0].values);
    }
}
