//! Many small tasks spawned in a scope, and taken by whoever is free. chili has no such thing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bench, Goal, Item, Row, Scale, With};
use crate::outcome::WORST_RATIO;
use crate::timing::repeat;
use crate::workloads::{rounds_lasting, spin_item};

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let micro = rounds_lasting(std::time::Duration::from_micros(1));
    for (work, count, length) in [
        ("empty tasks spawned in a scope", bench.size(20, 10_000), 0),
        ("tasks of 1 us spawned in a scope", bench.size(20, 10_000), micro),
    ] {
        let done = &AtomicU64::new(0);
        let task = move || {
            done.fetch_add(spin_item(length), Ordering::Relaxed);
        };
        let set = &bench.two;
        #[allow(unused_mut)]
        let mut contenders = vec![
            contender!("sequential", Sequential, move |times| {
                repeat(times, || {
                    (0..count).for_each(|_| task());
                    done.swap(0, Ordering::Relaxed)
                })
            }),
            contender!("upbeat", Ours, move |times| {
                repeat(times, || {
                    set.upbeat.scope(|scope| (0..count).for_each(|_| scope.spawn(move |_| task())));
                    done.swap(0, Ordering::Relaxed)
                })
            }),
        ];
        #[cfg(feature = "peers")]
        contenders.push(contender!("rayon", Peer, move |times| {
            repeat(times, || {
                set.rayon.scope(|scope| (0..count).for_each(|_| scope.spawn(move |_| task())));
                done.swap(0, Ordering::Relaxed)
            })
        }));
        with(Item::Row(Row {
            group: "spawns",
            work: format!("{count} {work}"),
            answer: count,
            scale: Scale::Operation { count, unit: "ns a task" },
            goal: Goal::Peer(WORST_RATIO),
            gap: None,
            workers: None,
            contenders,
        }));
    }
}
