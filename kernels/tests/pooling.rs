//! Promises of pooling: it is its f64 twin on every shape, its gradients are those of the twin, NaN is found, bits do not
//! depend on workers, and wrong shapes are refused before anything is written.

mod common;

use common::{at_every_level, bits, is_child, same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::pooling::{
    average_pool_backward, average_pool_forward, global_average_backward, global_average_forward,
    max_pool_backward, max_pool_forward, Divisor, Pool2d,
};
use upbeat_kernels::{twin::pooling as twin, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

const PLAIN: Pool2d =
    Pool2d { batch: 2, channels: 3, height: 9, width: 21, kernel: (3, 3), stride: (2, 2), padding: (1, 1) };

fn shapes() -> Vec<Pool2d> {
    vec![
        PLAIN,
        Pool2d { kernel: (2, 2), padding: (0, 0), ..PLAIN },
        Pool2d { stride: (1, 1), ..PLAIN },
        Pool2d { kernel: (2, 3), stride: (4, 5), padding: (0, 2), ..PLAIN },
        Pool2d { kernel: (1, 1), stride: (1, 1), padding: (0, 0), ..PLAIN },
        Pool2d { kernel: (9, 21), stride: (1, 1), padding: (0, 0), ..PLAIN },
        Pool2d { height: 1, width: 1, ..PLAIN },
        Pool2d { height: 200, width: 37, batch: 1, ..PLAIN },
        Pool2d { height: 601, width: 70, batch: 1, channels: 1, stride: (1, 1), ..PLAIN }, // several strips
        Pool2d { height: 5, width: 4, kernel: (70, 80), stride: (1, 3), padding: (67, 77), ..PLAIN },
        Pool2d { kernel: (40, 30), stride: (3, 3), padding: (35, 29), ..PLAIN },
        Pool2d { batch: 0, ..PLAIN },
    ]
}

fn output_len(pool: &Pool2d) -> usize {
    pool.batch * pool.channels * pool.out_height().unwrap() * pool.out_width().unwrap()
}

fn input_len(pool: &Pool2d) -> usize {
    pool.batch * pool.channels * pool.height * pool.width
}

fn close(what: &str, pool: &Pool2d, found: &[f32], want: &[f64]) {
    let scale = want.iter().fold(1.0f64, |scale, want| scale.max(want.abs()));
    let bound = (pool.kernel.0 * pool.kernel.1 + 2) as f64 * 2f64.powi(-24) * scale;
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(found) - want).abs();
        assert!(error <= bound || f64::from(found) == want, "{what}[{i}] of {pool:?}: {found} is not {want}");
    }
}

/// Numbers with ties and infinities, as well as planes of nothing else.
fn awkward(len: usize) -> Vec<f32> {
    let mut numbers = Numbers::new(7);
    let pick = |bits: u64| match bits % 8 {
        0 => f32::NEG_INFINITY,
        1 => f32::INFINITY,
        2 => -0.0,
        other => other as f32,
    };
    let mut x: Vec<f32> = (0..len).map(|_| pick(numbers.bits() >> 32)).collect();
    let third = len / 3;
    x[..third].fill(f32::NEG_INFINITY);
    x
}

#[test]
fn the_largest_and_its_place_are_the_twins() {
    for pool in shapes() {
        let mut with_nan = Numbers::new(2).vector(input_len(&pool));
        with_nan.iter_mut().step_by(23).for_each(|x| *x = f32::NAN);
        for x in [Numbers::new(1).vector(input_len(&pool)), awkward(input_len(&pool)), with_nan] {
            let x = PageEnd::copied(&x);
            let mut out = PageEnd::copied(&vec![7.0f32; output_len(&pool)]);
            let mut indices = PageEnd::copied(&vec![7u32; out.len()]);
            max_pool_forward(&pool, &x, &mut out, Some(&mut indices)).unwrap();
            let (mut want, mut places) = (vec![7.0; out.len()], vec![8u32; out.len()]);
            twin::max_pool_forward(&pool, &wide(&x), &mut want, Some(&mut places)).unwrap();
            assert!(*indices == places[..], "places of {pool:?}");
            let same = |(a, b): (&f32, &f64)| f64::from(*a) == *b || (a.is_nan() && b.is_nan());
            assert!(out.iter().zip(&want).all(same), "{pool:?}");
            let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
            let mut again = PageEnd::copied(&vec![7.0f32; out.len()]);
            max_pool_forward(&pool, &x, &mut again, None).unwrap();
            assert!(
                again.iter().zip(&bits).all(|(x, &bits)| x.to_bits() == bits),
                "{pool:?} without indices"
            );
        }
    }
}

#[test]
fn gradients_of_the_largest_are_the_twins() {
    for pool in shapes() {
        let (x, dy) = (Numbers::new(3).vector(input_len(&pool)), Numbers::new(4).vector(output_len(&pool)));
        let (mut out, mut indices) = (dy.clone(), vec![0; dy.len()]);
        max_pool_forward(&pool, &x, &mut out, Some(&mut indices)).unwrap();
        for write in [Write::Overwrite, Write::Add] {
            let (mut dx, mut want) = (PageEnd::copied(&x), wide(&x));
            max_pool_backward(&pool, &PageEnd::copied(&dy), &indices, &mut dx, write).unwrap();
            twin::max_pool_backward(&pool, &wide(&dy), &indices, &mut want, write).unwrap();
            let many = Pool2d { kernel: (dy.len() + 1, 1), ..pool };
            close("dx", &many, &dx, &want);
        }
    }
}

#[test]
fn averages_and_their_gradients_are_the_twins() {
    // No planes, which are too large to be counted.
    let none = Pool2d { batch: 0, height: 1 << 45, ..PLAIN };
    let all = shapes().into_iter().chain([none]);
    for (pool, divisor) in all.flat_map(|pool| [(pool, Divisor::Kernel), (pool, Divisor::Inside)]) {
        let x = PageEnd::copied(&Numbers::new(5).vector(input_len(&pool)));
        let dy = PageEnd::copied(&Numbers::new(6).vector(output_len(&pool)));
        let mut out = PageEnd::copied(&vec![f32::NAN; dy.len()]);
        average_pool_forward(&pool, divisor, &x, &mut out).unwrap();
        let mut want = vec![0.0; dy.len()];
        twin::average_pool_forward(&pool, divisor, &wide(&x), &mut want).unwrap();
        close("out", &pool, &out, &want);
        for write in [Write::Overwrite, Write::Add] {
            let (mut dx, mut want) = (PageEnd::copied(&x), wide(&x));
            average_pool_backward(&pool, divisor, &dy, &mut dx, write).unwrap();
            twin::average_pool_backward(&pool, divisor, &wide(&dy), &mut want, write).unwrap();
            close("dx", &pool, &dx, &want);
        }
    }
}

#[test]
fn averages_of_planes_are_the_twins() {
    for (planes, plane) in [(0, 3), (1, 1), (5, 49), (300, 7), (2, 10_000)] {
        let x = PageEnd::copied(&Numbers::new(8).vector(planes * plane));
        let mut out = PageEnd::copied(&vec![f32::NAN; planes]);
        global_average_forward(&x, plane, &mut out).unwrap();
        let mut want = vec![0.0; planes];
        twin::global_average_forward(&wide(&x), plane, &mut want).unwrap();
        for (found, want) in out.iter().zip(&want) {
            assert!((f64::from(*found) - want).abs() < 2e-6, "{found} is not {want}");
        }
        for write in [Write::Overwrite, Write::Add] {
            let (mut dx, mut want) = (PageEnd::copied(&x), wide(&x));
            global_average_backward(&out, plane, &mut dx, write).unwrap();
            twin::global_average_backward(&wide(&out), plane, &mut want, write).unwrap();
            for (found, want) in dx.iter().zip(&want) {
                assert!((f64::from(*found) - want).abs() < 2e-7, "{found} is not {want}");
            }
        }
    }
}

/// The twins' gradients against central differences; pooling is linear where the maxima stay.
#[test]
fn the_twins_gradients_are_slopes() {
    let pool = Pool2d { batch: 1, channels: 2, height: 5, width: 6, ..PLAIN };
    let (x, dy) = (wide(&Numbers::new(9).vector(60)), wide(&Numbers::new(10).vector(output_len(&pool))));
    let dot = |out: &[f64]| out.iter().zip(&dy).map(|(out, dy)| out * dy).sum::<f64>();
    let largest = |x: &[f64]| {
        let mut out = vec![0.0; dy.len()];
        twin::max_pool_forward(&pool, x, &mut out, None).unwrap();
        dot(&out)
    };
    let average = |divisor: Divisor| {
        let (pool, dot, len) = (&pool, &dot, dy.len());
        move |x: &[f64]| {
            let mut out = vec![0.0; len];
            twin::average_pool_forward(pool, divisor, x, &mut out).unwrap();
            dot(&out)
        }
    };
    let check = |what: &str, dx: &[f64], value: &dyn Fn(&[f64]) -> f64| {
        for i in 0..x.len() {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[i] += by;
                value(&x)
            };
            let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((slope - dx[i]).abs() < 1e-8, "{what}[{i}]: {} is not {slope}", dx[i]);
        }
    };
    let (mut indices, mut out, mut dx) = (vec![0; dy.len()], vec![0.0; dy.len()], vec![0.0; 60]);
    twin::max_pool_forward(&pool, &x, &mut out, Some(&mut indices)).unwrap();
    twin::max_pool_backward(&pool, &dy, &indices, &mut dx, Write::Overwrite).unwrap();
    check("largest", &dx, &largest);
    for divisor in [Divisor::Kernel, Divisor::Inside] {
        twin::average_pool_backward(&pool, divisor, &dy, &mut dx, Write::Overwrite).unwrap();
        check("average", &dx, &average(divisor));
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    if is_child() {
        return; // The cut does not depend on the level.
    }
    for pool in [Pool2d { height: 300, width: 200, ..PLAIN }, Pool2d { stride: (1, 1), batch: 9, ..PLAIN }] {
        let (x, dy) = (Numbers::new(11).vector(input_len(&pool)), Numbers::new(12).vector(output_len(&pool)));
        same_on_any_workers(pool, || {
            let (mut most, mut average, mut indices) = (dy.clone(), dy.clone(), vec![0; dy.len()]);
            max_pool_forward(&pool, &x, &mut most, Some(&mut indices)).unwrap();
            average_pool_forward(&pool, Divisor::Inside, &x, &mut average).unwrap();
            let (mut dx, mut dz) = (x.clone(), x.clone());
            max_pool_backward(&pool, &dy, &indices, &mut dx, Write::Add).unwrap();
            average_pool_backward(&pool, Divisor::Kernel, &dy, &mut dz, Write::Add).unwrap();
            let mut means = vec![0.0; pool.batch * pool.channels];
            global_average_forward(&x, pool.height * pool.width, &mut means).unwrap();
            (bits(&[most, average, dx, dz, means].concat()), indices)
        });
    }
}

#[test]
fn wrong_shapes_are_refused_and_nothing_is_written() {
    let x = vec![1.0f32; input_len(&PLAIN)];
    let refusal = |pool: Pool2d| {
        let (mut out, mut dx) = (vec![7.0f32; output_len(&PLAIN)], vec![7.0f32; x.len()]);
        let mut indices = vec![7u32; out.len()];
        let error = max_pool_forward(&pool, &x, &mut out, Some(&mut indices)).expect_err("it is wrong");
        let same = |result: Result<(), ShapeError>| assert_eq!(result.expect_err("it is wrong"), error);
        same(average_pool_forward(&pool, Divisor::Kernel, &x, &mut out));
        same(twin::max_pool_forward(&pool, &wide(&x), &mut wide(&out), None));
        same(average_pool_backward(&pool, Divisor::Inside, &vec![1.0; out.len()], &mut dx, Write::Overwrite));
        same(max_pool_backward(&pool, &vec![1.0; out.len()], &vec![0; out.len()], &mut dx, Write::Overwrite));
        assert!(out.iter().chain(&dx).all(|&x| x == 7.0) && indices.iter().all(|&i| i == 7));
        error
    };
    assert!(matches!(refusal(Pool2d { kernel: (0, 3), ..PLAIN }), ShapeError::Zero { .. }));
    assert!(matches!(refusal(Pool2d { stride: (2, 0), ..PLAIN }), ShapeError::Zero { .. }));
    assert!(matches!(refusal(Pool2d { height: 0, padding: (2, 1), ..PLAIN }), ShapeError::Zero { .. }));
    assert!(matches!(
        refusal(Pool2d { padding: (3, 1), ..PLAIN }),
        ShapeError::Index { index: 3, len: 3, .. }
    ));
    let window = refusal(Pool2d { kernel: (12, 3), ..PLAIN });
    assert!(matches!(window, ShapeError::Window { window: 12, padded: 11, .. }), "{window:?}");
    let huge = Pool2d { kernel: (usize::MAX, 3), padding: (usize::MAX / 2, 1), ..PLAIN };
    assert!(matches!(refusal(huge), ShapeError::Overflow { .. }));
    assert!(matches!(refusal(Pool2d { batch: usize::MAX / 2, ..PLAIN }), ShapeError::Overflow { .. }));
    assert!(matches!(refusal(Pool2d { batch: 3, ..PLAIN }), ShapeError::Mismatch { .. }));
    assert!(matches!(refusal(Pool2d { stride: (1, 2), ..PLAIN }), ShapeError::Mismatch { .. }));
    let (mut out, mut dx) = (vec![7.0; output_len(&PLAIN)], vec![7.0; x.len()]);
    let refused = max_pool_forward(&PLAIN, &x, &mut out, Some(&mut [7]));
    assert!(matches!(refused, Err(ShapeError::Mismatch { found: 1, .. })), "{refused:?}");
    let mut indices = vec![0; out.len()];
    indices[5] = 189;
    let refused = max_pool_backward(&PLAIN, &out, &indices, &mut dx, Write::Overwrite);
    assert!(matches!(refused, Err(ShapeError::Index { index: 189, len: 189, .. })), "{refused:?}");
    assert!(matches!(global_average_forward(&x, 0, &mut out), Err(ShapeError::Zero { .. })));
    assert!(matches!(global_average_forward(&x, 189, &mut out[..5]), Err(ShapeError::Mismatch { .. })));
    assert!(matches!(
        global_average_backward(&out[..6], 190, &mut dx, Write::Add),
        Err(ShapeError::Multiple { .. })
    ));
    assert!(out.iter().chain(&dx).all(|&x| x == 7.0));
}
