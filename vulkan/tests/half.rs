//! Attention over numbers stored in f16, beside the same computed from the widened numbers.

mod support;

use support::{device, numbers};
use upbeat_vulkan::{f16, Attention};

/// A device that stores f16.
fn half_device() -> Option<support::Gpu> {
    device().filter(|device| device.limits().f16_storage)
}

fn halves(count: usize, seed: u64) -> Vec<f16> {
    numbers(count, seed).into_iter().map(f16::from_f32).collect()
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
