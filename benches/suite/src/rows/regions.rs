//! Small regions entered from outside: what entering costs, cold and hot, when it pays, and how long a task waits for
//! a sleeping worker.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Bench, Contender, Goal, Item, Row, Scale, With};
use crate::outcome::WORST_RATIO;
use crate::timing::repeat;
#[cfg(feature = "peers")]
use crate::workloads::{on_chili, on_rayon};
use crate::workloads::{on_upbeat, rounds_lasting, sequential};

/// Idle time that makes a runtime cold.
const COLD: Duration = Duration::from_millis(2);

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    let row = |work: &str, answer, goal, gap, contenders| {
        Item::Row(Row {
            group: "regions",
            work: work.into(),
            answer,
            scale: Scale::Call,
            goal,
            gap,
            workers: None,
            contenders,
        })
    };
    let cold = Some(bench.size(Duration::ZERO, COLD));
    let empty = || contenders!(each bench.two, spin(black_box(2), black_box(0)));
    with(row("empty region, cold", 2, Goal::of_table(0.7, 18.6, 6.7), cold, empty()));
    with(row("empty region, hot", 2, Goal::of_table(0.05, 16.1, 0.3), None, empty()));

    let item = rounds_lasting(Duration::from_micros(1));
    let items = || contenders!(each bench.two, spin(black_box(64), black_box(item)));
    with(row("64 items of 1 us, cold", 64, Goal::of_table(48.0, 59.8, 83.6), cold, items()));
    with(row("64 items of 1 us, hot", 64, Goal::Peer(WORST_RATIO), None, items()));

    // The call site has learned that it is short; the long call must be shared all the same.
    let long = bench.size(64, 20_000);
    let work = format!("{long} items of 1 us after 50 calls of 16 at the same site");
    with(row(&work, 50 * 16 + long, Goal::Sequential(0.6), None, long_after_short(bench, long, item)));

    with(row(
        "a task spawned from outside wakes its caller, cold",
        1,
        Goal::Peer(WORST_RATIO),
        cold,
        woken(bench),
    ));
}

fn long_after_short(bench: &Bench, long: u64, item: u64) -> Vec<Contender<'_>> {
    let calls = move |call: &mut dyn FnMut(u64) -> u64| (0..50).map(|_| call(16)).sum::<u64>() + call(long);
    let set = &bench.two;
    #[allow(unused_mut)]
    let mut list = vec![
        contender!("sequential", Sequential, move |times| {
            repeat(times, || calls(&mut |items| sequential::spin((), items, item)))
        }),
        contender!("upbeat", Ours, move |times| {
            repeat(times, || calls(&mut |items| set.upbeat.install(|w| on_upbeat::spin(w, items, item))))
        }),
    ];
    #[cfg(feature = "peers")]
    list.push(contender!("chili", Peer, move |times| {
        repeat(times, || calls(&mut |items| on_chili::spin(&mut set.chili.scope(), items, item)))
    }));
    #[cfg(feature = "peers")]
    list.push(contender!("rayon", Peer, move |times| {
        repeat(times, || calls(&mut |items| set.rayon.install(|| on_rayon::spin((), items, item))))
    }));
    list
}

/// Both ways count: a sleeping worker wakes for the task, and the task wakes the sleeping caller.
fn woken(bench: &Bench) -> Vec<Contender<'_>> {
    #[allow(unused_mut)]
    let mut list = vec![contender!("upbeat", Ours, |times| {
        repeat(times, || round_trip(|task| drop(bench.two.upbeat.spawn(task))))
    })];
    #[cfg(feature = "peers")]
    list.push(contender!("rayon", Peer, |times| {
        repeat(times, || round_trip(|task| bench.two.rayon.spawn(task)))
    }));
    list
}

type Task = Box<dyn FnOnce() + Send>;

/// Spawns a task that wakes this thread, and sleeps until it does.
fn round_trip(spawn: impl FnOnce(Task)) -> u64 {
    let (caller, done) = (thread::current(), Arc::new(AtomicBool::new(false)));
    let finished = done.clone();
    spawn(Box::new(move || {
        finished.store(true, Ordering::Release);
        caller.unpark();
    }));
    while !done.load(Ordering::Acquire) {
        thread::park();
    }
    1
}
