//! Promises of conformal Ricci flow: it is what its f64 twin computes, keeps area and total curvature, smooths, and refuses what would blow up.

mod common;

use common::{at_every_level, same_on_any_workers, wide, Numbers};
use upbeat_kernels::flow::{mass, range, ricci, FlowError, Ricci};
use upbeat_kernels::{twin, ShapeError};

const SHAPES: [[usize; 2]; 10] =
    [[1, 1], [1, 2], [2, 1], [1, 7], [9, 1], [3, 5], [17, 129], [64, 193], [131, 209], [37, 1100]];
const FLOW: Ricci = Ricci { h: 0.5, dt: 0.03 };

/// Between 0.5 and 1.5: a step of 0.03 is just within `h²·0.5/4`.
fn metric([rows, cols]: [usize; 2]) -> Vec<f32> {
    Numbers::new(7).vector(rows * cols).into_iter().map(|x| 1.0 + 0.5 * x).collect()
}

#[test]
fn every_test_passes_at_every_level() {
    at_every_level();
}

#[test]
fn it_is_what_the_twin_computes() {
    for shape in SHAPES {
        for steps in [0, 1, 2, 20] {
            let mut w = metric(shape);
            let mut exact = wide(&w);
            ricci(&FLOW, shape, steps, &mut w).unwrap();
            twin::flow::ricci(&FLOW, shape, steps, &mut exact).unwrap();
            // A few units of round-off a step, of numbers below 1.5, which later steps do not magnify.
            let bound = 4e-7 * (steps + 1) as f64;
            for (i, (w, exact)) in w.iter().zip(&exact).enumerate() {
                assert!(
                    (f64::from(*w) - exact).abs() <= bound,
                    "{shape:?}, {steps} steps: cell {i} is {w}, the twin's {exact}"
                );
            }
        }
    }
}

#[test]
fn area_stays_curvature_sums_to_nothing_and_the_surface_flattens() {
    let shape = [40, 56];
    let mut w = metric(shape);
    let area = mass(&w);
    let mut before = range(&w).unwrap();
    for _ in 0..50 {
        ricci(&FLOW, shape, 10, &mut w).unwrap();
        let after = range(&w).unwrap();
        assert!(after.0 >= before.0 && after.1 <= before.1, "the extremes close in: {before:?} {after:?}");
        before = after;
        // Gauss–Bonnet on a torus: ΣKw = −½ΣΔ log w = 0.
        let logs: Vec<f64> = w.iter().map(|&w| f64::from(w).ln()).collect();
        let at = |y: usize, x: usize| logs[y % 40 * 56 + x % 56];
        let total: f64 = (0..40 * 56)
            .map(|i| (i / 56, i % 56))
            .map(|(y, x)| at(y + 39, x) + at(y + 1, x) + at(y, x + 55) + at(y, x + 1) - 4.0 * at(y, x))
            .sum();
        assert!(total.abs() < 1e-9, "{total}");
    }
    assert!((mass(&w) - area).abs() < 1e-5 * area, "{} {area}", mass(&w));
    assert!(before.1 - before.0 < 0.05, "flatter: {before:?}");
}

#[test]
fn a_shifted_start_gives_the_shifted_result_and_workers_do_not_matter() {
    let shape = [30, 44];
    let shifted = |w: &[f32]| -> Vec<f32> {
        (0..30 * 44).map(|i| w[(i / 44 + 11) % 30 * 44 + (i % 44 + 17) % 44]).collect()
    };
    let advanced = |mut w: Vec<f32>| {
        ricci(&FLOW, shape, 25, &mut w).unwrap();
        w
    };
    let w = metric(shape);
    assert_eq!(advanced(shifted(&w)), shifted(&advanced(w.clone())));
    same_on_any_workers("25 steps", || advanced(metric(shape)));
}

#[test]
fn what_would_blow_up_is_refused_with_the_bound() {
    let mut w = metric([4, 4]);
    w[5] = 0.25;
    let refused = ricci(&FLOW, [4, 4], 1, &mut w).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the step dt = 0.03 is unstable: dt ≤ h²·min(w)/4 allows at most 0.015625"
    );
    for wrong in [0.0, -1.0, f32::NAN] {
        w[5] = wrong;
        let refused = ricci(&FLOW, [4, 4], 1, &mut w).unwrap_err();
        assert!(matches!(refused, FlowError::Parameter { what: "the smallest w", .. }), "{wrong}: {refused}");
    }
    let refused = ricci(&FLOW, [4, 5], 1, &mut w).unwrap_err();
    assert_eq!(refused, ShapeError::Mismatch { what: "the length of w", expected: 20, found: 16 }.into());
    assert_eq!(ricci(&FLOW, [0, 5], 1, &mut []), Ok(()));
}
