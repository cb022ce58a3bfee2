//! Heat, Gray–Scott and Ricci flow in f64, cell by cell on periodic grids: what each formula says, a step at a time.

use crate::flow::{grid, FlowError, GrayScott, Heat, Ricci};

/// `h²Δu` at row `y`, column `x`.
fn laplacian([rows, cols]: [usize; 2], u: &[f64], y: usize, x: usize) -> f64 {
    let at = |y: usize, x: usize| u[y % rows * cols + x % cols];
    at(y + rows - 1, x) + at(y + 1, x) + at(y, x + cols - 1) + at(y, x + 1) - 4.0 * at(y, x)
}

/// The cells `(y, x)` of a grid in the order of memory.
fn cells([rows, cols]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |y| (0..cols).map(move |x| (y, x)))
}

/// See [`crate::flow::heat`].
///
/// # Errors
/// As there.
pub fn heat(heat: &Heat, shape: [usize; 2], steps: usize, u: &mut [f64]) -> Result<(), FlowError> {
    heat.check()?;
    grid(shape, &[("the length of u", u.len())])?;
    for _ in 0..steps {
        let old = u.to_vec();
        for (u, (y, x)) in u.iter_mut().zip(cells(shape)) {
            *u += heat.kappa * heat.dt / (heat.h * heat.h) * laplacian(shape, &old, y, x);
        }
    }
    Ok(())
}

/// See [`crate::flow::gray_scott`].
///
/// # Errors
/// As there.
pub fn gray_scott(
    params: &GrayScott,
    shape: [usize; 2],
    steps: usize,
    u: &mut [f64],
    v: &mut [f64],
) -> Result<(), FlowError> {
    params.check()?;
    grid(shape, &[("the length of u", u.len()), ("the length of v", v.len())])?;
    let GrayScott { du, dv, feed, kill, h, dt } = *params;
    for _ in 0..steps {
        let (old_u, old_v) = (u.to_vec(), v.to_vec());
        for (i, (y, x)) in cells(shape).enumerate() {
            let reaction = old_u[i] * old_v[i] * old_v[i];
            let spread_u = du / (h * h) * laplacian(shape, &old_u, y, x);
            let spread_v = dv / (h * h) * laplacian(shape, &old_v, y, x);
            u[i] += dt * (spread_u - reaction + feed * (1.0 - old_u[i]));
            v[i] += dt * (spread_v + reaction - (feed + kill) * old_v[i]);
        }
    }
    Ok(())
}

/// See [`crate::flow::ricci`].
///
/// # Errors
/// As there.
pub fn ricci(ricci: &Ricci, shape: [usize; 2], steps: usize, w: &mut [f64]) -> Result<(), FlowError> {
    grid(shape, &[("the length of w", w.len())])?;
    if w.is_empty() {
        return Ok(());
    }
    // A NaN stays: `min` would lose it.
    ricci.check(
        w.iter().copied().fold(f64::INFINITY, |least, w| if w < least || w.is_nan() { w } else { least }),
    )?;
    for _ in 0..steps {
        let logs: Vec<f64> = w.iter().map(|w| w.ln()).collect();
        for (w, (y, x)) in w.iter_mut().zip(cells(shape)) {
            *w += ricci.rate() * laplacian(shape, &logs, y, x);
        }
    }
    Ok(())
}
