//! Adaptive attention beside its f64 twin, and beside exact attention within its bounds.

mod support;

use support::{assert_close, device, numbers, told};
use upbeat_kernels::attention::{self as cpu, Heads, HeadsMut, Mask, Resolution};
use upbeat_kernels::twin;
use upbeat_vulkan::{AttentionLayout, Device};

/// Keys of a tile.
const TILE: usize = 32;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// How vectors are spread over positions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    Clustered,
    Slow,
    Noise,
}

/// Dense vectors `[batch, positions, heads, dim]`.
fn vectors([batch, positions, heads, dim]: [usize; 4], spread: Spread, seed: u64) -> Vec<f32> {
    let mut x = numbers(batch * positions * heads * dim, seed);
    let row = heads * dim;
    for at in 0..x.len() {
        let position = at / row % positions;
        x[at] = match spread {
            Spread::Clustered if position % TILE != 0 => x[at - position % TILE * row] + 0.05 * x[at],
            Spread::Slow if position > 0 => 0.999 * x[at - row] + 0.03 * x[at],
            _ => 1.5 * x[at],
        };
    }
    x
}

struct Found {
    out: Vec<f32>,
    lse: Vec<f32>,
    bounds: Vec<f32>,
    quality: Vec<f32>,
    coarse: Vec<u8>,
    /// Queries of a choice.
    queries: usize,
}

fn run(
    device: &Device,
    layout: &AttentionLayout,
    resolution: Resolution,
    [q, k, v]: &[Vec<f32>; 3],
) -> Found {
    let [q, k, v] = [q, k, v].map(|x| device.upload(x).unwrap());
    let out = device.upload(&vec![7.0; q.len()]).unwrap();
    let mut commands = device.commands();
    let summary = commands.summarise_tiles(layout, &k, &v).unwrap();
    assert_eq!(summary.tiles(), layout.keys / TILE);
    let done = commands.attention_adaptive(layout, resolution, &summary, &q, &k, &v, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let [out, lse, bounds, quality] =
        [&out, &done.lse, &done.bounds, &done.quality].map(|x| x.to_vec().unwrap());
    Found { out, lse, bounds, quality, coarse: done.coarse().unwrap(), queries: done.queries_of_a_choice() }
}

/// Outputs, log-sums and bounds of the twin for a cut, or of exact attention.
fn expected(layout: &AttentionLayout, found: Option<&Found>, data: &[Vec<f32>; 3]) -> [Vec<f64>; 3] {
    let &AttentionLayout { batch, queries, keys, heads, kv_heads, dim, causal, scale, .. } = layout;
    let [q, k, v] = data.each_ref().map(|x| wide(x));
    let rows = batch * heads * queries;
    let (mut out, mut lse, mut bounds) = (vec![0.0; q.len()], vec![0.0; rows], vec![0.0; rows]);
    let mut attention = cpu::Attention::new().mask(if causal { Mask::Causal } else { Mask::None });
    if let Some(scale) = scale {
        attention = attention.scale(scale.into());
    }
    let (of_q, of_k) = ([batch, queries, heads, dim], [batch, keys, kv_heads, dim]);
    let [q, k, v] = [(&q, of_q), (&k, of_k), (&v, of_k)].map(|(x, shape)| Heads::new(x, shape).unwrap());
    let outs = HeadsMut::new(&mut out, of_q).unwrap();
    match found {
        None => twin::attention::forward_views(&attention, q, k, v, outs, &mut lse).unwrap(),
        Some(found) => {
            let (queries, coarse) = (found.queries, &found.coarse[..]);
            let tiles = if coarse.is_empty() { 0 } else { keys / TILE };
            let cut = twin::adaptive::Cut { tile: TILE, queries, tiles, coarse };
            twin::adaptive::forward(&attention, &cut, [q, k, v], outs, &mut lse, &mut bounds).unwrap();
        }
    }
    [out, lse, bounds]
}

/// The distance of each output from another, in the order of log-sums.
fn errors(layout: &AttentionLayout, found: &[f32], expected: &[f64]) -> Vec<f64> {
    let &AttentionLayout { batch, queries, heads, dim, .. } = layout;
    (0..batch * heads * queries)
        .map(|row| {
            let (b, head, i) = (row / queries / heads, row / queries % heads, row % queries);
            let at = ((b * queries + i) * heads + head) * dim;
            let squares = (at..at + dim).map(|at| (f64::from(found[at]) - expected[at]).powi(2));
            squares.sum::<f64>().sqrt()
        })
        .collect()
}

fn layouts() -> Vec<AttentionLayout> {
    let dense = AttentionLayout::dense;
    vec![
        dense(1, 70, 200, 2, 1, 16),
        AttentionLayout { causal: true, ..dense(2, 97, 97, 2, 2, 24) },
        AttentionLayout { causal: true, ..dense(1, 40, 515, 4, 2, 64) },
        AttentionLayout { causal: true, ..dense(1, 1, 331, 2, 2, 33) },
        AttentionLayout { scale: Some(-0.3), ..dense(1, 5, 100, 1, 1, 5) },
        AttentionLayout { causal: true, ..dense(1, 33, 140, 1, 1, 256) },
        AttentionLayout { causal: true, ..dense(1, 90, 60, 1, 1, 8) },
    ]
}

fn data(layout: &AttentionLayout, spread: Spread) -> [Vec<f32>; 3] {
    let of_k = [layout.batch, layout.keys, layout.kv_heads, layout.dim];
    let q = vectors([layout.batch, layout.queries, layout.heads, layout.dim], Spread::Slow, 1);
    [q, vectors(of_k, spread, 2), vectors(of_k, spread, 3)]
}

#[test]
fn outputs_and_bounds_are_the_twins_and_hold() {
    let Some(device) = device() else { return };
    for layout in layouts() {
        for spread in [Spread::Clustered, Spread::Slow, Spread::Noise] {
            let data = data(&layout, spread);
            let [exact, exact_lse, _] = expected(&layout, None, &data);
            for resolution in
                [Resolution::Tolerance(0.2), Resolution::Budget(1), Resolution::Budget(0), Resolution::Exact]
            {
                let what = format!("{layout:?}, {spread:?}, {resolution:?}");
                let found = run(&device, &layout, resolution, &data);
                let [out, lse, bounds] = expected(&layout, Some(&found), &data);
                // Numbers are below 1.5 and widths at most 256: as for plain attention, logits are off by a few units of 2⁻²⁰.
                let rounding = 4e-5 * (layout.dim as f64).sqrt();
                for (row, error) in errors(&layout, &found.out, &out).into_iter().enumerate() {
                    assert!(error <= rounding, "{what}: row {row} is off by {error:e}");
                    let (found, expected) = (f64::from(found.bounds[row]), bounds[row]);
                    // Radii and deviations are rounded up.
                    let most = 1.05 * expected + 1e-6;
                    assert!(
                        (0.9999 * expected..=most).contains(&found),
                        "{what}: {row}: {found:e} {expected:e}"
                    );
                }
                assert_close(&what, &found.lse, &lse, 2e-5, 2e-5);
                for (row, error) in errors(&layout, &found.out, &exact).into_iter().enumerate() {
                    let bound = f64::from(found.bounds[row]);
                    assert!(
                        error <= bound + rounding,
                        "{what}: row {row} is off by {error:e}, bound {bound:e}"
                    );
                    if let Resolution::Tolerance(most) = resolution {
                        assert!(bound <= f64::from(most), "{what}: row {row}: {bound:e}");
                    }
                    // A row that sees nothing has lost nothing.
                    let lost = if lse[row] == f64::NEG_INFINITY { 0.0 } else { exact_lse[row] - lse[row] };
                    let quality = f64::from(found.quality[row]);
                    assert!(quality <= (-lost).exp() + 1e-5, "{what}: row {row}: {quality} {lost:e}");
                }
                if resolution == Resolution::Exact {
                    assert!(found.bounds.iter().all(|bound| *bound == 0.0), "{what}");
                    assert!(found.quality.iter().all(|quality| *quality == 1.0), "{what}");
                }
            }
        }
    }
}

#[test]
fn budgets_are_kept_and_exact_is_plain_attention() {
    let Some(device) = device() else { return };
    let layout = AttentionLayout::dense(1, 50, 320, 2, 2, 16);
    let data = data(&layout, Spread::Noise);
    let count = |resolution| {
        let found = run(&device, &layout, resolution, &data);
        found
            .coarse
            .chunks(10)
            .map(|marks| marks.iter().map(|&mark| usize::from(mark)).sum())
            .collect::<Vec<usize>>()
    };
    for exact in [0, 1, 4, 10, 1000, usize::MAX] {
        assert!(
            count(Resolution::Budget(exact)).iter().all(|&coarse| coarse == 10 - exact.min(10)),
            "{exact}"
        );
    }
    let [q, k, v] = data.each_ref().map(|x| device.upload(x).unwrap());
    let out = device.buffer::<f32>(q.len()).unwrap();
    let mut commands = device.commands();
    commands.attention_strided(&layout, &q, &k, &v, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let plain = out.to_vec().unwrap();
    for resolution in [
        Resolution::Exact,
        Resolution::Tolerance(0.0),
        Resolution::Tolerance(f32::NAN),
        Resolution::Budget(10),
    ] {
        assert_eq!(run(&device, &layout, resolution, &data).out, plain, "{resolution:?}");
    }
}

#[test]
fn tiles_that_are_not_finite_are_exact() {
    let Some(device) = device() else { return };
    let layout = AttentionLayout::dense(1, 9, 128, 1, 1, 8);
    for (what, side, number) in [("keys", 1, f32::NAN), ("values", 2, f32::NAN), ("values", 2, f32::INFINITY)]
    {
        let mut data = data(&layout, Spread::Clustered);
        data[side][40 * 8 + 3] = number;
        let found = run(&device, &layout, Resolution::Tolerance(0.5), &data);
        assert_eq!(found.coarse[1], 0, "{number} among the {what}");
        assert!(found.out.iter().any(|x| !x.is_finite()), "{number} among the {what}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_added() {
    let Some(device) = device() else { return };
    let x = device.buffer::<f32>(2 * 64 * 2 * 8).unwrap();
    let out = device.buffer::<f32>(2 * 64 * 2 * 8).unwrap();
    let layout = AttentionLayout::dense(1, 3, 64, 2, 2, 8);
    let mut commands = device.commands();
    let none = AttentionLayout { dim: 0, ..layout };
    assert_eq!(told(commands.summarise_tiles(&none, &x, &x)), "the width of a head must not be 0");
    let long = AttentionLayout { keys: 1000, ..layout };
    assert_eq!(
        told(commands.summarise_tiles(&long, &x, &x)),
        "the least length of k must be 16000 but is 2048"
    );
    let summary = commands.summarise_tiles(&layout, &x, &x).unwrap();
    let before = commands.len();
    let mut told_of = |layout: AttentionLayout, resolution, out| {
        told(commands.attention_adaptive(&layout, resolution, &summary, &x, &x, &x, out))
    };
    let any = Resolution::Budget(0);
    assert_eq!(
        told_of(AttentionLayout { keys: 63, ..layout }, any, &out),
        "the keys of the summary must be 63 but is 64"
    );
    let halves = AttentionLayout::dense(1, 3, 64, 2, 1, 8);
    assert_eq!(told_of(halves, any, &out), "the heads of the summary must be 1 but is 2");
    assert_eq!(
        told_of(layout, any, &x),
        "attention_adaptive: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    assert_eq!(commands.len(), before);
}

/// Numbers so small that their squares are none: the exact output is still another than that of the means.
#[test]
fn what_underflows_is_bounded_all_the_same() {
    let Some(device) = device() else { return };
    for (of_q, of_k, of_v, scale, most) in [
        (1e-24, 1e18, 1.0, 1e6, 0.05),
        (1e18, 1e-24, 1.0, 1e6, 0.05),
        (1.0, 1.0, 1e-24, 1.0, 5e-26),
        (1.0, 1.0, 1e-20, 1.0, 5e-22),
    ] {
        let layout = AttentionLayout { scale: Some(scale), ..AttentionLayout::dense(1, 64, 64, 1, 1, 4) };
        let data = [(of_q, 1), (of_k, 2), (of_v, 3)].map(|(amplitude, seed)| {
            numbers(256, seed).into_iter().map(|x| x * amplitude).collect::<Vec<f32>>()
        });
        let [exact, ..] = expected(&layout, None, &data);
        let found = run(&device, &layout, Resolution::Tolerance(most), &data);
        for (row, error) in errors(&layout, &found.out, &exact).into_iter().enumerate() {
            let bound = f64::from(found.bounds[row]);
            let rounding = 4e-5 * f64::from(of_v);
            assert!(error <= bound + rounding, "{of_q:e} {of_k:e} {of_v:e}: {error:e} {bound:e}");
        }
    }
}
