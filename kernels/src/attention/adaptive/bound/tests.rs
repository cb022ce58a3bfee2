//! Shares with a limit beside shares without one.

use super::super::super::view::{Heads, Rows};
use super::super::summary::Summary;
use super::*;
use crate::isa;

const DIM: usize = 19;
const TILES: usize = 40;

/// Every 32 lie around a centre of their own, `around` times as far as the centres lie from 0.
fn clustered(positions: usize, around: f32, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut x = vec![0.0; positions * DIM];
    for at in 0..x.len() {
        let position = at / DIM;
        let number = next();
        let first = at - position % TILE * DIM;
        x[at] = if at == first { number } else { x[first] + around * number };
    }
    x
}

#[test]
fn a_limit_changes_no_share_below_it() {
    let shape = [1, TILES * TILE, 1, DIM];
    // Decided early, known in full, and larger than the limit though not decided early.
    let (mut early, mut known, mut late) = (0, 0, 0);
    for (around, scale, queries) in [
        (0.01, 1.0, 64),
        (0.1, -1.0, 64),
        (0.3, 2.0, 37),
        (0.3, 9.0, 64),
        (1.0, 0.2, 1),
        (2.0, 1.0, 33),
        (3.0, 90.0, 64),
        (f32::MAX, 1.0, 64),
        (f32::NAN, 1.0, 64),
    ] {
        let [k, v] = [1, 2].map(|seed| clustered(TILES * TILE, around, seed));
        let of = |x| Heads::new(x, shape).unwrap();
        let summary = Summary::new(of(&k), of(&v)).unwrap();
        let tiles = summary.head(0, 0);
        let q = clustered(queries, 0.5, 3);
        let q = Rows { data: &q, stride: DIM };
        let view = View { q, queries, dim: DIM, scale, tiles, reach: tiles.reach };
        let shares = |most: f32| {
            let (mut logits, mut shares) = (vec![9.0; 64 * TILES], vec![9.0; TILES]);
            let (logits, all) = (&mut logits, &mut shares);
            isa::dispatch(Before { view, tiles: 0..TILES, most, logits, shares: all });
            shares
        };
        let all = shares(f32::INFINITY);
        for most in [1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0, f32::MAX] {
            for (at, (found, all)) in shares(most).into_iter().zip(&all).enumerate() {
                let what = format!("tile {at} of ±{around} at {scale} with {most}: {found:e}, not {all:e}");
                if *all <= most {
                    assert!(found == *all, "{what}");
                    known += 1;
                } else {
                    assert!(found > most, "{what}");
                    early += usize::from(all.is_finite() && found.is_infinite());
                    late += usize::from(found.is_finite());
                }
            }
        }
    }
    assert!(early > 500 && known > 300 && late > 0, "{early} {known} {late}");
}

/// A limit that lies just above, at and just below what a share is.
#[test]
fn a_share_at_the_limit_is_known() {
    let shape = [1, TILES * TILE, 1, DIM];
    for around in [0.02, 0.3, 1.0] {
        let [k, v] = [1, 2].map(|seed| clustered(TILES * TILE, around, seed));
        let of = |x| Heads::new(x, shape).unwrap();
        let summary = Summary::new(of(&k), of(&v)).unwrap();
        let tiles = summary.head(0, 0);
        let q = clustered(64, 0.5, 3);
        let q = Rows { data: &q, stride: DIM };
        let view = View { q, queries: 64, dim: DIM, scale: 1.0, tiles, reach: tiles.reach };
        let share = |tile: usize, most: f32| {
            let (mut logits, mut shares) = (vec![9.0; 64 * TILES], vec![9.0; TILES]);
            let (logits, all) = (&mut logits, &mut shares);
            isa::dispatch(Before { view, tiles: 0..TILES, most, logits, shares: all });
            shares[tile]
        };
        for tile in 0..TILES {
            let all = share(tile, f32::INFINITY);
            assert_eq!(share(tile, all), all);
            assert_eq!(share(tile, all.next_up()), all);
            assert!(share(tile, all.next_down()) > all.next_down());
        }
    }
}
