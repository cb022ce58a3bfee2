//! Promises of the kernels on bf16: operands are taken as they are, everything is computed in f32, and each result is
//! rounded once, so it lies within 2⁻⁸ of the f64 twin's for the same numbers; statistics and sums over rows are not
//! rounded at all; wrong shapes change nothing; no bit depends on the number of workers.

mod common;

use common::Numbers;
use upbeat_kernels::{
    bf16, Activation, AttentionShape, Element, Epilogue, Gemm, Mat, MatMut, RopeShape, ShapeError, Write,
};

/// Most that a rounding to bf16 changes a number, relative to it.
const ROUNDING: f64 = 1.0 / 256.0;
/// What f32 arithmetic may add, relative to the largest result.
const ARITHMETIC: f64 = 2e-5;
const WRITES: [Write; 2] = [Write::Overwrite, Write::Add];

fn numbers(seed: u64, len: usize) -> Vec<bf16> {
    Numbers::new(seed).vector(len).into_iter().map(|x| bf16::from_f32(2.0 * x)).collect()
}

fn exact<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

fn agree<T: Element>(name: &str, found: &[T], truth: &[f64], rounding: f64) {
    assert_eq!(found.len(), truth.len(), "{name}");
    let largest = truth.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    for (i, (found, truth)) in exact(found).iter().zip(truth).enumerate() {
        let allowed = rounding * truth.abs() + ARITHMETIC * largest;
        assert!((found - truth).abs() <= allowed, "{name}[{i}] is {found}, not {truth}");
    }
}

/// `out` is within one rounding of `truth`.
fn once(name: &str, found: &[bf16], truth: &[f64]) {
    agree(name, found, truth, ROUNDING);
}

/// `out` was not rounded to bf16.
fn unrounded(name: &str, found: &[f32], truth: &[f64]) {
    agree(name, found, truth, 0.0);
}

/// Runs `kernel` on bf16 and `twin` on the same numbers in f64, overwriting and adding.
fn compare(
    name: &str,
    len: usize,
    kernel: impl Fn(&mut [bf16], Write) -> Result<(), ShapeError>,
    twin: impl Fn(&mut [f64], Write) -> Result<(), ShapeError>,
) {
    for write in WRITES {
        let mut out = if write == Write::Add { numbers(77, len) } else { vec![bf16::NAN; len] };
        let mut truth = exact(&out);
        kernel(&mut out, write).unwrap();
        twin(&mut truth, write).unwrap();
        once(name, &out, &truth);
    }
}

#[test]
fn products_are_rounded_once() {
    for (m, n, k) in [(1, 1, 1), (5, 7, 9), (33, 20, 65), (3, 0, 2), (2, 3, 0), (70, 65, 130)] {
        for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let (a, b, bias, residual) =
                (numbers(1, m * k), numbers(2, k * n), numbers(3, n), numbers(4, m * n));
            let (wide_a, wide_b) = (exact(&a), exact(&b));
            let (wide_bias, wide_residual) = (exact(&bias), exact(&residual));
            let (ra, ca) = if transpose_a { (k, m) } else { (m, k) };
            let (rb, cb) = if transpose_b { (n, k) } else { (k, n) };
            for (activation, fused) in [(Activation::Identity, false), (Activation::Silu, true)] {
                compare(
                    "gemm",
                    m * n,
                    |c, write| {
                        bf16::gemm(Gemm {
                            a: Mat::new(&a, ra, ca)?,
                            transpose_a,
                            b: Mat::new(&b, rb, cb)?,
                            transpose_b,
                            c: MatMut::new(c, m, n)?,
                            write,
                            epilogue: Epilogue {
                                scale: fused.then_some(bf16::from_f32(0.25)),
                                bias: fused.then_some(&bias),
                                activation,
                                residual: if fused { Some(Mat::new(&residual, m, n)?) } else { None },
                            },
                        })
                    },
                    |c, write| {
                        f64::gemm(Gemm {
                            a: Mat::new(&wide_a, ra, ca)?,
                            transpose_a,
                            b: Mat::new(&wide_b, rb, cb)?,
                            transpose_b,
                            c: MatMut::new(c, m, n)?,
                            write,
                            epilogue: Epilogue {
                                scale: fused.then_some(0.25),
                                bias: fused.then_some(&wide_bias),
                                activation,
                                residual: if fused { Some(Mat::new(&wide_residual, m, n)?) } else { None },
                            },
                        })
                    },
                );
            }
            let (mut sum, mut truth) = (vec![0.5f32; m * n], vec![0.5; m * n]);
            for write in [Write::Add, Write::Overwrite, Write::Add] {
                let c = MatMut::new(&mut sum, m, n).unwrap();
                let (a, b) = (Mat::new(&a, ra, ca).unwrap(), Mat::new(&b, rb, cb).unwrap());
                bf16::gemm_wide(a, transpose_a, b, transpose_b, c, write).unwrap();
                let c = MatMut::new(&mut truth, m, n).unwrap();
                let (a, b) = (Mat::new(&wide_a, ra, ca).unwrap(), Mat::new(&wide_b, rb, cb).unwrap());
                f64::gemm_wide(a, transpose_a, b, transpose_b, c, write).unwrap();
                unrounded("gemm_wide", &sum, &truth);
            }
        }
    }
}

#[test]
fn a_strided_product_leaves_what_lies_between_its_rows() {
    let (a, b) = (numbers(5, 4 * 9), numbers(6, 5 * 3));
    let mut c = vec![bf16::MAX; 4 * 7];
    let gemm = Gemm {
        a: Mat::strided(&a, 4, 5, 9).unwrap(),
        transpose_a: false,
        b: Mat::new(&b, 5, 3).unwrap(),
        transpose_b: false,
        c: MatMut::strided(&mut c, 4, 3, 7).unwrap(),
        write: Write::Overwrite,
        epilogue: Epilogue::default(),
    };
    bf16::gemm(gemm).unwrap();
    for i in 0..4 {
        let sum = |j: usize| (0..5).map(|k| a[i * 9 + k].to_f64() * b[k * 3 + j].to_f64()).sum();
        once("a row", &c[i * 7..][..3], &(0..3).map(sum).collect::<Vec<f64>>());
        assert!(c[i * 7 + 3..][..4].iter().all(|x| *x == bf16::MAX), "row {i}");
    }
}

#[test]
fn attention_is_rounded_once() {
    for causal in [false, true] {
        let shape = AttentionShape { batch: 3, seq: 37, heads: 2, dim: 8, causal };
        let len = 3 * 37 * 2 * 8;
        let (qkv, d_out) = (numbers(7, 3 * len), numbers(8, len));
        let (mut out, mut lse) = (vec![bf16::NAN; len], vec![f32::NAN; 3 * 2 * 37]);
        bf16::attention_forward(shape, &qkv, &mut out, &mut lse).unwrap();
        let (mut truth, mut true_lse) = (vec![0.0; len], vec![0.0; 3 * 2 * 37]);
        f64::attention_forward(shape, &exact(&qkv), &mut truth, &mut true_lse).unwrap();
        once("attention", &out, &truth);
        unrounded("lse", &lse, &true_lse);
        let mut d_qkv = vec![bf16::NAN; 3 * len];
        bf16::attention_backward(shape, &qkv, &out, &lse, &d_out, &mut d_qkv).unwrap();
        let mut truth = vec![0.0; 3 * len];
        f64::attention_backward(shape, &exact(&qkv), &exact(&out), &exact(&lse), &exact(&d_out), &mut truth)
            .unwrap();
        once("attention backward", &d_qkv, &truth);
    }
    let (q, keys, values) = (numbers(9, 16), numbers(10, 16 * 21), numbers(11, 16 * 21));
    let (mut out, mut truth) = ([bf16::NAN; 16], [0.0; 16]);
    bf16::attention_decode(2, 8, &q, &keys, &values, &mut out).unwrap();
    f64::attention_decode(2, 8, &exact(&q), &exact(&keys), &exact(&values), &mut truth).unwrap();
    once("decode", &out, &truth);
}

#[test]
fn norms_are_rounded_once_and_their_sums_are_not() {
    for (rows, cols) in [(1, 1), (4, 7), (33, 130), (300, 64)] {
        let (x, dy) = (numbers(12, rows * cols), numbers(13, rows * cols));
        let (weight, bias) = (numbers(14, cols), numbers(15, cols));
        let [wide_x, wide_dy, wide_weight, wide_bias] = [&x, &dy, &weight, &bias].map(|x| exact(x));
        let (mut mean, mut rstd) = (vec![0.0f32; rows], vec![0.0f32; rows]);
        let (mut out, mut truth) = (vec![bf16::NAN; rows * cols], vec![0.0; rows * cols]);
        bf16::layer_norm_forward(&x, &weight, Some(&bias), 1e-2, &mut out, &mut mean, &mut rstd).unwrap();
        let (mut true_mean, mut true_rstd) = (vec![0.0; rows], vec![0.0; rows]);
        f64::layer_norm_forward(
            &wide_x,
            &wide_weight,
            Some(&wide_bias),
            1e-2,
            &mut truth,
            &mut true_mean,
            &mut true_rstd,
        )
        .unwrap();
        once("LayerNorm", &out, &truth);
        unrounded("mean", &mean, &true_mean);
        unrounded("rstd", &rstd, &true_rstd);
        let sums = std::cell::RefCell::new((vec![0.0f32; cols], vec![0.0f32; cols]));
        let true_sums = std::cell::RefCell::new((vec![0.0f64; cols], vec![0.0f64; cols]));
        compare(
            "LayerNorm backward",
            rows * cols,
            |dx, write| {
                let (d_weight, d_bias) = &mut *sums.borrow_mut();
                bf16::layer_norm_backward(&dy, &x, &weight, &mean, &rstd, dx, write, d_weight, Some(d_bias))
            },
            |dx, write| {
                let (d_weight, d_bias) = &mut *true_sums.borrow_mut();
                let (mean, rstd) = (exact(&mean), exact(&rstd));
                f64::layer_norm_backward(
                    &wide_dy,
                    &wide_x,
                    &wide_weight,
                    &mean,
                    &rstd,
                    dx,
                    write,
                    d_weight,
                    Some(d_bias),
                )
            },
        );
        unrounded("d_weight", &sums.borrow().0, &true_sums.borrow().0);
        unrounded("d_bias", &sums.borrow().1, &true_sums.borrow().1);

        bf16::rms_norm_forward(&x, &weight, 1e-2, &mut out, &mut rstd).unwrap();
        f64::rms_norm_forward(&wide_x, &wide_weight, 1e-2, &mut truth, &mut true_rstd).unwrap();
        once("RMSNorm", &out, &truth);
        unrounded("RMSNorm's rstd", &rstd, &true_rstd);
        compare(
            "RMSNorm backward",
            rows * cols,
            |dx, write| {
                let d_weight = &mut sums.borrow_mut().0;
                bf16::rms_norm_backward(&dy, &x, &weight, &rstd, dx, write, d_weight)
            },
            |dx, write| {
                let d_weight = &mut true_sums.borrow_mut().0;
                f64::rms_norm_backward(&wide_dy, &wide_x, &wide_weight, &exact(&rstd), dx, write, d_weight)
            },
        );
        unrounded("RMSNorm's d_weight", &sums.borrow().0, &true_sums.borrow().0);
    }
}

#[test]
fn element_wise_kernels_are_rounded_once() {
    for len in [0, 1, 12, 300, 12 * 1500] {
        let (x, y) = (numbers(16, len), numbers(17, len));
        let (wide_x, wide_y) = (exact(&x), exact(&y));
        type Unary<T> = fn(&[T], &mut [T]) -> Result<(), ShapeError>;
        let unary: [(&str, Unary<bf16>, Unary<f64>); 2] = [
            ("GELU", bf16::gelu_forward, f64::gelu_forward),
            ("SiLU", bf16::silu_forward, f64::silu_forward),
        ];
        for (name, kernel, twin) in unary {
            let (mut out, mut truth) = (vec![bf16::NAN; len], vec![0.0; len]);
            kernel(&x, &mut out).unwrap();
            twin(&wide_x, &mut truth).unwrap();
            once(name, &out, &truth);
        }
        compare(
            "GELU'",
            len,
            |o, w| bf16::gelu_backward(&y, &x, o, w),
            |o, w| f64::gelu_backward(&wide_y, &wide_x, o, w),
        );
        compare(
            "SiLU'",
            len,
            |o, w| bf16::silu_backward(&y, &x, o, w),
            |o, w| f64::silu_backward(&wide_y, &wide_x, o, w),
        );
        let (mut sum, mut truth) = (vec![bf16::NAN; len], vec![0.0; len]);
        bf16::add(&x, &y, &mut sum).unwrap();
        f64::add(&wide_x, &wide_y, &mut truth).unwrap();
        once("add", &sum, &truth);
        bf16::mul(&x, &y, &mut sum).unwrap();
        f64::mul(&wide_x, &wide_y, &mut truth).unwrap();
        once("mul", &sum, &truth);
        let mut truth = exact(&sum);
        bf16::add_scaled(&x, -1.5, &mut sum).unwrap();
        f64::add_scaled(&wide_x, -1.5, &mut truth).unwrap();
        once("add_scaled", &sum, &truth);
        let bias = numbers(18, 12);
        if len.is_multiple_of(12) {
            bf16::add_bias(&x, &bias, &mut sum).unwrap();
            f64::add_bias(&wide_x, &exact(&bias), &mut truth).unwrap();
            once("add_bias", &sum, &truth);
            let (mut sums, mut true_sums) = ([1.0f32; 12], [1.0; 12]);
            bf16::sum_rows(&x, &mut sums).unwrap();
            f64::sum_rows(&wide_x, &mut true_sums).unwrap();
            unrounded("sum_rows", &sums, &true_sums);
        }
        let mut sums = vec![0.25f32; len];
        bf16::add_to_wide(&x, &mut sums).unwrap();
        let truth: Vec<f64> = wide_x.iter().map(|x| 0.25 + x).collect();
        unrounded("add_to_wide", &sums, &truth);
        let squares: f64 = wide_x.iter().map(|x| x * x).sum();
        assert!((bf16::sum_of_squares(&x) - squares).abs() <= 1e-6 * squares);
    }
}

#[test]
fn kernels_on_rows_are_rounded_once() {
    for (rows, cols) in [(0, 6), (1, 2), (5, 12), (900, 24)] {
        let (x, dy, half) =
            (numbers(19, rows * cols), numbers(20, rows * cols), numbers(21, rows * cols / 2));
        let (wide_x, wide_dy, wide_half) = (exact(&x), exact(&dy), exact(&half));
        let (mut y, mut truth) = (vec![bf16::NAN; rows * cols], vec![0.0; rows * cols]);
        bf16::softmax_forward(&x, cols, &mut y).unwrap();
        f64::softmax_forward(&wide_x, cols, &mut truth).unwrap();
        once("softmax", &y, &truth);
        let wide_y = exact(&y);
        compare(
            "softmax backward",
            rows * cols,
            |dx, write| bf16::softmax_backward(&dy, &y, cols, dx, write),
            |dx, write| f64::softmax_backward(&wide_dy, &wide_y, cols, dx, write),
        );
        let width = cols / 2;
        let (mut gated, mut truth) = (vec![bf16::NAN; rows * width], vec![0.0; rows * width]);
        bf16::swiglu_forward(&x, width, &mut gated).unwrap();
        f64::swiglu_forward(&wide_x, width, &mut truth).unwrap();
        once("SwiGLU", &gated, &truth);
        compare(
            "SwiGLU backward",
            rows * cols,
            |dx, write| bf16::swiglu_backward(&half, &x, width, dx, write),
            |dx, write| f64::swiglu_backward(&wide_half, &wide_x, width, dx, write),
        );
        let shape = RopeShape { seq: 3, first: 4, heads: cols / 2, rotate: cols / 2, dim: 2, base: 100.0 };
        let mut truth = vec![0.0; rows * cols];
        bf16::rope_forward(&x, shape, &mut y).unwrap();
        f64::rope_forward(&wide_x, shape, &mut truth).unwrap();
        once("RoPE", &y, &truth);
        compare(
            "RoPE backward",
            rows * cols,
            |dx, write| bf16::rope_backward(&dy, shape, dx, write),
            |dx, write| f64::rope_backward(&wide_dy, shape, dx, write),
        );
        let targets: Vec<u32> = (0..rows).map(|i| (i % cols) as u32).collect();
        let (mut lse, mut true_lse) = (vec![0.0f32; rows], vec![0.0; rows]);
        let loss = bf16::cross_entropy_forward(&x, cols, &targets, &mut lse).unwrap();
        let true_loss = f64::cross_entropy_forward(&wide_x, cols, &targets, &mut true_lse).unwrap();
        assert!((loss - true_loss).abs() < 1e-5 || rows == 0, "the loss is not rounded: {loss}, {true_loss}");
        unrounded("cross-entropy's lse", &lse, &true_lse);
        compare(
            "cross-entropy backward",
            rows * cols,
            |dx, write| bf16::cross_entropy_backward(&x, cols, &targets, &lse, 0.5, dx, write),
            |dx, write| f64::cross_entropy_backward(&wide_x, cols, &targets, &exact(&lse), 0.5, dx, write),
        );
    }
}

#[test]
fn embedded_rows_are_copies_and_their_gradients_are_sums_in_f32() {
    let (table, ids) = (numbers(22, 5 * 3), [4, 0, 4, 2]);
    let mut out = [bf16::NAN; 12];
    bf16::embedding_forward(&table, 3, &ids, &mut out).unwrap();
    for (row, id) in out.chunks(3).zip(ids) {
        assert_eq!(row, &table[3 * id as usize..][..3]);
    }
    let mut d_table = [0.125f32; 15];
    bf16::embedding_backward(&out, 3, &ids, &mut d_table).unwrap();
    let mut truth = [0.125; 15];
    f64::embedding_backward(&exact(&out), 3, &ids, &mut truth).unwrap();
    unrounded("the table's gradient", &d_table, &truth);
}

#[test]
fn wrong_shapes_change_nothing() {
    let (x, seven) = (numbers(23, 12), numbers(24, 7));
    let mut out = vec![bf16::MAX; 12];
    assert!(bf16::gelu_forward(&seven, &mut out).is_err());
    assert!(bf16::add(&x, &seven, &mut out).is_err());
    assert!(bf16::softmax_forward(&x, 5, &mut out).is_err());
    assert!(bf16::softmax_backward(&x, &seven, 6, &mut out, Write::Add).is_err());
    assert!(bf16::swiglu_backward(&x, &x, 3, &mut out, Write::Add).is_err());
    assert!(bf16::add_bias(&x, &seven, &mut out).is_err());
    assert!(bf16::embedding_forward(&x, 3, &[4; 4], &mut out).is_err());
    let shape = AttentionShape { batch: 1, seq: 2, heads: 1, dim: 6, causal: true };
    let mut lse = [7.0f32; 3];
    assert!(bf16::attention_forward(shape, &numbers(25, 36), &mut out, &mut lse).is_err());
    let mismatched = Gemm {
        a: Mat::new(&x, 3, 4).unwrap(),
        transpose_a: false,
        b: Mat::new(&x, 3, 4).unwrap(),
        transpose_b: false,
        c: MatMut::new(&mut out, 3, 4).unwrap(),
        write: Write::Add,
        epilogue: Epilogue::default(),
    };
    assert!(bf16::gemm(mismatched).is_err());
    let mut mean = [7.0f32; 3];
    let mut rstd = [7.0f32; 2];
    assert!(bf16::layer_norm_forward(&x, &x[..4], None, 1e-5, &mut out, &mut mean, &mut rstd).is_err());
    assert!(out.iter().all(|x| *x == bf16::MAX));
    assert_eq!((lse, mean, rstd), ([7.0; 3], [7.0; 3], [7.0; 2]));
}

/// Bits of kernels that are cut into several tasks.
fn bits() -> Vec<u32> {
    let (x, dy) = (numbers(26, 24_000), numbers(27, 24_000));
    let mut bits: Vec<u32> = Vec::new();
    let mut out = vec![bf16::ZERO; 24_000];
    bf16::gelu_backward(&dy, &x, &mut out, Write::Overwrite).unwrap();
    bits.extend(out.iter().map(|x| u32::from(x.to_bits())));
    bf16::softmax_forward(&x, 96, &mut out).unwrap();
    bits.extend(out.iter().map(|x| u32::from(x.to_bits())));
    let shape = AttentionShape { batch: 5, seq: 50, heads: 2, dim: 16, causal: true };
    let (mut mixed, mut lse) = (vec![bf16::ZERO; 8000], vec![0.0; 500]);
    bf16::attention_forward(shape, &x, &mut mixed, &mut lse).unwrap();
    bf16::attention_backward(shape, &x, &mixed, &lse, &dy[..8000], &mut out).unwrap();
    bits.extend(out.iter().map(|x| u32::from(x.to_bits())));
    let mut product = vec![0.0f32; 120 * 120];
    let (a, b) = (Mat::new(&x, 200, 120).unwrap(), Mat::new(&dy, 200, 120).unwrap());
    let c = MatMut::new(&mut product, 120, 120).unwrap();
    bf16::gemm_wide(a, true, b, false, c, Write::Overwrite).unwrap();
    bits.extend(product.iter().map(|x| x.to_bits()));
    bits
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    common::same_on_any_workers("kernels on bf16", bits);
}

#[test]
fn at_every_level() {
    common::at_every_level();
}
