//! Promises of the flows: they are what their f64 twins compute, they keep what the equations keep, and their bits depend neither
//! on how many steps a call does nor on the number of workers.

mod common;

use common::{at_every_level, bits, same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::flow::{gray_scott, heat, mass, pearson_start, range, FlowError, GrayScott, Heat};
use upbeat_kernels::{twin, ShapeError};

/// Odd, tiny, of one row or column, smaller than a halo, just below and above a tile, and of several bands and tiles.
const SHAPES: [[usize; 2]; 20] = [
    [1, 1],
    [1, 2],
    [2, 1],
    [1, 7],
    [9, 1],
    [2, 2],
    [3, 5],
    [5, 3],
    [8, 8],
    [7, 33],
    [1, 300],
    [300, 1],
    [17, 129],
    [65, 191],
    [64, 193],
    [131, 209],
    [129, 387],
    [200, 500],
    [1, 513],
    [37, 1100],
];
const PLATE: Heat = Heat { kappa: 0.7, h: 0.5, dt: 0.08 };
const REACTION: GrayScott = GrayScott { du: 0.16, dv: 0.08, feed: 0.06, kill: 0.062, h: 1.0, dt: 1.0 };
/// Unit round-off.
const U: f64 = 1.0 / (1 << 24) as f64;

fn len([rows, cols]: [usize; 2]) -> usize {
    rows * cols
}

/// Concentrations in `[0, 1)` and `[0, 0.5)`.
fn concentrations(seed: u64, shape: [usize; 2]) -> (Vec<f32>, Vec<f32>) {
    let mut numbers = Numbers::new(seed);
    let u = numbers.vector(len(shape)).iter().map(|u| 0.5 + 0.5 * u).collect();
    (u, numbers.vector(len(shape)).iter().map(|v| 0.25 + 0.25 * v).collect())
}

fn heated(shape: [usize; 2], steps: usize, u: &[f32]) -> Vec<f32> {
    let mut u = u.to_vec();
    heat(&PLATE, shape, steps, &mut u).unwrap();
    u
}

fn reacted(shape: [usize; 2], steps: usize, (u, v): &(Vec<f32>, Vec<f32>)) -> (Vec<f32>, Vec<f32>) {
    let (mut u, mut v) = (u.clone(), v.clone());
    gray_scott(&REACTION, shape, steps, &mut u, &mut v).unwrap();
    (u, v)
}

fn both_bits((u, v): &(Vec<f32>, Vec<f32>)) -> Vec<u32> {
    bits(&[&u[..], v].concat())
}

fn assert_near(what: &str, fast: &[f32], twin: &[f64], bound: f64) {
    for (i, (&fast, &twin)) in fast.iter().zip(twin).enumerate() {
        let error = (f64::from(fast) - twin).abs();
        assert!(error <= bound, "{what}: cell {i} is {fast}, the twin's {twin}");
    }
}

#[test]
fn every_level() {
    at_every_level();
}

#[test]
fn flows_are_what_their_twins_compute() {
    for shape in SHAPES {
        for steps in [0, 1, 2, 5, 13] {
            let what = format!("{shape:?}, {steps} steps");
            let u = Numbers::new(1).vector(len(shape));
            let mut exact = wide(&u);
            twin::flow::heat(&PLATE, shape, steps, &mut exact).unwrap();
            // A step rounds six times, and the numbers are below 1, the Laplacian's parts below 8/4.
            assert_near(&what, &heated(shape, steps, &u), &exact, steps as f64 * 5.0 * U);

            let start = concentrations(2, shape);
            let (mut u, mut v) = (wide(&start.0), wide(&start.1));
            twin::flow::gray_scott(&REACTION, shape, steps, &mut u, &mut v).unwrap();
            let (fast_u, fast_v) = reacted(shape, steps, &start);
            assert_near(&what, &fast_u, &u, steps as f64 * 8.0 * U);
            assert_near(&what, &fast_v, &v, steps as f64 * 8.0 * U);
        }
    }
}

#[test]
fn many_steps_in_a_call_give_the_bits_of_single_steps() {
    for shape in SHAPES {
        let start = concentrations(3, shape);
        let (mut plate, mut reaction) = (start.0.clone(), start.clone());
        for steps in 1..=19 {
            plate = heated(shape, 1, &plate);
            reaction = reacted(shape, 1, &reaction);
            assert_eq!(
                bits(&heated(shape, steps, &start.0)),
                bits(&plate),
                "{shape:?}, {steps} steps of heat"
            );
            let blocked = reacted(shape, steps, &start);
            assert!(both_bits(&blocked) == both_bits(&reaction), "{shape:?}, {steps} steps of Gray-Scott");
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_workers() {
    for shape in [[1, 1], [70, 400], [523, 301], [2100, 40], [150, 1030]] {
        let start = concentrations(4, shape);
        same_on_any_workers(shape, || {
            let plate = heated(shape, 11, &start.0);
            let (least, most) = range(&plate).unwrap();
            let numbers = [mass(&plate), least.into(), most.into()].map(f64::to_bits);
            (bits(&plate), both_bits(&reacted(shape, 11, &start)), numbers)
        });
    }
}

#[test]
fn nothing_outside_the_slices_is_touched() {
    for shape in SHAPES {
        let start = concentrations(5, shape);
        let (mut u, mut v) = (PageEnd::copied(&start.0), PageEnd::copied(&start.1));
        heat(&PLATE, shape, 5, &mut u).unwrap();
        assert_eq!(bits(&u), bits(&heated(shape, 5, &start.0)), "{shape:?}");
        u.copy_from_slice(&start.0);
        gray_scott(&REACTION, shape, 5, &mut u, &mut v).unwrap();
        assert!(both_bits(&(u.to_vec(), v.to_vec())) == both_bits(&reacted(shape, 5, &start)), "{shape:?}");
        let elsewhere = v.to_vec();
        assert_eq!(
            (mass(&v).to_bits(), range(&v)),
            (mass(&elsewhere).to_bits(), range(&elsewhere)),
            "{shape:?}"
        );
    }
}

#[test]
fn heat_keeps_its_mass_and_its_range() {
    for (shape, dt) in [([37, 61], 0.08), ([129, 387], PLATE.largest_stable_step()), ([1, 5], 0.01)] {
        let plate = Heat { dt, ..PLATE };
        let mut u = Numbers::new(6).vector(len(shape));
        let (least, most) = range(&u).unwrap();
        let (before, steps) = (mass(&u), 50);
        heat(&plate, shape, steps, &mut u).unwrap();
        let rounding = steps as f64 * 5.0 * U;
        assert!(
            (mass(&u) - before).abs() <= rounding * len(shape) as f64,
            "{shape:?}: {} from {before}",
            mass(&u)
        );
        let (low, high) = range(&u).unwrap();
        assert!(f64::from(low) >= f64::from(least) - rounding, "{low} < {least}");
        assert!(f64::from(high) <= f64::from(most) + rounding, "{high} > {most}");
        assert!(high - low < 0.5 * (most - least), "{shape:?} does not flatten");
    }
}

#[test]
fn a_fourier_mode_decays_by_its_factor() {
    use std::f64::consts::TAU;
    for (shape, waves) in [([64, 48], [3, 5]), ([40, 1], [20, 0]), ([16, 300], [0, 2]), ([6, 6], [3, 3])] {
        let mode = |i: usize| {
            let (y, x) = ((i / shape[1]) as f64, (i % shape[1]) as f64);
            (TAU * (waves[0] as f64 * y / shape[0] as f64 + waves[1] as f64 * x / shape[1] as f64)).cos()
        };
        let start: Vec<f32> = (0..len(shape)).map(|i| mode(i) as f32).collect();
        let steps = 7;
        let factor = PLATE.decay(shape, waves).powi(steps);
        assert!(factor.abs() < 0.999, "{shape:?}: the mode moves");
        let expected: Vec<f64> = (0..len(shape)).map(|i| factor * mode(i)).collect();
        let what = format!("{shape:?} {waves:?}");
        assert_near(&what, &heated(shape, steps as usize, &start), &expected, 5.0 * U * f64::from(steps + 1));
    }
}

#[test]
fn the_fed_state_stays_bit_for_bit() {
    for params in [GrayScott::SPOTS, GrayScott::MITOSIS, GrayScott::CORAL, REACTION] {
        let shape = [67, 210];
        let (mut u, mut v) = (vec![1.0f32; len(shape)], vec![0.0f32; len(shape)]);
        gray_scott(&params, shape, 23, &mut u, &mut v).unwrap();
        assert!(u.iter().all(|u| u.to_bits() == 1f32.to_bits()) && v.iter().all(|v| v.to_bits() == 0));
    }
}

#[test]
fn a_shifted_start_gives_the_shifted_result() {
    for (shape, [down, across]) in
        [([131, 209], [1, 1]), ([131, 209], [64, 17]), ([30, 1450], [29, 200]), ([5, 3], [2, 2])]
    {
        let [rows, cols] = shape;
        let shift = |x: &[f32]| -> Vec<f32> {
            (0..rows * cols)
                .map(|i| x[(i / cols + rows - down) % rows * cols + (i % cols + cols - across) % cols])
                .collect()
        };
        let start = concentrations(7, shape);
        let (u, v) = reacted(shape, 10, &start);
        let moved = reacted(shape, 10, &(shift(&start.0), shift(&start.1)));
        assert!(both_bits(&moved) == both_bits(&(shift(&u), shift(&v))), "{shape:?}");
        assert!(both_bits(&moved) != both_bits(&(u, v)), "the shift moves something");
    }
}

#[test]
fn a_turned_start_gives_the_turned_result() {
    for n in [3, 50, 211] {
        // (y, x) goes to (x, n - 1 - y).
        let turn = |x: &[f32]| -> Vec<f32> { (0..n * n).map(|i| x[(n - 1 - i % n) * n + i / n]).collect() };
        let start = concentrations(8, [n, n]);
        let (u, v) = reacted([n, n], 10, &start);
        let turned = reacted([n, n], 10, &(turn(&start.0), turn(&start.1)));
        assert!(both_bits(&turned) == both_bits(&(turn(&u), turn(&v))), "{n}");
    }
    let (mut u, mut v) = (vec![0.0; 100 * 100], vec![0.0; 100 * 100]);
    pearson_start([100, 100], 1, &mut u, &mut v).unwrap();
    for (y, x) in (40..60).flat_map(|y| (40..60).map(move |x| (y, x))) {
        (u[y * 100 + x], v[y * 100 + x]) = (0.5, 0.25);
    }
    let (u, v) = {
        gray_scott(&GrayScott::CORAL, [100, 100], 300, &mut u, &mut v).unwrap();
        (u, v)
    };
    let turn = |x: &[f32]| -> Vec<f32> { (0..10_000).map(|i| x[(99 - i % 100) * 100 + i / 100]).collect() };
    assert!(range(&v).unwrap().1 > 0.1, "the pattern lives");
    assert!(
        bits(&turn(&u)) == bits(&u) && bits(&turn(&v)) == bits(&v),
        "a symmetric pattern stays symmetric"
    );
}

#[test]
fn what_is_fed_and_drained_is_all_that_changes_the_sum() {
    let shape = [150, 220];
    let (mut u, mut v) = concentrations(9, shape);
    for _ in 0..20 {
        let n = len(shape) as f64;
        let (mass_u, mass_v) = (mass(&u), mass(&v));
        let rate = REACTION.feed * (n - mass_u) - (REACTION.feed + REACTION.kill) * mass_v;
        gray_scott(&REACTION, shape, 1, &mut u, &mut v).unwrap();
        let change = mass(&u) + mass(&v) - mass_u - mass_v;
        assert!(
            (change - REACTION.dt * rate).abs() <= 4.0 * U * n,
            "{change} where {rate} a unit of time flows"
        );
        assert!(rate.abs() > 100.0 * U * n, "something flows");
    }
}

#[test]
fn wrong_grids_and_steps_are_refused_before_anything_is_written() {
    let mut u = vec![0.5f32; 12];
    let mut v = vec![0.25f32; 12];
    let mismatch = |what, expected| Err(FlowError::Shape(ShapeError::Mismatch { what, expected, found: 12 }));
    assert_eq!(heat(&PLATE, [3, 5], 1, &mut u), mismatch("the length of u", 15));
    let short = |what| Err(FlowError::Shape(ShapeError::Mismatch { what, expected: 12, found: 11 }));
    assert_eq!(gray_scott(&REACTION, [3, 4], 1, &mut u[..11], &mut v), short("the length of u"));
    assert_eq!(gray_scott(&REACTION, [2, 6], 1, &mut u, &mut v[..11]), short("the length of v"));
    let overflow = Err(FlowError::Shape(ShapeError::Overflow { what: "the grid" }));
    assert_eq!(heat(&PLATE, [usize::MAX, 2], 1, &mut u), overflow);
    assert_eq!(pearson_start([usize::MAX, 2], 1, &mut u, &mut v), overflow);

    let fast = Heat { dt: 0.09, ..PLATE };
    let largest = fast.largest_stable_step();
    let unstable = FlowError::Unstable { bound: "dt ≤ h²/4κ", dt: 0.09, largest };
    assert!(unstable.to_string().contains("h²/4κ") && unstable.to_string().contains("0.0892"), "{unstable}");
    assert_eq!(heat(&fast, [3, 4], 1, &mut u), Err(unstable));
    heat(&Heat { dt: largest, ..PLATE }, [3, 4], 1, &mut u.clone()).expect("the bound itself is stable");
    for (params, largest) in
        [(GrayScott { dt: 2.0, ..REACTION }, 1.5625), (GrayScott { dv: 0.5, ..REACTION }, 0.5)]
    {
        let bound = "dt ≤ h²/4·max(D_u, D_v)";
        let unstable = FlowError::Unstable { bound, dt: params.dt, largest };
        assert_eq!(gray_scott(&params, [3, 4], 1, &mut u, &mut v), Err(unstable));
    }
    for (what, params) in [
        ("du", GrayScott { du: f64::NAN, ..REACTION }),
        ("dv", GrayScott { dv: -1e-9, ..REACTION }),
        ("feed", GrayScott { feed: f64::INFINITY, ..REACTION }),
        ("kill", GrayScott { kill: -0.1, ..REACTION }),
        ("h", GrayScott { h: 0.0, ..REACTION }),
        ("h", GrayScott { h: 1e-200, dt: 0.0, ..REACTION }),
        ("dt", GrayScott { dt: -1.0, ..REACTION }),
    ] {
        let error = gray_scott(&params, [3, 4], 1, &mut u, &mut v).unwrap_err();
        assert!(matches!(error, FlowError::Parameter { what: found, .. } if found == what), "{error}");
    }
    for plate in [
        Heat { kappa: -1.0, ..PLATE },
        Heat { h: f64::NAN, ..PLATE },
        Heat { dt: f64::NAN, ..PLATE },
        Heat { h: 1e-200, dt: 0.0, ..PLATE },
    ] {
        assert!(matches!(heat(&plate, [3, 4], 1, &mut u), Err(FlowError::Parameter { .. })));
    }
    assert!(u.iter().all(|&u| u == 0.5) && v.iter().all(|&v| v == 0.25), "nothing was written");
    // What does not spread may have any step on any grid.
    let still = GrayScott { du: 0.0, dv: 0.0, feed: 0.0, kill: 0.0, h: 1e-150, dt: 1e10 };
    let (mut one, mut none) = ([1.0; 12], [0.0; 12]);
    gray_scott(&still, [3, 4], 2, &mut one, &mut none).unwrap();
    assert_eq!((one, none), ([1.0; 12], [0.0; 12]));
    for empty in [[0, 0], [0, 7], [7, 0]] {
        heat(&PLATE, empty, 3, &mut []).unwrap();
        gray_scott(&REACTION, empty, 3, &mut [], &mut []).unwrap();
        pearson_start(empty, 1, &mut [], &mut []).unwrap();
    }
}

#[test]
fn the_positivity_bound_is_told_and_not_demanded() {
    let spots = GrayScott::default();
    assert!(spots.dt <= spots.largest_stable_step());
    // 4·2e-5/(2.5/256)² + 0.5² + 0.035 is 1.1239 a unit of time.
    assert!((spots.largest_positive_step(0.5) * 1.123_860_8 - 1.0).abs() < 1e-12);
    let careful = GrayScott { dt: spots.largest_positive_step(1.0), ..spots };
    let mut start = concentrations(10, [90, 90]);
    start.1.iter_mut().for_each(|v| *v *= 2.0);
    for params in [careful, spots] {
        let (mut u, mut v) = start.clone();
        gray_scott(&params, [90, 90], 40, &mut u, &mut v).expect("told, not refused");
        let (least_u, most_u) = range(&u).unwrap();
        assert!(params != careful || least_u >= 0.0 && most_u <= 1.0 && range(&v).unwrap().0 >= 0.0);
    }
}

#[test]
fn masses_and_ranges_are_exact_where_they_can_be() {
    for n in [0usize, 1, 31, 32, 33, 1000, 100_000] {
        let x: Vec<f32> = (0..n).map(|i| (i * 7 % n) as f32 - 3.0).collect();
        assert_eq!(mass(&x), x.iter().map(|&x| f64::from(x)).sum::<f64>(), "{n}");
        let expected =
            (n > 0).then(|| x.iter().fold((f32::MAX, f32::MIN), |(a, b), &x| (a.min(x), b.max(x))));
        assert_eq!(range(&x), expected, "{n}");
        for at in [0, n / 2, n.saturating_sub(1)].into_iter().filter(|&at| at < n) {
            let mut x = x.clone();
            x[at] = f32::NAN;
            assert!(mass(&x).is_nan());
            assert!(range(&x).is_some_and(|(least, most)| least.is_nan() && most.is_nan()), "{n}, {at}");
        }
    }
}
