//! Mathematical functions over vectors, generic over the level: exp, log, the logistic function, GELU, SiLU and the
//! derivatives of the last two.
//!
//! Errors are bounded over every `f32`, subnormal results included, and stated with each function; the tests in
//! `tests/math.rs` measure them against f64. NaN gives NaN; infinities give the limits.

mod exp;
mod gelu;
mod log;
mod polynomial;
mod sigmoid;

pub use exp::exp;
pub use gelu::{gelu, gelu_derivative};
pub use log::log;
pub use sigmoid::{sigmoid, silu, silu_derivative};
