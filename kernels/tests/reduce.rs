//! Promises of the reductions: they agree with plain sums in f64 over odd, empty and one-element slices that end at a
//! guarded page, at every level; a row has the bits of its slice alone; no bit depends on the number of workers; NaN,
//! infinities and emptiness are as documented.

mod common;

use common::{same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::{reduce, ShapeError};

type Whole = fn(&[f32]) -> f64;
type Rows = fn(&[f32], usize, &mut [f32]) -> Result<(), ShapeError>;

/// A reduction's name, its two forms and its formula.
type Reduction = (&'static str, Whole, Rows, fn(&[f64]) -> f64);

const ALL: [Reduction; 8] = [
    ("sum", reduce::sum, reduce::rows::sum, |x| x.iter().sum()),
    ("mean", reduce::mean, reduce::rows::mean, |x| x.iter().sum::<f64>() / x.len() as f64),
    (
        "max",
        |x| reduce::max(x).into(),
        reduce::rows::max,
        |x| x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ),
    (
        "min",
        |x| reduce::min(x).into(),
        reduce::rows::min,
        |x| x.iter().copied().fold(f64::INFINITY, f64::min),
    ),
    ("log_sum_exp", reduce::log_sum_exp, reduce::rows::log_sum_exp, |x| {
        x.iter().map(|x| x.exp()).sum::<f64>().ln()
    }),
    ("norm_1", reduce::norm_1, reduce::rows::norm_1, |x| x.iter().map(|x| x.abs()).sum()),
    ("norm_2", reduce::norm_2, reduce::rows::norm_2, |x| x.iter().map(|x| x * x).sum::<f64>().sqrt()),
    (
        "norm_max",
        |x| reduce::norm_max(x).into(),
        reduce::rows::norm_max,
        |x| x.iter().fold(0.0, |a, x| a.max(x.abs())),
    ),
];
const LENGTHS: [usize; 12] = [0, 1, 3, 7, 8, 17, 33, 65, 1000, 1025, 40_000, 100_001];

#[test]
fn whole_slices_agree_with_plain_loops() {
    for len in LENGTHS {
        let x: Vec<f32> = Numbers::new(len as u64).vector(len).iter().map(|x| 3.0 * x - 0.5).collect();
        let guarded = PageEnd::copied(&x);
        let magnitudes: f64 = x.iter().map(|x| f64::from(x.abs())).sum();
        for (name, whole, _, plain) in ALL {
            let (found, truth) = (whole(&guarded), plain(&wide(&x)));
            let allowed = (-24f64).exp2()
                * match name {
                    "max" | "min" | "norm_max" => 0.0,
                    "norm_2" => 1e-4 * truth,
                    "mean" => 264.0 * magnitudes / len.max(1) as f64,
                    "log_sum_exp" => 270.0 + truth.abs(),
                    _ => 264.0 * magnitudes,
                };
            let equal = found == truth || (found.is_nan() && truth.is_nan());
            assert!(equal || (found - truth).abs() <= allowed, "{name} of {len}: {found}, not {truth}");
        }
        let y = Numbers::new(99).vector(len);
        let truth: f64 = x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let found = reduce::dot(&guarded, &PageEnd::copied(&y)).unwrap();
        assert!(
            (found - truth).abs() <= 264.0 * (-24f64).exp2() * magnitudes,
            "dot of {len}: {found}, not {truth}"
        );
        let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(reduce::argmax(&guarded), x.iter().position(|&x| x == largest), "argmax of {len}");
    }
    assert_eq!(
        reduce::dot(&[1.0], &[]),
        Err(ShapeError::Mismatch { what: "the length of an operand", expected: 1, found: 0 })
    );
}

#[test]
fn rows_have_the_bits_of_their_slices() {
    for (rows, cols) in [(0, 5), (3, 0), (1, 1), (5, 1), (7, 3), (3, 33), (40, 1000), (2, 33_000), (300, 257)]
    {
        let x = PageEnd::copied(&Numbers::new(cols as u64).vector(rows * cols));
        for (name, whole, each, _) in ALL {
            let mut out = PageEnd::copied(&vec![7.0; rows]);
            each(&x, cols, &mut out).unwrap();
            for r in 0..rows {
                let alone = whole(&x[r * cols..][..cols]) as f32;
                assert_eq!(out[r].to_bits(), alone.to_bits(), "{name}, row {r} of {rows} by {cols}");
            }
        }
        let mut places = vec![7; rows];
        if cols > 0 || rows == 0 {
            reduce::rows::argmax(&x, cols, &mut places).unwrap();
            for r in 0..rows {
                assert_eq!(Some(places[r] as usize), reduce::argmax(&x[r * cols..][..cols]));
            }
        } else {
            assert!(matches!(reduce::rows::argmax(&x, cols, &mut places), Err(ShapeError::Index { .. })));
            assert_eq!(places, [7; 3]);
        }
    }
    let mut out = [7.0; 2];
    assert!(reduce::rows::sum(&[0.0; 5], 2, &mut out).is_err());
    assert!(matches!(reduce::rows::max(&[], usize::MAX, &mut out), Err(ShapeError::Overflow { .. })));
    assert_eq!(out, [7.0; 2]);
}

#[test]
fn nan_infinities_and_emptiness() {
    let inf = f32::INFINITY;
    for at in [0, 5, 8, 100, 1023, 1024, 50_000, 69_999] {
        let mut x = Numbers::new(3).vector(70_000);
        x[at] = f32::NAN;
        for (name, whole, ..) in ALL {
            assert!(whole(&x).is_nan(), "{name} with NaN at {at}");
        }
        assert_eq!(reduce::argmax(&x), Some(at));
        x[at] = inf;
        assert_eq!(
            (reduce::max(&x), reduce::norm_max(&x), reduce::log_sum_exp(&x)),
            (inf, inf, f64::INFINITY)
        );
        x[at] = -inf;
        assert_eq!((reduce::min(&x), reduce::sum(&x)), (-inf, f64::NEG_INFINITY));
        assert!(reduce::log_sum_exp(&x).is_finite());
    }
    let low = vec![-inf; 40_000];
    assert_eq!((reduce::log_sum_exp(&low), reduce::max(&low)), (f64::NEG_INFINITY, -inf));
    assert_eq!(reduce::argmax(&low), Some(0));
    assert!((reduce::log_sum_exp(&[1e30, 1e30]) - f64::from(1e30f32)).abs() < 1e23);
    assert!((reduce::log_sum_exp(&[-1e4, -1e4]) - (-1e4 + std::f64::consts::LN_2)).abs() < 1e-9);
    // Blocks far apart: neither is taken relative to the other's largest where that overflows.
    for far in [[-1e4f32, 0.0], [0.0, -1e4], [1e4, -1e4]] {
        let x = [vec![far[0]; 32_768], vec![far[1]; 32_768]].concat();
        let truth = f64::from(far[0].max(far[1])) + 32_768f64.ln();
        assert!((reduce::log_sum_exp(&x) - truth).abs() < 1e-9, "{far:?}");
    }
    assert!((reduce::norm_2(&[3e30, 4e30]) / 5e30 - 1.0).abs() < 1e-6);
    assert_eq!(
        (reduce::sum(&[]), reduce::max(&[]), reduce::min(&[]), reduce::norm_2(&[])),
        (0.0, -inf, inf, 0.0)
    );
    assert!(reduce::mean(&[]).is_nan() && reduce::argmax(&[]).is_none());
    assert_eq!(reduce::log_sum_exp(&[]), f64::NEG_INFINITY);
    assert_eq!(reduce::argmax(&[1.0, 3.0, 3.0, f32::NAN, f32::NAN]), Some(3));
}

#[test]
fn bits_do_not_depend_on_the_number_of_workers() {
    let x: Vec<f32> = Numbers::new(11).vector(1_000_003);
    same_on_any_workers("reductions", || {
        let mut bits: Vec<u64> = ALL.iter().map(|(_, whole, ..)| whole(&x).to_bits()).collect();
        bits.push(reduce::dot(&x[1..], &x[..1_000_002]).unwrap().to_bits());
        bits.push(reduce::argmax(&x).unwrap() as u64);
        bits
    });
}

#[test]
fn every_level() {
    common::at_every_level();
}
