//! Sums of numbers: our loop beside the peers' best form, which is rayon's iterator or joins with a grain; and joins
//! beside joins.

use std::hint::black_box;

use super::{Bench, Contender, Goal, Item, Row, With};
use crate::outcome::WORST_RATIO;
use crate::timing::repeat;

/// Numbers that a leaf of joins sums.
const GRAIN: usize = 1024;

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    for (count, goal) in [
        (bench.size(1000, 100_000), Goal::of_table(3.0, 8.0, 6.9)),
        (bench.size(2000, 1_000_000), Goal::of_table(41.0, 46.0, 109.0)),
        (bench.size(3000, 10_000_000), Goal::of_table(1.15, 1.80, 2.44)),
    ] {
        let data: Vec<u64> = (0..count).collect();
        let answer = count * (count - 1) / 2;
        let work = format!("sum of {count} numbers");
        with(Item::Row(Row::of_two("loops", work, answer, goal, sums(bench, &data))));
        let work = format!("sum of {count} numbers by joins, {GRAIN} a leaf");
        let contenders = contenders!(bench.two, sum(black_box(&data), GRAIN));
        with(Item::Row(Row::of_two("loops", work, answer, Goal::Peer(WORST_RATIO), contenders)));
    }
}

fn sums<'a>(bench: &'a Bench, data: &'a [u64]) -> Vec<Contender<'a>> {
    let set = &bench.two;
    let data = move || black_box(data);
    #[allow(unused_mut)]
    let mut list = vec![
        contender!("sequential", Sequential, move |times| repeat(times, || data().iter().sum())),
        contender!("upbeat", Ours, move |times| {
            set.upbeat.install(|_| {
                let sum = |chunk: &[u64]| chunk.iter().sum::<u64>();
                repeat(times, || upbeat::par::map_reduce_chunks(data(), sum, |a, b| a + b, || 0))
            })
        }),
    ];
    #[cfg(feature = "peers")]
    {
        use crate::workloads::{on_chili, on_rayon};
        use rayon::prelude::*;
        list.push(contender!("chili", Peer, move |times| {
            let mut scope = set.chili.scope();
            repeat(times, || on_chili::sum(&mut scope, data(), GRAIN))
        }));
        list.push(contender!("rayon", Peer, move |times| {
            set.rayon.install(|| repeat(times, || data().par_iter().sum()))
        }));
        list.push(contender!("rayon, joins", Peer, move |times| {
            set.rayon.install(|| repeat(times, || on_rayon::sum((), data(), GRAIN)))
        }));
    }
    list
}
