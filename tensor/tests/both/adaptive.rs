//! Adaptive attention: outputs within their certificates of exact attention in f64, and the certificates within what was asked for.

use upbeat_tensor::{Adaptive, Device, Mask, Resolution, Tensor, TensorError};

use crate::heads::{attention, BOUND};
use crate::support::{assert_valid, check, devices, numbers, shared, tensor, told};

/// Keys of a tile.
const TILE: usize = 32;

/// How vectors are spread over positions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    /// Every tile has its own centre, with little around it.
    Clustered,
    /// Each is near the one before.
    Slow,
    /// Independent.
    Noise,
}

/// `[batch, positions, heads, dim]`
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

struct Case {
    /// `[batch, queries, keys, heads, kv_heads, dim]`
    shape: [usize; 6],
    mask: Mask,
    data: [Vec<f32>; 3],
    exact: Vec<f64>,
}

impl Case {
    fn new(shape: [usize; 6], mask: Mask, spread: Spread) -> Self {
        let [batch, queries, keys, heads, kv_heads, dim] = shape;
        let q = vectors([batch, queries, heads, dim], Spread::Slow, 1);
        let [k, v] = [2, 3].map(|seed| vectors([batch, keys, kv_heads, dim], spread, seed));
        let exact = attention(&q, &k, &v, shape, mask);
        Self { shape, mask, data: [q, k, v], exact }
    }

    fn run(&self, resolution: Resolution, device: &Device) -> Result<Adaptive, TensorError> {
        let [batch, queries, keys, heads, kv_heads, dim] = self.shape;
        let [q, k, v] = &self.data;
        let q = tensor(q, &[batch, queries, heads, dim], device);
        let [k, v] = [k, v].map(|x| tensor(x, &[batch, keys, kv_heads, dim], device));
        let found = q.adaptive_attention(&k, &v, self.mask, resolution)?;
        assert_eq!(found.output.shape(), [batch, queries, heads, dim]);
        assert_eq!(
            (found.bounds.shape(), found.quality.shape()),
            (&[batch, heads, queries][..], &[batch, heads, queries][..])
        );
        let all = [&found.output, &found.bounds, &found.quality].map(Tensor::device);
        assert_eq!(all, [*device; 3]);
        Ok(found)
    }

    /// What rounding may add to an error, as `docs/adaptive-attention.md` says: of logits below 8 here, and of sums.
    fn rounding(&self) -> f64 {
        let [_, _, keys, _, _, dim] = self.shape;
        let norms =
            self.data[2].chunks(dim).map(|v| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt());
        1e-5 * norms.fold(0.0, f64::max) * (2.0 * keys.max(1) as f64).ln()
    }

    /// That no output is farther from exact attention than its bound says. Gives the largest bound.
    fn within_certificates(&self, what: &str, found: &Adaptive) -> f32 {
        let [batch, queries, _, heads, _, dim] = self.shape;
        let [output, bounds, quality] =
            [&found.output, &found.bounds, &found.quality].map(|x| x.to_vec().unwrap());
        assert_eq!(bounds.len(), batch * heads * queries);
        for (row, &bound) in bounds.iter().enumerate() {
            let (b, head, i) = (row / queries / heads, row / queries % heads, row % queries);
            let at = ((b * queries + i) * heads + head) * dim;
            let squares = (at..at + dim).map(|at| (f64::from(output[at]) - self.exact[at]).powi(2));
            let off = squares.sum::<f64>().sqrt();
            assert!(
                off <= f64::from(bound) + self.rounding(),
                "{what}: row {row} is off by {off}, beyond {bound}"
            );
            let quality = quality[row];
            assert!(quality > 0.0 && quality <= 1.0, "{what}: the quality of row {row} is {quality}");
            assert!(bound > 0.0 || quality == 1.0, "{what}: row {row} is exact at a quality of {quality}");
        }
        bounds.into_iter().fold(0.0, f32::max)
    }
}

#[test]
fn outputs_are_within_their_certificates_and_those_within_what_was_asked_for() {
    let shapes = [
        [1, 70, 200, 2, 1, 16],
        [2, 97, 97, 2, 2, 24],
        [1, 1, 331, 2, 2, 33],
        [1, 5, 31, 1, 1, 8],
        [1, 130, 600, 4, 2, 64],
    ];
    for shape in shapes {
        for (mask, spread) in
            [(Mask::None, Spread::Clustered), (Mask::Causal, Spread::Slow), (Mask::None, Spread::Noise)]
        {
            let case = Case::new(shape, mask, spread);
            for device in devices() {
                for tolerance in [1e-3_f32, 0.05, 1.0] {
                    let what = format!("{shape:?} {mask:?} {spread:?} within {tolerance} on {device}");
                    let found = case.run(Resolution::Tolerance(tolerance), &device).unwrap();
                    let most = case.within_certificates(&what, &found);
                    assert!(most <= tolerance * 1.0001, "{what}: a bound of {most}");
                    // What is worth nothing must save something.
                    let saves = spread == Spread::Clustered && tolerance == 1.0 && shape[2] > 2 * TILE;
                    assert!(!saves || most > 0.0, "{what}: nothing is coarse");
                }
                for budget in [0, 2, 1000] {
                    let what = format!("{shape:?} {mask:?} {spread:?} with {budget} exact tiles on {device}");
                    let found = case.run(Resolution::Budget(budget), &device).unwrap();
                    let most = case.within_certificates(&what, &found);
                    let all = budget * TILE >= shape[2];
                    assert!(!all || most == 0.0, "{what}: all are exact, but the bound is {most}");
                }
            }
        }
    }
    shared().iter().for_each(|opened| assert_valid(opened));
}

/// Exact where that is asked for, or where a tolerance is no number above 0; and of nothing at all.
#[test]
fn exact_is_attention() {
    for shape in [
        [1, 70, 200, 2, 1, 16],
        [1, 3, 0, 2, 1, 4],
        [0, 2, 2, 1, 1, 4],
        [1, 0, 40, 2, 2, 4],
        [1, 2, 64, 1, 1, 0],
    ] {
        for mask in [Mask::None, Mask::Causal] {
            let case = Case::new(shape, mask, Spread::Clustered);
            let [batch, queries, _, heads, _, dim] = shape;
            for resolution in [Resolution::Exact, Resolution::Tolerance(0.0), Resolution::Tolerance(f32::NAN)]
            {
                let what = format!("{shape:?} {mask:?} {resolution:?}");
                check(&what, &[batch, queries, heads, dim], &case.exact, BOUND, |device| {
                    let found = case.run(resolution, device)?;
                    let rows = batch * heads * queries;
                    assert_eq!(found.bounds.to_vec(), Ok(vec![0.0; rows]), "{what} on {device}");
                    assert_eq!(found.quality.to_vec(), Ok(vec![1.0; rows]), "{what} on {device}");
                    Ok(found.output)
                });
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for device in devices() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, &device).unwrap();
        let (q, k) = (zeros(&[1, 4, 3, 8]), zeros(&[1, 40, 2, 8]));
        let said = told(q.adaptive_attention(&k, &k, Mask::None, Resolution::Exact));
        assert!(
            said.starts_with("adaptive_attention takes queries [batch, queries, heads, dim], and keys"),
            "{said}"
        );
        assert!(said.contains("but was given [1, 4, 3, 8] and [1, 40, 2, 8] and [1, 40, 2, 8]; "), "{said}");
    }
    let Some(opened) = shared() else { return };
    let (here, there) =
        (Tensor::zeros(&[1, 4, 1, 8], &Device::Cpu), Tensor::zeros(&[1, 4, 1, 8], &opened.device()));
    let (here, there) = (here.unwrap(), there.unwrap());
    let refused = there.adaptive_attention(&here, &here, Mask::None, Resolution::Exact);
    assert!(matches!(refused, Err(TensorError::TwoDevices { operation: "adaptive_attention", .. })));
}
