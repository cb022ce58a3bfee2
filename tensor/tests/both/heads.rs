//! Attention and rotary positions.

use upbeat_tensor::{Device, Indices, Mask, Rope, Tensor};

use crate::support::{check, devices, numbers, tensor, told, Bound};

/// Attention, plainly: `q` is `[batch, queries, heads, dim]`, `k` and `v` are `[batch, keys, kv_heads, dim]`.
pub(crate) fn attention(q: &[f32], k: &[f32], v: &[f32], shape: [usize; 6], mask: Mask) -> Vec<f64> {
    let [batch, queries, keys, heads, kv_heads, dim] = shape;
    let mut out = vec![0.0; q.len()];
    for (b, i, h) in
        (0..batch).flat_map(|b| (0..queries).flat_map(move |i| (0..heads).map(move |h| (b, i, h))))
    {
        let at = ((b * queries + i) * heads + h) * dim;
        let of = |j: usize| ((b * keys + j) * kv_heads + h * kv_heads / heads) * dim;
        let dot = |j: usize| (0..dim).map(|d| f64::from(q[at + d]) * f64::from(k[of(j) + d])).sum::<f64>();
        let seen = match mask {
            Mask::None => keys,
            Mask::Causal => (i + 1 + keys).saturating_sub(queries),
        };
        let weights: Vec<f64> = (0..seen).map(|j| (dot(j) / (dim as f64).sqrt()).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (j, weight) in weights.iter().enumerate() {
            (0..dim).for_each(|d| out[at + d] += weight / sum * f64::from(v[of(j) + d]));
        }
    }
    out
}

pub(crate) const BOUND: Bound = Bound { absolute: 2e-6, relative: 2e-5 };

#[test]
fn attention_of_all_shapes() {
    // [batch, queries, keys, heads, kv_heads, dim]
    let shapes = [
        [1, 1, 1, 1, 1, 1],
        [2, 5, 5, 3, 3, 8],
        [1, 1, 70, 4, 2, 16],
        [2, 33, 40, 6, 2, 24],
        [1, 3, 0, 2, 1, 4],
        [1, 6, 3, 2, 2, 5],
        [0, 2, 2, 1, 1, 4],
        [1, 2, 2, 0, 1, 4],
    ];
    for shape @ [batch, queries, keys, heads, kv_heads, dim] in shapes {
        let q = numbers(batch * queries * heads * dim, 1);
        let [k, v] = [2, 3].map(|seed| numbers(batch * keys * kv_heads * dim, seed));
        for mask in [Mask::None, Mask::Causal] {
            let exact = attention(&q, &k, &v, shape, mask);
            check(&format!("{shape:?} {mask:?}"), &[batch, queries, heads, dim], &exact, BOUND, |device| {
                let [k, v] = [&k, &v].map(|x| tensor(x, &[batch, keys, kv_heads, dim], device));
                tensor(&q, &[batch, queries, heads, dim], device).attention(&k, &v, mask)
            });
        }
    }
}

#[test]
fn attention_of_packed_projections() {
    for [batch, seq, heads, kv_heads, dim] in
        [[2, 7, 4, 2, 8], [1, 1, 1, 1, 3], [1, 12, 3, 3, 5], [2, 0, 2, 1, 4]]
    {
        let all = heads + 2 * kv_heads;
        let packed = numbers(batch * seq * all * dim, 4);
        let part = |from: usize, heads: usize| -> Vec<f32> {
            packed.chunks(all * dim).flat_map(|row| row[from * dim..][..heads * dim].to_vec()).collect()
        };
        let (q, k, v) = (part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads));
        for mask in [Mask::None, Mask::Causal] {
            let exact = attention(&q, &k, &v, [batch, seq, seq, heads, kv_heads, dim], mask);
            check("packed", &[batch, seq, heads, dim], &exact, BOUND, |device| {
                tensor(&packed, &[batch, seq, all, dim], device).self_attention(kv_heads, mask)
            });
        }
    }
}

/// Positions of each row, turned plainly.
fn rope(x: &[f32], positions: &[usize], [heads, rotate, dim]: [usize; 3], base: f64) -> Vec<f64> {
    let mut out: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    for (row, &position) in out.chunks_mut(heads * dim).zip(positions) {
        for head in row.chunks_mut(dim).take(rotate) {
            for i in 0..dim / 2 {
                let angle = position as f64 * base.powf(-2.0 * i as f64 / dim as f64);
                let ((sin, cos), (a, b)) = (angle.sin_cos(), (head[i], head[i + dim / 2]));
                (head[i], head[i + dim / 2]) = (a * cos - b * sin, a * sin + b * cos);
            }
        }
    }
    out
}

#[test]
fn rotary_positions() {
    let (heads, base) = (5, 10_000.0);
    let bound = Bound { absolute: 1e-6, relative: 0.0 };
    for (batch, seq, rotate, dim, first) in
        [(1, 1, 5, 2, 0), (2, 7, 3, 16, 0), (3, 4, 5, 64, 1000), (1, 0, 1, 4, 9)]
    {
        let x = numbers(batch * seq * heads * dim, 5);
        let shape = [batch, seq, heads, dim];
        let of = [heads, rotate, dim];
        let positions: Vec<_> = (0..batch * seq).map(|row| first + row % seq).collect();
        check(&format!("{shape:?} from {first}"), &shape, &rope(&x, &positions, of, base), bound, |device| {
            let rope = Rope::new(heads, rotate, dim, base, device)?;
            tensor(&x, &shape, device).rope(&rope, first)
        });
        let positions: Vec<u32> = (0..batch * seq).map(|row| (7 * row % 31) as u32).collect();
        let wide: Vec<_> = positions.iter().map(|&position| position as usize).collect();
        let rows = [batch * seq, heads, dim];
        check("own positions", &rows, &rope(&x, &wide, of, base), bound, |device| {
            let rope = Rope::new(heads, rotate, dim, base, device)?;
            tensor(&x, &rows, device).rope_at(&rope, &Indices::from_slice(&positions, device)?)
        });
    }
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    for device in devices() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, &device).unwrap();
        let (q, k) = (zeros(&[1, 2, 3, 4]), zeros(&[1, 2, 2, 4]));
        assert_eq!(
            told(q.attention(&k, &k, Mask::None)),
            "attention takes queries [batch, queries, heads, dim], and keys and values [batch, keys, kv_heads, dim], where \
             kv_heads divides heads, but was given [1, 2, 3, 4] and [1, 2, 2, 4] and [1, 2, 2, 4]; keys and values must have one shape, and the \
             queries' batch and dim"
        );
        assert!(told(q.attention(&q, &k, Mask::None)).contains("[1, 2, 2, 4]"));
        assert!(told(q.self_attention(2, Mask::Causal)).contains("[1, 2, 3, 4] and [2]"));
        assert!(told(q.self_attention(0, Mask::Causal)).contains("[1, 2, 3, 4] and [0]"));
        let rope = Rope::new(3, 3, 4, 10.0, &device).unwrap();
        assert!(told(k.rope(&rope, 0)).contains("[1, 2, 2, 4] and [3, 4]"));
        assert!(told(Rope::new(3, 4, 4, 10.0, &device)).contains("[3, 4, 4]"));
        assert!(told(Rope::new(3, 3, 5, 10.0, &device)).contains("[3, 3, 5]"));
        let base = told(Rope::new(3, 3, 4, -1.0, &device));
        assert_eq!(base, "rope: the base of the frequencies must be a positive number, but is -1");
        // The CPU takes heads of any width, a Vulkan device of 256.
        let wide = zeros(&[1, 1, 1, 300]);
        match device {
            Device::Cpu => assert!(wide.attention(&wide, &wide, Mask::None).is_ok()),
            Device::Vulkan(_) => {
                assert!(told(wide.attention(&wide, &wide, Mask::None)).contains("may be 256 at most"));
            }
        }
    }
}
