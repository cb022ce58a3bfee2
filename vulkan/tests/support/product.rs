//! Products of random matrices on a device, beside their f64 twin.
#![allow(dead_code, unreachable_pub)]

use upbeat_kernels::{Activation, Element, Mat, MatMut, Write};
use upbeat_vulkan::{f16, Buffer, Epilogue, Float, Gemm, Matrix};

use crate::support::{numbers, Gpu};

/// Errors, as parts of `|scale|·Σ|a||b| + |bias| + |residual| + |c|`, for each of `k + 24` roundings: every product and every sum is
/// rounded once to 24 bits, an activation is off by less than 16 ulp and at most 1.13 times as steep as the identity, and the bias, the
/// residual and C take one rounding each.
pub const ROUNDING: f64 = 1.2 / (1 << 24) as f64;

/// A product of random numbers, some of the matrices with gaps between their rows and at odd places.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub shape: [usize; 3],
    pub transpose: [bool; 2],
    /// Numbers before a matrix and between its rows.
    pub gap: usize,
    pub scale: f32,
    pub bias: bool,
    pub residual: bool,
    pub activation: Activation,
    pub write: Write,
}

impl Case {
    pub fn plain(m: usize, k: usize, n: usize) -> Self {
        Self {
            shape: [m, k, n],
            transpose: [false; 2],
            gap: 0,
            scale: 1.0,
            bias: false,
            residual: false,
            activation: Activation::Identity,
            write: Write::Overwrite,
        }
    }
}

pub trait Stored: Float {
    fn of(x: f32) -> Self;
    fn exactly(self) -> f64;
}

impl Stored for f32 {
    fn of(x: f32) -> Self {
        x
    }
    fn exactly(self) -> f64 {
        self.into()
    }
}

impl Stored for f16 {
    fn of(x: f32) -> Self {
        f16::from_f32(x)
    }
    fn exactly(self) -> f64 {
        self.into()
    }
}

/// A matrix on both sides.
struct Both<T> {
    host: Vec<f64>,
    there: Buffer<T>,
    rows: usize,
    cols: usize,
    gap: usize,
}

impl<T: Stored> Both<T> {
    fn new(device: &Gpu, [rows, cols]: [usize; 2], gap: usize, of: impl Fn(usize) -> Vec<f32>) -> Self {
        Self::of(device, [rows, cols], gap, of(gap + rows * (cols + gap)))
    }

    /// With gaps of NaN: what reads them and lets them count is found out.
    fn factor(device: &Gpu, shape: [usize; 2], gap: usize, of: impl Fn(usize) -> Vec<f32>) -> Self {
        let [rows, cols] = shape;
        let mut numbers = of(gap + rows * (cols + gap));
        numbers[..gap].fill(f32::NAN);
        for row in numbers[gap..].chunks_mut((cols + gap).max(1)) {
            row[cols..].fill(f32::NAN);
        }
        Self::of(device, shape, gap, numbers)
    }

    fn of(device: &Gpu, [rows, cols]: [usize; 2], gap: usize, numbers: Vec<f32>) -> Self {
        let stored: Vec<T> = numbers.into_iter().map(T::of).collect();
        let host = stored.iter().map(|&x| x.exactly()).collect();
        Self { host, there: device.upload(&stored).unwrap(), rows, cols, gap }
    }

    fn transposed(of: [usize; 2], transpose: bool) -> [usize; 2] {
        if transpose {
            [of[1], of[0]]
        } else {
            of
        }
    }

    fn part(&self) -> Buffer<T> {
        self.there.slice(self.gap..self.there.len())
    }

    fn view<'a>(&self, part: &'a Buffer<T>) -> Matrix<'a, T> {
        Matrix::strided(part, self.rows, self.cols, self.cols + self.gap).unwrap()
    }

    fn twin<'a>(&self, host: &'a [f64]) -> Mat<'a, f64> {
        Mat::strided(&host[self.gap..], self.rows, self.cols, self.cols + self.gap).unwrap()
    }
}

/// What the device computes, what the twin does, and the sum of magnitudes, gaps included.
fn run<A: Stored, B: Stored>(
    device: &Gpu,
    case: &Case,
    of: impl Fn(usize, u64) -> Vec<f32>,
) -> [Vec<f64>; 3] {
    let [m, k, n] = case.shape;
    let gap = case.gap;
    let a =
        Both::<A>::factor(device, Both::<A>::transposed([m, k], case.transpose[0]), gap, |len| of(len, 1));
    let b =
        Both::<B>::factor(device, Both::<B>::transposed([k, n], case.transpose[1]), gap, |len| of(len, 2));
    let c = Both::<f32>::new(device, [m, n], gap, |len| of(len, 3));
    let bias = Both::<f32>::new(device, [1, n], 0, |len| of(len, 4));
    let residual = Both::<f32>::new(device, [m, n], gap, |len| of(len, 5));

    let (pa, pb, pc, pr) = (a.part(), b.part(), c.part(), residual.part());
    let mut commands = device.commands();
    commands
        .gemm(&Gemm {
            a: a.view(&pa),
            transpose_a: case.transpose[0],
            b: b.view(&pb),
            transpose_b: case.transpose[1],
            c: c.view(&pc),
            write: case.write,
            epilogue: Epilogue {
                scale: case.scale,
                bias: case.bias.then_some(&bias.there),
                activation: case.activation,
                residual: case.residual.then(|| residual.view(&pr)),
            },
        })
        .unwrap();
    commands.submit().unwrap().wait().unwrap();
    let found = c.there.to_vec().unwrap().into_iter().map(f64::from).collect();

    let twin = |of: fn(f64) -> f64, activation| {
        let each = |x: &[f64]| x.iter().map(|&x| of(x)).collect::<Vec<_>>();
        let (ha, hb, mut hc) = (each(&a.host), each(&b.host), each(&c.host));
        let (hbias, hr) = (each(&bias.host), each(&residual.host));
        f64::gemm(upbeat_kernels::Gemm {
            a: a.twin(&ha),
            transpose_a: case.transpose[0],
            b: b.twin(&hb),
            transpose_b: case.transpose[1],
            c: MatMut::strided(&mut hc[gap..], m, n, n + gap).unwrap(),
            write: case.write,
            epilogue: upbeat_kernels::Epilogue {
                scale: Some(of(case.scale.into())),
                bias: case.bias.then_some(&hbias),
                activation,
                residual: case.residual.then(|| residual.twin(&hr)),
            },
        })
        .unwrap();
        hc
    };
    [found, twin(|x| x, case.activation), twin(f64::abs, Activation::Identity)]
}

#[track_caller]
pub fn check<A: Stored, B: Stored>(device: &Gpu, case: &Case) {
    check_within::<A, B>(device, case, ROUNDING);
}

/// With another bound for each rounding.
#[track_caller]
pub fn check_within<A: Stored, B: Stored>(device: &Gpu, case: &Case, rounding: f64) {
    let [found, expected, magnitude] = run::<A, B>(device, case, numbers);
    let bound = (case.shape[1] + 24) as f64 * rounding;
    for (at, ((found, expected), magnitude)) in found.iter().zip(&expected).zip(&magnitude).enumerate() {
        let close = (found - expected).abs() <= bound * magnitude;
        assert!(close, "{case:?}: [{at}] is {found:e}, not {expected:e}");
    }
}

/// Small whole numbers, whose products and sums are exact.
fn whole(len: usize, seed: u64) -> Vec<f32> {
    numbers(len, seed).into_iter().map(|x| (x * 4.0).round()).collect()
}

#[track_caller]
pub fn exact<A: Stored, B: Stored>(device: &Gpu, case: &Case) {
    let [found, expected, _] = run::<A, B>(device, case, whole);
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        panic!("{case:?}: [{at}] is {}, not {}", found[at], expected[at]);
    }
}

/// Each of `shapes` however factors are stored, with each of `gaps`, bit for bit.
pub fn exact_in_all_ways<A: Stored, B: Stored>(device: &Gpu, shapes: &[[usize; 3]], gaps: &[usize]) {
    for &shape in shapes {
        for transpose in TRANSPOSES {
            for &gap in gaps {
                let write = if gap == 1 { Write::Add } else { Write::Overwrite };
                let case = Case { shape, transpose, gap, write, ..Case::plain(0, 0, 0) };
                exact::<A, B>(device, &case);
            }
        }
    }
}

/// Products of that shape with every activation and everything that an epilogue is told when it runs; the `gap` by what it is told.
pub fn epilogues([m, k, n]: [usize; 3], gap: impl Fn(usize) -> usize) -> Vec<Case> {
    use Activation::{Gelu, GeluTanh, Identity, Relu, Silu};
    let mut cases = Vec::new();
    // One pipeline each.
    for (at, activation) in [Identity, Gelu, GeluTanh, Silu, Relu].into_iter().enumerate() {
        for bits in 0..8 {
            cases.push(Case {
                transpose: TRANSPOSES[at % 4],
                scale: [-0.75, 2.5][bits % 2],
                bias: bits & 1 == 0,
                residual: bits & 2 == 0,
                activation,
                write: if bits & 4 == 0 { Write::Overwrite } else { Write::Add },
                gap: gap(bits),
                ..Case::plain(m, k, n)
            });
        }
    }
    cases
}

/// Which of A and B are stored transposed.
pub const TRANSPOSES: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];
