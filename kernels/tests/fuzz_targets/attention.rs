//! Attention of any small shape, mask, packing and bias beside the f64 twin, both passes; what does not fit is refused and writes nothing.

use upbeat_kernels::attention::{Attention, Bias, Gradients, Heads, HeadsMut, Mask, Saved};
use upbeat_kernels::twin::attention::{backward_views, forward_views};
use upbeat_kernels::ShapeError;

use super::{wide, Bytes};

/// Results: outputs, log-sums, and the gradients of queries, keys and values.
type Results<T> = [Vec<T>; 5];

/// What is computed.
struct Case {
    q: [usize; 4],
    kv: [usize; 4],
    mask: Mask,
    scale: Option<f64>,
    bias: Option<(Vec<f32>, [usize; 4])>,
    sequences: Option<(Vec<usize>, Vec<usize>)>,
    /// Queries, keys, values, gradient of the outputs.
    data: [Vec<f32>; 4],
    /// Log-sums that there is room for.
    sums: usize,
}

macro_rules! passes {
    ($case:expr, $data:expr, $bias:expr, $results:expr, $forward:expr, $backward:expr) => {{
        let case: &Case = $case;
        let [q, k, v, d_out] = $data;
        let [out, lse, d_q, d_k, d_v] = $results;
        let mut attention = Attention::new().mask(case.mask);
        if let Some(scale) = case.scale {
            attention = attention.scale(scale);
        }
        if let (Some(data), Some((_, shape))) = ($bias, &case.bias) {
            attention = attention.bias(Bias::new(data, *shape)?);
        }
        if let Some((queries, keys)) = &case.sequences {
            attention = attention.sequences(queries, keys);
        }
        let (q, k, v) = (Heads::new(q, case.q)?, Heads::new(k, case.kv)?, Heads::new(v, case.kv)?);
        $forward(&attention, q, k, v, HeadsMut::new(out, case.q)?, lse)?;
        let saved = Saved { q, k, v, out: Heads::new(out, case.q)?, lse };
        let gradients = Gradients {
            q: HeadsMut::new(d_q, case.q)?,
            k: HeadsMut::new(d_k, case.kv)?,
            v: HeadsMut::new(d_v, case.kv)?,
        };
        $backward(&attention, saved, Heads::new(d_out, case.q)?, gradients)
    }};
}

fn fast(case: &Case, results: &mut Results<f32>) -> Result<(), ShapeError> {
    let bias = case.bias.as_ref().map(|(data, _)| &data[..]);
    passes!(case, &case.data, bias, results, Attention::forward, Attention::backward)
}

fn twin(case: &Case, results: &mut Results<f64>) -> Result<(), ShapeError> {
    let data = case.data.each_ref().map(|x| wide(x));
    let bias = case.bias.as_ref().map(|(data, _)| wide(data));
    passes!(case, &data, bias.as_deref(), results, forward_views, backward_views)
}

/// Ends of sequences, from 0 to `len`, mostly in order.
fn offsets(bytes: &mut Bytes<'_>, parts: usize, len: usize) -> Vec<usize> {
    let mut ends: Vec<usize> = (1..parts).map(|_| bytes.below(len + 2)).collect();
    if bytes.below(8) > 0 {
        ends.iter_mut().for_each(|end| *end = (*end).min(len));
        ends.sort_unstable();
    }
    [&[0][..], &ends, &[len]].concat()
}

/// The target.
pub(crate) fn run(data: &[u8]) {
    let bytes = &mut Bytes::new(data);
    let batch = bytes.of(&[1, 1, 2, 3, 0]);
    let queries = bytes.of(&[1, 2, 5, 8, 17, 33, 64, 70, 0]);
    let keys = if bytes.below(2) == 0 { queries } else { bytes.of(&[1, 3, 16, 20, 65, 90, 0]) };
    let kv_heads = bytes.of(&[1, 1, 2, 3, 0]);
    let heads = kv_heads * bytes.of(&[1, 1, 2, 4]) + usize::from(bytes.byte() == 7);
    let dim = bytes.of(&[1, 4, 8, 16, 20, 64, 0]);
    let (q, kv) = ([batch, queries, heads, dim], [batch, keys, kv_heads, dim]);
    let len = |shape: [usize; 4]| shape.iter().product::<usize>();
    let end = |bytes: &mut Bytes<'_>| bytes.of(&[0, 1, 3, 30, usize::MAX]);
    let mask = match bytes.below(4) {
        0 => Mask::None,
        1 => Mask::Window { left: end(bytes), right: end(bytes) },
        _ => Mask::Causal,
    };
    let bias = (bytes.below(4) == 0).then(|| {
        let one = |bytes: &mut Bytes<'_>, len| if bytes.below(2) == 0 { 1 } else { len };
        let shape = [one(bytes, batch), one(bytes, heads), queries, keys];
        let mut numbers = bytes.numbers(len(shape));
        for x in &mut numbers {
            *x = if *x > 0.8 { f32::NEG_INFINITY } else { *x };
        }
        (numbers, shape)
    });
    let sequences = (bytes.below(4) == 0).then(|| {
        let parts = bytes.of(&[1, 2, 3]);
        (offsets(bytes, parts, queries), offsets(bytes, parts, keys))
    });
    let short = if bytes.byte() == 9 { 1 } else { 0 };
    let case = Case {
        q,
        kv,
        mask,
        scale: bytes.of(&[None, None, Some(0.1), Some(1.0)]),
        bias,
        sequences,
        data: [
            bytes.numbers(len(q)),
            bytes.numbers(len(kv)),
            bytes.numbers(len(kv).saturating_sub(short)),
            bytes.numbers(len(q)),
        ],
        sums: (batch * queries * heads).saturating_sub(usize::from(bytes.byte() == 9)),
    };
    let lengths = [len(q), case.sums, len(q), len(kv), len(kv)];
    let mut found = lengths.map(|len| vec![-7.0f32; len]);
    let mut expected = lengths.map(|len| vec![-7.0f64; len]);
    if let Err(error) = fast(&case, &mut found) {
        assert!(found.iter().flatten().all(|&x| x == -7.0), "an error that wrote: {error}");
        assert!(twin(&case, &mut expected).is_err(), "the twin takes what is refused: {error}");
        return;
    }
    twin(&case, &mut expected).expect("the twin takes what the kernel takes");
    // Sums of gradients over many keys and heads of a group grow with both.
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let whole = norm(&mut expected[2..].iter().flatten().copied());
    for (which, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for (found, expected) in found.iter().zip(expected) {
            let same = f64::from(*found) == *expected;
            assert!(same || (found.is_finite() && expected.is_finite()), "{which}: {found} and {expected}");
        }
        let finite = |(found, expected): (&f32, &f64)| match expected.is_finite() {
            true => f64::from(*found) - expected,
            false => 0.0,
        };
        let error = norm(&mut found.iter().zip(expected).map(finite));
        let scale = norm(&mut expected.iter().copied().filter(|x| x.is_finite()))
            + if which >= 2 { whole } else { (expected.len() as f64).sqrt() };
        assert!(error <= 1e-5 * scale, "result {which} of {q:?} and {kv:?}: error {error:e} of {scale:e}");
    }
}
