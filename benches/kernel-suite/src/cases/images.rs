//! Kernels over images: convolutions, 2 operations a multiply-add; pooling, BatchNorm and dropout, each number read and written once.

use std::sync::Mutex;

use upbeat_kernels::conv::{self, Conv2d, ConvEpilogue, LearnedNorm};
use upbeat_kernels::dropout::{self, Dropout};
use upbeat_kernels::norm::{batch_norm_eval, BatchNorm};
use upbeat_kernels::pooling::{max_pool_forward, Pool2d};
use upbeat_kernels::{twin, Buffer};

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// `channels` in and out; windows of `kernel` by `kernel` that keep the side at stride 1.
fn layer(batch: usize, channels: (usize, usize), groups: usize, side: usize, kernel: usize) -> Conv2d {
    Conv2d {
        batch,
        channels_in: channels.0,
        channels_out: channels.1,
        groups,
        height: side,
        width: side,
        kernel: (kernel, kernel),
        stride: (1, 1),
        padding: (kernel / 2, kernel / 2),
        dilation: (1, 1),
    }
}

/// A sampled element of a layer of stride 1, its terms' sizes, and what it should be.
fn element(shape: &Conv2d, x: &[f32], weight: &[f32], at: usize) -> (f64, f64) {
    let (side, (kernel, padding)) = (shape.width, (shape.kernel.0, shape.padding.0));
    let inputs = shape.channels_in / shape.groups;
    let (col, row) = (at % side, at / side % side);
    let (o, image) = (at / side / side % shape.channels_out, at / side / side / shape.channels_out);
    let first = image * shape.channels_in + o / (shape.channels_out / shape.groups) * inputs;
    let taps = inputs * kernel * kernel;
    (0..taps).fold((0.0, 0.0), |(sum, size), i| {
        let (c, r, s) = (i / kernel / kernel, i / kernel % kernel, i % kernel);
        let (y, x_at) = ((row + r).wrapping_sub(padding), (col + s).wrapping_sub(padding));
        if y >= side || x_at >= side {
            return (sum, size);
        }
        let term = f64::from(x[((first + c) * side + y) * side + x_at]) * f64::from(weight[o * taps + i]);
        (sum + term, size + term.abs())
    })
}

fn convolution(with: With<'_>, name: &str, shape: Conv2d) {
    let plane = shape.height * shape.width;
    let (x, weight) = (
        numbers(shape.batch * shape.channels_in * plane, 1),
        numbers(shape.channels_out * shape.channels_in / shape.groups * shape.kernel.0 * shape.kernel.1, 2),
    );
    let out = Mutex::new(Buffer::zeroed(shape.batch * shape.channels_out * plane));
    let lock = || out.lock().expect("no convolution panics");
    with(Case {
        group: "images",
        work: format!("{name}, {} images of {}²", shape.batch, shape.width),
        bound: Bound::Arithmetic,
        amount: 2.0 * shape.multiply_adds().expect("few") as f64,
        goal: Goal::NONE,
        run: Box::new(|| {
            conv::forward(&shape, &x, &weight, &ConvEpilogue::default(), &mut lock())
                .expect("the shapes fit");
        }),
        check: Box::new(|| {
            let out = lock();
            for at in samples(out.len()) {
                let (sum, size) = element(&shape, &x, &weight, at);
                near(out[at], sum, 1e-4 * (size + 1e-3), "a convolution's element");
            }
        }),
        peer: None,
    });
}

/// A kernel from `x` to `out` that memory bounds, and its definition.
fn stream(
    with: With<'_>,
    work: String,
    (x, len): (&[f32], usize),
    run: impl Fn(&[f32], &mut [f32]) + Send + Sync,
    twin: impl Fn(&[f64], &mut [f64]) + Send + Sync,
) {
    let out = Mutex::new(Buffer::zeroed(len));
    let lock = || out.lock().expect("no kernel panics");
    with(Case {
        group: "images",
        work: work.clone(),
        bound: Bound::Copy,
        amount: 4.0 * (x.len() + len) as f64,
        goal: Goal::NONE,
        run: Box::new(|| run(x, &mut lock())),
        check: Box::new(|| {
            let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let mut expected = vec![0.0; len];
            twin(&wide, &mut expected);
            let out = lock();
            samples(len).for_each(|at| near(out[at], expected[at], 1e-5, &work));
        }),
        peer: None,
    });
}

/// Layers of a ResNet and of a MobileNet, and what lies between them.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    let (batch, side, channels) = sizes.pick((1, 9, 6), (2, 56, 64));
    convolution(with, "conv 3x3 64-64", layer(batch, (channels, channels), 1, side, 3));
    convolution(with, "conv 1x1 64-256", layer(batch, (channels, 4 * channels), 1, side, 1));
    convolution(with, "conv 3x3 depthwise 64", layer(batch, (channels, channels), channels, side, 3));

    let batch = sizes.pick(1, 8);
    let x = numbers(batch * channels * side * side, 3);
    let pool = Pool2d {
        batch,
        channels,
        height: side,
        width: side,
        kernel: (2, 2),
        stride: (2, 2),
        padding: (0, 0),
    };
    let pooled = batch * channels * (side / 2) * (side / 2);
    stream(
        with,
        format!("max pooling 2x2, {batch} images of {side}²"),
        (&x, pooled),
        |x, out| max_pool_forward(&pool, x, out, None).expect("the shapes fit"),
        |x, out| {
            for (at, out) in out.iter_mut().enumerate() {
                let (half, col) = (side / 2, at % (side / 2));
                let from = (at / half / half * side + 2 * (at / half % half)) * side + 2 * col;
                *out = x[from].max(x[from + 1]).max(x[from + side]).max(x[from + side + 1]);
            }
        },
    );
    let norm = BatchNorm { batch, channels, plane: side * side };
    let [weight, bias, mean] = [4, 5, 6].map(|seed| numbers(channels, seed));
    let variance: Vec<f32> = numbers(channels, 7).iter().map(|x| 0.5 + x.abs()).collect();
    let learned =
        LearnedNorm { weight: &weight, bias: &bias, mean: &mean, variance: &variance, epsilon: 1e-5 };
    stream(
        with,
        format!("BatchNorm with running statistics, {batch} images of {side}²"),
        (&x, x.len()),
        |x, out| {
            batch_norm_eval(&norm, x, &learned, out).expect("the shapes fit");
        },
        |x, out| {
            for (at, (out, x)) in out.iter_mut().zip(x).enumerate() {
                let c = at / (side * side) % channels;
                let [weight, bias, mean, variance] =
                    [&weight[..], &bias, &mean, &variance].map(|parameter| f64::from(parameter[c]));
                *out = (x - mean) / (variance + 1e-5).sqrt() * weight + bias;
            }
        },
    );
    let half = Dropout::new(0.5, 7, 0).expect("a probability");
    stream(
        with,
        format!("dropout, {batch} images of {side}²"),
        (&x, x.len()),
        |x, out| dropout::forward(&half, x, out).expect("the lengths fit"),
        |x, out| twin::dropout::forward(&half, x, out).expect("the lengths fit"),
    );
}
