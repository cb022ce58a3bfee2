//! Numbers that a field is watched by, each in a fixed tree: its mass and its range.

use crate::blocks::ELEMENTS;
use crate::isa::dispatch;
use crate::simd::{Kernel, Simd};

/// Running values that a block keeps side by side; the compiler makes vectors of them at every level.
const LANES: usize = 32;

/// Folds what `f` gives for each block of `x` in a tree that depends on the length alone.
fn over_blocks<T: Send>(
    x: &[f32],
    f: impl Fn(&[f32]) -> T + Sync,
    join: impl Fn(T, T) -> T + Sync,
    empty: impl Fn() -> T + Sync,
) -> T {
    let block = |i: usize| &x[i * ELEMENTS..x.len().min((i + 1) * ELEMENTS)];
    upbeat::par::map_reduce(0..x.len().div_ceil(ELEMENTS), |i| f(block(i)), join, empty)
}

/// `Σ x` of one block.
struct Mass<'a>(&'a [f32]);

impl Kernel for Mass<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for x in whole {
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum += f64::from(x);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(x);
        }
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                sums[i] += sums[i + half];
            }
            half /= 2;
        }
        sums[0]
    }
}

/// `Σ u`, summed in f64: the integral over the grid is `h²` times that.
///
/// The same bits for any number of workers and at every level. 0 where there are no cells.
///
/// ```
/// assert_eq!(upbeat_kernels::flow::mass(&[0.5, 0.25, -1.0]), -0.25);
/// ```
pub fn mass(u: &[f32]) -> f64 {
    over_blocks(u, |u| dispatch(Mass(u)), |a, b| a + b, || 0.0)
}

/// Smallest and largest of one block, and whether one is NaN.
struct Range<'a>(&'a [f32]);

/// `(least, most, whether one is NaN)`
type Bounds = (f32, f32, bool);

fn joined(a: Bounds, b: Bounds) -> Bounds {
    (if b.0 < a.0 { b.0 } else { a.0 }, if b.1 > a.1 { b.1 } else { a.1 }, a.2 | b.2)
}

const NOTHING: Bounds = (f32::INFINITY, f32::NEG_INFINITY, false);

impl Kernel for Range<'_> {
    type Output = Bounds;
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> Bounds {
        let (mut least, mut most, mut nan) = ([NOTHING.0; LANES], [NOTHING.1; LANES], [0u32; LANES]);
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for x in whole {
            for i in 0..LANES {
                least[i] = if x[i] < least[i] { x[i] } else { least[i] };
                most[i] = if x[i] > most[i] { x[i] } else { most[i] };
                nan[i] |= u32::from(x[i].is_nan());
            }
        }
        let mut bounds = NOTHING;
        for i in 0..LANES {
            bounds = joined(bounds, (least[i], most[i], nan[i] != 0));
        }
        for &x in rest {
            bounds = joined(bounds, (x, x, x.is_nan()));
        }
        bounds
    }
}

/// The smallest and the largest of `u`; both NaN when a cell is NaN, and `None` where there are no cells.
///
/// ```
/// use upbeat_kernels::flow::range;
/// assert_eq!(range(&[0.5, -2.0, 3.0]), Some((-2.0, 3.0)));
/// assert_eq!(range(&[]), None);
/// assert!(range(&[1.0, f32::NAN]).is_some_and(|(least, most)| least.is_nan() && most.is_nan()));
/// ```
pub fn range(u: &[f32]) -> Option<(f32, f32)> {
    if u.is_empty() {
        return None;
    }
    let (least, most, nan) = over_blocks(u, |u| dispatch(Range(u)), joined, || NOTHING);
    Some(if nan { (f32::NAN, f32::NAN) } else { (least, most) })
}
