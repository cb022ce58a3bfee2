//! Promises of the f64 twins: gradients are the slopes of the forward functions, known values come out, and wrong
//! shapes are refused.

use upbeat_kernels::twin::activation::{gelu, silu};
use upbeat_kernels::{
    Activation, AdamW, AttentionShape, Element, Epilogue, Gemm, Mat, MatMut, RopeShape, ShapeError, Write,
};

/// Numbers in -1..1 that look random and depend on nothing but `seed` and the index.
fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Checks `gradient` against central differences of `Σ f(x)·dy`.
fn check_slope(what: &str, x: &[f64], dy: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) {
    let step = 1e-5;
    let value = |x: &[f64]| f(x).iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>();
    assert_eq!(x.len(), gradient.len(), "{what}");
    for i in 0..x.len() {
        let mut moved = x.to_vec();
        moved[i] = x[i] + step;
        let up = value(&moved);
        moved[i] = x[i] - step;
        let slope = (up - value(&moved)) / (2.0 * step);
        let error = (slope - gradient[i]).abs();
        assert!(error < 1e-8 * (1.0 + slope.abs()), "{what}[{i}]: {} is not {slope}", gradient[i]);
    }
}

fn out(len: usize, f: impl FnOnce(&mut [f64]) -> Result<(), ShapeError>) -> Vec<f64> {
    let mut out = vec![0.0; len];
    f(&mut out).unwrap();
    out
}

#[test]
fn gemm_multiplies_every_orientation_and_applies_its_epilogue() {
    let (m, k, n) = (5, 7, 3);
    let (a, b, bias, residual) = (noise(1, m * k), noise(2, k * n), noise(3, n), noise(4, m * n));
    for (transpose_a, transpose_b, write) in [
        (false, false, Write::Add),
        (false, true, Write::Overwrite),
        (true, false, Write::Add),
        (true, true, Write::Add),
    ] {
        let at = |i: usize, kk: usize| if transpose_a { a[kk * m + i] } else { a[i * k + kk] };
        let bt = |kk: usize, j: usize| if transpose_b { b[j * k + kk] } else { b[kk * n + j] };
        let dims = |flip, r, c| if flip { (c, r) } else { (r, c) };
        let ((ar, ac), (br, bc)) = (dims(transpose_a, m, k), dims(transpose_b, k, n));
        let mut c = if write == Write::Add { noise(5, m * n) } else { vec![f64::NAN; m * n] };
        let old = c.clone();
        f64::gemm(Gemm {
            a: Mat::new(&a, ar, ac).unwrap(),
            transpose_a,
            b: Mat::new(&b, br, bc).unwrap(),
            transpose_b,
            c: MatMut::new(&mut c, m, n).unwrap(),
            write,
            epilogue: Epilogue {
                bias: Some(&bias),
                activation: Activation::Gelu,
                residual: Some(Mat::new(&residual, m, n).unwrap()),
                ..Epilogue::default()
            },
        })
        .unwrap();
        for i in 0..m {
            for j in 0..n {
                let product: f64 = (0..k).map(|kk| at(i, kk) * bt(kk, j)).sum();
                let mut expected = gelu(product + bias[j]) + residual[i * n + j];
                if write == Write::Add {
                    expected += old[i * n + j];
                }
                assert!((c[i * n + j] - expected).abs() < 1e-14, "{transpose_a} {transpose_b} {i} {j}");
            }
        }
    }
}

#[test]
fn gradients_of_attention_are_slopes() {
    for (batch, seq, heads, dim, causal) in [(2, 5, 2, 3, true), (1, 4, 3, 2, false), (1, 1, 1, 1, true)] {
        let shape = AttentionShape { batch, seq, heads, dim, causal };
        let qkv = noise(1, batch * seq * 3 * heads * dim);
        let d_out = noise(2, batch * seq * heads * dim);
        let run = |qkv: &[f64]| {
            let mut lse = vec![0.0; batch * heads * seq];
            let out = out(d_out.len(), |out| f64::attention_forward(shape, qkv, out, &mut lse));
            (out, lse)
        };
        let (o, lse) = run(&qkv);
        let d = out(qkv.len(), |d| f64::attention_backward(shape, &qkv, &o, &lse, &d_out, d));
        check_slope("d_qkv", &qkv, &d_out, &d, |qkv| run(qkv).0);
    }
}

#[test]
fn decode_is_the_last_row_of_attention() {
    let (seq, heads, dim) = (6, 2, 4);
    let shape = AttentionShape { batch: 1, seq, heads, dim, causal: true };
    let qkv = noise(9, seq * 3 * heads * dim);
    let mut lse = vec![0.0; heads * seq];
    let all = out(seq * heads * dim, |out| f64::attention_forward(shape, &qkv, out, &mut lse));
    let width = heads * dim;
    let part = |p: usize| -> Vec<f64> {
        (0..seq).flat_map(|t| qkv[(t * 3 + p) * width..][..width].to_vec()).collect()
    };
    let (q, keys, values) = (part(0), part(1), part(2));
    let last =
        out(width, |out| f64::attention_decode(heads, dim, &q[(seq - 1) * width..], &keys, &values, out));
    for (a, b) in last.iter().zip(&all[(seq - 1) * width..]) {
        assert!((a - b).abs() < 1e-15);
    }
}

#[test]
fn gradients_of_norms_are_slopes() {
    let (rows, cols, epsilon) = (3, 5, 1e-5);
    let (x, weight, bias, dy) = (noise(1, 15), noise(2, cols), noise(3, cols), noise(4, 15));
    let layer = |x: &[f64], weight: &[f64], bias: &[f64]| {
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let y = out(15, |y| f64::layer_norm_forward(x, weight, Some(bias), epsilon, y, &mut mean, &mut rstd));
        (y, mean, rstd)
    };
    let (_, mean, rstd) = layer(&x, &weight, &bias);
    let (mut dx, mut dw, mut db) = (vec![f64::NAN; 15], vec![0.0; cols], vec![0.0; cols]);
    let write = Write::Overwrite;
    f64::layer_norm_backward(&dy, &x, &weight, &mean, &rstd, &mut dx, write, &mut dw, Some(&mut db)).unwrap();
    check_slope("layer dx", &x, &dy, &dx, |x| layer(x, &weight, &bias).0);
    check_slope("layer dw", &weight, &dy, &dw, |w| layer(&x, w, &bias).0);
    check_slope("layer db", &bias, &dy, &db, |b| layer(&x, &weight, b).0);

    let rms = |x: &[f64], weight: &[f64]| {
        let mut rstd = vec![0.0; rows];
        let y = out(15, |y| f64::rms_norm_forward(x, weight, epsilon, y, &mut rstd));
        (y, rstd)
    };
    let (_, rstd) = rms(&x, &weight);
    let (mut dx, mut dw) = (vec![f64::NAN; 15], vec![0.0; cols]);
    f64::rms_norm_backward(&dy, &x, &weight, &rstd, &mut dx, Write::Overwrite, &mut dw).unwrap();
    check_slope("rms dx", &x, &dy, &dx, |x| rms(x, &weight).0);
    check_slope("rms dw", &weight, &dy, &dw, |w| rms(&x, w).0);
}

#[test]
fn gradients_of_activations_are_slopes() {
    let (x, dy): (Vec<f64>, _) = (noise(1, 40).iter().map(|x| 4.0 * x).collect(), noise(2, 40));
    let d = out(40, |d| f64::gelu_backward(&dy, &x, d, Write::Overwrite));
    check_slope("gelu", &x, &dy, &d, |x| out(40, |y| f64::gelu_forward(x, y)));
    let d = out(40, |d| f64::silu_backward(&dy, &x, d, Write::Overwrite));
    check_slope("silu", &x, &dy, &d, |x| out(40, |y| f64::silu_forward(x, y)));
    let d = out(40, |d| f64::swiglu_backward(&dy[..20], &x, 5, d, Write::Overwrite));
    check_slope("swiglu", &x, &dy[..20], &d, |x| out(20, |y| f64::swiglu_forward(x, 5, y)));
}

#[test]
fn gradients_of_softmax_and_cross_entropy_are_slopes() {
    let (x, dy) = (noise(1, 21), noise(2, 21));
    let y = out(21, |y| f64::softmax_forward(&x, 7, y));
    let d = out(21, |d| f64::softmax_backward(&dy, &y, 7, d, Write::Overwrite));
    check_slope("softmax", &x, &dy, &d, |x| out(21, |y| f64::softmax_forward(x, 7, y)));
    let targets = [6, 0, 3];
    let mut lse = [0.0; 3];
    f64::cross_entropy_forward(&x, 7, &targets, &mut lse).unwrap();
    let d = out(21, |d| f64::cross_entropy_backward(&x, 7, &targets, &lse, 1.0 / 3.0, d, Write::Overwrite));
    let loss = |x: &[f64]| vec![f64::cross_entropy_forward(x, 7, &targets, &mut [0.0; 3]).unwrap()];
    check_slope("cross-entropy", &x, &[1.0], &d, loss);
    let uniform = f64::cross_entropy_forward(&[2.0; 21], 7, &targets, &mut lse).unwrap();
    assert!((uniform - 7f64.ln()).abs() < 1e-15, "{uniform}");
}

#[test]
fn gradients_of_rope_and_embedding_are_slopes() {
    let shape = RopeShape { seq: 3, first: 2, heads: 3, rotate: 2, dim: 4, base: 100.0 };
    let (x, dy) = (noise(1, 4 * 12 + 2 * 12), noise(2, 72));
    let d = out(72, |d| f64::rope_backward(&dy, shape, d, Write::Overwrite));
    check_slope("rope", &x, &dy, &d, |x| out(72, |y| f64::rope_forward(x, shape, y)));
    let ids = [1, 4, 1];
    let d = out(15, |d| f64::embedding_backward(&dy[..9], 3, &ids, d));
    check_slope("embedding", &x[..15], &dy[..9], &d, |x| out(9, |y| f64::embedding_forward(x, 3, &ids, y)));
}

#[test]
fn rope_keeps_lengths_and_turns_by_position() {
    let shape = RopeShape { seq: 4, first: 0, heads: 1, rotate: 1, dim: 2, base: 10_000.0 };
    let y = out(8, |y| f64::rope_forward(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], shape, y));
    for (t, y) in y.chunks(2).enumerate() {
        let (sin, cos) = (t as f64).sin_cos();
        assert!((y[0] - cos).abs() < 1e-15 && (y[1] - sin).abs() < 1e-15);
    }
}

#[test]
fn activations_keep_their_limits_and_their_tail() {
    for f in [gelu, silu] {
        assert_eq!((f(f64::NEG_INFINITY), f(0.0), f(f64::INFINITY)), (0.0, 0.0, f64::INFINITY));
        assert!(f(f64::NAN).is_nan() && f(-10.0) < 0.0);
    }
    // Φ(-8) = 6.220960574271784e-16
    assert!((gelu(-8.0) / (-8.0 * 6.220960574271784e-16) - 1.0).abs() < 1e-14);
}

#[test]
fn masked_rows_give_zeros_and_nan_spreads_over_its_row() {
    let x = [f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, f64::NEG_INFINITY, 3.0];
    let y = out(6, |y| f64::softmax_forward(&x, 2, y));
    assert_eq!((y[0], y[1], y[4], y[5]), (0.0, 0.0, 0.0, 1.0));
    assert!(y[2].is_nan() && y[3].is_nan());
}

#[test]
fn adamw_moves_against_the_gradient_by_the_learning_rate_at_first() {
    let step = AdamW {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 0.0,
        weight_decay: 0.5,
        step: 1,
        gradient_scale: 0.25,
    };
    let (mut p, mut m, mut v) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
    f64::adamw_step(&step, &mut p, &[8.0, -4.0], &mut m, &mut v).unwrap();
    // m̂/√v̂ is the sign of the gradient at the first step.
    assert!((p[0] - (0.95 - 0.1)).abs() < 1e-15 && (p[1] - (-1.9 + 0.1)).abs() < 1e-15);
    assert!((m[0] - 0.1 * 2.0).abs() < 1e-15 && (v[0] - 0.01 * 4.0).abs() < 1e-15);
}
