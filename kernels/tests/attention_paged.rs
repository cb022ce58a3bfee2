//! Decoding against a paged cache: against the f64 twin, and the same bits however the cache is paged.

mod common;

use common::{at_every_level, bits, same_on_any_workers, wide, Numbers, PageEnd};
use upbeat_kernels::attention::{self, Heads, PagedCache};
use upbeat_kernels::{Element, ShapeError};

/// Sequences' caches, dense: for each one `[length, kv_heads, dim]`.
struct Cache {
    lengths: Vec<usize>,
    kv_heads: usize,
    dim: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// The same, in pages in a random order, unused places NaN: `(pages, table, keys, values)`.
type Paged = (usize, Vec<u32>, Vec<f32>, Vec<f32>);

impl Cache {
    fn new(lengths: &[usize], kv_heads: usize, dim: usize, numbers: &mut Numbers) -> Self {
        let mut vectors = || lengths.iter().map(|len| numbers.vector(len * kv_heads * dim)).collect();
        let (keys, values) = (vectors(), vectors());
        Self { lengths: lengths.to_vec(), kv_heads, dim, keys, values }
    }

    fn paged(&self, positions: usize, numbers: &mut Numbers) -> Paged {
        let used = |len: &usize| len.div_ceil(positions);
        let most = self.lengths.iter().map(used).max().unwrap_or(0);
        let pages: usize = self.lengths.iter().map(used).sum::<usize>() + 1;
        // A shuffle by sorting on random numbers.
        let mut order: Vec<u32> = (0..pages as u32).collect();
        order.sort_by_cached_key(|_| numbers.bits());
        let mut next = order.into_iter();
        let row = self.kv_heads * self.dim;
        let mut table = vec![u32::MAX; self.lengths.len() * most];
        let mut tensors = [vec![f32::NAN; pages * positions * row], vec![f32::NAN; pages * positions * row]];
        for (sequence, len) in self.lengths.iter().enumerate() {
            for index in 0..used(len) {
                let page = next.next().unwrap();
                table[sequence * most + index] = page;
                let count = positions.min(len - index * positions);
                for (tensor, dense) in tensors.iter_mut().zip([&self.keys, &self.values]) {
                    let from = &dense[sequence][index * positions * row..][..count * row];
                    tensor[page as usize * positions * row..][..count * row].copy_from_slice(from);
                }
            }
        }
        let [keys, values] = tensors;
        (pages, table, keys, values)
    }
}

fn decode(
    cache: &Cache,
    (positions, heads): (usize, usize),
    (pages, table, keys, values): &Paged,
    (window, scale): (Option<usize>, Option<f64>),
    q: &[f32],
) -> (Vec<f32>, Vec<f64>) {
    let shape = [*pages, positions, cache.kv_heads, cache.dim];
    let (wide_keys, wide_values) = (wide(keys), wide(values));
    let [keys, values, q] = [keys, values, q].map(|x: &[f32]| PageEnd::copied(x));
    let pages = PageEnd::copied(table);
    let mut out = PageEnd::copied(&vec![f32::NAN; q.len()]);
    let lengths = &cache.lengths[..];
    let fast = PagedCache {
        keys: Heads::new(&keys, shape).unwrap(),
        values: Heads::new(&values, shape).unwrap(),
        pages: &pages,
        lengths,
        window,
        scale,
    };
    fast.decode(heads, &q, &mut out).unwrap();
    let mut expected = vec![0.0; q.len()];
    let twin = PagedCache {
        keys: Heads::new(&wide_keys, shape).unwrap(),
        values: Heads::new(&wide_values, shape).unwrap(),
        pages: &pages,
        lengths,
        window,
        scale,
    };
    twin.decode(heads, &wide(&q), &mut expected).unwrap();
    (out.to_vec(), expected)
}

const LENGTHS: [usize; 8] = [1, 0, 17, 64, 65, 512, 513, 1100];

#[test]
fn every_level_passes() {
    at_every_level();
}

#[test]
fn pages_agree_with_the_twin_and_change_no_bit() {
    let mut numbers = Numbers::new(1);
    for (kv_heads, group, dim) in [(1, 1, 1), (2, 3, 20), (1, 8, 64), (3, 1, 33)] {
        let cache = Cache::new(&LENGTHS, kv_heads, dim, &mut numbers);
        let heads = kv_heads * group;
        let q = numbers.vector(LENGTHS.len() * heads * dim);
        for options in [(None, None), (Some(1), None), (Some(100), Some(-0.3)), (Some(600), Some(2.0))] {
            let results = [1100, 1, 16, 48, 100].map(|positions| {
                let paged = cache.paged(positions, &mut numbers);
                let (found, expected) = decode(&cache, (positions, heads), &paged, options, &q);
                for (found, expected) in found.iter().zip(&expected) {
                    let what = format!("{kv_heads} by {group} by {dim}, pages of {positions}, {options:?}");
                    assert!(
                        (f64::from(*found) - expected).abs() <= 1e-5,
                        "{what}: {found} is not {expected}"
                    );
                }
                bits(&found)
            });
            assert!(results.iter().all(|result| *result == results[0]));
        }
        // A sequence alone in a contiguous cache, each query head with a copy of its keys and values.
        let paged = cache.paged(16, &mut numbers);
        let (found, _) = decode(&cache, (16, heads), &paged, (None, None), &q);
        for sequence in 0..LENGTHS.len() {
            let copies = |x: &[f32]| -> Vec<f32> {
                x.chunks_exact(dim).flat_map(|head| vec![head; group].concat()).collect()
            };
            let (keys, values) = (copies(&cache.keys[sequence]), copies(&cache.values[sequence]));
            let row = sequence * heads * dim..(sequence + 1) * heads * dim;
            let mut alone = vec![f32::NAN; heads * dim];
            attention::decode(heads, dim, &q[row.clone()], &keys, &values, &mut alone).unwrap();
            assert!(bits(&alone) == bits(&found[row]), "sequence {sequence} alone");
        }
    }
}

/// The twin finds its window as the kernel does, so the window is cut out by hand here.
#[test]
fn a_window_is_the_last_positions_alone() {
    let mut numbers = Numbers::new(4);
    let (kv_heads, dim) = (2, 3);
    let row = kv_heads * dim;
    let cache = Cache::new(&LENGTHS, kv_heads, dim, &mut numbers);
    let paged = cache.paged(16, &mut numbers);
    let q = numbers.vector(LENGTHS.len() * row);
    for window in [0, 1, 2, 63, 64, 600] {
        let (found, _) = decode(&cache, (16, kv_heads), &paged, (Some(window), None), &q);
        for (sequence, &len) in LENGTHS.iter().enumerate() {
            let first = (len - window.min(len)) * row;
            let last = |x: &[Vec<f32>]| wide(&x[sequence][first..]);
            let row = sequence * row..(sequence + 1) * row;
            let mut expected = vec![0.0; row.len()];
            let (keys, values, q) = (last(&cache.keys), last(&cache.values), wide(&q[row.clone()]));
            f64::attention_decode(kv_heads, dim, &q, &keys, &values, &mut expected).unwrap();
            for (found, expected) in found[row].iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-5, "{window} of {len}: {found} is not {expected}");
            }
        }
    }
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    let mut numbers = Numbers::new(2);
    let cache = Cache::new(&LENGTHS, 2, 16, &mut numbers);
    let paged = cache.paged(16, &mut numbers);
    let q = numbers.vector(LENGTHS.len() * 4 * 16);
    same_on_any_workers("decoding", || bits(&decode(&cache, (16, 4), &paged, (None, None), &q).0));
}

#[test]
fn extremes_are_as_documented() {
    let mut numbers = Numbers::new(3);
    let mut cache = Cache::new(&[700, 700, 700], 1, 2, &mut numbers);
    for keys in &mut cache.keys {
        keys.iter_mut().step_by(2).for_each(|x| *x = f32::NEG_INFINITY);
        keys.iter_mut().skip(1).step_by(2).for_each(|x| *x = 0.0);
    }
    cache.keys[1][2 * 650] = -1e5;
    cache.keys[2][2 * 650] = f32::INFINITY;
    let paged = cache.paged(32, &mut numbers);
    let (found, _) = decode(&cache, (32, 1), &paged, (None, None), &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(found[..2], [0.0; 2], "nothing but -∞");
    assert_eq!(found[2..4], cache.values[1][2 * 650..][..2], "one finite logit");
    assert!(found[4..].iter().all(|x| x.is_nan()), "+∞ gives {found:?}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let x = [0.5f32; 5 * 4 * 2 * 3];
    let view = |shape| Heads::strided(&x, shape, [0, 0, 0]).unwrap();
    let heads = view([5, 4, 2, 3]);
    let good = PagedCache {
        keys: heads,
        values: heads,
        pages: &[0, 4, 2, 9],
        lengths: &[8, 3],
        window: None,
        scale: None,
    };
    let (q, mut out) = ([1.0f32; 24], [7.0f32; 24]);
    let mut refused = |cache: PagedCache<'_, f32>, heads: usize, q: &[f32]| {
        let error = cache.decode(heads, q, &mut out).unwrap_err();
        assert!(out.iter().all(|x| *x == 7.0));
        error
    };
    for shape in [[4, 4, 2, 3], [5, 3, 2, 3], [5, 4, 1, 3], [5, 4, 2, 2]] {
        let wrong = PagedCache { values: view(shape), ..good };
        assert!(matches!(refused(wrong, 4, &q), ShapeError::Mismatch { .. }), "{shape:?}");
    }
    assert!(matches!(refused(good, 3, &q[..18]), ShapeError::Multiple { .. }));
    assert!(matches!(refused(good, 4, &q[1..]), ShapeError::Mismatch { .. }));
    assert!(matches!(refused(good, 2, &q[..12]), ShapeError::Mismatch { .. }));
    let refusals: [(&[u32], &[usize]); 5] = [
        (&[0, 4, 2], &[8, 3]),
        (&[0, 4, 2, 9], &[9, 3]),
        (&[0, 5, 2, 9], &[8, 3]),
        (&[0, 4, 2, 9], &[8, 5]),
        (&[], &[1, 1]),
    ];
    for (pages, lengths) in refusals {
        assert!(matches!(
            refused(PagedCache { pages, lengths, ..good }, 4, &q),
            ShapeError::Index { .. } | ShapeError::Multiple { .. }
        ));
    }
    let nowhere = PagedCache { keys: view([5, 0, 2, 3]), values: view([5, 0, 2, 3]), ..good };
    assert!(matches!(refused(nowhere, 4, &q), ShapeError::Index { .. }));
    assert!(matches!(
        refused(PagedCache { lengths: &[1], ..good }, usize::MAX, &q),
        ShapeError::Multiple { .. } | ShapeError::Overflow { .. }
    ));
    good.decode(4, &q, &mut out).unwrap();
    assert!(out.iter().all(|x| *x == 0.5));
}
