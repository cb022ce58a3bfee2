//! Two-dimensional convolution in f32, forward and its gradients, over images `[batch, channels, height, width]`.
//!
//! That layout is PyTorch's, and what planes of depthwise kernels and pooling want: a channel's rows are contiguous, so
//! a vector is of neighbouring windows whatever the number of channels.
//!
//! Convolutions are products whose right factor, the windows, is gathered panel by panel and never stored
//! (`product`, `weight`); the windows of one stride lie side by side on strips (`axis`). The gradient of the input is
//! the same product, for each residue modulo the stride (`transposed`). Where channels are alone the windows slide
//! directly (`depthwise`).
//!
//! # Order of summation
//! As in [`crate::gemm`]: an element's sum depends on its window, its weights and the shape of one image, not on the
//! batch, the position in it, tasks or workers. Depthwise kernels sum over the taps in their order.
//!
//! # Accuracy
//! `|error| ≤ c·k·u·Σ|w·x|` with `u = 2⁻²⁴`, `c = 2` and `k` the number of products in the sum.

mod axis;
mod depthwise;
mod fold;
mod forward;
mod product;
mod shape;
mod transposed;
mod weight;

pub(crate) use axis::{Axis, Strip};
pub(crate) use depthwise::{rows_of_phases, rows_of_strip, Plane, Spread};
pub use fold::{fold_batch_norm, LearnedNorm};
pub use forward::forward;
pub(crate) use shape::windows;
pub use shape::{Conv2d, ConvEpilogue};
pub use transposed::backward_input;
pub(crate) use transposed::{phases as phases_of, Phase};
pub use weight::{backward_bias, backward_weight};
