//! Ricci flow of a surface whose metric is conformal to a flat one.

use super::{grid, parameter, range, step, FlowError};
use crate::element::Write;
use crate::elementwise::functions;
use crate::pool::Buffer;

/// Ricci flow (Hamilton) of the metric `g = w·δ` on a flat torus: `w_t = Δ log w`. The curvature `K = −Δ(log w)/2w` spreads until the
/// surface is flat; the area `Σw` stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ricci {
    /// Spacing of the grid.
    pub h: f64,
    /// Length of a step.
    pub dt: f64,
}

/// Rows of a task: enough cells to be worth one.
const TASK_CELLS: usize = 8192;

impl Ricci {
    /// The bound of stability where `w` is nowhere below `least`: `h²·least/4`. The smallest `w` never falls, so what holds at the start holds.
    pub fn largest_stable_step(&self, least: f64) -> f64 {
        self.h * self.h * least / 4.0
    }

    /// `dt/h²`
    pub fn rate(&self) -> f64 {
        self.dt / (self.h * self.h)
    }

    /// Checks the parameters, and the step where `w` is nowhere below `least`.
    ///
    /// # Errors
    /// [`FlowError::Parameter`] when one is negative or not finite or `least` is not above 0, [`FlowError::Unstable`] when
    /// `dt > h²·least/4`.
    pub fn check(&self, least: f64) -> Result<(), FlowError> {
        parameter("the smallest w", least)?;
        if least == 0.0 {
            return Err(FlowError::Parameter { what: "the smallest w", value: least });
        }
        step("dt ≤ h²·min(w)/4", self.h, self.dt, self.largest_stable_step(least))
    }
}

/// Advances `w`, `[rows, cols]` and periodic, by `steps` steps `w ← w + dt·Δ log w`.
///
/// # Errors
/// [`FlowError::Shape`] when `w` does not hold the grid, [`FlowError::Parameter`] when a parameter is negative or not finite or `w` is not
/// positive everywhere, [`FlowError::Unstable`] when `dt > h²·min(w)/4`. Then nothing is written.
///
/// ```
/// use upbeat_kernels::flow::{mass, range, ricci, Ricci};
/// let mut w: Vec<f32> = (0..32 * 32).map(|i| 1.0 + 0.5 * (i as f32 / 32.0).sin()).collect();
/// let (area, before) = (mass(&w), range(&w).unwrap());
/// ricci(&Ricci { h: 1.0, dt: 0.1 }, [32, 32], 1000, &mut w)?;
/// let after = range(&w).unwrap();
/// assert!((mass(&w) - area).abs() < 1e-3 * area && after.1 - after.0 < 0.5 * (before.1 - before.0));
/// # Ok::<(), upbeat_kernels::flow::FlowError>(())
/// ```
pub fn ricci(ricci: &Ricci, shape: [usize; 2], steps: usize, w: &mut [f32]) -> Result<(), FlowError> {
    grid(shape, &[("the length of w", w.len())])?;
    let Some((least, _)) = range(w) else { return Ok(()) };
    ricci.check(f64::from(least))?;
    let [rows, cols] = shape;
    let rate = ricci.rate() as f32;
    let mut logs = Buffer::unspecified(w.len());
    for _ in 0..steps {
        functions::log(&*w, &mut logs, Write::Overwrite)?;
        let together = TASK_CELLS.div_ceil(cols);
        upbeat::par::chunks_mut(w, together * cols, |task, w| {
            for (y, w) in (task * together..).zip(w.chunks_exact_mut(cols)) {
                let row = |y: usize| &logs[y % rows * cols..][..cols];
                advance(rate, [row(y + rows - 1), row(y), row(y + 1)], w);
            }
        });
    }
    Ok(())
}

/// One row: `w ← w + rate·(the five points of the logarithms)`.
fn advance(rate: f32, [above, here, below]: [&[f32]; 3], w: &mut [f32]) {
    let cols = w.len();
    let cell = |x: usize, left: f32, right: f32| ((left + right) + (above[x] + below[x])) - 4.0 * here[x];
    let last = cols - 1;
    w[0] += rate * cell(0, here[last], here[1 % cols]);
    for x in 1..last.max(1) {
        w[x] += rate * cell(x, here[x - 1], here[x + 1]);
    }
    if last > 0 {
        w[last] += rate * cell(last, here[last - 1], here[0]);
    }
}
