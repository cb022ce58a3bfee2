//! Operations on rows, the last dimension: softmax, its logarithm, norms.

use upbeat_kernels::{norm, reduce, softmax, Buffer};

use super::{run, shapes};
use crate::{Tensor, TensorError};

const AS_WIDE: &str = "weight and bias have one number a column";

/// Numbers of a task, for what costs little a number.
const TASK: usize = 1 << 14;

/// `x - log Σ exp(x)` of each row, the last differences in f64. Rows of nothing but `-∞` stay so; NaN or `∞` make their row NaN.
fn log_softmax(x: &[f32], cols: usize, out: &mut [f32]) {
    let rows = (TASK / cols).max(1);
    upbeat::par::chunks_mut(out, rows * cols, |task, out| {
        let x = &x[task * rows * cols..][..out.len()];
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            let max = reduce::max(x);
            if max.is_infinite() {
                // -∞ where nothing else is in the row, not even a NaN.
                let all = if reduce::log_sum_exp(x) == f64::NEG_INFINITY { max } else { f32::NAN };
                out.fill(all);
                continue;
            }
            // Before the logarithm, which large numbers would swallow.
            x.iter().zip(&mut *out).for_each(|(x, out)| *out = x - max);
            let sum = reduce::log_sum_exp(out);
            for (x, out) in x.iter().zip(out) {
                *out = (f64::from(*x) - f64::from(max) - sum) as f32;
            }
        }
    });
}

/// That `epsilon` is one, for the kernels panic if it is not: it may come from a file here.
fn check_epsilon(operation: &'static str, epsilon: f64) -> Result<(), TensorError> {
    if (epsilon as f32).is_finite() && epsilon >= 0.0 {
        return Ok(());
    }
    let must = "epsilon must be a finite number of at least 0";
    Err(TensorError::Value { operation, must, found: epsilon })
}

impl Tensor {
    /// Softmax of each row, `[.., cols]`. A row of nothing but `-∞` gives zeros; a NaN or a `∞` makes its row NaN.
    ///
    /// # Errors
    /// A tensor `[]`.
    pub fn softmax(&self) -> Result<Self, TensorError> {
        let cols = self.width("softmax")?;
        let cpu = |out: &mut [f32]| softmax::softmax_forward(self.host(), cols, out);
        run(
            "softmax",
            &self.operand().place(),
            [self.operand()],
            self.shape().to_vec(),
            cpu,
            |commands, out| commands.softmax(self.block(), cols, out).map(drop),
        )
    }

    /// The logarithm of [`softmax`](Self::softmax) of each row, which does not underflow. A row of nothing but `-∞` gives `-∞`; a NaN or a
    /// `∞` makes its row NaN.
    ///
    /// # Errors
    /// A tensor `[]`.
    pub fn log_softmax(&self) -> Result<Self, TensorError> {
        let cols = self.width("log_softmax")?;
        let cpu = |out: &mut [f32]| {
            log_softmax(self.host(), cols, out);
            Ok(())
        };
        let shape = self.shape().to_vec();
        run("log_softmax", &self.operand().place(), [self.operand()], shape, cpu, |commands, out| {
            commands.log_softmax(self.block(), cols, out).map(drop)
        })
    }

    /// LayerNorm (Ba, Kiros and Hinton, 2016) of each row, `[.., cols]`: `(x - mean) / √(variance + epsilon) · weight + bias`, the variance
    /// being the biased one. `weight` and `bias` are `[cols]`.
    ///
    /// # Errors
    /// Shapes that do not fit; an epsilon that is NaN, infinite or below 0; operands on two devices.
    pub fn layer_norm(&self, weight: &Self, bias: Option<&Self>, epsilon: f64) -> Result<Self, TensorError> {
        check_epsilon("layer_norm", epsilon)?;
        let cols = self.width("layer_norm")?;
        let mut given = vec![self.shape(), weight.shape()];
        given.extend(bias.map(Self::shape));
        if given[1..].iter().any(|shape| *shape != [cols]) {
            return Err(shapes(
                "layer_norm",
                "[.., cols], a weight [cols] and a bias [cols]",
                &given,
                AS_WIDE,
            ));
        }
        let mut operands = vec![self.operand(), weight.operand()];
        operands.extend(bias.map(Self::operand));
        let cpu = |out: &mut [f32]| {
            let rows = out.len() / cols;
            let (mut mean, mut rstd) = (Buffer::scratch(rows), Buffer::scratch(rows));
            let (weight, bias) = (weight.host(), bias.map(Self::host));
            norm::layer_norm_forward(self.host(), weight, bias, epsilon, out, &mut mean, &mut rstd)
        };
        run("layer_norm", &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            commands.layer_norm(self.block(), weight.block(), bias.map(Self::block), epsilon, out).map(drop)
        })
    }

    /// RMSNorm (Zhang and Sennrich, 2019) of each row, `[.., cols]`: `x / √(mean of squares + epsilon) · weight`; `weight` is `[cols]`.
    ///
    /// # Errors
    /// Shapes that do not fit; an epsilon that is NaN, infinite or below 0; operands on two devices.
    pub fn rms_norm(&self, weight: &Self, epsilon: f64) -> Result<Self, TensorError> {
        check_epsilon("rms_norm", epsilon)?;
        let cols = self.width("rms_norm")?;
        if weight.shape() != [cols] {
            let takes = "[.., cols] and a weight [cols]";
            return Err(shapes("rms_norm", takes, &[self.shape(), weight.shape()], AS_WIDE));
        }
        let cpu = |out: &mut [f32]| {
            let mut rstd = Buffer::scratch(out.len() / cols);
            norm::rms_norm_forward(self.host(), weight.host(), epsilon, out, &mut rstd)
        };
        let operands = [self.operand(), weight.operand()];
        run("rms_norm", &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            commands.rms_norm(self.block(), weight.block(), epsilon, out).map(drop)
        })
    }
}
