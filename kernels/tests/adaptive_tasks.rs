//! Adaptive attention in tasks of several choices: what each choice gives does not depend on which others share its copies.

mod common;

use common::{at_every_level, bits, same_on_any_workers, Numbers};
use upbeat_kernels::attention::{
    Adapted, Attention, Heads, HeadsMut, Mask, Resolution, Summary, ADAPTIVE_QUERIES, ADAPTIVE_TILE,
};

/// With one worker so many heads get tasks of 512 queries, with two of 128, with three and eight of 64.
const HEADS: usize = 8;
const KV_HEADS: usize = 2;
const DIM: usize = 8;
/// The last choice, and the last task of 512, are not whole.
const QUERIES: usize = 575;
/// Neither the last block of 96 nor the last tile is whole.
const KEYS: usize = 715;

#[test]
fn the_levels_agree() {
    at_every_level();
}

/// `[positions, heads, DIM]`: every 32 near a centre of their own, some of them very near, others less.
fn clustered(positions: usize, heads: usize, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers::new(seed);
    let row = heads * DIM;
    let mut x = numbers.vector(positions * row);
    for at in 0..x.len() {
        let position = at / row;
        if !position.is_multiple_of(ADAPTIVE_TILE) {
            let around = [0.003, 0.01, 0.03, 0.1, 0.3][position / ADAPTIVE_TILE * 7 / 4 % 5];
            x[at] = x[at - position % ADAPTIVE_TILE * row] + around * x[at];
        }
    }
    x
}

struct Data {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    summary: Summary,
}

impl Data {
    fn new() -> Self {
        let q = clustered(QUERIES, HEADS, 1).into_iter().map(|x| 9.0 * x).collect();
        let [k, v] = [2, 3].map(|seed| clustered(KEYS, KV_HEADS, seed));
        let [of_k, of_v] = [&k, &v].map(|x| Heads::new(x, [1, KEYS, KV_HEADS, DIM]).unwrap());
        let summary = Summary::new(of_k, of_v).unwrap();
        Self { q, k, v, summary }
    }

    fn run(
        &self,
        resolution: Resolution,
        mask: Mask,
        first: usize,
        queries: usize,
    ) -> (Vec<f32>, Vec<f32>, Adapted) {
        let shape = [1, queries, HEADS, DIM];
        let row = HEADS * DIM;
        let (mut out, mut lse) = (vec![f32::NAN; queries * row], vec![f32::NAN; queries * HEADS]);
        let q = Heads::new(&self.q[first * row..][..queries * row], shape).unwrap();
        let [k, v] = [&self.k, &self.v].map(|x| Heads::new(x, [1, KEYS, KV_HEADS, DIM]).unwrap());
        let outs = HeadsMut::new(&mut out, shape).unwrap();
        let attention = Attention::new().mask(mask);
        let done = attention.adaptive(resolution, &self.summary, q, k, v, outs, &mut lse).unwrap();
        (out, lse, done)
    }
}

const MASKS: [Mask; 3] = [Mask::None, Mask::Causal, Mask::Window { left: 300, right: 50 }];

#[test]
fn a_task_of_many_choices_gives_the_bits_of_tasks_of_one() {
    let data = Data::new();
    for mask in MASKS {
        for resolution in [Resolution::Tolerance(0.3), Resolution::Tolerance(0.02), Resolution::Budget(4)] {
            same_on_any_workers((mask, resolution), || {
                let (out, lse, done) = data.run(resolution, mask, 0, QUERIES);
                let marks = done.coarse.iter().map(|mark| u32::from(*mark)).collect();
                [bits(&out), bits(&lse), bits(&done.bounds), bits(&done.quality), marks].concat()
            });
        }
    }
}

#[test]
fn a_choice_is_the_same_in_any_company() {
    let data = Data::new();
    let tiles = KEYS / ADAPTIVE_TILE;
    for resolution in [Resolution::Tolerance(0.3), Resolution::Tolerance(0.02), Resolution::Budget(4)] {
        // On one worker, for whom tasks are largest.
        let all = || data.run(resolution, Mask::None, 0, QUERIES);
        let (out, lse, done) = upbeat::Runtime::builder().workers(1).build().unwrap().install(|_| all());
        let choices: Vec<_> = done.coarse.chunks(tiles).collect();
        let mixed = |tile: usize| {
            choices[..8].iter().any(|c| c[tile] == 1) && choices[..8].iter().any(|c| c[tile] == 0)
        };
        assert!(
            (0..tiles).any(mixed),
            "{resolution:?}: no tile is exact for one choice and coarse for another"
        );
        for (number, first) in (0..QUERIES).step_by(ADAPTIVE_QUERIES).enumerate() {
            let count = ADAPTIVE_QUERIES.min(QUERIES - first);
            let (found, found_lse, found_done) = data.run(resolution, Mask::None, first, count);
            let row = HEADS * DIM;
            assert_eq!(
                bits(&found),
                bits(&out[first * row..][..count * row]),
                "{resolution:?}, choice {number}"
            );
            for head in 0..HEADS {
                let of = |x: &[f32]| bits(&x[head * QUERIES + first..][..count]);
                let alone = |x: &[f32]| bits(&x[head * count..][..count]);
                assert_eq!(alone(&found_lse), of(&lse));
                assert_eq!(alone(&found_done.bounds), of(&done.bounds));
                assert_eq!(alone(&found_done.quality), of(&done.quality));
                let blocks = QUERIES.div_ceil(ADAPTIVE_QUERIES);
                assert_eq!(&found_done.coarse[head * tiles..][..tiles], choices[head * blocks + number]);
            }
        }
    }
}
