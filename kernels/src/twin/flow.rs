//! Heat and Gray–Scott in f64, cell by cell on periodic grids: what each formula says, a step at a time.

use crate::flow::{grid, FlowError, GrayScott, Heat};

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
