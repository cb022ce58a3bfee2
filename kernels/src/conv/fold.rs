//! Folding of a batch normalisation that follows a convolution into its weights and bias, for inference.

use crate::error::{check, ShapeError};

/// A batch normalisation with the statistics it has learned; every slice is `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct LearnedNorm<'a, T> {
    /// The factor γ.
    pub weight: &'a [T],
    /// The summand β.
    pub bias: &'a [T],
    /// Running means.
    pub mean: &'a [T],
    /// Running variances.
    pub variance: &'a [T],
    /// Added to the variance.
    pub epsilon: f64,
}

impl<T> LearnedNorm<'_, T> {
    /// Checks the lengths.
    ///
    /// # Panics
    /// When the epsilon is NaN, infinite or below 0.
    pub(crate) fn check(&self, channels: usize) -> Result<(), ShapeError> {
        crate::contract::epsilon(self.epsilon);
        let lens = [self.weight.len(), self.bias.len(), self.mean.len(), self.variance.len()];
        lens.iter().try_for_each(|&len| check("the length of a channel parameter", channels, len))
    }
}

/// Changes the weights `[channels, …]` and the bias `[channels]` of a convolution so that it computes what the
/// normalisation would make of its result: `weight' = weight·s`, `bias' = (bias - mean)·s + β` with
/// `s = γ/√(variance + ε)`, each in f64 and rounded once. With [`ConvEpilogue::relu`](super::ConvEpilogue) the ReLU
/// behind is folded too.
///
/// # Errors
/// When a length does not fit the bias' or the weights are no whole number of channels; nothing has been written then.
///
/// # Panics
/// When the norm's epsilon is NaN, infinite or below 0.
///
/// ```
/// use upbeat_kernels::conv::{fold_batch_norm, LearnedNorm};
/// let (mut weight, mut bias) = ([1.0, 2.0], [3.0]);
/// let norm = LearnedNorm { weight: &[4.0], bias: &[1.0], mean: &[2.0], variance: &[4.0], epsilon: 0.0 };
/// fold_batch_norm(&norm, &mut weight, &mut bias)?;
/// assert_eq!((weight, bias), ([2.0, 4.0], [3.0]));
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn fold_batch_norm(
    norm: &LearnedNorm<'_, f32>,
    weight: &mut [f32],
    bias: &mut [f32],
) -> Result<(), ShapeError> {
    let channels = bias.len();
    norm.check(channels)?;
    let each = crate::contract::units("the length of the weights", weight.len(), channels)?;
    for channel in 0..channels {
        let factor =
            f64::from(norm.weight[channel]) / (f64::from(norm.variance[channel]) + norm.epsilon).sqrt();
        for weight in &mut weight[channel * each..][..each] {
            *weight = (f64::from(*weight) * factor) as f32;
        }
        let shifted = (f64::from(bias[channel]) - f64::from(norm.mean[channel])) * factor;
        bias[channel] = (shifted + f64::from(norm.bias[channel])) as f32;
    }
    Ok(())
}
