//! What a runtime costs while it has nothing to do, or next to nothing.
//!
//! CPU time is that of the whole process, so the other runtimes must be asleep meanwhile; they are, after a pause.

use std::hint::black_box;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Bench, Contender, Goal, Item, Kind, Scale, With};
use crate::outcome::{Entry, Outcome};
use crate::process::usage;
use crate::timing::Samples;
use crate::workloads::rounds_lasting;

/// Longer than any of the runtimes takes to go to sleep.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn rows(bench: &Bench, with: With<'_>) {
    // Whose threads begin with this are ours.
    let quiet = bench.size(Duration::from_millis(20), Duration::from_secs(5));
    if let Some(outcome) = idle("upbeat-", quiet) {
        with(Item::Outcome(outcome));
    }
    let item = rounds_lasting(Duration::from_micros(1));
    let contenders = contenders!(each bench.two, spin(black_box(16), black_box(item)));
    let (rounds, time) = bench.size((1, Duration::from_millis(20)), (5, Duration::from_millis(400)));
    if let Some(outcome) = trickle(contenders, rounds, time) {
        with(Item::Outcome(outcome));
    }
}

/// How often our sleeping workers wake.
fn idle(threads: &str, time: Duration) -> Option<Outcome> {
    sleep(PAUSE);
    let before = usage(threads)?;
    sleep(time);
    let after = usage(threads)?;
    let wakes = (after.sleeps - before.sleeps) as f64;
    Some(Outcome {
        group: "idle",
        work: format!("wake-ups of idle workers in {} s", time.as_secs_f64()),
        unit: "wake-ups",
        entries: vec![Entry { name: "upbeat", kind: Kind::Ours, median: wakes, best: wakes, tail: wakes }],
        limit: Some(0.0),
        goal: Goal::Value(0.0),
        scale: Scale::Call,
        rounds: (1, 0),
    })
}

/// CPU time, ms a second, of one region of 16 µs a millisecond.
fn trickle(mut contenders: Vec<Contender<'_>>, rounds: usize, time: Duration) -> Option<Outcome> {
    let mut samples = vec![Samples::default(); contenders.len()];
    for _ in 0..rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let region = |contender: &mut Contender<'_>| {
                assert_eq!((contender.body)(1), 16, "{} computed a wrong answer", contender.name);
                sleep(Duration::from_millis(1));
            };
            sleep(PAUSE);
            region(contender);
            let (start, before) = (Instant::now(), usage("")?);
            while start.elapsed() < time {
                region(contender);
            }
            let used = usage("")?.cpu.saturating_sub(before.cpu);
            samples.push(1e3 * used.as_secs_f64() / start.elapsed().as_secs_f64());
        }
    }
    let entry = |(contender, samples): (&Contender<'_>, &Samples)| Entry {
        name: contender.name,
        kind: contender.kind,
        median: samples.median(),
        best: samples.best(),
        tail: samples.quantile(0.99),
    };
    Some(Outcome {
        group: "idle",
        work: "CPU time of one 16 us region a millisecond".into(),
        unit: "ms/s",
        entries: contenders.iter().zip(&samples).map(entry).collect(),
        limit: None,
        goal: Goal::Sequential(1.2),
        scale: Scale::Call,
        rounds: (rounds as u32, 0),
    })
}
