//! Softmax over panels of logits `[keys, queries]`: a panel holds as many queries as it is wide, one a lane, so that
//! maxima and sums over keys run down the lanes and need no horizontal step.
//!
//! Logits are raw products `q·k`; `log₂e·scale` is folded into one multiply-add before `2^x`. Where there is a bias, or
//! a scale that is not positive, [`adjust`] makes them what they are said to be first.

use super::view::Rows;
use crate::simd::tile::width;
use crate::simd::transpose::transpose;
use crate::simd::Simd;

/// The same expression for the low and the high half of a panel's row. A macro and not a closure: vector operations
/// compile to instructions only where they are inlined for certain.
macro_rules! both {
    ($half:ident => $body:expr) => {
        [
            {
                let $half = 0;
                $body
            },
            {
                let $half = 1;
                $body
            },
        ]
    };
}
pub(super) use both;

/// The number of each lane of a panel.
static LANES: [f32; 32] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0,
    19.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0, 31.0,
];

/// `2^x` within 2 ulp up to `x = 127`, where it stays; 0 below -126; NaN for NaN.
///
/// `2^f = 1 + f·p(f)` on `[-1/2, 1/2]`, p of degree 5 interpolating at Chebyshev's nodes (relative error 1e-8).
#[inline(always)]
pub(super) fn exp2<S: Simd>(simd: S, x: S::F) -> S::F {
    const COEFFICIENTS: [f32; 5] = [1.339_086_3e-3, 9.618_083e-3, 5.550_357e-2, 2.402_265e-1, 6.931_472e-1];
    let least = simd.splat(-126.0);
    // In this order of operands NaN passes both bounds.
    let bounded = simd.min(simd.splat(127.0), simd.max(least, x));
    let whole = simd.round(bounded);
    let fraction = simd.sub(bounded, whole);
    let mut p = simd.splat(1.545_316_3e-4);
    for coefficient in COEFFICIENTS {
        p = simd.fma(p, fraction, simd.splat(coefficient));
    }
    let p = simd.fma(p, fraction, simd.splat(1.0));
    let power = simd.mul(p, simd.exp2_integral(whole));
    simd.select(simd.less(x, least), simd.splat(0.0), power)
}

/// Both halves of a panel's row.
#[inline(always)]
pub(super) fn load<S: Simd>(simd: S, row: &[f32]) -> [S::F; 2] {
    let row = &row[..width::<S>()];
    [simd.load(row), simd.load(&row[S::LANES..])]
}

/// Stores both halves of a panel's row.
#[inline(always)]
pub(super) fn store<S: Simd>(simd: S, [low, high]: [S::F; 2], row: &mut [f32]) {
    let row = &mut row[..width::<S>()];
    simd.store(low, row);
    simd.store(high, &mut row[S::LANES..]);
}

/// `yes` in the first `lanes` lanes of a panel's row, `no` in the others.
#[inline(always)]
pub(super) fn first_lanes<S: Simd>(simd: S, lanes: usize, yes: [S::F; 2], no: [S::F; 2]) -> [S::F; 2] {
    let count = simd.splat(lanes as f32);
    let at = load(simd, &LANES);
    both!(half => simd.select(simd.less(at[half], count), yes[half], no[half]))
}

/// The exponent that a panel's row is taken relative to: the scaled maximum, but 0 for a row that saw only `-∞`, whose
/// powers shall be 0 and not NaN.
#[inline(always)]
fn shift<S: Simd>(simd: S, max: S::F, factor: S::F) -> S::F {
    let lowest = simd.splat(f32::NEG_INFINITY);
    simd.select(simd.less(lowest, max), simd.mul(max, factor), simd.splat(0.0))
}

/// How raw products become exponents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors {
    /// What [`adjust`] multiplies products by, if it has to.
    scale: Option<f32>,
    /// From adjusted logits to exponents of 2; positive, so that the largest logit has the largest exponent.
    pub(super) power: f32,
}

impl Factors {
    pub(super) fn new(scale: f64, biased: bool) -> Self {
        if biased || scale <= 0.0 || scale.is_nan() {
            return Self { scale: Some(scale as f32), power: std::f32::consts::LOG2_E };
        }
        Self { scale: None, power: (scale * std::f64::consts::LOG2_E) as f32 }
    }
}

/// Makes products `[keys, width]` of `queries` queries logits: scales them and adds biases, where there is need.
/// `bias` is a row for each query that begins at the first key; `turned` takes it transposed.
#[inline(always)]
pub(super) fn adjust<S: Simd>(
    simd: S,
    factors: Factors,
    logits: &mut [f32],
    pitch: usize,
    bias: Option<Rows<'_, f32>>,
    (keys, queries): (usize, usize),
    turned: &mut [f32],
) {
    let Some(scale) = factors.scale else { return };
    let (width, scale) = (width::<S>(), simd.splat(scale));
    if let Some(bias) = bias {
        if queries < width {
            turned.fill(0.0);
        }
        transpose(simd, (queries, keys), bias.data, bias.stride, turned, width);
    }
    for row in 0..keys {
        let to = &mut logits[row * pitch..][..width];
        let logit = load(simd, to);
        let added = match bias {
            Some(_) => load(simd, &turned[row * width..]),
            None => [simd.splat(0.0); 2],
        };
        store(simd, both!(half => simd.fma(logit[half], scale, added[half])), to);
    }
}

/// One step of the online softmax (Milakov and Gimelshein, 2018). Turns the logits `[keys, width]` into powers
/// relative to the new maximum, updates each query's running `max` and `sum`, and returns the factors that bring
/// sums over earlier keys to the new maximum.
#[inline(always)]
pub(super) fn online<S: Simd>(
    simd: S,
    logits: &mut [f32],
    max: &mut [f32],
    sum: &mut [f32],
    factor: f32,
) -> [S::F; 2] {
    let factor = simd.splat(factor);
    let old = load(simd, max);
    let mut new = old;
    for row in logits.chunks_exact(width::<S>()) {
        let row = load(simd, row);
        new = both!(half => simd.max(new[half], row[half]));
    }
    store(simd, new, max);
    let shifts = both!(half => shift(simd, new[half], factor));
    let negated = both!(half => simd.sub(simd.splat(0.0), shifts[half]));
    let rescale = both!(half => exp2(simd, simd.sub(shift(simd, old[half], factor), shifts[half])));
    let mut total = load(simd, sum);
    total = both!(half => simd.mul(total[half], rescale[half]));
    for row in logits.chunks_exact_mut(width::<S>()) {
        let logits = load(simd, row);
        let powers = both!(half => exp2(simd, simd.fma(logits[half], factor, negated[half])));
        total = both!(half => simd.add(total[half], powers[half]));
        store(simd, powers, row);
    }
    store(simd, total, sum);
    rescale
}

/// The log of each query's sum of exponentials, from what [`online`] left.
#[inline(always)]
pub(super) fn log_sum<S: Simd>(simd: S, max: &[f32], sum: &[f32], factor: f32, lse: &mut [f32]) {
    let mut shifts = [0.0; 32];
    let max = load(simd, max);
    store(simd, both!(half => shift(simd, max[half], simd.splat(factor))), &mut shifts);
    for ((lse, shift), sum) in lse.iter_mut().zip(&shifts).zip(sum) {
        *lse = (f64::from(*shift) * std::f64::consts::LN_2 + f64::from(sum.ln())) as f32;
    }
}

/// `1/sum` for each query, 0 where the sum is 0.
#[inline(always)]
pub(super) fn inverse<S: Simd>(simd: S, sum: &[f32]) -> [S::F; 2] {
    let sum = load(simd, sum);
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    // The largest power is about 1, so that a sum below the normal numbers is a sum of zeros.
    let least = simd.splat(f32::MIN_POSITIVE);
    both!(half => simd.select(simd.less(sum[half], least), zero, simd.div(one, sum[half])))
}

#[cfg(test)]
mod tests {
    use super::exp2;
    use crate::isa;
    use crate::simd::{Kernel, Simd};

    struct Powers<'a>(&'a mut [f32]);

    impl Kernel for Powers<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for part in self.0.chunks_mut(S::LANES) {
                let v = exp2(simd, simd.load_partial(part));
                simd.store_partial(v, part);
            }
        }
    }

    #[test]
    fn powers_of_two_are_within_two_ulp() {
        let x: Vec<f32> = (0..=1_000_000).map(|i| i as f32 * -126e-6).collect();
        let mut y = x.clone();
        isa::dispatch(Powers(&mut y));
        for (x, y) in x.iter().zip(&y) {
            let exact = f64::from(*x).exp2();
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            assert!((f64::from(*y) - exact).abs() <= 2.0 * ulp, "2^{x} is {exact}, not {y}");
        }
    }

    #[test]
    fn extreme_powers_are_as_documented() {
        let mut x = [0.0, -126.0, -126.1, -1e5, f32::NEG_INFINITY, 127.0, 1e30, f32::NAN, 1.0];
        isa::dispatch(Powers(&mut x));
        let top = 2f32.powi(127);
        assert_eq!(x[..7], [1.0, f32::MIN_POSITIVE, 0.0, 0.0, 0.0, top, top]);
        assert!(x[7].is_nan() && x[8] == 2.0);
    }
}
