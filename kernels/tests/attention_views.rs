//! Attention over views against the f64 twin: grouped heads, windows, biases, scales, several lengths, any strides; and
//! that a row's bits depend on nothing but its own sequence.

mod common;

use common::{at_every_level, bits, same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::attention::{Attention, Bias, Gradients, Heads, HeadsMut, Mask, Saved};
use upbeat_kernels::twin::attention as twin;

/// Where `[batch, positions, heads, dim]` lies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Positions,
    /// `[batch, heads, positions, dim]`
    Heads,
    /// With three unused numbers behind each vector.
    Gaps,
}

fn strides([_, positions, heads, dim]: [usize; 4], order: Order) -> [usize; 3] {
    match order {
        Order::Positions => [positions * heads * dim, heads * dim, dim],
        Order::Heads => [positions * heads * dim, dim, positions * dim],
        Order::Gaps => [positions * heads * (dim + 3), heads * (dim + 3), dim + 3],
    }
}

/// Vectors of one tensor, dense by position, laid out in an order; gaps hold NaN.
fn lay(dense: &[f32], shape: [usize; 4], order: Order) -> Vec<f32> {
    let [batch, positions, heads, dim] = shape;
    let steps = strides(shape, order);
    let end = if dense.is_empty() { 0 } else { at(steps, [batch - 1, positions - 1, heads - 1]) + dim };
    let mut laid = vec![f32::NAN; end];
    for (index, vector) in dense.chunks_exact(dim.max(1)).enumerate() {
        let place = [index / heads / positions, index / heads % positions, index % heads];
        laid[at(steps, place)..][..dim].copy_from_slice(vector);
    }
    laid
}

/// The reverse.
fn pick(laid: &[f32], shape: [usize; 4], order: Order) -> Vec<f32> {
    let [batch, positions, heads, dim] = shape;
    let vectors = (0..batch * positions * heads)
        .map(|index| [index / heads / positions, index / heads % positions, index % heads]);
    vectors.flat_map(|place| laid[at(strides(shape, order), place)..][..dim].to_vec()).collect()
}

fn at(strides: [usize; 3], place: [usize; 3]) -> usize {
    strides.iter().zip(place).map(|(stride, index)| stride * index).sum()
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Case {
    /// `[batch, queries, heads, dim]`
    q: [usize; 4],
    keys: usize,
    kv_heads: usize,
    mask: Mask,
    scale: Option<f64>,
    /// Shape of the bias.
    bias: Option<[usize; 4]>,
    offsets: Option<(Vec<usize>, Vec<usize>)>,
    order: Order,
}

impl Case {
    fn new(q: [usize; 4], keys: usize, kv_heads: usize, mask: Mask) -> Self {
        Self { q, keys, kv_heads, mask, scale: None, bias: None, offsets: None, order: Order::Positions }
    }

    fn kv(&self) -> [usize; 4] {
        [self.q[0], self.keys, self.kv_heads, self.q[3]]
    }

    fn attention<'a, T>(&'a self, bias: &'a [T]) -> Attention<'a, T> {
        let mut attention = Attention::new().mask(self.mask);
        if let Some(scale) = self.scale {
            attention = attention.scale(scale);
        }
        if let Some(shape) = self.bias {
            attention = attention.bias(Bias::new(bias, shape).unwrap());
        }
        if let Some((queries, keys)) = &self.offsets {
            attention = attention.sequences(queries, keys);
        }
        attention
    }
}

/// Inputs, dense by position.
#[derive(Clone)]
struct Input {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    d_out: Vec<f32>,
    bias: Vec<f32>,
}

impl Input {
    fn new(case: &Case, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let len = |shape: [usize; 4]| shape.iter().product::<usize>();
        let mut bias = numbers.vector(case.bias.map_or(0, len));
        // Some keys are hidden by their bias.
        bias.iter_mut().filter(|x| **x < -0.8).for_each(|x| *x = f32::NEG_INFINITY);
        Self {
            q: numbers.vector(len(case.q)),
            k: numbers.vector(len(case.kv())),
            v: numbers.vector(len(case.kv())),
            d_out: numbers.vector(len(case.q)),
            bias,
        }
    }
}

/// Results, dense by position: `out, lse, d_q, d_k, d_v`.
type Output<T> = [Vec<T>; 5];

/// The fast passes, on slices that end at a page nobody may touch; outputs hold NaN before.
fn fast(case: &Case, input: &Input) -> Output<f32> {
    let (q_shape, kv_shape, order) = (case.q, case.kv(), case.order);
    let (q_strides, kv_strides) = (strides(q_shape, order), strides(kv_shape, order));
    let [q, d_out] = [&input.q, &input.d_out].map(|x| PageEnd::copied(&lay(x, q_shape, order)));
    let [k, v] = [&input.k, &input.v].map(|x| PageEnd::copied(&lay(x, kv_shape, order)));
    let bias = PageEnd::copied(&input.bias);
    let attention = case.attention(&bias);
    let nan = |len: usize| PageEnd::copied(&vec![f32::NAN; len]);
    let (mut out, mut lse) = (nan(q.len()), nan(case.q[0] * case.q[1] * case.q[2]));
    let view = |x, shape, strides| Heads::strided(x, shape, strides).unwrap();
    let [q, d_out] = [&q, &d_out].map(|x| view(&**x, q_shape, q_strides));
    let [k, v] = [&k, &v].map(|x| view(&**x, kv_shape, kv_strides));
    let target = HeadsMut::strided(&mut out, q_shape, q_strides).unwrap();
    attention.forward(q, k, v, target, &mut lse).unwrap();
    let saved = Saved { q, k, v, out: view(&out, q_shape, q_strides), lse: &lse };
    let kv_len = lay(&input.k, kv_shape, order).len();
    let (mut d_q, mut d_k, mut d_v) = (nan(out.len()), nan(kv_len), nan(kv_len));
    let gradients = Gradients {
        q: HeadsMut::strided(&mut d_q, q_shape, q_strides).unwrap(),
        k: HeadsMut::strided(&mut d_k, kv_shape, kv_strides).unwrap(),
        v: HeadsMut::strided(&mut d_v, kv_shape, kv_strides).unwrap(),
    };
    attention.backward(saved, d_out, gradients).unwrap();
    let [out, d_q] = [&out, &d_q].map(|x| pick(x, q_shape, order));
    let [d_k, d_v] = [&d_k, &d_v].map(|x| pick(x, kv_shape, order));
    [out, lse.to_vec(), d_q, d_k, d_v]
}

fn slow(case: &Case, input: &Input) -> Output<f64> {
    let bias = wide(&input.bias);
    let attention = case.attention(&bias);
    let [q, k, v, d_out] = [&input.q, &input.k, &input.v, &input.d_out].map(|x| wide(x));
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; case.q[0] * case.q[1] * case.q[2]]);
    let [q, d_out] = [&q, &d_out].map(|x| Heads::new(x, case.q).unwrap());
    let [k, v] = [&k, &v].map(|x| Heads::new(x, case.kv()).unwrap());
    let target = HeadsMut::new(&mut out, case.q).unwrap();
    twin::forward_views(&attention, q, k, v, target, &mut lse).unwrap();
    let saved = Saved { q, k, v, out: Heads::new(&out, case.q).unwrap(), lse: &lse };
    let (mut d_q, mut d_k, mut d_v) =
        (vec![0.0; out.len()], vec![0.0; input.k.len()], vec![0.0; input.v.len()]);
    let gradients = Gradients {
        q: HeadsMut::new(&mut d_q, case.q).unwrap(),
        k: HeadsMut::new(&mut d_k, case.kv()).unwrap(),
        v: HeadsMut::new(&mut d_v, case.kv()).unwrap(),
    };
    twin::backward_views(&attention, saved, d_out, gradients).unwrap();
    [out, lse, d_q, d_k, d_v]
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

fn check(case: &Case, seed: u64) {
    let input = Input::new(case, seed);
    let (found, expected) = (fast(case, &input), slow(case, &input));
    let gradients = norm(expected[2..].iter().flatten().copied());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let name = ["out", "lse", "d_q", "d_k", "d_v"][index];
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            // Rows that see nothing.
            assert_eq!(
                f64::from(*found) == f64::NEG_INFINITY,
                *expected == f64::NEG_INFINITY,
                "{name} of {case:?}"
            );
            assert!(!found.is_nan(), "{name} of {case:?}");
        }
        let pairs = || found.iter().zip(expected).filter(|(_, e)| e.is_finite());
        let error = norm(pairs().map(|(f, e)| f64::from(*f) - e));
        let own = norm(pairs().map(|(_, e)| e.abs() + if index == 1 { 1.0 } else { 0.0 }));
        // Gradients of rows that see one key are differences of equals: an error of the others' size remains.
        let scale = own + if index > 1 { 0.01 * gradients } else { 0.0 };
        assert!(error <= 2e-5 * scale, "{name} of {case:?}: error {error:e} of {scale:e}");
    }
}

const MASKS: [Mask; 6] = [
    Mask::None,
    Mask::Causal,
    Mask::Window { left: 20, right: 0 },
    Mask::Window { left: 3, right: 130 },
    Mask::Window { left: usize::MAX, right: 7 },
    Mask::Window { left: 0, right: 0 },
];

#[test]
fn every_level_passes() {
    at_every_level();
}

#[test]
fn masks_groups_and_strides_agree_with_the_twin() {
    for (seed, mask) in MASKS.into_iter().enumerate() {
        for (queries, keys, heads, kv_heads, dim) in [
            (1, 1, 1, 1, 1),
            (130, 130, 4, 2, 9),
            (67, 200, 2, 1, 16),
            (90, 33, 3, 3, 8),
            (5, 0, 2, 2, 4),
            (0, 5, 2, 1, 4),
        ] {
            for order in [Order::Positions, Order::Heads, Order::Gaps] {
                let case = Case { order, ..Case::new([2, queries, heads, dim], keys, kv_heads, mask) };
                check(&case, seed as u64);
            }
        }
    }
}

#[test]
fn chunks_of_keys_agree_with_the_twin() {
    for mask in [Mask::None, Mask::Causal, Mask::Window { left: 300, right: 5 }] {
        check(&Case::new([1, 300, 2, 3], 1500, 1, mask), 5);
        check(&Case::new([1, 1100, 1, 2], 1100, 1, mask), 6);
    }
}

#[test]
fn biases_and_scales_agree_with_the_twin() {
    for mask in MASKS {
        for (index, bias) in
            [[2, 4, 70, 90], [1, 4, 1, 90], [2, 1, 70, 90], [1, 1, 1, 90]].into_iter().enumerate()
        {
            let scale = [None, Some(0.7), Some(-0.4), Some(0.0)][index];
            let case = Case { bias: Some(bias), scale, ..Case::new([2, 70, 4, 8], 90, 2, mask) };
            check(&case, index as u64);
            check(&Case { bias: None, ..case }, index as u64);
        }
    }
}

/// The twin finds a head's biases as the kernel does, so they are cut out by hand here.
#[test]
fn a_head_of_a_sequence_has_its_own_biases() {
    let (queries, keys, dim) = (5, 7, 3);
    let case = Case { bias: Some([2, 3, 5, 7]), ..Case::new([2, 5, 3, 3], 7, 3, Mask::None) };
    let input = Input::new(&case, 19);
    let [out, ..] = fast(&case, &input);
    for (sequence, head) in (0..2).flat_map(|sequence| (0..3).map(move |head| (sequence, head))) {
        let pick = |x: &[f32], positions: usize| -> Vec<f32> {
            let rows = x.chunks_exact(dim).skip(sequence * positions * 3 + head).step_by(3);
            rows.take(positions).flatten().copied().collect()
        };
        let one = Case { bias: Some([1, 1, 5, 7]), ..Case::new([1, 5, 1, 3], 7, 1, Mask::None) };
        let alone = Input {
            q: pick(&input.q, queries),
            k: pick(&input.k, keys),
            v: pick(&input.v, keys),
            d_out: pick(&input.d_out, queries),
            bias: input.bias[(sequence * 3 + head) * queries * keys..][..queries * keys].to_vec(),
        };
        let [found, ..] = fast(&one, &alone);
        assert!(bits(&found) == bits(&pick(&out, queries)), "head {head} of sequence {sequence}");
    }
}

#[test]
fn sequences_of_several_lengths_agree_with_the_twin() {
    let offsets = Some((vec![0, 3, 3, 73, 74, 140], vec![0, 0, 9, 79, 180, 200]));
    for mask in MASKS {
        let case = Case { offsets: offsets.clone(), ..Case::new([1, 140, 4, 8], 200, 2, mask) };
        check(&case, 3);
        check(&Case { bias: Some([5, 4, 70, 101]), order: Order::Heads, ..case.clone() }, 4);
        check(&Case { bias: Some([1, 1, 1, 101]), order: Order::Gaps, ..case }, 4);
    }
    let long = Some((vec![0, 5, 30, 70], vec![0, 1200, 1210, 2500]));
    check(&Case { offsets: long, ..Case::new([1, 70, 2, 4], 2500, 1, Mask::Causal) }, 4);
}

#[test]
fn gradients_are_the_twins_finite_differences() {
    let offsets = Some((vec![0, 2, 5], vec![0, 3, 7]));
    let windowed = Case::new([1, 5, 4, 3], 7, 2, Mask::Window { left: 2, right: 1 });
    let case = Case { offsets, bias: Some([2, 1, 3, 4]), scale: Some(0.9), ..windowed };
    let input = Input::new(&case, 8);
    let [_, _, d_q, d_k, d_v] = fast(&case, &input);
    let loss = |q: &[f64], k: &[f64], v: &[f64]| {
        let bias = wide(&input.bias);
        let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; 20]);
        let [k, v] = [k, v].map(|x| Heads::new(x, case.kv()).unwrap());
        let target = HeadsMut::new(&mut out, case.q).unwrap();
        let q = Heads::new(q, case.q).unwrap();
        twin::forward_views(&case.attention(&bias), q, k, v, target, &mut lse).unwrap();
        out.iter().zip(&input.d_out).map(|(out, d)| out * f64::from(*d)).sum::<f64>()
    };
    let inputs = [&input.q, &input.k, &input.v].map(|x| wide(x));
    for (part, gradient) in [d_q, d_k, d_v].into_iter().enumerate() {
        for (index, found) in gradient.into_iter().enumerate() {
            let [low, high] = [-1e-5, 1e-5].map(|step| {
                let mut moved = inputs.clone();
                moved[part][index] += step;
                loss(&moved[0], &moved[1], &moved[2])
            });
            let expected = (high - low) / 2e-5;
            assert!(
                (f64::from(found) - expected).abs() < 1e-5,
                "part {part}, {index}: {found} is not {expected}"
            );
        }
    }
}

#[test]
fn strides_and_shared_heads_change_no_bit() {
    for mask in MASKS {
        let case = Case::new([2, 150, 4, 20], 150, 4, mask);
        let input = Input::new(&case, 11);
        let dense = fast(&case, &input).map(|x| bits(&x));
        for order in [Order::Heads, Order::Gaps] {
            assert!(
                dense == fast(&Case { order, ..case.clone() }, &input).map(|x| bits(&x)),
                "{order:?} {mask:?}"
            );
        }
        // Shared key and value heads are the same as copies of them.
        let grouped = Case { kv_heads: 2, ..case.clone() };
        let few = Input { k: half_the_heads(&input.k), v: half_the_heads(&input.v), ..input.clone() };
        let copies = Input { k: doubled(&few.k), v: doubled(&few.v), ..input };
        let [shared, own] = [fast(&grouped, &few), fast(&case, &copies)];
        for part in 0..3 {
            assert!(bits(&shared[part]) == bits(&own[part]), "part {part} of {mask:?}");
        }
    }

    fn half_the_heads(x: &[f32]) -> Vec<f32> {
        x.chunks_exact(80).flat_map(|row| row[..40].to_vec()).collect()
    }

    fn doubled(x: &[f32]) -> Vec<f32> {
        x.chunks_exact(20).flat_map(|head| [head, head].concat()).collect()
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_packed_and_in_a_batch() {
    for mask in MASKS {
        let case = Case::new([3, 100, 2, 8], 100, 1, mask);
        let input = Input::new(&case, 12);
        let batch = fast(&case, &input);
        let offsets = vec![0, 100, 200, 300];
        let packed =
            Case { offsets: Some((offsets.clone(), offsets)), ..Case::new([1, 300, 2, 8], 300, 1, mask) };
        let packed = fast(&packed, &input);
        for part in [0, 2, 3, 4] {
            assert!(bits(&batch[part]) == bits(&packed[part]), "part {part} of {mask:?}");
        }
        let alone = Case { q: [1, 100, 2, 8], ..case.clone() };
        let third = |x: &[f32]| x[x.len() / 3..][..x.len() / 3].to_vec();
        let middle = Input {
            q: third(&input.q),
            k: third(&input.k),
            v: third(&input.v),
            d_out: third(&input.d_out),
            bias: vec![],
        };
        let alone = fast(&alone, &middle);
        for part in 0..5 {
            assert!(bits(&alone[part]) == bits(&third(&batch[part])), "part {part} of {mask:?}");
        }
    }
}

#[test]
fn a_prompt_in_pieces_has_the_same_bits() {
    for mask in [Mask::Causal, Mask::Window { left: 50, right: 0 }, Mask::Window { left: 120, right: 0 }] {
        let whole = Case::new([1, 230, 2, 12], 230, 1, mask);
        let input = Input::new(&whole, 13);
        let [out, lse, ..] = fast(&whole, &input);
        for (from, to) in [(0, 1), (0, 70), (33, 34), (70, 230), (131, 200)] {
            let piece = Case::new([1, to - from, 2, 12], to, 1, mask);
            let row = |x: &[f32]| x[from * 24..to * 24].to_vec();
            let part = Input {
                q: row(&input.q),
                d_out: row(&input.d_out),
                k: input.k[..to * 12].to_vec(),
                v: input.v[..to * 12].to_vec(),
                bias: vec![],
            };
            let [found, found_lse, ..] = fast(&piece, &part);
            assert!(bits(&found) == bits(&row(&out)), "{from}..{to} of {mask:?}");
            for head in 0..2 {
                let found = &found_lse[head * (to - from)..][..to - from];
                assert!(
                    bits(found) == bits(&lse[head * 230 + from..head * 230 + to]),
                    "{from}..{to} of {mask:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_window_hides_may_be_anything() {
    let case = Case::new([1, 150, 1, 5], 150, 1, Mask::Window { left: 40, right: 0 });
    let input = Input::new(&case, 14);
    let [out, ..] = fast(&case, &input);
    let mut poisoned = input.clone();
    for position in (0..59).chain(101..150) {
        poisoned.k[position * 5..][..5].fill(f32::NAN);
        poisoned.v[position * 5..][..5].fill(f32::INFINITY);
    }
    let mut found = vec![0.0; out.len()];
    let view = |x| Heads::new(x, case.q).unwrap();
    let target = HeadsMut::new(&mut found, case.q).unwrap();
    let (k, v) = (view(&poisoned.k), view(&poisoned.v));
    case.attention(&[]).forward(view(&input.q), k, v, target, &mut [0.0; 150]).unwrap();
    assert!(bits(&found[99 * 5..101 * 5]) == bits(&out[99 * 5..101 * 5]), "rows that see 59..101 alone");
    assert!(found[98 * 5].is_nan() && found[101 * 5].is_nan());
}

#[test]
fn rows_that_see_nothing_are_zero_and_have_no_gradient() {
    // More queries than keys: the first five are before all keys.
    let case = Case::new([1, 8, 2, 4], 3, 2, Mask::Causal);
    let [out, lse, d_q, ..] = fast(&case, &Input::new(&case, 15));
    assert!(out[..5 * 8].iter().chain(&d_q[..5 * 8]).all(|x| *x == 0.0));
    assert!(lse
        .chunks_exact(8)
        .all(|lse| lse[..5] == [f32::NEG_INFINITY; 5] && lse[5..].iter().all(|x| x.is_finite())));
    // A bias that hides everything from row 2.
    let case = Case { bias: Some([1, 1, 4, 6]), ..Case::new([1, 4, 1, 2], 6, 1, Mask::None) };
    let mut input = Input::new(&case, 16);
    input.bias.fill(0.5);
    input.bias[2 * 6..3 * 6].fill(f32::NEG_INFINITY);
    let [out, lse, d_q, d_k, d_v] = fast(&case, &input);
    assert_eq!((&out[4..6], lse[2], &d_q[4..6]), (&[0.0; 2][..], f32::NEG_INFINITY, &[0.0; 2][..]));
    assert!(d_k.iter().chain(&d_v).all(|x| x.is_finite()));
}

#[test]
fn keys_and_values_that_no_query_head_reads_have_no_gradient() {
    for keys in [3, 1500] {
        let case = Case::new([2, 5, 0, 4], keys, 2, Mask::Causal);
        let input = Input::new(&case, 18);
        let [out, lse, d_q, d_k, d_v] = fast(&case, &input);
        assert!(out.is_empty() && lse.is_empty() && d_q.is_empty());
        assert_eq!((d_k.len(), d_v.len()), (2 * keys * 2 * 4, 2 * keys * 2 * 4));
        assert!(d_k.iter().chain(&d_v).all(|x| *x == 0.0));
        let [.., d_k, d_v] = slow(&case, &input);
        assert!(d_k.iter().chain(&d_v).all(|x| *x == 0.0));
    }
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    let lengths = (vec![0, 3, 200, 1300], vec![0, 9, 200, 1400]);
    let mask = Mask::Window { left: 1100, right: 3 };
    let case = Case { offsets: Some(lengths), ..Case::new([1, 1300, 2, 5], 1400, 1, mask) };
    let input = Input::new(&case, 17);
    same_on_any_workers("both passes", || fast(&case, &input).map(|x| bits(&x)));
}
