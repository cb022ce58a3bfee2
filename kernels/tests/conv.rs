//! Promises of convolution: it is its f64 twin within the stated bound on every shape, its gradients are slopes, its
//! bits depend on one image and the weights alone, and wrong shapes are refused before anything is written.

mod common;

use common::{at_every_level, bits, is_child, same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::conv::{self, Conv2d, ConvEpilogue, LearnedNorm};
use upbeat_kernels::tuning::{self, Tuning};
use upbeat_kernels::{twin, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

const PLAIN: Conv2d = Conv2d {
    batch: 2,
    channels_in: 3,
    channels_out: 7,
    groups: 1,
    height: 9,
    width: 11,
    kernel: (3, 3),
    stride: (1, 1),
    padding: (1, 1),
    dilation: (1, 1),
};

/// Shapes at the edges of every path.
fn shapes() -> Vec<Conv2d> {
    vec![
        PLAIN,
        Conv2d { kernel: (1, 1), padding: (0, 0), channels_in: 400, ..PLAIN },
        Conv2d { kernel: (1, 1), padding: (0, 0), stride: (2, 2), channels_in: 13, ..PLAIN },
        Conv2d { kernel: (1, 1), padding: (2, 1), ..PLAIN },
        Conv2d { kernel: (3, 3), stride: (2, 2), channels_in: 47, ..PLAIN },
        Conv2d { kernel: (2, 3), stride: (3, 5), padding: (1, 2), ..PLAIN }, // stride over kernel
        Conv2d { kernel: (7, 7), stride: (2, 2), padding: (3, 3), height: 20, width: 37, ..PLAIN },
        Conv2d { kernel: (5, 4), padding: (3, 2), height: 2, width: 1, ..PLAIN }, // larger than the input
        Conv2d { dilation: (2, 3), padding: (2, 3), ..PLAIN },
        Conv2d { dilation: (3, 2), stride: (2, 3), padding: (4, 1), height: 14, ..PLAIN },
        Conv2d { dilation: (40, 50), padding: (40, 50), ..PLAIN }, // strips would be mostly padding
        Conv2d { padding: (4, 5), ..PLAIN },
        Conv2d { groups: 3, channels_in: 6, channels_out: 9, ..PLAIN },
        Conv2d { groups: 2, channels_in: 4, channels_out: 26, stride: (2, 1), ..PLAIN },
        Conv2d { groups: 5, channels_in: 5, channels_out: 5, ..PLAIN }, // depthwise
        Conv2d { groups: 5, channels_in: 5, channels_out: 10, stride: (2, 3), padding: (0, 2), ..PLAIN },
        Conv2d { groups: 5, channels_in: 5, channels_out: 30, ..PLAIN },
        Conv2d { groups: 3, channels_out: 3, dilation: (2, 2), padding: (3, 1), ..PLAIN },
        Conv2d { groups: 3, channels_out: 3, dilation: (90, 90), padding: (90, 90), ..PLAIN },
        Conv2d { groups: 3, channels_out: 3, kernel: (2, 2), stride: (3, 4), padding: (0, 0), ..PLAIN },
        Conv2d { height: 1, width: 1, ..PLAIN },
        Conv2d { height: 1, width: 300, kernel: (1, 5), padding: (0, 2), ..PLAIN },
        Conv2d { height: 40, width: 1, kernel: (4, 1), padding: (0, 0), ..PLAIN },
        Conv2d { height: 30, width: 5, channels_in: 90, channels_out: 20, batch: 1, ..PLAIN },
        Conv2d { height: 601, width: 60, channels_in: 1, channels_out: 1, batch: 1, ..PLAIN }, // several strips
        Conv2d { batch: 0, ..PLAIN },
        Conv2d { channels_out: 0, ..PLAIN },
        Conv2d { channels_in: 1, channels_out: 0, ..PLAIN },
        Conv2d { channels_out: 0, groups: 3, ..PLAIN },
        Conv2d { channels_in: 0, ..PLAIN },
        Conv2d { height: 0, kernel: (2, 2), ..PLAIN },
    ]
}

/// Inputs of a shape: image, weights, bias, residual (which serves as the output's gradient too).
struct Case {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(shape: &Conv2d, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        Self {
            x: numbers.vector(shape.input_len().unwrap()),
            weight: numbers.vector(shape.weight_len().unwrap()),
            bias: numbers.vector(shape.channels_out),
            residual: numbers.vector(shape.output_len().unwrap()),
        }
    }
}

fn abs(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x).abs()).collect()
}

/// `|found - want| ≤ 2·depth·u·size`, element by element.
fn close(what: &str, shape: &Conv2d, found: &[f32], want: &[f64], size: &[f64], depth: usize) {
    assert_eq!(found.len(), want.len());
    for (i, (&found, (&want, &size))) in found.iter().zip(want.iter().zip(size)).enumerate() {
        let error = (f64::from(found) - want).abs();
        let bound = 2.0 * (depth + 2) as f64 * 2f64.powi(-24) * size;
        assert!(error <= bound, "{what} [{i}] of {shape:?}: {found} is not {want}");
    }
}

/// Sizes with which small convolutions are many tasks. They change no bit, so tests beside may run with them as well.
fn cut_small() {
    let small = Tuning { private_bytes: 4 << 10, shared_bytes: 64 << 10, task_work: 1 << 10, tasks: 40 };
    tuning::set(small).unwrap();
}

#[test]
fn forward_is_its_twin_on_every_shape() {
    cut_small();
    for shape in shapes() {
        let Case { x, weight, bias, residual } = Case::new(&shape, 1);
        let depth = weight.len() / shape.channels_out.max(1);
        let (x, weight) = (PageEnd::copied(&x), PageEnd::copied(&weight));
        for (with_bias, with_residual, relu) in
            [(false, false, false), (true, false, true), (true, true, true)]
        {
            let bias = with_bias.then(|| PageEnd::copied(&bias));
            let residual = with_residual.then(|| PageEnd::copied(&residual));
            let mut out = PageEnd::copied(&vec![f32::NAN; shape.output_len().unwrap()]);
            let epilogue = ConvEpilogue { bias: bias.as_deref(), residual: residual.as_deref(), relu };
            conv::forward(&shape, &x, &weight, &epilogue, &mut out).unwrap();
            let run = |x: &[f64], weight: &[f64], bias: Option<&[f64]>, residual: Option<&[f64]>, relu| {
                let mut out = vec![f64::NAN; shape.output_len().unwrap()];
                let epilogue = ConvEpilogue { bias, residual, relu };
                twin::conv::forward(&shape, x, weight, &epilogue, &mut out).unwrap();
                out
            };
            let (b, r) = (bias.as_deref().map(wide), residual.as_deref().map(wide));
            let want = run(&wide(&x), &wide(&weight), b.as_deref(), r.as_deref(), relu);
            let (b, r) = (bias.as_deref().map(abs), residual.as_deref().map(abs));
            let size = run(&abs(&x), &abs(&weight), b.as_deref(), r.as_deref(), false);
            close("out", &shape, &out, &want, &size, depth);
        }
    }
}

#[test]
fn gradients_are_their_twins_on_every_shape() {
    cut_small();
    for shape in shapes() {
        let Case { x, weight, bias, residual: dy } = Case::new(&shape, 2);
        let windows = shape.batch * shape.out_height().unwrap() * shape.out_width().unwrap();
        let (x, weight, dy) = (PageEnd::copied(&x), PageEnd::copied(&weight), PageEnd::copied(&dy));
        for write in [Write::Overwrite, Write::Add] {
            let old = if write == Write::Add { x.to_vec() } else { vec![f32::NAN; x.len()] };
            let mut dx = PageEnd::copied(&old);
            conv::backward_input(&shape, &dy, &weight, &mut dx, write).unwrap();
            let run = |dy: &[f64], weight: &[f64], old: &[f64]| {
                let mut dx = old.to_vec();
                twin::conv::backward_input(&shape, dy, weight, &mut dx, write).unwrap();
                dx
            };
            let want = run(&wide(&dy), &wide(&weight), &wide(&old));
            let size = run(&abs(&dy), &abs(&weight), &abs(&old));
            let depth = shape.channels_out * shape.kernel.0 * shape.kernel.1;
            close("dx", &shape, &dx, &want, &size, depth);
        }
        let mut d_weight = PageEnd::copied(&weight);
        conv::backward_weight(&shape, &dy, &x, &mut d_weight).unwrap();
        let run = |dy: &[f64], x: &[f64], old: &[f64]| {
            let mut d_weight = old.to_vec();
            twin::conv::backward_weight(&shape, dy, x, &mut d_weight).unwrap();
            d_weight
        };
        let want = run(&wide(&dy), &wide(&x), &wide(&weight));
        let size = run(&abs(&dy), &abs(&x), &abs(&weight));
        close("d_weight", &shape, &d_weight, &want, &size, windows);
        let mut d_bias = PageEnd::copied(&bias);
        conv::backward_bias(&shape, &dy, &mut d_bias).unwrap();
        let (mut want, mut size) = (wide(&bias), abs(&bias));
        twin::conv::backward_bias(&shape, &wide(&dy), &mut want).unwrap();
        twin::conv::backward_bias(&shape, &abs(&dy), &mut size).unwrap();
        close("d_bias", &shape, &d_bias, &want, &size, windows);
    }
}

/// The twin's gradients against central differences of `Σ out·dy`, in f64.
#[test]
fn the_twins_gradients_are_slopes() {
    for shape in [
        Conv2d { height: 5, width: 4, channels_out: 2, batch: 1, ..PLAIN },
        Conv2d { height: 6, width: 7, channels_in: 2, channels_out: 4, groups: 2, stride: (2, 3), ..PLAIN },
        Conv2d {
            height: 7,
            width: 6,
            channels_out: 3,
            groups: 3,
            dilation: (2, 1),
            padding: (0, 2),
            ..PLAIN
        },
    ] {
        let case = Case::new(&shape, 3);
        let (x, weight, bias, dy) =
            (wide(&case.x), wide(&case.weight), wide(&case.bias), wide(&case.residual));
        let value = |x: &[f64], weight: &[f64], bias: &[f64]| {
            let mut out = vec![0.0; dy.len()];
            let epilogue = ConvEpilogue { bias: Some(bias), ..ConvEpilogue::default() };
            twin::conv::forward(&shape, x, weight, &epilogue, &mut out).unwrap();
            out.iter().zip(&dy).map(|(out, dy)| out * dy).sum::<f64>()
        };
        let slopes = |at: &[f64], value: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
            let moved = |i: usize, by: f64| {
                let mut moved = at.to_vec();
                moved[i] += by;
                value(&moved)
            };
            (0..at.len()).map(|i| (moved(i, 0.5) - moved(i, -0.5)) / 1.0).collect()
        };
        let (mut dx, mut d_weight, mut d_bias) =
            (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; bias.len()]);
        twin::conv::backward_input(&shape, &dy, &weight, &mut dx, Write::Overwrite).unwrap();
        twin::conv::backward_weight(&shape, &dy, &x, &mut d_weight).unwrap();
        twin::conv::backward_bias(&shape, &dy, &mut d_bias).unwrap();
        for (what, found, want) in [
            ("dx", dx, slopes(&x, &|x| value(x, &weight, &bias))),
            ("d_weight", d_weight, slopes(&weight, &|weight| value(&x, weight, &bias))),
            ("d_bias", d_bias, slopes(&bias, &|bias| value(&x, &weight, bias))),
        ] {
            for (i, (found, want)) in found.iter().zip(&want).enumerate() {
                assert!((found - want).abs() < 1e-11, "{what}[{i}] of {shape:?}: {found} is not {want}");
            }
        }
    }
}

/// Everything that a shape computes.
fn everything(shape: &Conv2d, case: &Case) -> Vec<f32> {
    let Case { x, weight, bias, residual } = case;
    let mut out = vec![0.0; residual.len()];
    let epilogue = ConvEpilogue { bias: Some(bias), residual: Some(residual), relu: true };
    conv::forward(shape, x, weight, &epilogue, &mut out).unwrap();
    let mut dx = vec![0.0; x.len()];
    conv::backward_input(shape, residual, weight, &mut dx, Write::Overwrite).unwrap();
    let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
    conv::backward_weight(shape, residual, x, &mut d_weight).unwrap();
    conv::backward_bias(shape, residual, &mut d_bias).unwrap();
    [out, dx, d_weight, d_bias].concat()
}

/// Shapes of several tasks each.
fn larger() -> Vec<Conv2d> {
    let large = Conv2d { batch: 3, channels_in: 20, channels_out: 30, height: 37, width: 41, ..PLAIN };
    vec![
        large,
        Conv2d { stride: (2, 2), kernel: (5, 5), padding: (2, 2), ..large },
        Conv2d { kernel: (1, 1), padding: (0, 0), channels_in: 130, ..large },
        Conv2d { groups: 10, ..large },
        Conv2d { groups: 20, channels_out: 20, height: 200, ..large },
        Conv2d { groups: 20, channels_out: 20, stride: (2, 2), ..large },
    ]
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    if is_child() {
        return; // The cut does not depend on the level.
    }
    for shape in larger() {
        let case = Case::new(&shape, 4);
        same_on_any_workers(shape, || bits(&everything(&shape, &case)));
    }
}

#[test]
fn an_image_has_the_same_bits_alone_and_in_a_batch() {
    for shape in larger() {
        let Case { x, weight, bias, residual } = Case::new(&shape, 5);
        let run = |shape: &Conv2d, x: &[f32], residual: &[f32]| {
            let (mut out, mut dx) = (vec![0.0; residual.len()], vec![0.0; x.len()]);
            let epilogue = ConvEpilogue { bias: Some(&bias), residual: Some(residual), relu: true };
            conv::forward(shape, x, &weight, &epilogue, &mut out).unwrap();
            conv::backward_input(shape, residual, &weight, &mut dx, Write::Overwrite).unwrap();
            (bits(&out), bits(&dx))
        };
        let (out, dx) = run(&shape, &x, &residual);
        let (input, output) = (x.len() / shape.batch, residual.len() / shape.batch);
        for image in 0..shape.batch {
            let (from, to) = (image * input, image * output);
            let one = Conv2d { batch: 1, ..shape };
            let alone = run(&one, &x[from..from + input], &residual[to..to + output]);
            assert!(alone.0 == out[to..to + output], "image {image} of {shape:?} forward");
            assert!(alone.1 == dx[from..from + input], "image {image} of {shape:?} backward");
        }
    }
}

#[test]
fn a_norm_folded_into_a_convolution_is_what_it_would_make_of_the_result() {
    let Case { x, weight, bias, residual } = Case::new(&PLAIN, 6);
    let mut numbers = Numbers::new(7);
    let mut parameter = || numbers.vector(PLAIN.channels_out);
    let (gamma, beta, mean) = (parameter(), parameter(), parameter());
    let variance: Vec<f32> = parameter().iter().map(|x| x * x + 0.1).collect();
    let norm = LearnedNorm { weight: &gamma, bias: &beta, mean: &mean, variance: &variance, epsilon: 1e-5 };
    let mut plain = vec![0.0; residual.len()];
    let epilogue = ConvEpilogue { bias: Some(&wide(&bias)[..]), ..ConvEpilogue::default() };
    twin::conv::forward(&PLAIN, &wide(&x), &wide(&weight), &epilogue, &mut plain).unwrap();
    let (mut folded_weight, mut folded_bias) = (weight.clone(), bias.clone());
    conv::fold_batch_norm(&norm, &mut folded_weight, &mut folded_bias).unwrap();
    let mut out = vec![0.0; residual.len()];
    let epilogue = ConvEpilogue { bias: Some(&folded_bias[..]), residual: None, relu: true };
    conv::forward(&PLAIN, &x, &folded_weight, &epilogue, &mut out).unwrap();
    let plane = PLAIN.height * PLAIN.width;
    for (i, (out, plain)) in out.iter().zip(&plain).enumerate() {
        let [gamma, beta, mean, variance] =
            [&gamma, &beta, &mean, &variance].map(|all| f64::from(all[i / plane % PLAIN.channels_out]));
        let want = ((plain - mean) / (variance + 1e-5).sqrt() * gamma + beta).max(0.0);
        assert!((f64::from(*out) - want).abs() < 1e-4, "[{i}]: {out} is not {want}");
    }
    let short = LearnedNorm { mean: &mean[1..], ..norm };
    let refused = conv::fold_batch_norm(&short, &mut folded_weight, &mut folded_bias);
    assert!(matches!(refused, Err(ShapeError::Mismatch { expected: 7, found: 6, .. })), "{refused:?}");
}

#[test]
fn nan_reaches_the_windows_that_see_it_and_no_others() {
    let mut case = Case::new(&PLAIN, 8);
    case.x[5 * 11 + 6] = f32::NAN;
    let mut out = vec![0.0; case.residual.len()];
    let epilogue = ConvEpilogue { relu: true, ..ConvEpilogue::default() };
    conv::forward(&PLAIN, &case.x, &case.weight, &epilogue, &mut out).unwrap();
    for (i, out) in out.iter().enumerate() {
        let (y, x) = (i / 11 % 9, i % 11);
        let sees = i < out_len_of_one() && (4..=6).contains(&y) && (5..=7).contains(&x);
        assert_eq!(out.is_nan(), sees, "({y}, {x})");
    }
}

fn out_len_of_one() -> usize {
    PLAIN.output_len().unwrap() / PLAIN.batch
}

/// Without channels on one side there are no weights, so a kernel may have any size.
#[test]
fn sums_over_no_channels_do_not_walk_the_kernel() {
    let huge = Conv2d {
        channels_in: 0,
        height: 1 << 45,
        kernel: (1 << 45, 3),
        padding: (0, 1),
        batch: 1,
        channels_out: 2,
        ..PLAIN
    };
    let mut out = [7.0; 22];
    let epilogue = ConvEpilogue { bias: Some(&[1.0, -2.0]), ..ConvEpilogue::default() };
    conv::forward(&huge, &[], &[], &epilogue, &mut out).unwrap();
    assert_eq!(out, std::array::from_fn(|i| if i < 11 { 1.0 } else { -2.0 }));
    let padded = Conv2d { channels_in: 2, channels_out: 0, height: 1, padding: (1 << 45, 1), ..huge };
    for (write, want) in [(Write::Add, 7.0), (Write::Overwrite, 0.0)] {
        let mut dx = [7.0; 22];
        conv::backward_input(&padded, &[], &[], &mut dx, write).unwrap();
        assert_eq!(dx, [want; 22], "{write:?}");
    }
}

#[test]
fn wrong_shapes_are_refused_and_nothing_is_written() {
    let case = Case::new(&PLAIN, 9);
    let refusal = |shape: Conv2d| {
        let mut out = vec![7.0f32; case.residual.len()];
        let mut dx = vec![7.0f32; case.x.len()];
        let (mut dw, mut db) = (vec![7.0f32; case.weight.len()], vec![7.0f32; case.bias.len()]);
        let error = conv::forward(&shape, &case.x, &case.weight, &ConvEpilogue::default(), &mut out);
        let error = error.expect_err("the shape is wrong");
        let second = conv::backward_input(&shape, &case.residual, &case.weight, &mut dx, Write::Overwrite);
        assert_eq!(second.expect_err("the shape is wrong"), error);
        let third = conv::backward_weight(&shape, &case.residual, &case.x, &mut dw);
        assert_eq!(third.expect_err("the shape is wrong"), error);
        assert!(conv::backward_bias(&shape, &case.residual[1..], &mut db).is_err());
        let (x, weight) = (wide(&case.x), wide(&case.weight));
        let slow = twin::conv::forward(&shape, &x, &weight, &ConvEpilogue::default(), &mut wide(&out));
        assert_eq!(slow.expect_err("the shape is wrong"), error);
        assert!(out.iter().chain(&dx).chain(&dw).chain(&db).all(|&x| x == 7.0), "something was written");
        error
    };
    let zero = |shape| matches!(refusal(shape), ShapeError::Zero { .. });
    assert!(zero(Conv2d { groups: 0, ..PLAIN }) && zero(Conv2d { kernel: (0, 3), ..PLAIN }));
    assert!(zero(Conv2d { stride: (1, 0), ..PLAIN }) && zero(Conv2d { dilation: (0, 1), ..PLAIN }));
    let multiple = refusal(Conv2d { groups: 2, ..PLAIN });
    assert!(matches!(multiple, ShapeError::Multiple { unit: 2, found: 3, .. }), "{multiple:?}");
    let window = refusal(Conv2d { kernel: (3, 14), ..PLAIN });
    assert!(matches!(window, ShapeError::Window { window: 14, padded: 13, .. }), "{window:?}");
    let window = refusal(Conv2d { dilation: (6, 1), ..PLAIN });
    assert!(matches!(window, ShapeError::Window { window: 13, padded: 11, .. }), "{window:?}");
    let overflow = |shape| matches!(refusal(shape), ShapeError::Overflow { .. });
    assert!(overflow(Conv2d { padding: (usize::MAX / 2 + 1, 1), ..PLAIN }));
    assert!(overflow(Conv2d { dilation: (usize::MAX, 1), ..PLAIN }));
    assert!(overflow(Conv2d { stride: (usize::MAX, 1), ..PLAIN }));
    assert!(overflow(Conv2d { batch: usize::MAX / 4, ..PLAIN }));
    assert!(overflow(Conv2d { channels_out: usize::MAX, ..PLAIN }));
    for shape in [
        Conv2d { batch: 3, ..PLAIN },
        Conv2d { channels_out: 8, ..PLAIN },
        Conv2d { kernel: (3, 1), padding: (1, 0), ..PLAIN },
        Conv2d { stride: (2, 1), ..PLAIN },
    ] {
        let mismatch = refusal(shape);
        assert!(matches!(mismatch, ShapeError::Mismatch { .. }), "{mismatch:?}");
    }
    let mut out = vec![7.0; case.residual.len()];
    for epilogue in [
        ConvEpilogue { bias: Some(&case.bias[1..]), ..ConvEpilogue::default() },
        ConvEpilogue { residual: Some(&case.residual[1..]), ..ConvEpilogue::default() },
    ] {
        let refused = conv::forward(&PLAIN, &case.x, &case.weight, &epilogue, &mut out);
        assert!(matches!(refused, Err(ShapeError::Mismatch { .. })), "{refused:?}");
    }
    assert!(out.iter().all(|&out| out == 7.0), "something was written");
}
