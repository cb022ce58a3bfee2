//! Softmax and cross-entropy in f64, each row shifted by its largest number.

use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::twin::{put, shift};

/// See [`Element::softmax_forward`](crate::Element::softmax_forward).
pub fn softmax_forward(x: &[f64], cols: usize, out: &mut [f64]) -> Result<(), ShapeError> {
    let rows = contract::rows(x.len(), cols, out.len())?;
    for r in 0..rows {
        let (x, out) = (&x[r * cols..][..cols], &mut out[r * cols..][..cols]);
        let shift = shift(cols, |c| x[c]);
        let sum: f64 = x.iter().map(|x| (x - shift).exp()).sum();
        for c in 0..cols {
            out[c] = if sum == 0.0 { 0.0 } else { (x[c] - shift).exp() / sum };
        }
    }
    Ok(())
}

/// See [`Element::softmax_backward`](crate::Element::softmax_backward).
pub fn softmax_backward(
    dy: &[f64],
    y: &[f64],
    cols: usize,
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    let rows = contract::rows(y.len(), cols, dx.len())?;
    contract::same(y.len(), &[dy.len()])?;
    for r in 0..rows {
        let (y, dy) = (&y[r * cols..][..cols], &dy[r * cols..][..cols]);
        let dot: f64 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        put(&mut dx[r * cols..][..cols], write, |c| y[c] * (dy[c] - dot));
    }
    Ok(())
}

/// See [`Element::cross_entropy_forward`](crate::Element::cross_entropy_forward). No rows give a loss of 0.
pub fn cross_entropy_forward(
    logits: &[f64],
    classes: usize,
    targets: &[u32],
    lse: &mut [f64],
) -> Result<f64, ShapeError> {
    contract::cross_entropy(logits.len(), classes, targets, lse.len())?;
    let mut sum = 0.0;
    for (r, &target) in targets.iter().enumerate() {
        let row = &logits[r * classes..][..classes];
        let shift = shift(classes, |c| row[c]);
        let log = row.iter().map(|x| (x - shift).exp()).sum::<f64>().ln();
        lse[r] = shift + log;
        // Not `lse - logit`: beside huge logits the log would be lost.
        sum += (shift - row[target as usize]) + log;
    }
    Ok(sum / targets.len().max(1) as f64)
}

/// See [`Element::cross_entropy_backward`](crate::Element::cross_entropy_backward).
pub fn cross_entropy_backward(
    logits: &[f64],
    classes: usize,
    targets: &[u32],
    lse: &[f64],
    scale: f64,
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    contract::cross_entropy(logits.len(), classes, targets, lse.len())?;
    contract::same(logits.len(), &[dx.len()])?;
    put(dx, write, |i| {
        let (r, c) = (i / classes, i % classes);
        let hit = if c == targets[r] as usize { 1.0 } else { 0.0 };
        scale * ((logits[i] - lse[r]).exp() - hit)
    });
    Ok(())
}
