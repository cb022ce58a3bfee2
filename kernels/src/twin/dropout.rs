//! Dropout in f64: the same elements are dropped, found one by one.

use crate::dropout::Dropout;
use crate::element::Write;
use crate::error::ShapeError;
use crate::twin::put;

/// See [`dropout::forward`](crate::dropout::forward).
pub fn forward(dropout: &Dropout, x: &[f64], out: &mut [f64]) -> Result<(), ShapeError> {
    backward(dropout, x, out, Write::Overwrite)
}

/// See [`dropout::backward`](crate::dropout::backward).
pub fn backward(dropout: &Dropout, dy: &[f64], dx: &mut [f64], write: Write) -> Result<(), ShapeError> {
    dropout.check(dy.len(), dx.len())?;
    put(dx, write, |i| if dropout.keeps(i as u64) { dy[i] * dropout.scale() } else { 0.0 });
    Ok(())
}
