//! A warm batcher allocates nothing: neither for items and batches nor for their results.

use upbeat::batch::{BatchOptions, Batcher};
use upbeat::Runtime;
use upbeat_kernel_benches::allocations::{count, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_batcher_allocates_nothing() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let executor =
        |items: &mut Vec<u64>, results: &mut Vec<u64>| results.extend(items.iter().map(|item| item + 1));
    let batcher = Batcher::on(&runtime, &BatchOptions::new(16).backlog(4), executor).unwrap();
    // On the only worker, so that nothing else runs meanwhile.
    let (cold, warm) = runtime.run_on_worker(|_| {
        let mut replies = Vec::with_capacity(40);
        let mut round = || {
            let before = count();
            for item in 0..40 {
                replies.push(batcher.submit(item).unwrap());
            }
            // Some have their results, the others are cancelled.
            replies.clear();
            let mut producer = batcher.producer();
            let own = 1;
            for item in 0..200 {
                producer.push(item).unwrap();
            }
            drop(producer);
            for item in 0..10 {
                // The runtime's future of a wait has a bell of its own; a result that is there needs none.
                let reply = batcher.submit(item).unwrap();
                batcher.flush();
                while !reply.is_finished() {
                    upbeat::yield_now();
                }
                assert_eq!(upbeat::block_on(reply), Ok(item + 1));
            }
            count() - before - own - 10
        };
        let cold = round();
        round();
        (cold, round())
    });
    assert!(cold > 0, "the count counts");
    assert_eq!(warm, 0);
}
