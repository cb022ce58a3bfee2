//! The heat equation `u_t = κΔu`.

use super::stencil::Euler;
use super::{grid, parameter, step, temporal, FlowError};
use crate::simd::Simd;

/// Conduction of heat, `u_t = κΔu`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heat {
    /// Diffusivity κ, area a time.
    pub kappa: f64,
    /// Spacing of the grid.
    pub h: f64,
    /// Length of a step.
    pub dt: f64,
}

impl Heat {
    /// The bound of stability `h²/4κ`; infinite where nothing diffuses.
    pub fn largest_stable_step(&self) -> f64 {
        self.h * self.h / (4.0 * self.kappa)
    }

    /// By how much a step multiplies the Fourier mode that has `waves = [down, across]` whole waves on a grid `shape`:
    /// `1 − 4κdt/h²(sin²(π·down/rows) + sin²(π·across/cols))`.
    pub fn decay(&self, shape: [usize; 2], waves: [usize; 2]) -> f64 {
        let sine = |i: usize| (std::f64::consts::PI * waves[i] as f64 / shape[i] as f64).sin();
        1.0 - 4.0 * self.rate() * (sine(0).powi(2) + sine(1).powi(2))
    }

    /// `κdt/h²`
    pub(crate) fn rate(&self) -> f64 {
        self.kappa * self.dt / (self.h * self.h)
    }

    /// Checks the parameters and the step.
    pub(crate) fn check(&self) -> Result<(), FlowError> {
        parameter("kappa", self.kappa)?;
        step("dt ≤ h²/4κ", self.h, self.dt, self.largest_stable_step())
    }
}

#[derive(Clone, Copy)]
struct Rate(f32);

impl Euler<1> for Rate {
    #[inline(always)]
    fn step<S: Simd>(self, simd: S, [u]: [S::F; 1], [laplacian]: [S::F; 1]) -> [S::F; 1] {
        [simd.fma(simd.splat(self.0), laplacian, u)]
    }
}

/// Advances `u`, `[rows, cols]` and periodic, by `steps` steps `u ← u + κdt·Δu`.
///
/// A step is within `5·2⁻²⁴·max|u|` of the same step in exact arithmetic, so mass is kept to round-off and no cell leaves the range
/// of the cells before by more than that.
///
/// # Errors
/// [`FlowError::Shape`] when `u` does not hold the grid, [`FlowError::Parameter`] when a parameter is negative or not
/// finite, [`FlowError::Unstable`] when `dt > h²/4κ`. Then nothing is written.
///
/// ```
/// use upbeat_kernels::flow::{heat, mass, Heat};
/// let plate = Heat { kappa: 1.0, h: 0.1, dt: 0.0025 };
/// let mut u = vec![0.0; 32 * 48];
/// u[100] = 1.0;
/// heat(&plate, [32, 48], 500, &mut u)?;
/// assert!((mass(&u) - 1.0).abs() < 1e-5 && u.iter().all(|&u| u < 0.01));
/// # Ok::<(), upbeat_kernels::flow::FlowError>(())
/// ```
pub fn heat(heat: &Heat, shape: [usize; 2], steps: usize, u: &mut [f32]) -> Result<(), FlowError> {
    heat.check()?;
    grid(shape, &[("the length of u", u.len())])?;
    temporal::advance(Rate(heat.rate() as f32), shape, steps, [u])
}
