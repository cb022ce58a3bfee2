//! AttentionLayout beside its f64 twin: packed projections, shared heads, caches, every tile and the path of few queries.

mod support;

use support::{assert_close, device, numbers, shapes};
use upbeat_kernels::attention::{self as cpu, Heads, HeadsMut, Mask};
use upbeat_kernels::{twin, AttentionShape};
use upbeat_vulkan::tuning::Tunable;
use upbeat_vulkan::{f16, AttentionLayout, Buffer, Device};

/// Inputs are below 1 and heads at most 256 wide, so that a logit is below 16 and off by a few units of its last place at most, 2⁻²⁰
/// each; so is a weight, of itself, and results are means of numbers below 1.
const ABSOLUTE: f64 = 2e-6;
const RELATIVE: f64 = 2e-5;
/// As many keys and widths as lie around the edges of tiles, groups and fours.
const SEQUENCES: [usize; 6] = [1, 7, 63, 64, 65, 200];
const WIDTHS: [usize; 8] = [1, 3, 8, 33, 64, 80, 128, 256];

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// What the twin makes of the same numbers, in an output of `len` numbers that begins as `before`.
fn expected(
    attention: &AttentionLayout,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    before: f32,
    len: usize,
) -> Vec<f64> {
    let AttentionLayout { batch, queries, keys, heads, kv_heads, dim, causal, scale, .. } = *attention;
    let (q, k, v) = (wide(q), wide(k), wide(v));
    let mask = if causal { Mask::Causal } else { Mask::None };
    let mut problem = cpu::Attention::new().mask(mask);
    if let Some(scale) = scale {
        problem = problem.scale(scale.into());
    }
    let (of_q, of_k) = ([batch, queries, heads, dim], [batch, keys, kv_heads, dim]);
    let (mut out, mut lse) = (vec![f64::from(before); len], vec![0.0; batch * heads * queries]);
    twin::attention::forward_views(
        &problem,
        Heads::strided(&q, of_q, attention.q).unwrap(),
        Heads::strided(&k, of_k, attention.k).unwrap(),
        Heads::strided(&v, of_k, attention.v).unwrap(),
        HeadsMut::strided(&mut out, of_q, attention.out).unwrap(),
        &mut lse,
    )
    .unwrap();
    out
}

fn run(
    device: &Device,
    attention: &AttentionLayout,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &Buffer<f32>,
) -> Vec<f32> {
    let [q, k, v] = [q, k, v].map(|x| device.upload(x).unwrap());
    let mut commands = device.commands();
    commands.attention_strided(attention, &q, &k, &v, out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    out.to_vec().unwrap()
}

fn length(positions: usize, distances: [usize; 3], attention: &AttentionLayout) -> usize {
    if attention.batch * positions == 0 {
        0
    } else {
        attention.batch * distances[0]
    }
}

/// Compares on dense or given distances, and gives what the device computed.
#[track_caller]
fn compare(device: &Device, attention: &AttentionLayout, seed: u64) -> Vec<f32> {
    let q = numbers(length(attention.queries, attention.q, attention), seed);
    let k = numbers(length(attention.keys, attention.k, attention), seed + 1);
    let v = numbers(length(attention.keys, attention.v, attention), seed + 2);
    let out = device.upload(&vec![7.0; length(attention.queries, attention.out, attention)]).unwrap();
    let found = run(device, attention, &q, &k, &v, &out);
    let expected = expected(attention, &q, &k, &v, 7.0, out.len());
    assert_close(&format!("{attention:?}"), &found, &expected, ABSOLUTE, RELATIVE);
    found
}

#[test]
fn packed_projections_give_what_the_twin_gives() {
    let Some(device) = device() else { return };
    for (at, seq) in SEQUENCES.into_iter().enumerate() {
        for dim in WIDTHS {
            for causal in [false, true] {
                let shape = AttentionShape { batch: 2, seq, heads: 3, dim, causal };
                let row = 3 * shape.heads * dim;
                let qkv = numbers(shape.batch * seq * row, at as u64);
                let whole = device.upload(&qkv).unwrap();
                let part = |i: usize| whole.slice(i * shape.heads * dim..whole.len());
                let out = device.buffer::<f32>(shape.batch * seq * shape.heads * dim).unwrap();
                let mut commands = device.commands();
                commands
                    .attention_strided(&AttentionLayout::packed(shape), &part(0), &part(1), &part(2), &out)
                    .unwrap();
                commands.submit().unwrap().wait().unwrap();
                let (mut exact, mut lse) = (vec![0.0; out.len()], vec![0.0; shape.batch * seq * shape.heads]);
                twin::attention::forward(shape, &wide(&qkv), &mut exact, &mut lse).unwrap();
                assert_close(&format!("{shape:?}"), &out.to_vec().unwrap(), &exact, ABSOLUTE, RELATIVE);
            }
        }
    }
}

#[test]
fn queries_continue_a_cache_and_share_its_heads() {
    let Some(device) = device() else { return };
    for queries in [1, 2, 4, 5, 8, 9, 16, 17, 33] {
        for (keys, dim) in [(1, 64), (17, 4), (64, 3), (65, 16), (200, 40), (513, 128), (129, 5), (100, 256)]
        {
            for causal in [false, true] {
                let dense = AttentionLayout::dense(2, queries, keys, 6, 2, dim);
                // The cache has room for more, and what lies there is no number.
                let cache = [(keys + 9) * 2 * dim, 2 * dim, dim];
                let attention = AttentionLayout { causal, k: cache, v: cache, ..dense };
                compare(&device, &attention, 3);
            }
        }
    }
}

/// What a table may choose is as right as what kernels take by themselves.
#[test]
fn every_shape_of_workgroups_gives_what_the_twin_gives() {
    let Some(device) = device() else { return };
    for (tunable, queries) in [(Tunable::AttentionTile, &[5, 17, 70][..]), (Tunable::AttentionRow, &[1, 3])] {
        for (what, device) in shapes(&device, tunable) {
            eprintln!("{what}");
            for (at, (keys, dim)) in
                [(0, 8), (1, 1), (17, 4), (64, 3), (65, 16), (200, 40), (33, 64), (513, 128), (100, 256)]
                    .into_iter()
                    .enumerate()
            {
                for &queries in queries {
                    let causal = (at + queries) % 2 == 0;
                    let dense = AttentionLayout::dense(2, queries, keys, 6, 2, dim);
                    compare(&device, &AttentionLayout { causal, ..dense }, 3);
                }
            }
        }
    }
}

#[test]
fn a_query_before_the_first_key_has_zeros() {
    let Some(device) = device() else { return };
    for (queries, keys) in [(4, 1), (3, 0), (40, 0), (40, 1), (70, 33), (9, 8)] {
        for causal in [false, true] {
            let attention = AttentionLayout { causal, ..AttentionLayout::dense(2, queries, keys, 2, 1, 20) };
            let found = compare(&device, &attention, 5);
            let unseen = if causal || keys == 0 { queries - keys } else { 0 };
            assert!(found[..unseen * 40].iter().all(|&x| x == 0.0), "{attention:?}");
            assert!(found[unseen * 40..queries * 40].iter().all(|&x| x != 0.0), "{attention:?}");
        }
    }
}

#[test]
fn no_heads_no_sequences_and_no_width_are_no_work() {
    let Some(device) = device() else { return };
    for [batch, queries, heads, kv_heads, dim] in
        [[0, 3, 2, 1, 8], [1, 0, 2, 1, 8], [1, 3, 0, 0, 8], [1, 3, 0, 2, 8], [1, 3, 2, 1, 0]]
    {
        let attention = AttentionLayout::dense(batch, queries, 0, heads, kv_heads, dim);
        let none = device.buffer::<f32>(0).unwrap();
        let mut commands = device.commands();
        commands.attention_strided(&attention, &none, &none, &none, &none).unwrap();
        assert!(commands.is_empty(), "{attention:?}");
    }
}

#[test]
fn distances_may_be_any() {
    let Some(device) = device() else { return };
    // Heads before positions, gaps between all, and one sequence of keys for all queries: distances of fours, and odd ones.
    for gap in [0, 4, 5] {
        for queries in [2, 37] {
            let (batch, keys, heads, dim) = (3, 41, 4, 12);
            let row = dim + gap;
            let dense = AttentionLayout::dense(batch, queries, keys, heads, 2, dim);
            let by_heads = |positions: usize, heads: usize| [heads * positions * row, row, positions * row];
            let attention = AttentionLayout {
                q: by_heads(queries, heads),
                k: by_heads(keys, 2),
                v: [0, row, keys * row],
                out: by_heads(queries, heads),
                causal: true,
                scale: Some(2.5),
                ..dense
            };
            let (q, k) = (numbers(batch * attention.q[0], 1), numbers(batch * attention.k[0], 2));
            let v = numbers(2 * keys * row, 3);
            let out = device.upload(&vec![7.0; q.len()]).unwrap();
            let found = run(&device, &attention, &q, &k, &v, &out);
            let expected = expected(&attention, &q, &k, &v, 7.0, out.len());
            assert_close(&format!("{attention:?}"), &found, &expected, ABSOLUTE, RELATIVE);
        }
    }
}

#[test]
fn numbers_at_any_address_give_the_same_bits() {
    let Some(device) = device() else { return };
    for (queries, dim) in [(1, 64), (50, 64), (3, 12), (20, 256)] {
        let attention = AttentionLayout { causal: true, ..AttentionLayout::dense(1, queries, 77, 4, 2, dim) };
        let (q, k, v) = (numbers(queries * 4 * dim, 1), numbers(77 * 2 * dim, 2), numbers(77 * 2 * dim, 3));
        let shifted = |x: &[f32], by: usize| {
            let buffer = device.upload(&[&vec![f32::NAN; by][..], x].concat()).unwrap();
            buffer.slice(by..by + x.len())
        };
        let mut results = Vec::new();
        for by in [[0; 4], [1, 2, 3, 5], [0, 0, 0, 1], [4, 0, 8, 12], [0, 1, 0, 0]] {
            let [q, k, v] = [(&q, by[0]), (&k, by[1]), (&v, by[2])].map(|(x, by)| shifted(x, by));
            let whole = device.upload(&vec![9.0; q.len() + 32]).unwrap();
            let mut commands = device.commands();
            commands.attention_strided(&attention, &q, &k, &v, &whole.slice(by[3]..by[3] + q.len())).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let whole = whole.to_vec().unwrap();
            assert!(whole[..by[3]].iter().chain(&whole[by[3] + q.len()..]).all(|&x| x == 9.0), "{by:?}");
            results.push(whole[by[3]..by[3] + q.len()].to_vec());
        }
        assert!(results.iter().all(|result| *result == results[0]), "{queries} of {dim}");
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let Some(device) = device() else { return };
    for queries in [1, 3, 65] {
        for dim in [8, 64] {
            // Logits in the thousands: each row is nearly one value, and only its largest differences matter. A logit is rounded to
            // 64 · 2⁻²⁴ · 6400 at most, about 0.02, and so is the relative error of a weight.
            let attention =
                AttentionLayout { causal: true, ..AttentionLayout::dense(1, queries, 100, 2, 2, dim) };
            let large = |x: Vec<f32>| x.into_iter().map(|x| 30.0 * x).collect::<Vec<_>>();
            let q = large(numbers(queries * 2 * dim, 1));
            let k = large(numbers(100 * 2 * dim, 2));
            let v = numbers(100 * 2 * dim, 3);
            let out = device.buffer(q.len()).unwrap();
            let found = run(&device, &attention, &q, &k, &v, &out);
            let expected = expected(&attention, &q, &k, &v, 0.0, q.len());
            assert_close(&format!("{attention:?}"), &found, &expected, 1e-3, 0.0);
        }
    }
}

#[test]
fn what_is_not_a_number_stays_where_it_is_seen() {
    let Some(device) = device() else { return };
    for (queries, keys) in [(40, 40), (3, 40)] {
        let attention = AttentionLayout { causal: true, ..AttentionLayout::dense(1, queries, keys, 1, 1, 8) };
        let (q, k, v) = (numbers(queries * 8, 1), numbers(keys * 8, 2), numbers(keys * 8, 3));
        let row = |i: usize| i * 8..(i + 1) * 8;
        let hides = queries - 1;
        for bad in [f32::NAN, f32::INFINITY] {
            // Of a key and of a value that only the last query sees.
            for of_key in [true, false] {
                let (mut k, mut v) = (k.clone(), v.clone());
                let row_of = if of_key { &mut k } else { &mut v };
                row_of[row(keys - 1)].fill(bad);
                let out = device.buffer(q.len()).unwrap();
                let found = run(&device, &attention, &q, &k, &v, &out);
                let expected = expected(&attention, &q, &k, &v, 0.0, q.len());
                assert!(expected[row(hides)].iter().all(|x| !x.is_finite()), "{bad} of a key: {of_key}");
                assert_close(&format!("{bad} of a key: {of_key}"), &found, &expected, ABSOLUTE, RELATIVE);
            }
        }
        // Logits of -∞ for all: nothing is seen.
        let q = vec![1.0; q.len()];
        let mut k = k.clone();
        k.fill(f32::NEG_INFINITY);
        let out = device.upload(&vec![7.0; q.len()]).unwrap();
        assert_eq!(run(&device, &attention, &q, &k, &v, &out), vec![0.0; q.len()]);
        assert_eq!(expected(&attention, &q, &k, &v, 7.0, q.len()), vec![0.0; q.len()]);
    }
}

#[test]
fn numbers_of_16_bits_are_computed_with_in_32() {
    let Some(device) = device() else { return };
    if !device.limits().f16_storage {
        eprintln!("SKIPPED: the device does not store f16");
        return;
    }
    for (queries, keys) in [(1, 130), (4, 65), (7, 7), (66, 66), (20, 90)] {
        for dim in [1, 6, 33, 64, 128] {
            let attention =
                AttentionLayout { causal: true, ..AttentionLayout::dense(2, queries, keys, 4, 2, dim) };
            let half =
                |len: usize, seed| numbers(len, seed).into_iter().map(f16::from_f32).collect::<Vec<_>>();
            let widened = |x: &[f16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
            let q = half(2 * queries * 4 * dim, 1);
            let (k, v) = (half(2 * keys * 2 * dim, 2), half(2 * keys * 2 * dim, 3));
            let exact = [&q, &k, &v].map(|x| widened(x));
            let expected = expected(&attention, &exact[0], &exact[1], &exact[2], 0.0, q.len());
            let [dq, dk, dv] = [&q, &k, &v].map(|x| device.upload(x).unwrap());
            let wide_q = device.upload(&exact[0]).unwrap();
            let (out, mixed) = (device.buffer(q.len()).unwrap(), device.buffer(q.len()).unwrap());
            let mut commands = device.commands();
            commands.attention_strided(&attention, &dq, &dk, &dv, &out).unwrap();
            commands.attention_mixed(&attention, &wide_q, &dk, &dv, &mixed).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let found = out.to_vec().unwrap();
            assert_close(&format!("{attention:?}"), &found, &expected, ABSOLUTE, RELATIVE);
            assert_eq!(found, mixed.to_vec().unwrap(), "{attention:?}");
        }
    }
}

#[test]
fn more_heads_than_workgroups_go_in_turns() {
    let Some(device) = device() else { return };
    let most = device.limits().groups[0] as usize;
    if most > 100_000 {
        eprintln!("SKIPPED: the device has {most} workgroups");
        return;
    }
    for queries in [1, 5] {
        let attention = AttentionLayout::dense(most / 2 + 3, queries, 2, 2, 1, 1);
        compare(&device, &attention, 11);
    }
}

fn told<T>(outcome: Result<T, upbeat_vulkan::VulkanError>) -> String {
    outcome.err().expect("it is refused").to_string()
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_added() {
    let (Some(device), Some(other)) = (device(), device()) else { return };
    let good = AttentionLayout::dense(2, 3, 5, 4, 2, 8);
    let (q, k) = (device.buffer::<f32>(2 * 3 * 32).unwrap(), device.buffer::<f32>(2 * 5 * 16).unwrap());
    let out = device.buffer::<f32>(q.len()).unwrap();
    let mut commands = device.commands();
    let short = |x: &Buffer<f32>| x.slice(0..x.len() - 1);
    let mut refused =
        |attention: &AttentionLayout,
         q: &Buffer<f32>,
         k: &Buffer<f32>,
         v: &Buffer<f32>,
         out: &Buffer<f32>| { told(commands.attention_strided(attention, q, k, v, out)) };
    assert_eq!(refused(&good, &short(&q), &k, &k, &out), "the least length of q must be 192 but is 191");
    assert_eq!(refused(&good, &q, &short(&k), &k, &out), "the least length of k must be 160 but is 159");
    assert_eq!(refused(&good, &q, &k, &short(&k), &out), "the least length of v must be 160 but is 159");
    assert_eq!(refused(&good, &q, &k, &k, &short(&out)), "the least length of out must be 192 but is 191");
    let changed = |change: fn(&mut AttentionLayout)| {
        let mut attention = good;
        change(&mut attention);
        attention
    };
    let mut refused = |change, words: &str| {
        assert_eq!(refused(&changed(change), &q, &k, &k, &out), words);
    };
    refused(|a| a.dim = 257, "numbers of a head may be 256 at most but are 257");
    refused(|a| a.kv_heads = 3, "the number of heads must be a multiple of 3 but is 4");
    refused(|a| a.kv_heads = 0, "the number of heads of keys must not be 0");
    refused(|a| a.keys = 1 << 32, "keys may be 2147483647 at most but are 4294967296");
    refused(|a| a.q[1] = usize::MAX, "the queries is too large: its size in bytes overflows");
    refused(|a| a.out[1] = 31, "a row stride of 31 is shorter than a row of 32");
    refused(|a| a.out[0] = 0, "a row stride of 0 is shorter than a row of 8");
    refused(|a| a.out[2] = 7, "a row stride of 7 is shorter than a row of 8");
    let aliased =
        "attention: what is written overlaps what else is read or written; give it a buffer of its own";
    assert_eq!(told(commands.attention_strided(&good, &q, &k, &k, &q)), aliased);
    let foreign = other.buffer::<f32>(k.len()).unwrap();
    let belongs = "a buffer belongs to another device; copy it through the host";
    assert_eq!(told(commands.attention_strided(&good, &q, &foreign, &k, &out)), belongs);
    assert!(commands.is_empty());
}
