//! The Gray–Scott reaction (Pearson, Complex Patterns in a Simple System, 1993).

use super::stencil::Euler;
use super::{grid, parameter, step, temporal, FlowError};
use crate::simd::Simd;

/// The reaction `u_t = D_uΔu − uv² + F(1−u)`, `v_t = D_vΔv + uv² − (F+k)v`.
///
/// [`GrayScott::default`] is [`GrayScott::SPOTS`]: Pearson's diffusivities, a square of side 2.5 on 256 by 256 cells, and a step of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GrayScott {
    /// Diffusivity of `u`, `D_u`.
    pub du: f64,
    /// Diffusivity of `v`, `D_v`.
    pub dv: f64,
    /// Rate `F` at which `u` is fed and both are drained.
    pub feed: f64,
    /// Rate `k` at which `v` decays.
    pub kill: f64,
    /// Spacing of the grid.
    pub h: f64,
    /// Length of a step.
    pub dt: f64,
}

impl Default for GrayScott {
    fn default() -> Self {
        Self::SPOTS
    }
}

impl GrayScott {
    /// Spots, `(F, k) = (0.035, 0.065)`.
    pub const SPOTS: Self = Self { du: 2e-5, dv: 1e-5, feed: 0.035, kill: 0.065, h: 2.5 / 256.0, dt: 1.0 };
    /// Spots that divide, `(F, k) = (0.0367, 0.0649)`.
    pub const MITOSIS: Self = Self { feed: 0.0367, kill: 0.0649, ..Self::SPOTS };
    /// Corals, `(F, k) = (0.0545, 0.062)`.
    pub const CORAL: Self = Self { feed: 0.0545, kill: 0.062, ..Self::SPOTS };

    /// The bound of stability of diffusion, `h²/4·max(D_u, D_v)`; a longer step is refused.
    pub fn largest_stable_step(&self) -> f64 {
        self.h * self.h / (4.0 * self.du.max(self.dv))
    }

    /// The longest step that is sure to keep `0 ≤ u ≤ 1` and `v ≥ 0` while `v ≤ max_v`: the smaller of `1/(4D_u/h² + max_v² + F)`
    /// and `1/(4D_v/h² + F + k)`.
    ///
    /// Sufficient, not necessary, and not demanded: the patterns with a step of 1 exceed it where `v` is above 0.35 and stay
    /// positive in practice.
    ///
    /// ```
    /// use upbeat_kernels::flow::GrayScott;
    /// let spots = GrayScott::SPOTS;
    /// assert!(spots.largest_positive_step(0.25) > spots.dt && spots.largest_positive_step(0.5) < spots.dt);
    /// ```
    pub fn largest_positive_step(&self, max_v: f64) -> f64 {
        let of = |diffusivity: f64| 4.0 * diffusivity / (self.h * self.h);
        let (u, v) = (of(self.du) + max_v * max_v + self.feed, of(self.dv) + self.feed + self.kill);
        1.0 / u.max(v)
    }

    /// `(D_u·dt/h², D_v·dt/h²)`
    pub fn rates(&self) -> (f64, f64) {
        let area = self.h * self.h;
        // In this order nothing that does not spread has a rate of 0·∞.
        (self.du * self.dt / area, self.dv * self.dt / area)
    }

    /// Checks the parameters and the step.
    ///
    /// # Errors
    /// [`FlowError::Parameter`] when a parameter is negative or not finite, [`FlowError::Unstable`] when `dt > h²/4·max(D_u, D_v)`.
    pub fn check(&self) -> Result<(), FlowError> {
        parameter("du", self.du)?;
        parameter("dv", self.dv)?;
        parameter("feed", self.feed)?;
        parameter("kill", self.kill)?;
        step("dt ≤ h²/4·max(D_u, D_v)", self.h, self.dt, self.largest_stable_step())
    }
}

/// The coefficients of a step.
#[derive(Clone, Copy)]
struct Coefficients {
    /// `D_u·dt/h²`
    u: f32,
    /// `D_v·dt/h²`
    v: f32,
    /// `F·dt`
    feed: f32,
    /// `1 − F·dt`, of the rounded `F·dt`: at `u = 1` the two add to 1 but for half a unit in the last place, so to 1.
    kept: f32,
    /// `−(F + k)·dt`
    drain: f32,
    dt: f32,
}

impl Euler<2> for Coefficients {
    /// Sums are such that (1, 0) stays exactly what it is.
    #[inline(always)]
    fn step<S: Simd>(self, s: S, [u, v]: [S::F; 2], [lap_u, lap_v]: [S::F; 2]) -> [S::F; 2] {
        let reaction = s.mul(s.mul(u, v), v);
        let fed = s.fma(s.splat(self.kept), u, s.splat(self.feed));
        let spread_u = s.fma(s.splat(self.u), lap_u, fed);
        let drained = s.fma(s.splat(self.drain), v, v);
        let spread_v = s.fma(s.splat(self.v), lap_v, drained);
        [s.fma(s.splat(-self.dt), reaction, spread_u), s.fma(s.splat(self.dt), reaction, spread_v)]
    }
}

/// Advances `u` and `v`, `[rows, cols]` and periodic, by `steps` Euler steps.
///
/// `(1, 0)` is a fixed point bit for bit, a shifted start gives the shifted result bit for bit, and so does one turned by 90°.
///
/// # Errors
/// [`FlowError::Shape`] when a field does not hold the grid, [`FlowError::Parameter`] when a parameter is negative or not
/// finite, [`FlowError::Unstable`] when `4·max(D_u, D_v)·dt > h²`. Then nothing is written.
///
/// ```
/// use upbeat_kernels::flow::{gray_scott, pearson_start, range, GrayScott};
/// let (mut u, mut v) = (vec![0.0; 64 * 64], vec![0.0; 64 * 64]);
/// pearson_start([64, 64], 1, &mut u, &mut v)?;
/// gray_scott(&GrayScott::MITOSIS, [64, 64], 200, &mut u, &mut v)?;
/// let (least, most) = range(&v).expect("the grid has cells");
/// assert!(least >= 0.0 && most > 0.2 && most < 1.0);
/// # Ok::<(), upbeat_kernels::flow::FlowError>(())
/// ```
pub fn gray_scott(
    params: &GrayScott,
    shape: [usize; 2],
    steps: usize,
    u: &mut [f32],
    v: &mut [f32],
) -> Result<(), FlowError> {
    params.check()?;
    grid(shape, &[("the length of u", u.len()), ("the length of v", v.len())])?;
    let (rate_u, rate_v) = params.rates();
    let feed = (params.feed * params.dt) as f32;
    let coefficients = Coefficients {
        u: rate_u as f32,
        v: rate_v as f32,
        feed,
        kept: (1.0 - f64::from(feed)) as f32,
        drain: (-(params.feed + params.kill) * params.dt) as f32,
        dt: params.dt as f32,
    };
    temporal::advance(coefficients, shape, steps, [u, v])
}

/// Side of the square that [`pearson_start`] disturbs.
const SQUARE: usize = 20;

/// Pearson's start on a grid `[rows, cols]`: `u = 1`, `v = 0`, and in a central square of 20 by 20 cells `(½, ¼)` with noise of one
/// per cent that `seed` determines (SplitMix64).
///
/// # Errors
/// [`FlowError::Shape`] when a field does not hold the grid. Then nothing is written.
///
/// ```
/// let (mut u, mut v) = (vec![0.0; 900], vec![0.0; 900]);
/// upbeat_kernels::flow::pearson_start([30, 30], 7, &mut u, &mut v)?;
/// assert_eq!((u[0], v[0]), (1.0, 0.0));
/// assert!((u[465] - 0.5).abs() <= 0.005 && (v[465] - 0.25).abs() <= 0.0025);
/// # Ok::<(), upbeat_kernels::flow::FlowError>(())
/// ```
pub fn pearson_start(shape: [usize; 2], seed: u64, u: &mut [f32], v: &mut [f32]) -> Result<(), FlowError> {
    grid(shape, &[("the length of u", u.len()), ("the length of v", v.len())])?;
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 24 bits of [-1, 1), of which 1 % is taken.
        1.0 + 0.01 * (((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
    };
    u.fill(1.0);
    v.fill(0.0);
    let middle = |n: usize| n.saturating_sub(SQUARE) / 2..n.min(n.saturating_sub(SQUARE) / 2 + SQUARE);
    for y in middle(shape[0]) {
        for x in middle(shape[1]) {
            u[y * shape[1] + x] = 0.5 * noise();
            v[y * shape[1] + x] = 0.25 * noise();
        }
    }
    Ok(())
}
