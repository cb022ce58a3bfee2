//! Attention beside its formula in f64.

mod support;

use support::{assert_close, device, numbers};
use upbeat_vulkan::{Attention, Device};

/// What is computed, on the host; strides as wide as rows.
#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    causal: bool,
}

fn twin(shape: Shape, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
    let Shape { batch, queries, keys, heads, kv_heads, dim, causal } = shape;
    let mut out = Vec::with_capacity(batch * queries * heads * dim);
    for (b, i, h) in
        (0..batch).flat_map(|b| (0..queries).flat_map(move |i| (0..heads).map(move |h| (b, i, h))))
    {
        let q = &q[((b * queries + i) * heads + h) * dim..][..dim];
        let row = |j: usize| ((b * keys + j) * kv_heads + h / (heads / kv_heads)) * dim;
        let seen: Vec<_> = (0..keys).filter(|j| !causal || j + queries <= keys + i).collect();
        let scores: Vec<f64> = seen
            .iter()
            .map(|&j| {
                q.iter().zip(&k[row(j)..]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>()
                    / (dim as f64).sqrt()
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        out.extend((0..dim).map(|d| {
            let sum: f64 =
                seen.iter().zip(&weights).map(|(&j, weight)| weight * f64::from(v[row(j) + d])).sum();
            if seen.is_empty() {
                0.0
            } else {
                sum / total
            }
        }));
    }
    out
}

fn check(device: &Device, shape: Shape, spread: f32) {
    let Shape { batch, queries, keys, heads, kv_heads, dim, causal } = shape;
    let scaled = |count, seed| numbers(count, seed).into_iter().map(|x| spread * x).collect::<Vec<_>>();
    let q = scaled(batch * queries * heads * dim, 1);
    let k = scaled(batch * keys * kv_heads * dim, 2);
    let v = numbers(batch * keys * kv_heads * dim, 3);
    let on = |x: &[f32]| device.upload(x).unwrap();
    let (dq, dk, dv) = (on(&q), on(&k), on(&v));
    let out = device.buffer::<f32>(q.len()).unwrap();
    let mut commands = device.commands();
    let attention = Attention {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        dim,
        causal,
        q: &dq,
        q_stride: heads * dim,
        k: &dk,
        v: &dv,
        kv_stride: kv_heads * dim,
    };
    commands.attention(attention, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    // Scores of a few hundred lose 1e-5 of themselves, which their exponentials multiply.
    let bound = 4e-6 + 3e-6 * f64::from(spread * spread) * (dim as f64).sqrt();
    assert_close(&format!("{shape:?}"), &out.to_vec().unwrap(), &twin(shape, &q, &k, &v), bound, 1e-5);
}

#[test]
fn all_shapes_agree_with_the_twin() {
    let Some(device) = device() else { return };
    // Few queries; tiles of 16 queries and 32 keys just filled and just not; several.
    for seq in [1, 4, 5, 15, 16, 17, 33, 127, 129, 300] {
        for dim in [1, 8, 33, 64, 127, 129, 256] {
            for causal in [false, true] {
                let shape = Shape { batch: 1, queries: seq, keys: seq, heads: 2, kv_heads: 2, dim, causal };
                check(&device, shape, 2.0);
            }
        }
    }
}

#[test]
fn groups_batches_and_caches_agree_with_the_twin() {
    let Some(device) = device() else { return };
    for (batch, queries, keys, heads, kv_heads) in [
        (2, 5, 5, 4, 2),
        (3, 1, 200, 6, 1),
        (1, 3, 130, 4, 4),
        (2, 7, 4, 2, 1),
        (1, 0, 4, 1, 1),
        (1, 2, 0, 1, 1),
        (0, 2, 2, 1, 1),
    ] {
        for causal in [false, true] {
            check(&device, Shape { batch, queries, keys, heads, kv_heads, dim: 16, causal }, 1.0);
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let Some(device) = device() else { return };
    check(
        &device,
        Shape { batch: 1, queries: 20, keys: 20, heads: 1, kv_heads: 1, dim: 64, causal: true },
        12.0,
    );
}

#[test]
fn what_is_hidden_may_be_anything_and_nan_stays_in_its_row() {
    let Some(device) = device() else { return };
    let (seq, dim) = (40, 16);
    let clean = [1, 2, 3].map(|seed| numbers(seq * dim, seed));
    let run = |[q, k, v]: &[Vec<f32>; 3]| {
        let on = |x: &[f32]| device.upload(x).unwrap();
        let (q, k, v, out) = (on(q), on(k), on(v), device.buffer::<f32>(seq * dim).unwrap());
        let mut commands = device.commands();
        let attention = Attention {
            batch: 1,
            queries: seq,
            keys: seq,
            heads: 1,
            kv_heads: 1,
            dim,
            causal: true,
            q: &q,
            q_stride: dim,
            k: &k,
            v: &v,
            kv_stride: dim,
        };
        commands.attention(attention, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        out.to_vec().unwrap()
    };
    let expected = run(&clean);
    for (wrong, which) in [(f32::NAN, 1), (f32::INFINITY, 1), (f32::NAN, 2), (f32::INFINITY, 2)] {
        let mut spoilt = clean.clone();
        // Key 21 is hidden from queries 0 to 20, some of them in its own tile.
        spoilt[which][21 * dim..22 * dim].fill(wrong);
        let found = run(&spoilt);
        assert_eq!(found[..21 * dim], expected[..21 * dim], "{wrong} in {which}");
        assert!(found[21 * dim..].iter().any(|x| !x.is_finite()), "{wrong} in {which}");
    }
    let mut spoilt = clean.clone();
    spoilt[0][18 * dim] = f32::NAN;
    for (row, (found, expected)) in run(&spoilt).chunks(dim).zip(expected.chunks(dim)).enumerate() {
        assert!(if row == 18 { found.iter().all(|x| x.is_nan()) } else { found == expected }, "row {row}");
    }
}

#[test]
fn packed_projections_are_used_where_they_are() {
    let Some(device) = device() else { return };
    let (batch, seq, heads, dim) = (2, 30, 3, 16);
    let width = heads * dim;
    let qkv = numbers(batch * seq * 3 * width, 1);
    let part = |p: usize| {
        qkv.chunks_exact(3 * width).flat_map(|row| row[p * width..][..width].to_vec()).collect::<Vec<_>>()
    };
    let packed = device.upload(&qkv).unwrap();
    let out = device.buffer::<f32>(batch * seq * width).unwrap();
    let from = |p: usize| packed.slice(p * width..packed.len());
    let mut commands = device.commands();
    let attention = Attention {
        batch,
        queries: seq,
        keys: seq,
        heads,
        kv_heads: heads,
        dim,
        causal: true,
        q: &from(0),
        q_stride: 3 * width,
        k: &from(1),
        v: &from(2),
        kv_stride: 3 * width,
    };
    commands.attention(attention, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let shape = Shape { batch, queries: seq, keys: seq, heads, kv_heads: heads, dim, causal: true };
    assert_close("packed", &out.to_vec().unwrap(), &twin(shape, &part(0), &part(1), &part(2)), 4e-6, 1e-5);
}

#[test]
fn wrong_shapes_are_refused() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32; 64]).unwrap();
    let out = device.buffer::<f32>(64).unwrap();
    let right = Attention {
        batch: 1,
        queries: 4,
        keys: 4,
        heads: 2,
        kv_heads: 2,
        dim: 8,
        causal: true,
        q: &x,
        q_stride: 16,
        k: &x,
        v: &x,
        kv_stride: 16,
    };
    let told = |attention: Attention<'_>| {
        device.commands().attention(attention, &out).err().expect("it is refused").to_string()
    };
    assert!(device.commands().attention(right, &out).is_ok());
    assert_eq!(told(Attention { kv_heads: 3, ..right }), "heads must be a multiple of 3 but is 2");
    assert_eq!(told(Attention { kv_heads: 0, ..right }), "heads must be a multiple of 0 but is 2");
    assert!(told(Attention { keys: 5, ..right }).starts_with("numbers of the keys"));
    assert!(told(Attention { q_stride: 15, ..right }).contains("stride"));
    assert_eq!(told(Attention { queries: 3, ..right }), "the length of out must be 48 but is 64");
    assert!(told(Attention { dim: 257, ..right }).starts_with("the width of a head"));
}
