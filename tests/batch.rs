//! Batches: every item is run once and its result comes to its handle, whatever happens around it; when batches leave, and what users
//! are told. None of it depends on time: where a batch must wait for something, a gate that the test opens keeps it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use upbeat::batch::{BatchError, BatchOptions, BatchOptionsError, Batcher, Batchers, Refusal, Reply};
use upbeat::Runtime;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// An executor that adds one to each item.
fn increment(items: &mut Vec<u64>, results: &mut Vec<u64>) {
    results.extend(items.drain(..).map(|item| item + 1));
}

/// Holds executors up until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    /// How many came to it.
    came: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.came.fetch_add(1, SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Blocks until somebody stands before it.
    fn wait_for_one(&self) {
        while self.came.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn each_item_gets_its_own_result() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        for cap in [1, 2, 7, 64] {
            let batcher = Batcher::on(&runtime, &BatchOptions::new(cap), increment).unwrap();
            let threads: Vec<_> = (0..4u64)
                .map(|thread| {
                    let batcher = batcher.clone();
                    std::thread::spawn(move || {
                        let items = thread * 1000..thread * 1000 + 500;
                        let replies: Vec<_> =
                            items.clone().map(|item| batcher.submit(item).unwrap()).collect();
                        for (item, reply) in items.zip(replies) {
                            assert_eq!(reply.wait(), Ok(item + 1));
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let metrics = batcher.metrics();
            assert_eq!(metrics.items, 2000);
            assert!(metrics.batches >= 2000u64.div_ceil(cap as u64));
        }
    }
}

#[test]
fn a_batch_is_never_larger_than_its_cap() {
    let runtime = runtime(2);
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = largest.clone();
    let executor = move |items: &mut Vec<u64>, _: &mut Vec<()>| {
        seen.fetch_max(items.len(), SeqCst);
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(5), executor).unwrap();
    let mut producer = batcher.producer();
    for item in 0..1000 {
        producer.push(item).unwrap();
    }
    drop((producer, batcher));
    runtime.shutdown();
    assert!((1..=5).contains(&largest.load(SeqCst)));
}

/// While one batch runs, what arrives gathers; it then leaves as one.
#[test]
fn what_arrives_while_a_batch_runs_is_one_batch() {
    let runtime = runtime(2);
    let gate = Arc::new(Gate::default());
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let executor = {
        let (gate, sizes) = (gate.clone(), sizes.clone());
        move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
            sizes.lock().unwrap().push(items.len());
            gate.pass();
            increment(items, results);
        }
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(100).running(1), executor).unwrap();
    let first = batcher.submit(0).unwrap();
    gate.wait_for_one();
    let rest: Vec<_> = (1..=40).map(|item| batcher.submit(item).unwrap()).collect();
    gate.open();
    assert_eq!(first.wait(), Ok(1));
    for (item, reply) in (1..).zip(rest) {
        assert_eq!(reply.wait(), Ok(item + 1));
    }
    assert_eq!(*sizes.lock().unwrap(), [1, 40]);
}

/// With one worker, which waits inside of a task: nobody else is there to run the batch.
#[test]
fn a_worker_that_waits_runs_its_batch_itself() {
    let runtime = runtime(1);
    let batcher = Batcher::on(&runtime, &BatchOptions::new(64), increment).unwrap();
    let plain = runtime.run_on_worker(|_| batcher.submit(1).unwrap().wait());
    assert_eq!(plain, Ok(2));
    let isolated = runtime.run_on_worker(|_| upbeat::isolate(|| batcher.submit(5).unwrap().wait()));
    assert_eq!(isolated, Ok(6));
    let blocked = runtime.run_on_worker(|_| upbeat::block_on(batcher.submit(7).unwrap()));
    assert_eq!(blocked, Ok(8));
}

/// Each request is a future that submits, awaits, and submits again: requests join and leave between batches by themselves.
#[test]
fn futures_submit_again_and_again() {
    for workers in [1, 2, 3] {
        let runtime = runtime(workers);
        let batcher = Batcher::on(&runtime, &BatchOptions::new(16).running(1), increment).unwrap();
        let requests: Vec<_> = (0..20)
            .map(|request| {
                let batcher = batcher.clone();
                runtime.spawn_future(async move {
                    let mut value = 0;
                    for _ in 0..request {
                        value = batcher.try_submit(value).unwrap().await.unwrap();
                    }
                    value
                })
            })
            .collect();
        for (steps, request) in (0..).zip(requests) {
            assert_eq!(request.join().unwrap(), steps);
        }
        assert_eq!(batcher.metrics().items, (0..20).sum::<u64>());
    }
}

#[test]
fn a_full_backlog_gives_items_back_and_then_takes_them() {
    let runtime = runtime(1);
    let gate = Arc::new(Gate::default());
    let executor = {
        let gate = gate.clone();
        move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
            gate.pass();
            increment(items, results);
        }
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(2).backlog(1), executor).unwrap();
    let mut replies = vec![(0, batcher.submit(0).unwrap())];
    gate.wait_for_one();
    let mut item = 0;
    let refused = loop {
        item += 1;
        match batcher.try_submit(item) {
            Ok(reply) => replies.push((item, reply)),
            Err(refused) => break refused,
        }
        assert!(item < 100, "a backlog of one batch has an end");
    };
    assert_eq!((refused.item, refused.reason), (item, Refusal::Full));
    assert!(refused.to_string().contains("backlog"), "{refused}");
    let blocked = {
        let batcher = batcher.clone();
        std::thread::spawn(move || batcher.submit(1000).unwrap().wait())
    };
    gate.open();
    assert_eq!(blocked.join().unwrap(), Ok(1001));
    for (item, reply) in replies {
        assert_eq!(reply.wait(), Ok(item + 1));
    }
    assert!(batcher.metrics().refused >= 1);
}

/// The one worker fills the backlog by itself: it runs batches in between.
#[test]
fn a_worker_makes_room_for_itself() {
    let runtime = runtime(1);
    let batcher = Batcher::on(&runtime, &BatchOptions::new(4).backlog(1), increment).unwrap();
    let sum = runtime.run_on_worker(|_| {
        let replies: Vec<_> = (0..100).map(|item| batcher.submit(item).unwrap()).collect();
        replies.into_iter().map(|reply| reply.wait().unwrap()).sum::<u64>()
    });
    assert_eq!(sum, (1..=100).sum());
}

#[test]
fn a_dropped_reply_cancels_its_item() {
    let runtime = runtime(1);
    let gate = Arc::new(Gate::default());
    let ran = Arc::new(Mutex::new(Vec::new()));
    let executor = {
        let (gate, ran) = (gate.clone(), ran.clone());
        move |items: &mut Vec<Arc<u64>>, results: &mut Vec<u64>| {
            gate.pass();
            ran.lock().unwrap().extend(items.iter().map(|item| **item));
            results.extend(items.iter().map(|item| **item));
        }
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(8).running(1), executor).unwrap();
    let first = batcher.submit(Arc::new(0)).unwrap();
    gate.wait_for_one();
    let kept = batcher.submit(Arc::new(1)).unwrap();
    let item = Arc::new(2);
    drop(batcher.submit(item.clone()).unwrap());
    gate.open();
    assert_eq!((first.wait(), kept.wait()), (Ok(0), Ok(1)));
    runtime.shutdown();
    assert_eq!(*ran.lock().unwrap(), [0, 1]);
    assert_eq!(Arc::strong_count(&item), 1, "a cancelled item is dropped");
}

/// A result that comes after its handle went is dropped, once.
#[test]
fn a_result_that_nobody_takes_is_dropped() {
    let runtime = runtime(1);
    let gate = Arc::new(Gate::default());
    let token = Arc::new(());
    let executor = {
        let (gate, token) = (gate.clone(), token.clone());
        move |items: &mut Vec<()>, results: &mut Vec<Arc<()>>| {
            gate.pass();
            results.extend(items.iter().map(|()| token.clone()));
        }
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(8), executor).unwrap();
    let reply = batcher.submit(()).unwrap();
    gate.wait_for_one();
    drop(reply);
    gate.open();
    let other = batcher.submit(()).unwrap().wait().unwrap();
    drop((batcher, runtime));
    assert_eq!(Arc::strong_count(&token), 2, "the test's and the one that was taken");
    drop(other);
}

#[test]
fn what_was_submitted_is_run_after_the_last_handle_is_gone() {
    let runtime = runtime(2);
    let token = Arc::new(());
    let kept = token.clone();
    let executor = move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
        let _kept = &kept;
        increment(items, results);
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(64), executor).unwrap();
    let replies: Vec<_> = (0..10).map(|item| batcher.submit(item).unwrap()).collect();
    drop(batcher);
    for (item, reply) in (0..).zip(replies) {
        assert_eq!(reply.wait(), Ok(item + 1));
    }
    // The worker that ran the last batch may still hold it for a moment; with the runtime it is gone for sure.
    runtime.shutdown();
    assert_eq!(Arc::strong_count(&token), 1, "the executor is dropped");
}

/// The runtime's end runs what was submitted before; what comes later is refused, and a batch that cannot run any more says so.
#[test]
fn the_end_of_the_runtime_is_told() {
    let runtime = runtime(2);
    let batcher = Batcher::on(&runtime, &BatchOptions::new(64), increment).unwrap();
    let replies: Vec<_> = (0..100).map(|item| batcher.submit(item).unwrap()).collect();
    runtime.shutdown();
    for (item, reply) in (0..).zip(replies) {
        assert_eq!(reply.wait(), Ok(item + 1), "submitted before the end, run before the end");
    }
    let refused = batcher.submit(1).unwrap_err();
    assert_eq!(refused.reason, Refusal::ShutDown);
    assert_eq!(batcher.push(1).unwrap_err().reason, Refusal::ShutDown);
    let mut producer = batcher.producer();
    producer.push(1).unwrap();
    assert_eq!(producer.flush(), Err(Refusal::ShutDown));
}

/// Threads submit while the runtime ends: each item is run, told of the end, or given back.
#[test]
fn no_item_is_lost_when_the_runtime_ends_beside_its_producers() {
    for round in 0..50 {
        let runtime = runtime(2);
        let batcher = Batcher::on(&runtime, &BatchOptions::new(1 + round % 5), increment).unwrap();
        let threads: Vec<_> = (0..3u64)
            .map(|_| {
                let batcher = batcher.clone();
                std::thread::spawn(move || {
                    let mut outcomes = [0; 3];
                    for item in 0..200 {
                        match batcher.submit(item).map(|reply| reply.wait()) {
                            Ok(Ok(result)) => outcomes[usize::from(result != item + 1) * 9] += 1,
                            Ok(Err(BatchError::ShutDown)) => outcomes[1] += 1,
                            Ok(Err(other)) => panic!("{other}"),
                            Err(refused) => outcomes[2] += usize::from(refused.reason == Refusal::ShutDown),
                        }
                    }
                    outcomes.iter().sum::<usize>()
                })
            })
            .collect();
        std::thread::yield_now();
        runtime.shutdown();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 200);
        }
    }
}

/// Submits one item by `submit` and waits for it, while the only other worker is busy and the batch may linger for an hour.
#[track_caller]
fn leaves_beside_a_busy_worker(submit: impl Fn(&Batcher<u64, u64>) -> Reply<u64>) {
    let runtime = runtime(2);
    let options = BatchOptions::new(64).linger(Duration::from_secs(3600));
    let batcher = Batcher::on(&runtime, &options, increment).unwrap();
    let gate = Arc::new(Gate::default());
    let busy = {
        let gate = gate.clone();
        runtime.spawn(move || gate.pass())
    };
    gate.wait_for_one();
    assert_eq!(submit(&batcher).wait(), Ok(2));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn a_deadline_ends_the_wait() {
    leaves_beside_a_busy_worker(|batcher| batcher.submit_within(1, Duration::from_millis(1)).unwrap());
}

#[test]
fn a_flush_ends_the_wait() {
    leaves_beside_a_busy_worker(|batcher| {
        let reply = batcher.submit(1).unwrap();
        batcher.flush();
        reply
    });
}

/// A worker in the middle of another task ran the batch, with more waiting for the one place to run: somebody else takes it up.
#[test]
fn a_batch_that_had_to_wait_for_another_one_is_taken_up() {
    let runtime = runtime(3);
    let batcher = Batcher::on(&runtime, &BatchOptions::new(2).running(1), increment).unwrap();
    runtime.scope(|scope| {
        for thread in 0..30u64 {
            let batcher = &batcher;
            scope.spawn(move |_| {
                for item in 0..50 {
                    assert_eq!(batcher.submit(thread + item).unwrap().wait(), Ok(thread + item + 1));
                }
            });
        }
    });
}

#[test]
fn options_out_of_range_are_named() {
    let build = |options: BatchOptions| Batcher::with(&options, increment).map(drop).unwrap_err();
    assert_eq!(build(BatchOptions::new(0)), BatchOptionsError::Cap { asked: 0 });
    assert_eq!(build(BatchOptions::new(4097)), BatchOptionsError::Cap { asked: 4097 });
    assert_eq!(build(BatchOptions::new(1).backlog(0)), BatchOptionsError::Backlog { asked: 0 });
    assert_eq!(build(BatchOptions::new(1).backlog(65_535)), BatchOptionsError::Backlog { asked: 65_535 });
    assert_eq!(build(BatchOptions::new(1).running(0)), BatchOptionsError::Running);
    assert!(BatchOptionsError::Cap { asked: 0 }.to_string().contains("1 to 4096"));
}

/// Batches whose runs take longer than the target become smaller, and an instant one lets them grow again.
#[test]
fn the_cap_follows_the_latency() {
    let runtime = runtime(1);
    let slow = Arc::new(AtomicUsize::new(1));
    let executor = {
        let slow = slow.clone();
        move |items: &mut Vec<u64>, _: &mut Vec<()>| {
            if slow.load(SeqCst) == 1 {
                std::thread::sleep(Duration::from_millis(2) * items.len() as u32);
            }
        }
    };
    // A target that no sleep can meet, then one that no instant batch can miss.
    let options = BatchOptions::new(64).latency(Duration::from_millis(1));
    let batcher = Batcher::on(&runtime, &options, executor).unwrap();
    assert_eq!(batcher.metrics().cap, 16, "it begins with a quarter");
    while batcher.metrics().cap > 1 {
        batcher.push(0).unwrap();
        std::thread::yield_now();
    }
    slow.store(0, SeqCst);
    while batcher.metrics().cap == 1 {
        batcher.push(0).unwrap();
    }
}

#[test]
fn keys_do_not_mix_and_retire() {
    let runtime = runtime(2);
    let executor = |key: &u64, items: &mut Vec<u64>, results: &mut Vec<u64>| {
        assert!(items.iter().all(|item| item % 10 == *key), "items of one key");
        results.extend(items.iter().map(|item| item * 2));
    };
    let batchers = Batchers::on(&runtime, BatchOptions::new(8), executor).unwrap();
    batchers.prewarm(&3);
    assert_eq!((batchers.len(), batchers.metrics(&3).map(|metrics| metrics.items)), (1, Some(0)));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let batchers = &batchers;
            scope.spawn(move || {
                for item in 0..500u64 {
                    let item = item * 4 + thread;
                    let reply = batchers.submit(item % 10, item).unwrap();
                    if item % 37 == 0 {
                        batchers.retire(&(item % 10));
                    }
                    assert_eq!(reply.wait(), Ok(item * 2));
                }
            });
        }
    });
    assert!(!batchers.retire(&77));
    for key in 0..10 {
        batchers.retire(&key);
    }
    assert!(batchers.is_empty());
}

/// A reply wakes whoever awaits it, and no other executor is needed than a waker.
#[test]
fn a_reply_is_a_future_for_any_executor() {
    let runtime = runtime(1);
    let gate = Arc::new(Gate::default());
    let executor = {
        let gate = gate.clone();
        move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
            gate.pass();
            increment(items, results);
        }
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(8), executor).unwrap();
    let mut reply = pin!(batcher.submit(1).unwrap());
    assert_eq!(reply.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    gate.open();
    assert_eq!(upbeat::block_on(reply), Ok(2));
}
