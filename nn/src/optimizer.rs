//! AdamW over a model's parameters: keeps the moments, leaves the arithmetic to the kernel.
//!
//! Which parameters decay is each [`Parameter::decay`]'s say; the learning rate and the factor on the gradients
//! (clipping, accumulation) come with each step. Parameters, gradients and moments are of one type, f32 for a model that
//! computes in bf16: the steps are far below bf16's resolution.

use std::fmt;

use upbeat_kernels::{AdamW, Buffer, Element};

use crate::gradients::Gradients;
use crate::model::Transformer;
use crate::parameter::Parameter;

/// Hyper-parameters that stay the same over the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay of the parameters that decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// As for nanoGPT: betas 0.9 and 0.99, decay 0.1.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 }
    }
}

/// Moments of one parameter, for a checkpoint.
#[derive(Clone, Debug)]
pub struct Moments<E: Element> {
    /// Name of the parameter.
    pub name: String,
    /// Running mean of the gradient.
    pub first: Buffer<E>,
    /// Running mean of the squared gradient.
    pub second: Buffer<E>,
}

/// Moments that do not belong to the optimizer's parameters.
#[derive(Clone, PartialEq, Eq)]
pub enum RestoreError {
    /// Not as many as there are parameters.
    Count {
        /// Parameters the optimizer has.
        expected: usize,
        /// Moments given.
        found: usize,
    },
    /// Moments of another parameter, or of another length.
    Parameter {
        /// The parameter whose moments were expected.
        name: String,
        /// Its length.
        len: usize,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { expected, found } => {
                write!(f, "the optimizer has {expected} parameters, but there are moments of {found}")
            }
            Self::Parameter { name, len } => {
                write!(f, "the moments of {name} are missing or not {len} numbers long")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RestoreError({self})")
    }
}

impl std::error::Error for RestoreError {}

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch's `AdamW`.
pub struct AdamWOptimizer<E: Element> {
    config: AdamWConfig,
    moments: Vec<Moments<E::Wide>>,
    steps: u64,
}

impl<E: Element> AdamWOptimizer<E> {
    /// An optimizer of `model`'s parameters that has made no step.
    pub fn new(model: &Transformer<E>, config: AdamWConfig) -> Self {
        let zeros = |p: &Parameter<E::Wide>| Moments {
            name: p.name.clone(),
            first: Buffer::zeroed(p.values.len()),
            second: Buffer::zeroed(p.values.len()),
        };
        Self { config, moments: model.parameters().iter().map(zeros).collect(), steps: 0 }
    }

    /// One step: gradients are multiplied by `gradient_scale` first (1 leaves them). A parameter whose gradient is
    /// absent stays as it is, decay included.
    ///
    /// # Panics
    /// When `model` or `gradients` do not have the parameters that the optimizer was made for.
    pub fn step(
        &mut self,
        model: &mut Transformer<E>,
        gradients: &Gradients<E>,
        learning_rate: f64,
        gradient_scale: f64,
    ) {
        let parameters = model.parameters_mut();
        assert_eq!(parameters.len(), self.moments.len(), "the optimizer of another model");
        assert_eq!(gradients.len(), self.moments.len(), "the gradients of another model");
        self.steps += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        for (i, (parameter, moments)) in parameters.iter_mut().zip(&mut self.moments).enumerate() {
            let Some(gradient) = gradients.get(i) else { continue };
            let step = AdamW {
                learning_rate,
                beta1,
                beta2,
                epsilon,
                weight_decay: if parameter.decay { weight_decay } else { 0.0 },
                step: self.steps,
                gradient_scale,
            };
            let Moments { name, first, second } = moments;
            E::Wide::adamw_step(&step, &mut parameter.values, gradient, first, second)
                .unwrap_or_else(|error| panic!("the optimizer's moments of {name}: {error}"));
        }
    }

    /// The hyper-parameters.
    pub fn config(&self) -> AdamWConfig {
        self.config
    }

    /// Steps made so far.
    pub fn step_count(&self) -> u64 {
        self.steps
    }

    /// The moments of every parameter, in the order of the parameters.
    pub fn state(&self) -> &[Moments<E::Wide>] {
        &self.moments
    }

    /// Continues from the moments after `steps` steps. Errors, and changes nothing, when they are not of this
    /// optimizer's parameters in their order.
    pub fn restore(&mut self, steps: u64, moments: Vec<Moments<E::Wide>>) -> Result<(), RestoreError> {
        if moments.len() != self.moments.len() {
            return Err(RestoreError::Count { expected: self.moments.len(), found: moments.len() });
        }
        for (own, new) in self.moments.iter().zip(&moments) {
            let len = own.first.len();
            if own.name != new.name || new.first.len() != len || new.second.len() != len {
                return Err(RestoreError::Parameter { name: own.name.clone(), len });
            }
        }
        self.moments = moments;
        self.steps = steps;
        Ok(())
    }
}
