//! Mathematical functions over vectors, generic over the level: exp, log, erf, tanh, powers, the logistic function,
//! softplus, GELU (exact and by tanh), SiLU and Mish, and the derivatives that are not made of these.
//!
//! Errors are bounded over every `f32`, subnormal results included, and stated with each function; the tests in
//! `tests/math.rs` measure them against f64. NaN gives NaN; infinities give the limits.

mod erf;
mod exp;
mod gelu;
mod log;
mod polynomial;
mod power;
mod sigmoid;
mod softplus;
mod tanh;

pub use erf::{erf, erf_derivative};
pub use exp::exp;
pub(crate) use exp::exp_or_zero;
pub use gelu::{gelu, gelu_derivative};
pub use log::log;
pub use power::pow;
pub use sigmoid::{sigmoid, silu, silu_derivative};
pub use softplus::{mish, mish_derivative, softplus};
pub use tanh::{gelu_tanh, gelu_tanh_derivative, tanh};
