//! Attention in f32 against the f64 twin: every shape class, every level, extremes, slices that end at a page.

mod common;

use common::{at_every_level, bits, wide, Numbers, PageEnd};
use upbeat_kernels::{attention, AttentionShape, Element, ShapeError};

/// What a forward and a backward pass give.
struct Passes<T> {
    out: Vec<T>,
    lse: Vec<T>,
    d_qkv: Vec<T>,
}

fn lengths(shape: AttentionShape) -> (usize, usize, usize) {
    let row = shape.heads * shape.dim;
    let positions = shape.batch * shape.seq;
    (positions * 3 * row, positions * row, positions * shape.heads)
}

/// The fast passes, on slices that end at a page nobody may touch; outputs hold NaN before.
fn fast(shape: AttentionShape, qkv: &[f32], d_out: &[f32]) -> Passes<f32> {
    let (packed, row, sums) = lengths(shape);
    let (qkv, d_out) = (PageEnd::copied(qkv), PageEnd::copied(d_out));
    let mut out = PageEnd::copied(&vec![f32::NAN; row]);
    let mut lse = PageEnd::copied(&vec![f32::NAN; sums]);
    let mut d_qkv = PageEnd::copied(&vec![f32::NAN; packed]);
    attention::forward(shape, &qkv, &mut out, &mut lse).unwrap();
    attention::backward(shape, &qkv, &out, &lse, &d_out, &mut d_qkv).unwrap();
    Passes { out: out.to_vec(), lse: lse.to_vec(), d_qkv: d_qkv.to_vec() }
}

fn twin(shape: AttentionShape, qkv: &[f32], d_out: &[f32]) -> Passes<f64> {
    let (packed, row, sums) = lengths(shape);
    let (qkv, d_out) = (wide(qkv), wide(d_out));
    let (mut out, mut lse, mut d_qkv) = (vec![0.0; row], vec![0.0; sums], vec![0.0; packed]);
    f64::attention_forward(shape, &qkv, &mut out, &mut lse).unwrap();
    f64::attention_backward(shape, &qkv, &out, &lse, &d_out, &mut d_qkv).unwrap();
    Passes { out, lse, d_qkv }
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// Asserts that the norm of the error is at most `bound * scale`.
fn assert_close(what: &str, found: &[f32], expected: &[f64], scale: f64, bound: f64) {
    assert_eq!(found.len(), expected.len());
    let error = norm(found.iter().zip(expected).map(|(f, e)| f64::from(*f) - e));
    assert!(error <= bound * scale, "{what}: error {error:e} is more than {bound:e} of {scale:e}");
}

/// One third of packed projections, `part` 0, 1 or 2.
fn part<T: Copy>(shape: AttentionShape, packed: &[T], part: usize) -> Vec<T> {
    let row = shape.heads * shape.dim;
    packed.chunks_exact((3 * row).max(1)).flat_map(|p| p[part * row..][..row].to_vec()).collect()
}

fn check(shape: AttentionShape, factor: f32, seed: u64) {
    let (packed, row, _) = lengths(shape);
    let mut numbers = Numbers::new(seed);
    let qkv: Vec<f32> = numbers.vector(packed).iter().map(|x| factor * x).collect();
    let d_out = numbers.vector(row);
    let (found, expected) = (fast(shape, &qkv, &d_out), twin(shape, &qkv, &d_out));
    // Roundings of a logit grow with its sum, those of a probability with the logit.
    let logit = f64::from(factor).powi(2) * (shape.dim as f64).sqrt();
    let bound = 1e-6 * (2.0 + (shape.dim as f64).sqrt() / 4.0) * (1.0 + logit);
    let scale = norm(expected.out.iter().copied());
    assert_close(&format!("out of {shape:?}"), &found.out, &expected.out, scale, bound);
    // A log-sum near 0 has the error of its logits.
    let scale = norm(expected.lse.iter().map(|lse| lse.abs() + logit));
    assert_close(&format!("lse of {shape:?}"), &found.lse, &expected.lse, scale, bound);
    // dQ and dK of a row that sees one key are differences of equals: an error of dV's size remains.
    let whole = norm(expected.d_qkv.iter().copied());
    for (index, name) in ["dQ", "dK", "dV"].iter().enumerate() {
        let (found, expected) = (part(shape, &found.d_qkv, index), part(shape, &expected.d_qkv, index));
        let scale = norm(expected.iter().copied()) + 0.01 * whole;
        assert_close(&format!("{name} of {shape:?}"), &found, &expected, scale, 4.0 * bound);
    }
}

#[test]
fn every_level_passes() {
    at_every_level();
}

#[test]
fn passes_agree_with_the_twin() {
    for causal in [false, true] {
        for seq in [0, 1, 2, 17, 64, 65, 200] {
            for dim in [1, 7, 16, 64, 96] {
                let (batch, heads) = if seq * dim > 5000 { (1, 1) } else { (2, 3) };
                check(AttentionShape { batch, seq, heads, dim, causal }, 1.0, (seq * 100 + dim) as u64);
            }
        }
        check(AttentionShape { batch: 2, seq: 130, heads: 2, dim: 33, causal }, 2.0, 7);
        // Two chunks of keys in the backward pass.
        check(AttentionShape { batch: 1, seq: 1100, heads: 1, dim: 2, causal }, 1.0, 9);
        check(AttentionShape { batch: 1, seq: 31, heads: 1, dim: 130, causal }, 2.0, 8);
    }
}

#[test]
fn attention_over_vectors_of_no_width_counts_the_keys() {
    for causal in [false, true] {
        let shape = AttentionShape { batch: 2, seq: 3, heads: 2, dim: 0, causal };
        let (found, expected) = (fast(shape, &[], &[]), twin(shape, &[], &[]));
        assert_close("lse", &found.lse, &expected.lse, 1.0, 1e-6);
    }
}

/// Numbers for a shape, and the shape cut after `keep` positions with the numbers that remain.
fn prefix(shape: AttentionShape, qkv: &[f32], keep: usize) -> (AttentionShape, Vec<f32>) {
    let position = 3 * shape.heads * shape.dim;
    let sequences = qkv.chunks_exact(shape.seq * position);
    let kept = sequences.flat_map(|sequence| sequence[..keep * position].to_vec()).collect();
    (AttentionShape { seq: keep, ..shape }, kept)
}

#[test]
fn a_causal_row_has_the_same_bits_whatever_comes_later() {
    let shape = AttentionShape { batch: 2, seq: 131, heads: 2, dim: 20, causal: true };
    let (packed, row, sums) = lengths(shape);
    let qkv = Numbers::new(3).vector(packed);
    let all = fast(shape, &qkv, &vec![0.0; row]);
    for keep in [1, 2, 5, 16, 63, 64, 65, 97, 130] {
        // The end missing, and the end full of things that spread.
        let (short, kept) = prefix(shape, &qkv, keep);
        let (_, short_row, _) = lengths(short);
        let missing = fast(short, &kept, &vec![0.0; short_row]);
        let (mut poisoned, position) = (qkv.clone(), 3 * shape.heads * shape.dim);
        for sequence in poisoned.chunks_exact_mut(shape.seq * position) {
            for (i, x) in sequence[keep * position..].iter_mut().enumerate() {
                *x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX][i % 4];
            }
        }
        let (mut out, mut lse) = (vec![0.0; row], vec![0.0; sums]);
        attention::forward(shape, &poisoned, &mut out, &mut lse).unwrap();
        let width = shape.heads * shape.dim;
        for sequence in 0..shape.batch {
            let rows = |out: &[f32], seq: usize| bits(&out[sequence * seq * width..][..keep * width]);
            assert_eq!(rows(&all.out, shape.seq), rows(&missing.out, keep), "without rows from {keep} on");
            assert_eq!(rows(&all.out, shape.seq), rows(&out, shape.seq), "with NaN from row {keep} on");
        }
        for head in 0..shape.batch * shape.heads {
            let sums = |lse: &[f32], seq: usize| bits(&lse[head * seq..][..keep]);
            assert_eq!(sums(&all.lse, shape.seq), sums(&missing.lse, keep), "without rows from {keep} on");
            assert_eq!(sums(&all.lse, shape.seq), sums(&lse, shape.seq), "with NaN from row {keep} on");
        }
    }
}

#[test]
fn a_sequence_has_the_same_bits_in_any_batch_and_beside_any_head() {
    let shape = AttentionShape { batch: 3, seq: 70, heads: 2, dim: 12, causal: true };
    let (packed, row, _) = lengths(shape);
    let mut numbers = Numbers::new(4);
    let (qkv, d_out) = (numbers.vector(packed), numbers.vector(row));
    let all = fast(shape, &qkv, &d_out);
    for (sequence, head) in (0..shape.batch).flat_map(|b| (0..shape.heads).map(move |h| (b, h))) {
        let alone = AttentionShape { batch: 1, heads: 1, ..shape };
        let vectors = |x: &[f32], parts: usize| -> Vec<f32> {
            let position = parts * shape.heads * shape.dim;
            let positions = x[sequence * shape.seq * position..].chunks_exact(position).take(shape.seq);
            let of_head = |x: &[f32]| x[head * shape.dim..][..shape.dim].to_vec();
            positions.flat_map(|x| x.chunks_exact(shape.heads * shape.dim).flat_map(of_head)).collect()
        };
        let one = fast(alone, &vectors(&qkv, 3), &vectors(&d_out, 1));
        assert_eq!(bits(&one.out), bits(&vectors(&all.out, 1)));
        assert_eq!(bits(&one.d_qkv), bits(&vectors(&all.d_qkv, 3)));
    }
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    let shape = AttentionShape { batch: 2, seq: 1100, heads: 2, dim: 9, causal: true };
    let (packed, row, _) = lengths(shape);
    let mut numbers = Numbers::new(10);
    let (qkv, d_out) = (numbers.vector(packed), numbers.vector(row));
    let passes = [1, 2, 5].map(|workers| {
        let runtime = upbeat::Runtime::builder().workers(workers).build().unwrap();
        let passes = runtime.install(|_| fast(shape, &qkv, &d_out));
        [bits(&passes.out), bits(&passes.lse), bits(&passes.d_qkv)]
    });
    assert!(passes[0] == passes[1] && passes[0] == passes[2]);
}

#[test]
fn huge_logits_pick_the_largest() {
    for causal in [false, true] {
        let shape = AttentionShape { batch: 1, seq: 150, heads: 1, dim: 4, causal };
        let (packed, row, _) = lengths(shape);
        let mut numbers = Numbers::new(5);
        let mut qkv = numbers.vector(packed);
        // Logits 2·10⁵·t for a permuted t in -1..1: only the largest one seen has any weight.
        for (i, position) in qkv.chunks_exact_mut(12).enumerate() {
            position[..4].copy_from_slice(&[1e3, 0.0, 0.0, 0.0]);
            let t = (i * 67 % 150) as f32 / 75.0 - 1.0;
            position[4..8].copy_from_slice(&[400.0 * t, 1.0, -1.0, 0.5]);
        }
        let d_out = numbers.vector(row);
        let (found, expected) = (fast(shape, &qkv, &d_out), twin(shape, &qkv, &d_out));
        for (found, expected) in found.out.iter().zip(&expected.out) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        for (found, expected) in found.lse.iter().zip(&expected.lse) {
            assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs().max(1.0));
        }
        assert!(found.d_qkv.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn rows_of_minus_infinity_are_zero_and_plus_infinity_is_nan_in_its_row_only() {
    let shape = AttentionShape { batch: 1, seq: 100, heads: 2, dim: 3, causal: true };
    let (packed, row, sums) = lengths(shape);
    let mut numbers = Numbers::new(6);
    let mut qkv = numbers.vector(packed);
    let position = 3 * 2 * 3;
    // Head 0: positive queries; the keys of 0..50 give -∞, so do rows 0..50; key 70 gives +∞.
    for i in 0..100 {
        qkv[i * position] = 1.0;
        if i < 50 {
            qkv[i * position + 6] = f32::NEG_INFINITY;
        }
    }
    qkv[70 * position + 6] = f32::INFINITY;
    let clean = Numbers::new(6).vector(packed);
    let (mut out, mut lse) = (vec![f32::NAN; row], vec![f32::NAN; sums]);
    attention::forward(shape, &qkv, &mut out, &mut lse).unwrap();
    let (mut clean_out, mut clean_lse) = (vec![f32::NAN; row], vec![f32::NAN; sums]);
    attention::forward(shape, &clean, &mut clean_out, &mut clean_lse).unwrap();
    for i in 0..100 {
        let (first, second) = out[i * 6..][..6].split_at(3);
        match i {
            0..50 => assert_eq!((first, lse[i]), (&[0.0; 3][..], f32::NEG_INFINITY), "row {i}"),
            50..70 => assert!(first.iter().all(|x| x.is_finite()) && lse[i].is_finite(), "row {i}"),
            _ => assert!(first.iter().all(|x| x.is_nan()) && lse[i].is_nan(), "row {i}"),
        }
        assert_eq!(bits(second), bits(&clean_out[i * 6 + 3..][..3]), "the other head's row {i}");
    }
    // Rows that saw nothing have no gradient.
    let (short, kept) = prefix(shape, &qkv, 50);
    let finite: Vec<f32> = kept.iter().map(|x| if x.is_finite() { *x } else { f32::MIN }).collect();
    let (mut out, mut lse) = (vec![0.0; 300], vec![0.0; 100]);
    attention::forward(short, &finite, &mut out, &mut lse).unwrap();
    lse[..50].fill(f32::NEG_INFINITY);
    out.chunks_exact_mut(6).for_each(|out| out[..3].fill(0.0));
    let mut d_qkv = vec![f32::NAN; finite.len()];
    attention::backward(short, &finite, &out, &lse, &numbers.vector(300), &mut d_qkv).unwrap();
    for vectors in d_qkv.chunks_exact(6) {
        assert_eq!(vectors[..3], [0.0; 3]);
        assert!(vectors[3..].iter().all(|x| x.is_finite()));
    }
}

#[test]
fn decoding_agrees_with_the_twin_and_with_the_last_row() {
    for len in [0, 1, 2, 17, 64, 65, 200, 511, 512, 513, 1500] {
        for (heads, dim) in [(1, 1), (3, 7), (2, 16), (6, 64), (1, 96)] {
            let shape = AttentionShape { batch: 1, seq: len, heads, dim, causal: true };
            let (packed, row, sums) = lengths(shape);
            let qkv = Numbers::new((len * dim) as u64).vector(packed);
            let width = heads * dim;
            let [q, keys, values] = [0, 1, 2].map(|index| part(shape, &qkv, index));
            let last = if len == 0 { vec![1.0; width] } else { q[row - width..].to_vec() };
            let [last, keys, values] = [&last, &keys, &values].map(|x| PageEnd::copied(x));
            let mut out = PageEnd::copied(&vec![f32::NAN; width]);
            attention::decode(heads, dim, &last, &keys, &values, &mut out).unwrap();
            let mut expected = vec![0.0; width];
            f64::attention_decode(heads, dim, &wide(&last), &wide(&keys), &wide(&values), &mut expected)
                .unwrap();
            let scale = norm(expected.iter().copied()) + 1e-2;
            assert_close(&format!("{len} positions of {heads} by {dim}"), &out, &expected, scale, 2e-5);
            if len > 0 {
                let (mut all, mut lse) = (vec![0.0; row], vec![0.0; sums]);
                attention::forward(shape, &qkv, &mut all, &mut lse).unwrap();
                assert_close("the last row", &out, &wide(&all[row - width..]), scale, 2e-5);
            }
        }
    }
}

#[test]
fn decoding_extremes_are_as_documented() {
    let (heads, dim, len) = (1, 2, 1200);
    let q = [1.0, 0.0];
    let mut keys = vec![f32::NEG_INFINITY; len * dim];
    keys.iter_mut().skip(1).step_by(2).for_each(|x| *x = 0.0);
    let values = Numbers::new(9).vector(len * dim);
    let mut out = [f32::NAN; 2];
    attention::decode(heads, dim, &q, &keys, &values, &mut out).unwrap();
    assert_eq!(out, [0.0; 2], "nothing but -∞");
    keys[2 * 700] = -1e5;
    attention::decode(heads, dim, &q, &keys, &values, &mut out).unwrap();
    assert_eq!(out, values[2 * 700..][..2], "one finite logit");
    keys[2 * 1100] = f32::INFINITY;
    attention::decode(heads, dim, &q, &keys, &values, &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_nan()), "+∞ gives {out:?}");
}

#[test]
fn wrong_lengths_are_refused_before_anything_is_written() {
    let shape = AttentionShape { batch: 1, seq: 2, heads: 2, dim: 3, causal: true };
    let (qkv, good, sums) = ([0.0; 36], [0.0; 12], [0.0; 4]);
    let mismatch = |result: Result<(), ShapeError>| matches!(result, Err(ShapeError::Mismatch { .. }));
    let (mut out, mut lse, mut d_qkv) = ([7.0; 12], [7.0; 4], [7.0; 36]);
    assert!(mismatch(attention::forward(shape, &qkv[1..], &mut out, &mut lse)));
    assert!(mismatch(attention::forward(shape, &qkv, &mut out[1..], &mut lse)));
    assert!(mismatch(attention::forward(shape, &qkv, &mut out, &mut lse[1..])));
    assert!(mismatch(attention::backward(shape, &qkv, &good, &sums, &good[1..], &mut d_qkv)));
    assert!(mismatch(attention::backward(shape, &qkv, &good, &sums[1..], &good, &mut d_qkv)));
    assert!(mismatch(attention::backward(shape, &qkv, &good, &sums, &good, &mut d_qkv[1..])));
    assert!(mismatch(attention::decode(2, 3, &good[..5], &good, &good, &mut out[..6])));
    assert!(mismatch(attention::decode(2, 3, &good[..6], &good, &good[..6], &mut out[..6])));
    assert!(attention::decode(2, 3, &good[..6], &good[..7], &good[..7], &mut out[..6]).is_err());
    let huge = AttentionShape { batch: usize::MAX, ..shape };
    let overflow = attention::forward(huge, &qkv, &mut out, &mut lse);
    assert!(matches!(overflow, Err(ShapeError::Overflow { .. })));
    assert!(out.iter().chain(&lse).chain(&d_qkv).all(|x| *x == 7.0));
}
