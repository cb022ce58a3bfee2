//! Promises of BatchNorm: it is its f64 twin, training and evaluating and backward, the twin's gradients are slopes, bits do
//! not depend on workers, and wrong shapes are refused before anything is written.

mod common;

use common::{at_every_level, bits, is_child, same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::conv::LearnedNorm;
use upbeat_kernels::norm::{batch_norm_backward, batch_norm_eval, batch_norm_forward, BatchNorm};
use upbeat_kernels::{twin::batch_norm as twin, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

const EPSILON: f64 = 1e-5;

fn shapes() -> Vec<BatchNorm> {
    let shape = |batch, channels, plane| BatchNorm { batch, channels, plane };
    vec![
        shape(3, 5, 77),
        shape(1, 1, 2),
        shape(8, 17, 1),
        shape(2, 3, 10_000),
        shape(3, 5, 5000), // blocks that begin at any channel
        shape(4, 1, 16),
        shape(0, 4, 9),
        shape(2, 0, 9),
        shape(2, 4, 0),
        shape(1, 3, 1), // a single element: variance 0
    ]
}

/// Numbers around 3, so that the mean is not 0, and parameters of each channel.
struct Case {
    x: Vec<f32>,
    dy: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Case {
    fn new(shape: &BatchNorm) -> Self {
        let mut numbers = Numbers::new(1);
        let len = shape.batch * shape.channels * shape.plane;
        let x = numbers.vector(len).iter().map(|x| 3.0 + x).collect();
        let mut parameter = || numbers.vector(shape.channels);
        let (weight, bias, mean) = (parameter(), parameter(), parameter());
        let variance = parameter().iter().map(|x| x * x + 0.5).collect();
        Self { x, dy: numbers.vector(len), weight, bias, mean, variance }
    }
}

/// The statistics that training keeps for evaluating, and those that it hands to the backward pass: mean and reciprocal deviation.
struct Statistics {
    running: [Vec<f32>; 2],
    seen: [Vec<f32>; 2],
}

impl Statistics {
    /// Running ones as given; what is seen is overwritten.
    fn new(mean: &[f32], variance: &[f32]) -> Self {
        Self { running: [mean.to_vec(), variance.to_vec()], seen: [mean.to_vec(), mean.to_vec()] }
    }
}

/// The forward pass of training, with a momentum of 0.1.
fn train(
    shape: &BatchNorm,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    out: &mut [f32],
    Statistics { running: [mean, variance], seen: [seen, rstd] }: &mut Statistics,
) {
    batch_norm_forward(shape, x, weight, bias, EPSILON, 0.1, mean, variance, out, seen, rstd).unwrap();
}

fn close(what: &str, shape: &BatchNorm, found: &[f32], want: &[f64], bound: f64) {
    assert_eq!(found.len(), want.len());
    let scale = want.iter().fold(1.0f64, |scale, want| scale.max(want.abs()));
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(found) - want).abs();
        assert!(error <= bound * scale, "{what}[{i}] of {shape:?}: {found} is not {want}");
    }
}

#[test]
fn training_is_its_twin() {
    for shape in shapes() {
        let Case { x, weight, bias, mean, variance, .. } = Case::new(&shape);
        let guarded = |x: &[f32]| PageEnd::copied(x);
        let (mut running, mut wide_running) =
            ((guarded(&mean), guarded(&variance)), (wide(&mean), wide(&variance)));
        let (mut out, mut seen) = (guarded(&vec![f32::NAN; x.len()]), (guarded(&mean), guarded(&mean)));
        let (mut want, mut wide_seen) = (vec![f64::NAN; x.len()], (wide(&mean), wide(&mean)));
        let (x, weight, bias) = (guarded(&x), guarded(&weight), guarded(&bias));
        batch_norm_forward(
            &shape,
            &x,
            &weight,
            &bias,
            EPSILON,
            0.1,
            &mut running.0,
            &mut running.1,
            &mut out,
            &mut seen.0,
            &mut seen.1,
        )
        .unwrap();
        let (x, weight, bias) = (wide(&x), wide(&weight), wide(&bias));
        twin::batch_norm_forward(
            &shape,
            &x,
            &weight,
            &bias,
            EPSILON,
            0.1,
            &mut wide_running.0,
            &mut wide_running.1,
            &mut want,
            &mut wide_seen.0,
            &mut wide_seen.1,
        )
        .unwrap();
        // A mean of 3 rounded to f32 is off by 2⁻²³ at most; rstd is 316 where the variance is 0.
        close("out", &shape, &out, &want, if shape.batch * shape.plane == 1 { 1e-4 } else { 2e-5 });
        close("mean", &shape, &seen.0, &wide_seen.0, 1e-6);
        close("rstd", &shape, &seen.1, &wide_seen.1, 2e-6);
        close("running mean", &shape, &running.0, &wide_running.0, 1e-6);
        close("running variance", &shape, &running.1, &wide_running.1, 1e-6);
    }
}

/// The twin moves running statistics as the kernel does, so numbers say it here.
#[test]
fn running_statistics_move_by_the_momentum() {
    let shape = BatchNorm { batch: 2, channels: 1, plane: 2 };
    let (mut mean, mut variance, mut out, mut seen) = ([10.0], [8.0], [0.0; 4], ([0.0], [0.0]));
    let x = [1.0, 1.0, 3.0, 3.0];
    let (running, kept) = ((&mut mean, &mut variance), (&mut seen.0, &mut seen.1));
    batch_norm_forward(
        &shape,
        &x,
        &[1.0],
        &[0.0],
        EPSILON,
        0.25,
        running.0,
        running.1,
        &mut out,
        kept.0,
        kept.1,
    )
    .unwrap();
    assert_eq!((mean, variance), ([0.75 * 10.0 + 0.25 * 2.0], [0.75 * 8.0 + 0.25 * 4.0 / 3.0]));
}

#[test]
fn evaluating_is_its_twin() {
    for shape in shapes() {
        let Case { x, weight, bias, mean, variance, .. } = Case::new(&shape);
        let x = PageEnd::copied(&x);
        let mut out = PageEnd::copied(&vec![f32::NAN; x.len()]);
        let norm =
            LearnedNorm { weight: &weight, bias: &bias, mean: &mean, variance: &variance, epsilon: EPSILON };
        batch_norm_eval(&shape, &x, &norm, &mut out).unwrap();
        let (weight, bias, mean, variance) = (wide(&weight), wide(&bias), wide(&mean), wide(&variance));
        let norm =
            LearnedNorm { weight: &weight, bias: &bias, mean: &mean, variance: &variance, epsilon: EPSILON };
        let mut want = vec![f64::NAN; x.len()];
        twin::batch_norm_eval(&shape, &wide(&x), &norm, &mut want).unwrap();
        close("out", &shape, &out, &want, 1e-6);
    }
}

#[test]
fn gradients_are_their_twins() {
    for shape in shapes() {
        let Case { x, dy, weight, bias, mean, variance } = Case::new(&shape);
        // Any statistics will do: the formula takes them as given.
        for write in [Write::Overwrite, Write::Add] {
            let old = if write == Write::Add { dy.clone() } else { vec![f32::NAN; x.len()] };
            let (mut dx, mut want) = (PageEnd::copied(&old), wide(&old));
            let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
            let (dy, x) = (PageEnd::copied(&dy), PageEnd::copied(&x));
            batch_norm_backward(
                &shape,
                &dy,
                &x,
                &weight,
                &mean,
                &variance,
                &mut dx,
                write,
                &mut d_weight,
                &mut d_bias,
            )
            .unwrap();
            let (mut want_weight, mut want_bias) = (wide(&weight), wide(&bias));
            twin::batch_norm_backward(
                &shape,
                &wide(&dy),
                &wide(&x),
                &wide(&weight),
                &wide(&mean),
                &wide(&variance),
                &mut want,
                write,
                &mut want_weight,
                &mut want_bias,
            )
            .unwrap();
            close("dx", &shape, &dx, &want, 2e-6);
            close("d_weight", &shape, &d_weight, &want_weight, 2e-6);
            close("d_bias", &shape, &d_bias, &want_bias, 2e-6);
        }
    }
}

#[test]
fn the_twins_gradients_are_slopes() {
    let shape = BatchNorm { batch: 3, channels: 2, plane: 4 };
    let case = Case::new(&shape);
    let (x, dy, weight, bias) = (wide(&case.x), wide(&case.dy), wide(&case.weight), wide(&case.bias));
    let run = |x: &[f64], weight: &[f64], bias: &[f64]| {
        let (mut out, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; 2], vec![0.0; 2]);
        let (mut running_mean, mut running_variance) = (vec![0.0; 2], vec![0.0; 2]);
        twin::batch_norm_forward(
            &shape,
            x,
            weight,
            bias,
            EPSILON,
            0.1,
            &mut running_mean,
            &mut running_variance,
            &mut out,
            &mut mean,
            &mut rstd,
        )
        .unwrap();
        (out.iter().zip(&dy).map(|(out, dy)| out * dy).sum::<f64>(), mean, rstd)
    };
    let (_, mean, rstd) = run(&x, &weight, &bias);
    let (mut dx, mut d_weight, mut d_bias) = (vec![0.0; x.len()], vec![0.0; 2], vec![0.0; 2]);
    twin::batch_norm_backward(
        &shape,
        &dy,
        &x,
        &weight,
        &mean,
        &rstd,
        &mut dx,
        Write::Overwrite,
        &mut d_weight,
        &mut d_bias,
    )
    .unwrap();
    let check = |what: &str, at: &[f64], found: &[f64], value: &dyn Fn(&[f64]) -> f64| {
        for i in 0..at.len() {
            let moved = |by: f64| {
                let mut at = at.to_vec();
                at[i] += by;
                value(&at)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - found[i]).abs() < 1e-7, "{what}[{i}]: {} is not {slope}", found[i]);
        }
    };
    check("dx", &x, &dx, &|x| run(x, &weight, &bias).0);
    check("d_weight", &weight, &d_weight, &|weight| run(&x, weight, &bias).0);
    check("d_bias", &bias, &d_bias, &|bias| run(&x, &weight, bias).0);
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    if is_child() {
        return; // The cut does not depend on the level.
    }
    let shape = BatchNorm { batch: 4, channels: 19, plane: 5000 };
    let Case { x, dy, weight, bias, mean, variance } = Case::new(&shape);
    same_on_any_workers(shape, || {
        let (mut out, mut statistics) = (x.clone(), Statistics::new(&mean, &variance));
        train(&shape, &x, &weight, &bias, &mut out, &mut statistics);
        let Statistics { running: [running_mean, running_variance], seen: [mean, rstd] } = statistics;
        let (mut dx, mut d_weight, mut d_bias) = (dy.clone(), weight.clone(), bias.clone());
        batch_norm_backward(
            &shape,
            &dy,
            &x,
            &weight,
            &mean,
            &rstd,
            &mut dx,
            Write::Add,
            &mut d_weight,
            &mut d_bias,
        )
        .unwrap();
        bits(&[out, dx, d_weight, d_bias, mean, rstd, running_mean, running_variance].concat())
    });
}

#[test]
fn nan_stays_in_its_channel() {
    let shape = BatchNorm { batch: 2, channels: 3, plane: 20 };
    let Case { mut x, weight, bias, mean, variance, .. } = Case::new(&shape);
    x[20 + 7] = f32::NAN; // channel 1
    let (mut out, mut statistics) = (x.clone(), Statistics::new(&mean, &variance));
    train(&shape, &x, &weight, &bias, &mut out, &mut statistics);
    for (i, out) in out.iter().enumerate() {
        assert_eq!(out.is_nan(), i / 20 % 3 == 1, "element {i}");
    }
    assert!(statistics.running[0].iter().enumerate().all(|(channel, mean)| mean.is_nan() == (channel == 1)));
}

#[test]
fn wrong_shapes_are_refused_and_nothing_is_written() {
    let shape = BatchNorm { batch: 2, channels: 3, plane: 5 };
    let (x, three) = (vec![1.0f32; 30], [7.0f32; 3]);
    let run = |shape: &BatchNorm, x: &[f32], weight: &[f32], cut: usize| {
        let mut out = [7.0f32; 30];
        let mut parts = [three; 4];
        let [a, b, c, d] = &mut parts;
        let refused =
            batch_norm_forward(shape, x, weight, &three, 0.0, 0.1, a, b, &mut out, c, &mut d[..3 - cut]);
        let second = batch_norm_backward(
            shape,
            x,
            x,
            weight,
            &three,
            &three,
            &mut out,
            Write::Add,
            a,
            &mut b[..3 - cut],
        );
        assert_eq!(refused, second);
        assert!(out.iter().chain(parts.iter().flatten()).all(|&x| x == 7.0), "something was written");
        refused.expect_err("it is wrong")
    };
    let mismatch = |error| matches!(error, ShapeError::Mismatch { .. });
    assert!(mismatch(run(&shape, &x[1..], &three, 0)) && mismatch(run(&shape, &x, &three[1..], 0)));
    assert!(
        mismatch(run(&shape, &x, &three, 1))
            && mismatch(run(&BatchNorm { batch: 3, ..shape }, &x, &three, 0))
    );
    let huge = BatchNorm { batch: usize::MAX / 2, ..shape };
    assert!(matches!(run(&huge, &x, &three, 0), ShapeError::Overflow { .. }));
    let norm =
        LearnedNorm { weight: &three, bias: &three, mean: &three[1..], variance: &three, epsilon: 0.0 };
    let mut out = [7.0; 30];
    assert!(mismatch(batch_norm_eval(&shape, &x, &norm, &mut out).expect_err("it is wrong")));
    assert_eq!(out, [7.0; 30]);
}
