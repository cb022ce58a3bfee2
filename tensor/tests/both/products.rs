//! Products and linear layers.

use upbeat_tensor::{f16, Activation, Device, Tensor};

use crate::support::{check, devices, numbers, tensor, Bound};

/// Numbers are below 1, so that sums of `k` products stay below `k`; their roundings mostly cancel.
fn bound(k: usize) -> Bound {
    let absolute = 2e-6 + 1.2 * (k as f64 + 8.0) * f64::from(f32::EPSILON) * (k as f64).sqrt().max(2.0);
    Bound { absolute, relative: 1e-6 }
}

/// `op(A)·op(B)`, plainly.
fn product(a: &[f32], turn_a: bool, b: &[f32], turn_b: bool, [m, k, n]: [usize; 3]) -> Vec<f64> {
    let at = |x: &[f32], rows: usize, cols: usize, turn: bool, i: usize, j: usize| {
        f64::from(if turn { x[j * rows + i] } else { x[i * cols + j] })
    };
    let sum = |i, j| (0..k).map(|l| at(a, m, k, turn_a, i, l) * at(b, k, n, turn_b, l, j)).sum();
    (0..m * n).map(|c| sum(c / n, c % n)).collect()
}

fn turned(rows: usize, cols: usize, turn: bool) -> [usize; 2] {
    if turn {
        [cols, rows]
    } else {
        [rows, cols]
    }
}

#[test]
fn products_of_all_shapes_and_layouts() {
    for shape in
        [[1, 1, 1], [3, 5, 2], [4, 64, 33], [7, 0, 5], [0, 3, 4], [2, 3, 0], [65, 130, 129], [1, 300, 257]]
    {
        let [m, k, n] = shape;
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        for (turn_a, turn_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let exact = product(&a, turn_a, &b, turn_b, shape);
            check(&format!("{shape:?} {turn_a} {turn_b}"), &[m, n], &exact, bound(k), |device| {
                let a = tensor(&a, &turned(m, k, turn_a), device);
                let b = tensor(&b, &turned(k, n, turn_b), device);
                a.matmul_transposed(turn_a, &b, turn_b)
            });
        }
    }
}

#[test]
fn batches_of_products() {
    let ([m, k, n], count) = ([3, 10, 5], 6);
    let (a, b) = (numbers(count * m * k, 3), numbers(count * k * n, 4));
    for (turn_a, turn_b) in [(false, false), (true, false), (false, true), (true, true)] {
        for shared in [false, true] {
            let of_b = |i: usize| if shared { &b[..k * n] } else { &b[i * k * n..][..k * n] };
            let each = (0..count)
                .flat_map(|i| product(&a[i * m * k..][..m * k], turn_a, of_b(i), turn_b, [m, k, n]));
            let exact: Vec<_> = each.collect();
            let what = format!("a batch, {turn_a} {turn_b}, one right factor: {shared}");
            check(&what, &[2, 3, m, n], &exact, bound(k), |device| {
                let lead = |[rows, cols]: [usize; 2]| [2, 3, rows, cols];
                let a = tensor(&a, &lead(turned(m, k, turn_a)), device);
                let b = if shared {
                    tensor(&b[..k * n], &turned(k, n, turn_b), device)
                } else {
                    tensor(&b, &lead(turned(k, n, turn_b)), device)
                };
                a.matmul_transposed(turn_a, &b, turn_b)
            });
        }
    }
}

#[test]
fn linear_layers_with_all_their_parts() {
    let (m, k, n) = (6, 17, 9);
    let (x, w, bias, residual) = (numbers(m * k, 5), numbers(n * k, 6), numbers(n, 7), numbers(m * n, 8));
    for parts in 0..8 {
        let [with_bias, with_residual, relu] = [1, 2, 4].map(|bit| parts & bit != 0);
        let mut exact = product(&x, false, &w, true, [m, k, n]);
        for (c, y) in exact.iter_mut().enumerate() {
            *y += if with_bias { f64::from(bias[c % n]) } else { 0.0 };
            *y = if relu { y.max(0.0) } else { *y };
            *y += if with_residual { f64::from(residual[c]) } else { 0.0 };
        }
        check(&format!("linear, parts {parts:b}"), &[2, 3, n], &exact, bound(k), |device| {
            let bias = tensor(&bias, &[n], device);
            let residual = tensor(&residual, &[2, 3, n], device);
            let activation = if relu { Activation::Relu } else { Activation::Identity };
            let (bias, residual) = (with_bias.then_some(&bias), with_residual.then_some(&residual));
            tensor(&x, &[2, 3, k], device).linear(&tensor(&w, &[n, k], device), bias, activation, residual)
        });
    }
}

#[test]
fn weights_in_16_bits() {
    let (m, k, n) = (5, 21, 13);
    let (x, w) = (numbers(m * k, 9), numbers(n * k, 10));
    let narrow: Vec<f32> = w.iter().map(|&w| f16::from_f32(w).to_f32()).collect();
    let exact = product(&x, false, &narrow, true, [m, k, n]);
    check("a weight in f16", &[m, n], &exact, bound(k), |device| {
        let w = tensor(&w, &[n, k], device).to_f16()?;
        tensor(&x, &[m, k], device).linear(&w, None, Activation::Identity, None)
    });
    // Factors at odd places.
    let (a, b) = (numbers(3 * 2 * 5, 11), &narrow[..3 * 5 * 3]);
    let each = (0..3).flat_map(|i| product(&a[i * 10..][..10], false, &b[i * 15..][..15], false, [2, 5, 3]));
    check("a batch in f16", &[3, 2, 3], &each.collect::<Vec<_>>(), bound(5), |device| {
        tensor(&a, &[3, 2, 5], device).matmul(&tensor(b, &[3, 5, 3], device).to_f16()?)
    });
    for device in devices() {
        let there = tensor(&w, &[n, k], &device).to_f16().unwrap();
        assert_eq!(there.to_f32().unwrap().to_vec().unwrap(), narrow, "{device}: rounded to nearest");
        let moved: Tensor<f16> = there.to(&Device::Cpu).unwrap();
        assert_eq!(moved.to_f32().unwrap().to_vec().unwrap(), narrow, "{device}: moved as 16 bits");
        let zeros = Tensor::<f16>::zeros(&[3, 5], &device).unwrap();
        assert_eq!(zeros.to_vec().unwrap(), [f16::ZERO; 15]);
    }
}
