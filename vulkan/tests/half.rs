//! Numbers stored in f16: products and attention, beside the same computed from the widened numbers.

mod support;

use support::{assert_close, device, numbers};
use upbeat_kernels::Write;
use upbeat_vulkan::{f16, Attention, Device, Epilogue, Gemm, Matrix};

/// A device that stores f16.
fn half_device() -> Option<support::Gpu> {
    device().filter(|device| device.limits().f16_storage)
}

fn halves(count: usize, seed: u64) -> Vec<f16> {
    numbers(count, seed).into_iter().map(f16::from_f32).collect()
}

fn product(device: &Device, (m, n, k): (usize, usize, usize), transpose_b: bool) {
    let (a, b) = (numbers(m * k, 1), halves(k * n, 2));
    let (da, db) = (device.upload(&a).unwrap(), device.upload(&b).unwrap());
    let c = device.buffer::<f32>(m * n).unwrap();
    let shape = if transpose_b { (n, k) } else { (k, n) };
    let gemm = Gemm {
        a: Matrix::new(&da, m, k).unwrap(),
        transpose_a: false,
        b: Matrix::new(&db, shape.0, shape.1).unwrap(),
        transpose_b,
        c: Matrix::new(&c, m, n).unwrap(),
        write: Write::Overwrite,
        epilogue: Epilogue::default(),
    };
    let mut commands = device.commands();
    commands.gemm(gemm).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let at = |d: usize, j: usize| b[if transpose_b { j * k + d } else { d * n + j }].to_f64();
    let expected: Vec<f64> =
        (0..m * n).map(|i| (0..k).map(|d| f64::from(a[i / n * k + d]) * at(d, i % n)).sum()).collect();
    // As for f32: the weights are what they are once they are stored.
    let bound = 2e-6 + 1.2 * (k as f64 + 8.0) * f64::from(f32::EPSILON) * (k as f64).sqrt().max(2.0);
    assert_close(&format!("{m} x {n} x {k}, {transpose_b}"), &c.to_vec().unwrap(), &expected, bound, 0.0);
}

#[test]
fn weights_in_f16_give_the_products_of_what_they_are() {
    let Some(device) = half_device() else { return };
    for shape in [(1, 1, 1), (1, 257, 100), (3, 31, 65), (5, 7, 9), (65, 129, 33), (5, 5, 0)] {
        product(&device, shape, false);
        product(&device, shape, true);
    }
}

#[test]
fn attention_over_f16_is_that_over_the_widened_numbers() {
    let Some(device) = half_device() else { return };
    for (queries, keys, dim) in [(1, 200, 64), (33, 33, 80), (5, 130, 7)] {
        let (heads, kv_heads) = (4, 2);
        let (q, k, v) = (
            halves(queries * heads * dim, 1),
            halves(keys * kv_heads * dim, 2),
            halves(keys * kv_heads * dim, 3),
        );
        let wide = |x: &[f16]| device.upload(&x.iter().map(|x| x.to_f32()).collect::<Vec<_>>()).unwrap();
        let on = |x: &[f16]| device.upload(x).unwrap();
        let (q16, k16, v16, q32, k32, v32) = (on(&q), on(&k), on(&v), wide(&q), wide(&k), wide(&v));
        let out = [0, 1].map(|_| device.buffer::<f32>(q.len()).unwrap());
        let mut commands = device.commands();
        let (batch, causal, q_stride, kv_stride) = (1, true, heads * dim, kv_heads * dim);
        let half = Attention {
            batch,
            queries,
            keys,
            heads,
            kv_heads,
            dim,
            causal,
            q: &q16,
            q_stride,
            k: &k16,
            v: &v16,
            kv_stride,
        };
        commands.attention(half, &out[0]).unwrap();
        let full = Attention {
            batch,
            queries,
            keys,
            heads,
            kv_heads,
            dim,
            causal,
            q: &q32,
            q_stride,
            k: &k32,
            v: &v32,
            kv_stride,
        };
        commands.attention(full, &out[1]).unwrap();
        commands.submit().unwrap().wait().unwrap();
        assert_eq!(
            out[0].to_vec().unwrap(),
            out[1].to_vec().unwrap(),
            "the same arithmetic on the same numbers"
        );
    }
}
