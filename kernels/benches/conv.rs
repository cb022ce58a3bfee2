//! Convolution beside the machine's limit and beside im2col with the crate `gemm`, in GFLOP/s; BatchNorm, pooling and dropout
//! beside a plain copy, in GB/s; all measured in interleaved rounds.
//!
//! `cargo bench -p upbeat-kernels --bench conv [-- FILTER]` measures; without `--bench` (as `cargo test --benches` runs it)
//! each kernel runs once. Answers are checked either way: convolutions against f64 sums of sampled elements, the others
//! against their twins. One worker is measured by its thread's time, two by the clock.

mod common;

use std::hint::black_box;

use common::{arguments, multiply_adds, numbers, runtimes, thread_seconds, wall_seconds};
use upbeat::Runtime;
use upbeat_kernels::conv::{self, Conv2d, ConvEpilogue, LearnedNorm};
use upbeat_kernels::dropout::{self, Dropout};
use upbeat_kernels::norm::{batch_norm_backward, batch_norm_eval, batch_norm_forward, BatchNorm};
use upbeat_kernels::pooling::{self, Divisor, Pool2d};
use upbeat_kernels::{twin, Buffer, Isa, Write};

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 12;

const fn layer(channels: (usize, usize), groups: usize, side: usize, kernel: usize, stride: usize) -> Conv2d {
    let (channels_in, channels_out) = channels;
    Conv2d {
        batch: 2,
        channels_in,
        channels_out,
        groups,
        height: side,
        width: side,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (kernel / 2, kernel / 2),
        dilation: (1, 1),
    }
}

/// Layers of ResNets and MobileNets.
const LAYERS: [(&str, Conv2d); 11] = [
    ("7x7 s2 3-64 of 224", layer((3, 64), 1, 224, 7, 2)),
    ("3x3 64-64 of 56", layer((64, 64), 1, 56, 3, 1)),
    ("3x3 s2 64-128 of 56", layer((64, 128), 1, 56, 3, 2)),
    ("3x3 128-128 of 28", layer((128, 128), 1, 28, 3, 1)),
    ("3x3 256-256 of 14", layer((256, 256), 1, 14, 3, 1)),
    ("1x1 64-256 of 56", layer((64, 256), 1, 56, 1, 1)),
    ("1x1 256-64 of 56", layer((256, 64), 1, 56, 1, 1)),
    ("1x1 s2 256-512 of 56", layer((256, 512), 1, 56, 1, 2)),
    ("3x3 32 groups 128-128 of 28", layer((128, 128), 32, 28, 3, 1)),
    ("3x3 depthwise 128 of 56", layer((128, 128), 128, 56, 3, 1)),
    ("3x3 s2 depthwise 128 of 56", layer((128, 128), 128, 56, 3, 2)),
];

/// A layer, its operands and results.
struct Layer {
    shape: Conv2d,
    x: Buffer<f32>,
    weight: Buffer<f32>,
    out: Buffer<f32>,
    peer: Buffer<f32>,
    columns: Buffer<f32>,
    dx: Buffer<f32>,
    d_weight: Buffer<f32>,
}

impl Layer {
    fn new(shape: Conv2d) -> Self {
        let output = shape.output_len().expect("the shape is sound");
        let weight = shape.weight_len().expect("the shape is sound");
        let input = shape.input_len().expect("the shape is sound");
        let depth = weight / shape.channels_out * shape.groups;
        Self {
            shape,
            x: numbers(input, 1),
            weight: numbers(weight, 2),
            out: Buffer::zeroed(output),
            peer: Buffer::zeroed(output),
            columns: Buffer::zeroed(depth * output / shape.batch / shape.channels_out),
            dx: Buffer::zeroed(input),
            d_weight: Buffer::zeroed(weight),
        }
    }

    fn forward(&mut self) {
        conv::forward(&self.shape, &self.x, &self.weight, &ConvEpilogue::default(), &mut self.out)
            .expect("the shapes fit");
    }

    fn backward_input(&mut self) {
        conv::backward_input(&self.shape, &self.out, &self.weight, &mut self.dx, Write::Overwrite)
            .expect("the shapes fit");
    }

    fn backward_weight(&mut self) {
        conv::backward_weight(&self.shape, &self.out, &self.x, &mut self.d_weight).expect("the shapes fit");
    }

    /// Every image as a matrix of its windows, then a product for each group. Windows of 1 by 1 at stride 1 are the image.
    #[allow(unsafe_code)]
    fn peers(&mut self) {
        let Conv2d {
            batch, channels_in, channels_out, groups, height, width, kernel, stride, padding, ..
        } = self.shape;
        let (rows, cols) = (self.shape.out_height().unwrap(), self.shape.out_width().unwrap());
        let (n, plane, k) = (rows * cols, height * width, channels_in / groups * kernel.0 * kernel.1);
        let m = channels_out / groups;
        for image in 0..batch {
            let source = &self.x[image * channels_in * plane..][..channels_in * plane];
            let direct = kernel == (1, 1) && stride == (1, 1);
            for (row, to) in self.columns.chunks_exact_mut(n).enumerate().filter(|_| !direct) {
                let (channel, r, s) = (row / kernel.1 / kernel.0, row / kernel.1 % kernel.0, row % kernel.1);
                for (y, to) in to.chunks_exact_mut(cols).enumerate() {
                    let at = (y * stride.0 + r).wrapping_sub(padding.0);
                    if at >= height {
                        to.fill(0.0);
                        continue;
                    }
                    let line = &source[channel * plane + at * width..][..width];
                    let first = padding.1.saturating_sub(s).div_ceil(stride.1).min(cols);
                    let end = ((width + padding.1 - s).div_ceil(stride.1)).min(cols).max(first);
                    to[..first].fill(0.0);
                    to[end..].fill(0.0);
                    let line = &line[first * stride.1 + s - padding.1..];
                    if stride.1 == 1 {
                        to[first..end].copy_from_slice(&line[..end - first]);
                    } else {
                        to[first..end]
                            .iter_mut()
                            .zip(line.iter().step_by(stride.1))
                            .for_each(|(to, &x)| *to = x);
                    }
                }
            }
            let columns = if direct { source } else { &self.columns[..] };
            for group in 0..groups {
                let a = &self.weight[group * m * k..][..m * k];
                let b = &columns[group * k * n..][..k * n];
                let c = &mut self.peer[(image * channels_out + group * m) * n..][..m * n];
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                let (row_a, row) = (k as isize, n as isize);
                let alone = ::gemm::Parallelism::None;
                // SAFETY: the slices hold the matrices that the dimensions and strides describe.
                unsafe {
                    ::gemm::gemm(
                        m, n, k, c, 1, row, false, a, 1, row_a, b, 1, row, 0.0f32, 1.0f32, false, false,
                        false, alone,
                    )
                }
            }
        }
    }

    /// Compares sampled elements of both results with f64 sums.
    fn check(&self, what: &str) {
        let Conv2d { channels_in, channels_out, groups, height, width, kernel, stride, padding, .. } =
            self.shape;
        let (rows, cols) = (self.shape.out_height().unwrap(), self.shape.out_width().unwrap());
        let inputs = channels_in / groups;
        for sample in 0..200 {
            let at = sample * 7919 * 31 % self.out.len();
            let (x, y) = (at % cols, at / cols % rows);
            let (o, n) = (at / cols / rows % channels_out, at / cols / rows / channels_out);
            let (mut sum, mut size) = (0.0, 0.0);
            for i in 0..inputs * kernel.0 * kernel.1 {
                let (c, r, s) = (i / kernel.1 / kernel.0, i / kernel.1 % kernel.0, i % kernel.1);
                let row = (y * stride.0 + r).wrapping_sub(padding.0);
                let col = (x * stride.1 + s).wrapping_sub(padding.1);
                if row < height && col < width {
                    let channel = n * channels_in + o / (channels_out / groups) * inputs + c;
                    let x = f64::from(self.x[(channel * height + row) * width + col]);
                    let term = x * f64::from(self.weight[o * inputs * kernel.0 * kernel.1 + i]);
                    (sum, size) = (sum + term, size + term.abs());
                }
            }
            let bound = 2.0 * (inputs * kernel.0 * kernel.1) as f64 * 2f64.powi(-24) * size;
            for (whose, out) in [("ours", &self.out), ("the peer's", &self.peer)] {
                let error = (f64::from(out[at]) - sum).abs();
                assert!(error <= bound, "{what}: {whose} element {at} is off by {error:e}");
            }
        }
    }

    /// Measures in interleaved rounds and prints a line.
    fn measure(&mut self, name: &str, one: &Runtime, two: &Runtime) {
        let flops = 2.0 * self.shape.multiply_adds().expect("few") as f64;
        let mut best = [0.0f64; 6]; // peak, forward, its peer, two workers, both gradients
        let mut take = |which: usize, rate: f64| best[which] = best[which].max(rate / 1e9);
        for _ in 0..ROUNDS {
            let mut work = 0.0;
            let time = thread_seconds(|| work = multiply_adds(200_000));
            take(0, work / time);
            take(1, flops / one.install(|_| thread_seconds(|| self.forward())));
            take(2, flops / thread_seconds(|| self.peers()));
            take(3, flops / two.install(|_| wall_seconds(|| self.forward())));
            take(4, flops / one.install(|_| thread_seconds(|| self.backward_input())));
            take(5, flops / one.install(|_| thread_seconds(|| self.backward_weight())));
        }
        let [peak, ours, peers, pair, input, weight] = best;
        let [share, by_input, by_weight] = [ours, input, weight].map(|rate| 100.0 * rate / peak);
        println!(
            "{name:28} {peak:6.1} {ours:6.1} {share:5.1}% {peers:6.1} {:5.2} {pair:6.1} {:5.2} {input:6.1} {by_input:5.1}% \
             {weight:6.1} {by_weight:5.1}%",
            ours / peers,
            pair / ours
        );
    }
}

/// Operands of the memory-bound kernels: planes of 56 by 56.
struct Planes {
    shape: BatchNorm,
    x: Buffer<f32>,
    dy: Buffer<f32>,
    out: Buffer<f32>,
    indices: Buffer<u32>,
    parameters: [Buffer<f32>; 6],
}

impl Planes {
    const POOL: Pool2d = Pool2d {
        batch: 8,
        channels: 64,
        height: 56,
        width: 56,
        kernel: (3, 3),
        stride: (2, 2),
        padding: (1, 1),
    };

    fn new() -> Self {
        let shape = BatchNorm { batch: 8, channels: 64, plane: 56 * 56 };
        let len = shape.batch * shape.channels * shape.plane;
        let mut parameters = [3, 4, 5, 6, 7, 8].map(|seed| numbers(shape.channels, seed));
        parameters[3].iter_mut().for_each(|x| *x = 0.5 + x.abs());
        let (x, dy) = (numbers(len, 1), numbers(len, 2));
        Self { shape, x, dy, out: Buffer::zeroed(len), indices: Buffer::zeroed(len / 4), parameters }
    }

    /// Runs kernel `which` and gives its name and the numbers that it must move for each element of the input.
    fn run(&mut self, which: usize) -> Option<(&'static str, f64)> {
        let Self { shape, x, dy, out, indices, parameters } = self;
        let [a, b, c, d, e, f] = parameters;
        let quarter = x.len() / 4;
        let dropout = Dropout::new(0.1, 7, 0).expect("a probability");
        let (result, name, traffic) = match which {
            0 => {
                let result = batch_norm_forward(shape, x, a, b, 1e-5, 0.1, c, d, out, e, f);
                (result, "batch norm, training", 2.0)
            }
            1 => {
                let norm = LearnedNorm { weight: a, bias: b, mean: c, variance: d, epsilon: 1e-5 };
                (batch_norm_eval(shape, x, &norm, out), "batch norm, evaluation", 2.0)
            }
            2 => {
                let (mean, rstd) = (&a[..], &b[..]);
                let result = batch_norm_backward(shape, dy, x, c, mean, rstd, out, Write::Overwrite, e, f);
                (result, "batch norm, backward", 3.0)
            }
            3 => {
                (pooling::max_pool_forward(&Self::POOL, x, &mut out[..quarter], None), "3x3 s2 maximum", 1.25)
            }
            4 => {
                let indices = Some(&mut indices[..]);
                let result = pooling::max_pool_forward(&Self::POOL, x, &mut out[..quarter], indices);
                (result, "3x3 s2 maximum, places", 1.5)
            }
            5 => {
                let result =
                    pooling::max_pool_backward(&Self::POOL, &dy[..quarter], indices, out, Write::Overwrite);
                (result, "3x3 s2 maximum, backward", 1.5)
            }
            6 => {
                let divisor = Divisor::Kernel;
                let result = pooling::average_pool_forward(&Self::POOL, divisor, x, &mut out[..quarter]);
                (result, "3x3 s2 average", 1.25)
            }
            7 => {
                let (dy, divisor) = (&dy[..quarter], Divisor::Kernel);
                let result = pooling::average_pool_backward(&Self::POOL, divisor, dy, out, Write::Overwrite);
                (result, "3x3 s2 average, backward", 1.25)
            }
            8 => {
                let planes = shape.batch * shape.channels;
                let result = pooling::global_average_forward(x, shape.plane, &mut out[..planes]);
                (result, "global average", 1.0)
            }
            9 => (dropout::forward(&dropout, x, out), "dropout", 2.0),
            _ => return None,
        };
        result.expect("the shapes fit");
        Some((name, traffic))
    }

    /// Compares what is not a matter of the tests' small shapes only: evaluation and dropout, element by element.
    fn check(&mut self) {
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let [x, a, b, c, d] =
            [&self.x, &self.parameters[0], &self.parameters[1], &self.parameters[2], &self.parameters[3]]
                .map(|x| wide(x));
        let mut want = x.clone();
        let norm = LearnedNorm { weight: &a, bias: &b, mean: &c, variance: &d, epsilon: 1e-5 };
        twin::batch_norm::batch_norm_eval(&self.shape, &x, &norm, &mut want).expect("the shapes fit");
        self.run(1);
        let agree = |what: &str, out: &[f32], want: &[f64]| {
            for (out, want) in out.iter().zip(want) {
                assert!(
                    (f64::from(*out) - want).abs() <= 1e-5 * (1.0 + want.abs()),
                    "{what}: {out} is not {want}"
                );
            }
        };
        agree("evaluation", &self.out, &want);
        let dropout = Dropout::new(0.1, 7, 0).expect("a probability");
        twin::dropout::forward(&dropout, &x, &mut want).expect("the shapes fit");
        self.run(9);
        agree("dropout", &self.out, &want);
        let mut largest = vec![0.0; x.len() / 4];
        twin::pooling::max_pool_forward(&Self::POOL, &x, &mut largest, None).expect("the shapes fit");
        self.run(3);
        agree("maximum", &self.out, &largest);
    }

    fn measure(&mut self, one: &Runtime) {
        println!("{:28} {:>8} {:>8} {:>6}", "8x64x56x56", "GB/s", "copy", "ratio");
        for which in 0.. {
            let Some((name, traffic)) = self.run(which) else { break };
            let bytes = traffic * (4 * self.x.len()) as f64;
            let from = vec![1u8; bytes as usize / 2];
            let (mut to, mut ours, mut copy) = (from.clone(), f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                ours = ours.min(one.install(|_| thread_seconds(|| assert!(self.run(which).is_some()))));
                copy = copy.min(thread_seconds(|| black_box(&mut to).copy_from_slice(&from)));
            }
            let [ours, copy] = [ours, copy].map(|time| bytes / time / 1e9);
            println!("{name:28} {ours:8.1} {copy:8.1} {:6.2}", ours / copy);
        }
    }
}

fn main() {
    let (measured, filter) = arguments();
    let [one, two] = runtimes();
    if measured {
        println!("level {}; GFLOP/s, best of {ROUNDS} rounds, batch 2", Isa::active().name());
        println!(
            "{:28} {:>6} {:>6} {:>6} {:>6} {:>5} {:>6} {:>5} {:>13} {:>13}",
            "forward", "peak", "1T", "share", "im2col", "ratio", "2T", "speed", "by input", "by weight"
        );
    }
    for (name, shape) in LAYERS {
        if !name.contains(&filter) {
            continue;
        }
        let mut layer = Layer::new(shape);
        layer.forward();
        layer.peers();
        layer.check(name);
        layer.backward_input();
        layer.backward_weight();
        if measured {
            layer.measure(name, &one, &two);
        }
    }
    if "planes".contains(&filter) {
        let mut planes = Planes::new();
        planes.check();
        (0..10).for_each(|which| assert!(planes.run(which).is_some()));
        if measured {
            planes.measure(&one);
        }
    }
}
