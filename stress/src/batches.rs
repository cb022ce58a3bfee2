//! Batches under stress: threads outside and tasks add items one by one and in bulk, wait for some and forget others, while workers run
//! batches of changing caps beside joins. Every item that was kept is run once, by count and sum, and every result is its item's. In half of the
//! rounds nobody waits, so that there are many items. And a runtime ends beside those who submit, wait and flush: everybody is answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use upbeat::batch::{BatchError, BatchOptions, Batcher};
use upbeat::{Generator, Mode};

use crate::phases::{cores, fib, runtime};
use crate::Counts;

/// Items of one producer in a round, where it waits for some and where it does not.
const ITEMS: [u64; 2] = [20_000, 500_000];

/// The phase.
pub(crate) fn batches(seed: u64, until: Instant) -> Counts {
    let runtime = runtime(cores(), Mode::OnRequest, seed);
    let mut random = Generator::new(seed);
    let (mut joins, mut items) = (0, 0);
    while Instant::now() < until {
        let options = BatchOptions::new(1 + random.below(100))
            .backlog(1 + random.below(8))
            .running(1 + random.below(3));
        let ran = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let seen = ran.clone();
        let executor = move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
            // The count last, with release: who sees that it is complete looks at the sum.
            seen[1].fetch_add(items.iter().sum(), Ordering::Relaxed);
            seen[0].fetch_add(items.len() as u64, Ordering::Release);
            results.extend(items.iter().map(|item| !item));
        };
        let batcher = Batcher::on(&runtime, &options, executor).unwrap_or_else(|error| panic!("{error}"));
        let producers = 2 * cores() as u64;
        let waits = random.below(2) == 0;
        let each = ITEMS[usize::from(!waits)];
        let produce = |producer: u64| {
            let mut bulk = batcher.producer();
            let mut waiting = Vec::new();
            for item in producer * each..(producer + 1) * each {
                match item % 3 {
                    0 => bulk.push(item).unwrap_or_else(|refusal| panic!("{refusal}")),
                    2 if waits => waiting
                        .push((item, batcher.submit(item).unwrap_or_else(|refused| panic!("{refused}")))),
                    _ => batcher.push(item).unwrap_or_else(|refused| panic!("{refused}")),
                }
                if waiting.len() == 50 {
                    for (item, reply) in waiting.drain(..) {
                        assert_eq!(reply.wait(), Ok(!item), "seed {seed}");
                    }
                }
            }
            for (item, reply) in waiting {
                assert_eq!(reply.wait(), Ok(!item), "seed {seed}");
            }
        };
        std::thread::scope(|threads| {
            for producer in 0..producers / 2 {
                let produce = &produce;
                threads.spawn(move || produce(producer));
            }
            runtime.scope(|scope| {
                for producer in producers / 2..producers {
                    let produce = &produce;
                    scope.spawn(move |_| produce(producer));
                }
            });
        });
        // While the last batches run. From 317,810 joins, one less than fib(28).
        assert_eq!(runtime.install(|worker| fib(worker, 27)), 196_418, "seed {seed}");
        joins += 317_810;
        drop(batcher);
        ends(&mut random, seed);
        let all = producers * each;
        items += all;
        while ran[0].load(Ordering::Acquire) < all {
            std::thread::yield_now();
        }
        assert_eq!(ran[0].load(Ordering::Relaxed), all, "seed {seed}: each item once");
        assert_eq!(
            ran[1].load(Ordering::Relaxed),
            all * (all - 1) / 2,
            "seed {seed}: the items that were added"
        );
    }
    Counts { items, ..Counts::of(&runtime, joins) }
}

/// A runtime that ends while items are submitted, waited for and flushed: each is run or told of the end, and nobody waits for ever.
fn ends(random: &mut Generator, seed: u64) {
    let runtime = runtime(1 + random.below(2), Mode::OnRequest, seed);
    let options = BatchOptions::new(1 + random.below(4)).backlog(1 + random.below(2));
    let executor = |items: &mut Vec<u64>, results: &mut Vec<u64>| results.append(items);
    let batcher = Batcher::on(&runtime, &options, executor).unwrap_or_else(|error| panic!("{error}"));
    let turns = random.below(2_000);
    std::thread::scope(|threads| {
        for producer in 0..2 {
            let batcher = batcher.clone();
            threads.spawn(move || {
                for item in producer.. {
                    let Ok(reply) = batcher.submit(item) else { break };
                    if producer == 0 {
                        batcher.flush();
                    }
                    match reply.wait() {
                        Ok(result) => assert_eq!(result, item, "seed {seed}"),
                        Err(error) => assert_eq!(error, BatchError::ShutDown, "seed {seed}"),
                    }
                }
            });
        }
        drop(batcher);
        (0..turns).for_each(|_| std::hint::spin_loop());
        drop(runtime);
    });
}
