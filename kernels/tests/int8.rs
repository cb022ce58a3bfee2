//! Products of 8-bit integers have the bits that their order of summation says, at every level, and agree with their twin;
//! quantisation rounds as documented. Shapes are odd, empty, of one element; memory ends at a guarded page.

mod common;

use common::{assert_same_bits, at_every_level, bits, same_on_any_workers, Numbers, PageEnd};
use upbeat_kernels::gemm::quantized::{dequantize, quantize_rows, QuantizeError, Quantized};
use upbeat_kernels::gemm::{gemm_int8, GemmInt8};
use upbeat_kernels::{twin, Activation, Epilogue, Mat, MatMut, ShapeError};

#[test]
fn every_level() {
    at_every_level();
}

/// A matrix of random integers, -128 among them, with scales; all of it ends at a page.
struct Factor {
    values: PageEnd<i8>,
    scales: PageEnd<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
    group: Option<usize>,
}

impl Factor {
    fn new(rows: usize, cols: usize, stride: usize, group: Option<usize>, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let len = if rows * cols == 0 { 0 } else { (rows - 1) * stride + cols };
        let values: Vec<i8> = (0..len).map(|_| (numbers.bits() >> 56) as i8).collect();
        let scales = numbers.vector(rows * group.map_or(1, |group| cols.div_ceil(group)));
        let (values, scales) = (PageEnd::copied(&values), PageEnd::copied(&scales));
        Self { values, scales, rows, cols, stride, group }
    }

    fn view(&self) -> Quantized<'_> {
        let values = Mat::strided(&self.values, self.rows, self.cols, self.stride).unwrap();
        Quantized::new(values, &self.scales, self.group).unwrap()
    }
}

/// What the documentation says, rounding by rounding.
fn in_order(a: Quantized<'_>, b: Quantized<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let (m, k, n) = (a.values().rows(), a.values().cols(), b.values().rows());
    let scale = |q: Quantized<'_>, i: usize, p: usize| q.scales()[i * q.groups() + p / q.group()];
    let segment = a.group().min(b.group());
    let mut c = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let mut sum = 0.0f32;
            for from in (0..k).step_by(segment) {
                let (x, y) = (a.values().row(i), b.values().row(j));
                let pairs = from..(from + segment).min(k);
                let total: i64 = pairs.map(|p| i64::from(x[p]) * i64::from(y[p])).sum();
                let value = (scale(a, i, from) * scale(b, j, from)) * total as f32;
                sum = if from == 0 { value } else { sum + value };
            }
            c.push(bias.map_or(sum, |bias| sum + bias[j]));
        }
    }
    c
}

fn product<'a>(
    a: Quantized<'a>,
    b: Quantized<'a>,
    epilogue: Epilogue<'a, f32>,
) -> Result<Vec<f32>, ShapeError> {
    let (m, n) = (a.values().rows(), b.values().rows());
    let mut c = PageEnd::copied(&vec![f32::NAN; m * n]);
    gemm_int8(GemmInt8 { a, b, c: MatMut::new(&mut c, m, n).unwrap(), epilogue })?;
    Ok(c.to_vec())
}

/// `(m, n, k)`: few rows and many, steps and vectors of every level with remainders, blocks of `k` with remainders.
const SHAPES: [(usize, usize, usize); 17] = [
    (0, 3, 4),
    (3, 0, 4),
    (2, 5, 0),
    (9, 4, 0),
    (1, 1, 1),
    (1, 7, 33),
    (2, 5, 64),
    (3, 4, 95),
    (4, 3, 127),
    (5, 9, 16),
    (8, 6, 200),
    (9, 1, 3),
    (11, 33, 31),
    (13, 65, 129),
    (30, 31, 800),
    (12, 32, 1600),
    (70, 40, 257),
];

#[test]
fn products_have_the_documented_bits_and_agree_with_their_twin() {
    for (m, n, k) in SHAPES {
        for (of_a, of_b) in [
            (None, None),
            (None, Some(32)),
            (Some(33), None),
            (Some(1), Some(1)),
            (Some(64), Some(64)),
            (Some(500), None),
            (None, Some(5000)),
        ] {
            let (a, b) = (Factor::new(m, k, k, of_a, 1), Factor::new(n, k, k + 3, of_b, 2));
            let bias = Numbers::new(3).vector(n);
            let (a, b) = (a.view(), b.view());
            let got = product(a, b, Epilogue { bias: Some(&bias), ..Epilogue::default() }).unwrap();
            assert_same_bits(&got, &in_order(a, b, Some(&bias)), ((m, n, k), of_a, of_b));

            let mut want = vec![0.0; m * n];
            let wide = common::wide(&bias);
            let epilogue = Epilogue { bias: Some(&wide), ..Epilogue::default() };
            twin::int8::gemm(a, b, MatMut::new(&mut want, m, n).unwrap(), &epilogue).unwrap();
            let segments = k.div_ceil(a.group().min(b.group())) as f64;
            for (at, (&got, &want)) in got.iter().zip(&want).enumerate() {
                // Each segment is at most 2¹⁴ a product, scales at most 1.
                let size = 16384.0 * k as f64 + 1.0;
                let error = (f64::from(got) - want).abs();
                let bound = (segments + 4.0) * 2f64.powi(-24) * size;
                assert!(error <= bound, "element {at} of {:?} is off by {error:e}", (m, n, k, of_a, of_b));
            }
        }
    }
}

#[test]
fn the_epilogue_is_that_of_every_product() {
    // Products of one task, and of several side by side.
    for (m, n, k) in [(3, 37, 70), (20, 37, 70), (2, 70, 9000), (20, 1100, 40)] {
        let (a, b) = (Factor::new(m, k, k, None, 4), Factor::new(n, k, k, Some(32), 5));
        let (bias, rest) = (Numbers::new(6).vector(n), Numbers::new(7).vector(m * n));
        for activation in
            [Activation::Identity, Activation::Relu, Activation::Gelu, Activation::GeluTanh, Activation::Silu]
        {
            let residual = Some(Mat::new(&rest, m, n).unwrap());
            let scale = Some(1e-2 / k as f32);
            let got =
                product(a.view(), b.view(), Epilogue { scale, bias: Some(&bias), activation, residual });
            let (wide_bias, wide_rest) = (common::wide(&bias), common::wide(&rest));
            let epilogue = Epilogue {
                scale: scale.map(f64::from),
                bias: Some(&wide_bias),
                activation,
                residual: Some(Mat::new(&wide_rest, m, n).unwrap()),
            };
            let mut want = vec![0.0; m * n];
            twin::int8::gemm(a.view(), b.view(), MatMut::new(&mut want, m, n).unwrap(), &epilogue).unwrap();
            for (got, want) in got.unwrap().iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() <= 1e-3, "{activation:?}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn the_longest_sum_of_the_largest_products_is_exact() {
    let k = 131_071;
    for (x, y) in [(-128i8, -128i8), (-127, -127), (127, -128), (127, 127)] {
        for m in [1, 9] {
            let (a, b, scales) = (vec![x; m * k], vec![y; k], [1.0f32; 9]);
            let a = Quantized::new(Mat::new(&a, m, k).unwrap(), &scales[..m], None).unwrap();
            let b = Quantized::new(Mat::new(&b, 1, k).unwrap(), &scales[..1], None).unwrap();
            let want = (i64::from(x) * i64::from(y) * k as i64) as f32;
            assert_eq!(product(a, b, Epilogue::default()).unwrap(), vec![want; m]);
        }
    }
    // One more could overflow; with groups it may be as long as it likes.
    let (x, scales) = (vec![-128i8; k + 1], [1.0f32; 2]);
    let x = Mat::new(&x, 1, k + 1).unwrap();
    let refused = product(
        Quantized::new(x, &scales[..1], None).unwrap(),
        Quantized::new(x, &scales[..1], None).unwrap(),
        Epilogue::default(),
    );
    assert!(matches!(refused, Err(ShapeError::Limit { most: 131_071, found: 131_072, .. })), "{refused:?}");
    let grouped = Quantized::new(x, &scales, Some(1 << 16)).unwrap();
    assert_eq!(product(grouped, grouped, Epilogue::default()).unwrap(), [2f32.powi(31)]);
}

#[test]
fn results_have_the_same_bits_for_any_number_of_workers() {
    same_on_any_workers("products", || {
        let mut results = Vec::new();
        for (m, n, k) in [(1, 900, 700), (7, 301, 900), (150, 200, 900), (40, 700, 100)] {
            for group in [None, Some(32)] {
                let (a, b) = (Factor::new(m, k, k, None, 8), Factor::new(n, k, k, group, 9));
                results.extend(product(a.view(), b.view(), Epilogue::default()).unwrap());
            }
            let x = Numbers::new(10).vector(m * k);
            let (mut values, mut scales) = (vec![0; m * k], vec![0.0; m]);
            quantize_rows(Mat::new(&x, m, k).unwrap(), None, &mut values, &mut scales).unwrap();
            results.extend(values.iter().map(|&x| f32::from(x)));
            results.extend(scales);
        }
        bits(&results)
    });
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let (n, k) = (70, 900);
    let (a, b) = (Factor::new(40, k, k, None, 11), Factor::new(n, k, k, Some(128), 12));
    let all = product(a.view(), b.view(), Epilogue::default()).unwrap();
    for row in [0, 17, 39] {
        let values = Mat::new(&a.values[row * k..][..k], 1, k).unwrap();
        let one = Quantized::new(values, &a.scales[row..=row], None).unwrap();
        let got = product(one, b.view(), Epilogue::default()).unwrap();
        assert_same_bits(&got, &all[row * n..][..n], row);
    }
}

#[test]
fn quantisation_rounds_to_the_nearest_and_keeps_zeros() {
    for (rows, cols, group) in [
        (1, 1, None),
        (3, 7, None),
        (5, 100, Some(32)),
        (2, 33, Some(1)),
        (40, 300, Some(64)),
        (0, 5, None),
        (90, 700, Some(128)),
    ] {
        let mut x = Numbers::new(13).vector(rows * cols);
        if rows > 1 {
            x[..cols].fill(0.0);
        }
        let x = PageEnd::copied(&x);
        let groups = group.map_or(1, |group: usize| cols.div_ceil(group));
        let (mut values, mut scales) =
            (PageEnd::copied(&vec![99i8; rows * cols]), PageEnd::copied(&vec![9.0f32; rows * groups]));
        let view = Mat::new(&x, rows, cols).unwrap();
        quantize_rows(view, group, &mut values, &mut scales).unwrap();
        let q = Quantized::new(Mat::new(&values, rows, cols).unwrap(), &scales, group).unwrap();
        let mut back = PageEnd::copied(&vec![f32::NAN; rows * cols]);
        dequantize(q, MatMut::new(&mut back, rows, cols).unwrap()).unwrap();
        for i in 0..rows {
            for (g, x) in x[i * cols..][..cols].chunks(q.group()).enumerate() {
                let (scale, at) = (scales[i * groups + g], i * cols + g * q.group());
                let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                assert_eq!(scale, most / 127.0);
                for (j, &x) in x.iter().enumerate() {
                    let value = values[at + j];
                    let want = if scale == 0.0 { 0.0 } else { (x / scale).round_ties_even() };
                    assert_eq!(f32::from(value), want, "row {i}, group {g}");
                    assert_eq!(back[at + j], scale * f32::from(value));
                    assert_eq!(
                        f64::from(back[at + j]) as f32,
                        twin::int8::number(q, i, at + j - i * cols) as f32
                    );
                    let error = (f64::from(x) - f64::from(scale) * f64::from(value)).abs();
                    assert!(error <= f64::from(scale) / 2.0 * (1.0 + 2f64.powi(-15)));
                }
            }
        }
    }
    // Ties, signs, and the smallest numbers, whose scale is 0.
    let (mut values, mut scales) = ([9i8; 5], [9.0f32; 1]);
    let x = [127.0, 0.5, 1.5, -2.5, -127.0];
    quantize_rows(Mat::new(&x, 1, 5).unwrap(), None, &mut values, &mut scales).unwrap();
    assert_eq!((values, scales), ([127, 0, 2, -2, -127], [1.0]));
    let x = [1e-45, 0.0, -0.0, -1e-45, 3e-45];
    quantize_rows(Mat::new(&x, 1, 5).unwrap(), None, &mut values, &mut scales).unwrap();
    assert_eq!((values, scales), ([0; 5], [0.0]));
    // Scales that lose bits.
    for exponent in 119..150 {
        let x = Numbers::new(exponent).vector(40);
        let x: Vec<f32> = x.iter().map(|&x| (f64::from(x) * 0.5f64.powi(exponent as i32)) as f32).collect();
        let (mut values, mut scales) = ([9i8; 40], [9.0f32; 1]);
        quantize_rows(Mat::new(&x, 1, 40).unwrap(), None, &mut values, &mut scales).unwrap();
        let scale = f64::from(scales[0]);
        let bound = (scale / 2.0 * (1.0 + 2f64.powi(-15))).max(2f64.powi(-142));
        let error = |(x, value): (&f32, &i8)| (f64::from(*x) - scale * f64::from(*value)).abs();
        assert!(x.iter().zip(&values).map(error).all(|error| error <= bound), "2^-{exponent}");
    }
    let x = [f32::MAX, f32::MIN, 0.0, 1.0, -f32::MAX / 4.0];
    quantize_rows(Mat::new(&x, 1, 5).unwrap(), None, &mut values, &mut scales).unwrap();
    assert_eq!(values, [127, -127, 0, 0, -32]);
}

/// A single row's stride leads nowhere, so any will do.
#[test]
fn one_row_may_have_any_stride() {
    for (cols, stride) in [(5, 1 << 59), (1024, 1 << 59), (1024, usize::MAX), (1, usize::MAX)] {
        let values = vec![3; cols];
        let q = Quantized::new(Mat::strided(&values, 1, cols, stride).unwrap(), &[2.0], None).unwrap();
        let mut out = vec![0.0; cols];
        dequantize(q, MatMut::strided(&mut out, 1, cols, stride).unwrap()).unwrap();
        assert_eq!(out, vec![6.0; cols], "{cols} at {stride}");
        let (got, want) = (product(q, q, Epilogue::default()).unwrap(), [36.0 * cols as f32]);
        assert_eq!(got, want, "{cols} at {stride}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let (mut values, mut scales) = ([5i8; 6], [5.0f32; 2]);
    for (bad, at) in [(f32::NAN, 4), (f32::INFINITY, 0), (f32::NEG_INFINITY, 5)] {
        let mut x = [1.0; 6];
        x[at] = bad;
        let refused = quantize_rows(Mat::new(&x, 2, 3).unwrap(), None, &mut values, &mut scales);
        assert_eq!(refused, Err(QuantizeError::NotFinite { row: at / 3, col: at % 3 }));
    }
    let x = Mat::new(&[1.0f32; 6], 2, 3).unwrap();
    for (group, len, count) in [(None, 5, 2), (None, 6, 3), (Some(0), 6, 2), (Some(2), 6, 2)] {
        let (mut values, mut scales) = ([5i8; 6], [5.0f32; 3]);
        let refused = quantize_rows(x, group, &mut values[..len], &mut scales[..count]);
        assert!(matches!(refused, Err(QuantizeError::Shape(_))), "{group:?}: {refused:?}");
        assert_eq!((values, scales), ([5; 6], [5.0; 3]));
    }
    assert_eq!((values, scales), ([5; 6], [5.0; 2]));

    let numbers = [1i8; 12];
    let q = |rows, cols, scales, group| {
        Quantized::new(Mat::new(&numbers[..rows * cols], rows, cols).unwrap(), scales, group)
    };
    assert!(q(2, 3, &[1.0; 3], None).is_err());
    assert!(q(2, 3, &[1.0; 2], Some(2)).is_err());
    assert!(matches!(q(2, 3, &[1.0; 2], Some(0)), Err(ShapeError::Zero { .. })));
    let mut c = [5.0f32; 6];
    let mut refused = |a, b, rows, cols| {
        let c = MatMut::new(&mut c[..rows * cols], rows, cols).unwrap();
        gemm_int8(GemmInt8 { a, b, c, epilogue: Epilogue::default() }).unwrap_err()
    };
    let a = q(2, 3, &[1.0; 2], None).unwrap();
    let by_two = q(2, 3, &[1.0; 4], Some(2)).unwrap();
    let by_one = q(2, 3, &[1.0; 6], Some(1)).unwrap();
    assert!(matches!(refused(a, q(2, 4, &[1.0; 2], None).unwrap(), 2, 2), ShapeError::Mismatch { .. }));
    assert!(matches!(refused(a, a, 3, 2), ShapeError::Mismatch { what: "a product's rows of c", .. }));
    assert!(matches!(refused(a, a, 2, 3), ShapeError::Mismatch { what: "a product's columns of c", .. }));
    let unequal = refused(by_two, by_one, 2, 2);
    assert!(matches!(unequal, ShapeError::Mismatch { what: "columns in a group of b", .. }), "{unequal:?}");
    assert_eq!(c, [5.0; 6]);
}
