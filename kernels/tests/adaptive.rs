//! Adaptive attention: beside its f64 twin, beside exact attention within its certificates, and what is proven of it.

mod common;

use common::{at_every_level, bits, same_on_any_workers, wide, Numbers};
use upbeat_kernels::attention::{
    Adapted, Attention, Bias, Heads, HeadsMut, Mask, Resolution, Summary, ADAPTIVE_QUERIES, ADAPTIVE_TILE,
};
use upbeat_kernels::twin::{adaptive as twin, attention as exact};

/// How keys and values are spread over positions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    /// Every tile has its own centre, with little around it.
    Clustered,
    /// Each position is near the one before.
    Slow,
    /// Independent.
    Noise,
    /// All near one another but for a few.
    Needles,
}

const SPREADS: [Spread; 4] = [Spread::Clustered, Spread::Slow, Spread::Noise, Spread::Needles];

/// `[batch, positions, heads, dim]`
fn vectors([batch, positions, heads, dim]: [usize; 4], spread: Spread, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers::new(seed);
    let mut x = numbers.vector(batch * positions * heads * dim);
    let at = |b: usize, p: usize, h: usize| ((b * positions + p) * heads + h) * dim;
    for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        for p in 0..positions {
            for d in 0..dim {
                let here = at(b, p, h) + d;
                let base = |p: usize, x: &[f32]| x[at(b, p, h) + d];
                x[here] = match spread {
                    Spread::Noise => x[here],
                    Spread::Clustered if p % 32 == 0 => 1.5 * x[here],
                    Spread::Clustered => base(p / 32 * 32, &x) + 0.05 * x[here],
                    Spread::Slow if p == 0 => x[here],
                    Spread::Slow => 0.999 * base(p - 1, &x) + 0.03 * x[here],
                    Spread::Needles if p == 0 || p % 97 == 13 => 2.0 * x[here],
                    Spread::Needles => base(0, &x) + 0.05 * x[here],
                };
            }
        }
    }
    x
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// `[batch, queries, heads, dim]`
    q: [usize; 4],
    keys: usize,
    kv_heads: usize,
    mask: Mask,
    spread: Spread,
}

impl Case {
    fn kv(&self) -> [usize; 4] {
        [self.q[0], self.keys, self.kv_heads, self.q[3]]
    }

    fn data(&self) -> [Vec<f32>; 3] {
        let q = vectors(self.q, Spread::Slow, 1);
        [q, vectors(self.kv(), self.spread, 2), vectors(self.kv(), self.spread, 3)]
    }

    fn run(&self, resolution: Resolution, [q, k, v]: &[Vec<f32>; 3]) -> (Vec<f32>, Vec<f32>, Adapted) {
        let of = |x| Heads::new(x, self.kv()).unwrap();
        let summary = Summary::new(of(k), of(v)).unwrap();
        let (mut out, mut lse) = (vec![f32::NAN; q.len()], vec![f32::NAN; q.len() / self.q[3]]);
        let (q, out_heads) = (Heads::new(q, self.q).unwrap(), HeadsMut::new(&mut out, self.q).unwrap());
        let attention = Attention::new().mask(self.mask);
        let done = attention.adaptive(resolution, &summary, q, of(k), of(v), out_heads, &mut lse).unwrap();
        (out, lse, done)
    }

    fn forward(&self, [q, k, v]: &[Vec<f32>; 3]) -> (Vec<f32>, Vec<f32>) {
        let of = |x| Heads::new(x, self.kv()).unwrap();
        let (mut out, mut lse) = (vec![f32::NAN; q.len()], vec![f32::NAN; q.len() / self.q[3]]);
        let (q, out_heads) = (Heads::new(q, self.q).unwrap(), HeadsMut::new(&mut out, self.q).unwrap());
        Attention::new().mask(self.mask).forward(q, of(k), of(v), out_heads, &mut lse).unwrap();
        (out, lse)
    }

    /// The twin's outputs, log-sums and bounds for a cut, or exact attention for none.
    fn twin(&self, coarse: Option<&[u8]>, data: &[Vec<f32>; 3]) -> [Vec<f64>; 3] {
        let [q, k, v] = data.each_ref().map(|x| wide(x));
        let rows = q.len() / self.q[3];
        let (mut out, mut lse, mut bounds) = (vec![0.0; q.len()], vec![0.0; rows], vec![0.0; rows]);
        let attention = Attention::new().mask(self.mask);
        let [q, k, v] =
            [(&q, self.q), (&k, self.kv()), (&v, self.kv())].map(|(x, s)| Heads::new(x, s).unwrap());
        let outs = HeadsMut::new(&mut out, self.q).unwrap();
        match coarse {
            None => exact::forward_views(&attention, q, k, v, outs, &mut lse).unwrap(),
            Some(coarse) => {
                let (tile, queries, tiles) = (ADAPTIVE_TILE, ADAPTIVE_QUERIES, self.keys / ADAPTIVE_TILE);
                let cut = twin::Cut { tile, queries, tiles, coarse };
                twin::forward(&attention, &cut, [q, k, v], outs, &mut lse, &mut bounds).unwrap();
            }
        }
        [out, lse, bounds]
    }

    /// Errors of the outputs in rows, in the order of log-sums; and the largest norm of a value.
    fn errors(&self, found: &[f64], expected: &[f64]) -> Vec<f64> {
        let [_, queries, heads, dim] = self.q;
        let rows = found.len() / dim;
        (0..rows)
            .map(|row| {
                let (i, head, b) = (row % queries, row / queries % heads, row / queries / heads);
                let at = ((b * queries + i) * heads + head) * dim;
                let squares = (at..at + dim).map(|at| (found[at] - expected[at]).powi(2));
                squares.sum::<f64>().sqrt()
            })
            .collect()
    }

    /// What rounding may add to an error.
    fn rounding(&self, data: &[Vec<f32>; 3]) -> f64 {
        let norms = data[2].chunks(self.q[3]).map(|v| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>());
        4e-6 * norms.fold(0.0, f64::max).sqrt() * (2.0 * self.keys as f64).ln()
    }
}

const CASES: [Case; 8] = {
    const fn case(q: [usize; 4], keys: usize, kv_heads: usize, mask: Mask, spread: Spread) -> Case {
        Case { q, keys, kv_heads, mask, spread }
    }
    [
        case([1, 130, 2, 16], 400, 1, Mask::None, Spread::Clustered),
        case([2, 257, 2, 24], 257, 2, Mask::Causal, Spread::Slow),
        case([1, 65, 4, 64], 1000, 2, Mask::Causal, Spread::Needles),
        case([1, 1, 2, 33], 331, 2, Mask::Causal, Spread::Slow),
        case([1, 200, 1, 8], 300, 1, Mask::Window { left: 150, right: 40 }, Spread::Clustered),
        case([1, 70, 1, 5], 96, 1, Mask::None, Spread::Noise),
        case([1, 3, 1, 4], 31, 1, Mask::None, Spread::Slow),
        case([2, 64, 2, 128], 320, 2, Mask::Causal, Spread::Clustered),
    ]
};

const RESOLUTIONS: [Resolution; 4] =
    [Resolution::Tolerance(1e-3), Resolution::Tolerance(0.1), Resolution::Budget(2), Resolution::Budget(0)];

#[test]
fn the_levels_agree_with_the_twin() {
    at_every_level();
}

#[test]
fn outputs_and_certificates_are_the_twins() {
    for case in CASES {
        let data = case.data();
        for resolution in RESOLUTIONS {
            let (out, lse, done) = case.run(resolution, &data);
            let [expected, expected_lse, expected_bounds] = case.twin(Some(&done.coarse), &data);
            let rounding = case.rounding(&data);
            for (row, error) in case.errors(&wide(&out), &expected).into_iter().enumerate() {
                assert!(error <= rounding, "{case:?}, {resolution:?}: row {row} is off by {error:e}");
                let (found, expected) = (f64::from(lse[row]), expected_lse[row]);
                assert!(
                    (found - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                    "{case:?}: {found} {expected}"
                );
                // Never below, and above by what radii and deviations are rounded up by, and by the distance's own rounding.
                let (found, expected) = (f64::from(done.bounds[row]), expected_bounds[row]);
                let most = 1.05 * expected + 0.02 * (rounding * found).sqrt() + rounding;
                assert!(
                    (0.9999 * expected..=most).contains(&found),
                    "{case:?}, {resolution:?}: the bound of row {row} is {found:e}, not {expected:e}"
                );
            }
        }
    }
}

#[test]
fn no_output_is_farther_from_exact_attention_than_its_bound() {
    for case in CASES {
        for spread in SPREADS {
            let case = Case { spread, ..case };
            let data = case.data();
            let [exact, exact_lse, _] = case.twin(None, &data);
            for resolution in RESOLUTIONS {
                let (out, lse, done) = case.run(resolution, &data);
                let errors = case.errors(&wide(&out), &exact);
                for (row, error) in errors.into_iter().enumerate() {
                    let bound = f64::from(done.bounds[row]);
                    assert!(
                        error <= bound + case.rounding(&data),
                        "{case:?}, {resolution:?}: row {row} is off by {error:e}, bound {bound:e}"
                    );
                    if let Resolution::Tolerance(most) = resolution {
                        assert!(bound <= f64::from(most), "{case:?}, {resolution:?}: the bound is {bound:e}");
                    }
                    // Means only lose: Ẑ ≤ Z; and no more than told.
                    let lost = exact_lse[row] - f64::from(lse[row]);
                    assert!(lost >= -1e-5 * exact_lse[row].abs().max(1.0), "{case:?}: {lost:e}");
                    let kept = (-lost).exp();
                    let quality = f64::from(done.quality[row]);
                    assert!(
                        quality <= kept + 2e-5 * exact_lse[row].abs().max(1.0),
                        "{case:?}: {quality} {kept}"
                    );
                }
            }
        }
    }
}

/// 1, 2, 3 and 6 of `docs/adaptive-attention.md`, over random chains of finer and finer cuts.
#[test]
fn finer_cuts_lose_less() {
    let mut numbers = Numbers::new(7);
    for spread in SPREADS {
        let case = Case { q: [1, 5, 1, 8], keys: 320, kv_heads: 1, mask: Mask::None, spread };
        let data = case.data();
        let [exact, exact_lse, _] = case.twin(None, &data);
        let v = &data[2];
        let mut coarse = vec![1; 10];
        let mut before: Option<[Vec<f64>; 3]> = None;
        while coarse.contains(&1) {
            let now = case.twin(Some(&coarse), &data);
            for (row, error) in case.errors(&now[0], &exact).into_iter().enumerate() {
                let lost = exact_lse[row] - now[1][row];
                assert!(lost >= -1e-12, "Jensen: {lost:e}");
                if let Some(before) = &before {
                    assert!(now[1][row] >= before[1][row] - 1e-12, "a finer cut has more");
                }
                let centre = wide(&v[..8]);
                let reach = v.chunks(8).map(|v| {
                    v.iter().zip(&centre).map(|(v, c)| (f64::from(*v) - c).powi(2)).sum::<f64>().sqrt()
                });
                let pinsker = reach.fold(0.0, f64::max) * (2.0 * lost.max(0.0)).sqrt();
                assert!(error <= pinsker + 1e-9, "Pinsker: {error:e} {pinsker:e}");
                assert!(error <= now[2][row] + 1e-12, "the certificate: {error:e} {:e}", now[2][row]);
            }
            before = Some(now);
            let at = (numbers.bits() % 10) as usize;
            coarse[at] = 0;
        }
        let [out, lse, bounds] = case.twin(Some(&coarse), &data);
        assert!(case.errors(&out, &exact).iter().all(|error| *error < 1e-13));
        assert!(lse.iter().zip(&exact_lse).all(|(a, b)| (a - b).abs() < 1e-12) && bounds == [0.0; 5]);
    }
}

#[test]
fn with_nothing_coarse_bits_are_those_of_plain_attention() {
    for case in CASES {
        let data = case.data();
        let (out, lse) = case.forward(&data);
        for resolution in [
            Resolution::Exact,
            Resolution::Tolerance(0.0),
            Resolution::Tolerance(f32::NAN),
            Resolution::Budget(usize::MAX),
        ] {
            let (found, found_lse, done) = case.run(resolution, &data);
            assert_eq!(
                (bits(&found), bits(&found_lse)),
                (bits(&out), bits(&lse)),
                "{case:?}, {resolution:?}"
            );
            assert_eq!((done.bound(), done.qualities()), (0.0, (1.0, 1.0)));
            assert!(done.coarse.iter().all(|mark| *mark == 0));
        }
    }
}

#[test]
fn what_has_locality_costs_less_and_noise_costs_little_more() {
    let case = |spread| Case { q: [1, 2048, 1, 16], keys: 2048, kv_heads: 1, mask: Mask::Causal, spread };
    let share = |spread, resolution| {
        let case = case(spread);
        case.run(resolution, &case.data()).2.share()
    };
    let clustered = share(Spread::Clustered, Resolution::Tolerance(0.1));
    assert!(clustered < 0.3, "{clustered}");
    let slow = share(Spread::Slow, Resolution::Tolerance(0.3));
    assert!(slow < 0.9, "{slow}");
    let noise = share(Spread::Noise, Resolution::Tolerance(0.01));
    assert!(noise < 1.13, "{noise}");
    // Only what none may do without, the tiles across the diagonal, is exact.
    let budget = share(Spread::Noise, Resolution::Budget(0));
    assert!(budget < 0.25, "{budget}");
}

#[test]
fn bits_do_not_depend_on_the_number_of_workers() {
    for case in CASES {
        let data = case.data();
        same_on_any_workers(case, || {
            let (out, lse, done) = case.run(Resolution::Tolerance(0.05), &data);
            [bits(&out), bits(&lse), bits(&done.bounds), bits(&done.quality)].concat()
        });
    }
}

#[test]
fn a_growing_cache_extends_its_summary() {
    let case = Case { q: [2, 4, 2, 16], keys: 500, kv_heads: 2, mask: Mask::Causal, spread: Spread::Slow };
    let [q, k, v] = case.data();
    let [batch, keys, heads, dim] = case.kv();
    // A cache with room for more, of which more and more is there.
    let strides = [keys * heads * dim, heads * dim, dim];
    let part = |x, n| Heads::strided(x, [batch, n, heads, dim], strides).unwrap();
    let (k, v) = (&k, &v);
    let mut grown = Summary::new(part(k, 10), part(v, 10)).unwrap();
    assert_eq!(grown.tiles(), 0);
    for n in [33, 64, 65, 250, 500] {
        grown.extend(part(k, n), part(v, n)).unwrap();
        assert_eq!(grown.tiles(), n / 32);
        let fresh = Summary::new(part(k, n), part(v, n)).unwrap();
        let of = |summary: &Summary| {
            let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; q.len() / dim]);
            let outs = HeadsMut::new(&mut out, case.q).unwrap();
            let attention = Attention::new().mask(case.mask);
            let queries = Heads::new(&q, case.q).unwrap();
            let resolution = Resolution::Tolerance(0.2);
            let done = attention
                .adaptive(resolution, summary, queries, part(k, n), part(v, n), outs, &mut lse)
                .unwrap();
            (bits(&out), done)
        };
        assert_eq!(of(&grown), of(&fresh));
    }
    assert!(grown.extend(part(k, 20), part(v, 20)).is_err());
}

#[test]
fn tiles_that_are_not_finite_are_exact() {
    let case = Case { q: [1, 3, 1, 8], keys: 128, kv_heads: 1, mask: Mask::None, spread: Spread::Clustered };
    for (what, number) in
        [("keys", f32::NAN), ("keys", f32::INFINITY), ("values", f32::NAN), ("queries", f32::NAN)]
    {
        let mut data = case.data();
        data[["queries", "keys", "values"].iter().position(|w| *w == what).unwrap()][9] = number;
        let (out, _) = case.forward(&data);
        let (found, _, done) = case.run(Resolution::Tolerance(0.1), &data);
        let nan = |x: &[f32]| x.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
        assert_eq!(nan(&found), nan(&out), "{number} among the {what}");
        if what == "keys" || what == "values" {
            assert_eq!(done.coarse[0], 0, "{number} among the {what}");
        }
    }
    // Large values overflow the bounds, not the outputs.
    let mut data = case.data();
    data[2].iter_mut().for_each(|x| *x *= 1e25);
    let (out, _) = case.forward(&data);
    let (found, _, done) = case.run(Resolution::Tolerance(0.1), &data);
    assert_eq!(bits(&found), bits(&out));
    assert!(done.coarse.iter().all(|mark| *mark == 0));
}

#[test]
fn nothing_and_no_width_are_attention_all_the_same() {
    for (q, keys) in [([1, 0, 1, 8], 64), ([0, 3, 1, 8], 64), ([1, 3, 1, 8], 0), ([1, 3, 0, 8], 64)] {
        let case = Case { q, keys, kv_heads: q[2].min(1), mask: Mask::None, spread: Spread::Slow };
        let data = case.data();
        let (out, lse, done) = case.run(Resolution::Tolerance(0.1), &data);
        assert_eq!((out, lse), case.forward(&data));
        assert_eq!(done.bound(), 0.0);
    }
    let (mut lse, none) = (vec![9.0; 3], Vec::<f32>::new());
    let of = |positions| Heads::new(&none, [1, positions, 1, 0]).unwrap();
    let summary = Summary::new(of(64), of(64)).unwrap();
    let outs = HeadsMut::new(&mut [], [1, 3, 1, 0]).unwrap();
    let resolution = Resolution::Tolerance(0.1);
    Attention::new().adaptive(resolution, &summary, of(3), of(64), of(64), outs, &mut lse).unwrap();
    assert!(lse.iter().all(|lse| (lse - 64f32.ln()).abs() < 1e-6));
}

#[test]
fn a_bias_makes_every_tile_exact() {
    let case = CASES[0];
    let [q, k, v] = case.data();
    let bias = Numbers::new(5).vector(case.keys);
    let bias = Bias::new(&bias, [1, 1, 1, case.keys]).unwrap();
    let of = |x| Heads::new(x, case.kv()).unwrap();
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; q.len() / case.q[3]]);
    let (mut plain, mut plain_lse) = (out.clone(), lse.clone());
    let summary = Summary::new(of(&k), of(&v)).unwrap();
    let queries = Heads::new(&q, case.q).unwrap();
    let attention = Attention::new().bias(bias);
    let outs = HeadsMut::new(&mut out, case.q).unwrap();
    let done =
        attention.adaptive(Resolution::Budget(0), &summary, queries, of(&k), of(&v), outs, &mut lse).unwrap();
    let outs = HeadsMut::new(&mut plain, case.q).unwrap();
    attention.forward(queries, of(&k), of(&v), outs, &mut plain_lse).unwrap();
    assert_eq!((out, lse, done.bound()), (plain, plain_lse, 0.0));
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = vec![0.5_f32; 2 * 64 * 2 * 8];
    let of = |shape| Heads::new(&x[..shape_len(shape)], shape).unwrap();
    let told = |shape_of_summary: [usize; 4], attention: Attention<'_, f32>| {
        let summary = Summary::new(of(shape_of_summary), of(shape_of_summary)).unwrap();
        let (mut out, mut lse) = (vec![7.0; 3 * 2 * 8], vec![7.0; 6]);
        let outs = HeadsMut::new(&mut out, [1, 3, 2, 8]).unwrap();
        let (q, kv) = (of([1, 3, 2, 8]), of([1, 64, 2, 8]));
        let told = attention.adaptive(Resolution::Budget(0), &summary, q, kv, kv, outs, &mut lse);
        assert_eq!((&out[..], &lse[..]), (&[7.0; 48][..], &[7.0; 6][..]), "nothing is written");
        told.unwrap_err().to_string()
    };
    let plain = Attention::new;
    assert_eq!(told([2, 64, 2, 8], plain()), "the batch of the summary must be 1 but is 2");
    assert_eq!(told([1, 64, 1, 8], plain()), "the heads of the summary must be 2 but is 1");
    assert_eq!(told([1, 64, 2, 4], plain()), "the width of the summary must be 8 but is 4");
    assert_eq!(told([1, 96, 2, 8], plain()), "positions of the summary may be 64 at most but are 96");
    let packed = plain().sequences(&[0, 3], &[0, 64]);
    assert_eq!(
        told([1, 64, 2, 8], packed),
        "packed sequences of adaptive attention may be 0 at most but are 1"
    );
    let differ = Summary::new(of([1, 64, 2, 8]), of([1, 32, 2, 8])).unwrap_err().to_string();
    assert_eq!(differ, "the positions of the values must be 64 but is 32");
}

fn shape_len(shape: [usize; 4]) -> usize {
    shape.iter().product()
}

/// Numbers so small that their squares are none: the exact output is still another than that of the means.
#[test]
fn what_underflows_is_bounded_all_the_same() {
    let shape = [1, 64, 1, 4];
    for (of_q, of_k, of_v, scale, most) in [
        (1e-24, 1e18, 1.0, 1e6, 0.05),
        (1e18, 1e-24, 1.0, 1e6, 0.05),
        (1.0, 1.0, 1e-24, 1.0, 5e-26),
        (1.0, 1.0, 1e-20, 1.0, 5e-22),
    ] {
        let [q, k, v] = [(of_q, 1), (of_k, 2), (of_v, 3)].map(|(amplitude, seed)| {
            Numbers::new(seed).vector(256).into_iter().map(|x| x * amplitude).collect::<Vec<f32>>()
        });
        let of = |x| Heads::new(x, shape).unwrap();
        let (mut out, mut lse) = (vec![0.0; 256], vec![0.0; 64]);
        let (mut plain, mut plain_lse) = (out.clone(), lse.clone());
        let attention = Attention::new().scale(scale);
        let summary = Summary::new(of(&k), of(&v)).unwrap();
        let outs = HeadsMut::new(&mut out, shape).unwrap();
        let resolution = Resolution::Tolerance(most);
        let done = attention.adaptive(resolution, &summary, of(&q), of(&k), of(&v), outs, &mut lse).unwrap();
        let outs = HeadsMut::new(&mut plain, shape).unwrap();
        attention.forward(of(&q), of(&k), of(&v), outs, &mut plain_lse).unwrap();
        for (row, (out, plain)) in out.chunks(4).zip(plain.chunks(4)).enumerate() {
            let squares = out.iter().zip(plain).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            let (error, bound) = (squares.sum::<f64>().sqrt(), f64::from(done.bounds[row]));
            assert!(
                error <= bound + 4e-5 * f64::from(of_v),
                "{of_q:e} {of_k:e} {of_v:e}: {error:e} {bound:e}"
            );
        }
    }
}
