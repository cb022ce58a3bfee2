//! Batches where something is in the way: executors that fail or wait, callers that hold the only worker's place, isolation, other runtimes,
//! streams of other work, deadlines that come too late, the end of the runtime. A hang is reported by a watchdog.

mod support;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use support::watched;
use upbeat::batch::{BatchError, BatchOptions, Batcher};
use upbeat::Runtime;

fn runtime(workers: usize) -> Arc<Runtime> {
    Arc::new(Runtime::builder().workers(workers).build().unwrap())
}

/// An executor that adds one to each item.
fn increment(items: &mut Vec<u64>, results: &mut Vec<u64>) {
    results.extend(items.drain(..).map(|item| item + 1));
}

/// Faults of executors: each item is told, and the batcher goes on.
#[test]
fn an_executor_that_panics_or_miscounts_is_reported_to_each_item() {
    let runtime = runtime(2);
    let executor = |items: &mut Vec<i32>, results: &mut Vec<i32>| {
        assert!(!items.contains(&-1), "minus one");
        results.extend(items.iter());
        if items.contains(&-2) {
            results.pop();
        }
        if items.contains(&-3) {
            results.push(0);
        }
    };
    let batcher = Batcher::on(&runtime, &BatchOptions::new(8).running(1), executor).unwrap();
    match batcher.submit(-1).unwrap().wait() {
        Err(error @ BatchError::Panicked { .. }) => {
            assert!(error.to_string().contains("minus one"), "{error}")
        }
        other => panic!("{other:?}"),
    }
    let too_few = batcher.submit(-2).unwrap().wait();
    assert_eq!(too_few, Err(BatchError::Results { items: 1, results: 0 }));
    let too_many = batcher.submit(-3).unwrap().wait();
    assert_eq!(too_many, Err(BatchError::Results { items: 1, results: 2 }));
    assert_eq!(batcher.submit(4).unwrap().wait(), Ok(4));
}

/// A panic that nobody waits for is not lost.
#[test]
fn a_panic_in_a_batch_of_pushed_items_goes_to_the_handler() {
    let seen = Arc::new(AtomicUsize::new(0));
    let handler = seen.clone();
    let runtime = Runtime::builder()
        .workers(1)
        .on_panic(move |_| {
            handler.fetch_add(1, SeqCst);
        })
        .build()
        .unwrap();
    let batcher =
        Batcher::on(&runtime, &BatchOptions::new(8), |_: &mut Vec<u8>, _: &mut Vec<()>| panic!()).unwrap();
    batcher.push(1).unwrap();
    drop(batcher);
    runtime.shutdown();
    assert_eq!(seen.load(SeqCst), 1);
}

/// A caller from outside holds the only worker's place and leaves: what it has submitted is run, and what others have meanwhile.
#[test]
fn a_guest_leaves_no_item_behind() {
    watched("items of guests", || {
        for cap in [1, 8] {
            let runtime = runtime(1);
            let batcher = Batcher::on(&runtime, &BatchOptions::new(cap), increment).unwrap();
            for _ in 0..200 {
                let reply = runtime.install(|_| batcher.submit(1).unwrap());
                assert_eq!(reply.wait(), Ok(2));
                let step = AtomicUsize::new(0);
                let other = std::thread::scope(|threads| {
                    threads.spawn(|| {
                        runtime.install(|_| {
                            step.store(1, SeqCst);
                            while step.load(SeqCst) < 2 {
                                std::thread::yield_now();
                            }
                        })
                    });
                    while step.load(SeqCst) < 1 {
                        std::thread::yield_now();
                    }
                    let reply = batcher.submit(1).unwrap();
                    step.store(2, SeqCst);
                    reply
                });
                assert_eq!(other.wait(), Ok(2));
            }
        }
    });
}

/// One worker, inside of `isolate`: what was submitted there is run by the waits there.
#[test]
fn waits_in_isolation_run_what_was_submitted_inside() {
    watched("isolated waits", || {
        let runtime = runtime(1);
        let batcher = Batcher::on(&runtime, &BatchOptions::new(8), increment).unwrap();
        let submit = || batcher.submit(1).unwrap();
        assert_eq!(runtime.run_on_worker(|_| upbeat::isolate(|| upbeat::block_on(submit()))), Ok(2));
        assert_eq!(runtime.run_on_worker(|_| upbeat::isolate(|| submit().wait())), Ok(2));
        let future = |batcher: Batcher<u64, u64>| async move { batcher.submit(1).unwrap().await };
        let spawned = runtime.run_on_worker(|_| {
            upbeat::isolate(|| runtime.spawn_future(future(batcher.clone())).join().unwrap())
        });
        assert_eq!(spawned, Ok(2));
    });
}

/// An executor that waits, as for a device, on the only worker, with tasks in the queue that wait for the same batcher.
#[test]
fn an_executor_may_wait() {
    watched("an executor that waits", || {
        let runtime = runtime(1);
        let executor = |items: &mut Vec<u64>, results: &mut Vec<u64>| {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let device = std::thread::spawn(move || sender.send(()).unwrap());
            upbeat::block_on(receiver).unwrap();
            device.join().unwrap();
            assert_eq!(upbeat::spawn(|| 3).join().unwrap(), 3);
            increment(items, results);
        };
        let batcher = Batcher::on(&runtime, &BatchOptions::new(8), executor).unwrap();
        let tasks: Vec<_> = (0..40)
            .map(|item| {
                let batcher = batcher.clone();
                runtime.spawn(move || batcher.submit(item).unwrap().wait().unwrap())
            })
            .collect();
        for (item, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), item + 1);
        }
    });
}

/// An executor that submits to another batcher and waits for that.
#[test]
fn batchers_may_follow_each_other() {
    watched("cascaded batchers", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let options = BatchOptions::new(8).running(1);
            let inner = Batcher::on(&runtime, &options, increment).unwrap();
            let executor = move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
                let replies: Vec<_> = items.drain(..).map(|item| inner.submit(item).unwrap()).collect();
                results.extend(replies.into_iter().map(|reply| reply.wait().unwrap()));
            };
            let outer = Batcher::on(&runtime, &options, executor).unwrap();
            let replies: Vec<_> = (0..50).map(|item| outer.submit(item).unwrap()).collect();
            for (item, reply) in (0..).zip(replies) {
                assert_eq!(reply.wait(), Ok(item + 1));
            }
        }
    });
}

/// A worker of one runtime waits for room in a batcher of another one, whose executor needs that worker.
#[test]
fn who_waits_for_room_serves_its_own_runtime() {
    watched("two runtimes", || {
        let (first, second) = (runtime(1), runtime(1));
        let needed = second.clone();
        let executor = move |items: &mut Vec<u64>, results: &mut Vec<u64>| {
            needed.run_on_worker(|_| increment(items, results));
        };
        let options = BatchOptions::new(1).backlog(1).running(1);
        let batcher = Batcher::on(&first, &options, executor).unwrap();
        second.run_on_worker(|_| (0..50).for_each(|item| batcher.push(item).unwrap()));
    });
}

/// Deep in the only worker's stack, where no other task may be put on top: what is waited for runs all the same.
#[test]
fn a_wait_deep_in_the_stack_ends() {
    #[inline(never)]
    fn deep(levels: usize, f: &dyn Fn() -> u64) -> u64 {
        let frame = std::hint::black_box([levels as u8; 1024]);
        let result = if levels == 0 { f() } else { deep(levels - 1, f) };
        std::hint::black_box(&frame);
        result
    }
    watched("a wait deep in the stack", || {
        let runtime = Runtime::builder().workers(1).stack_size(4 << 20).build().unwrap();
        let batcher = Batcher::on(&runtime, &BatchOptions::new(8), increment).unwrap();
        let wait = || batcher.submit(1).unwrap().wait().unwrap();
        assert_eq!(runtime.run_on_worker(|_| deep(3000, &wait)), 2);
    });
}

/// A future that wakes itself keeps the only worker's queue from being ever empty. Full, sealed and open batches run.
#[test]
fn a_stream_of_other_work_does_not_keep_batches_from_running() {
    watched("batches beside a future that wakes itself", || {
        let runtime = runtime(1);
        for (cap, flushes) in [(1, false), (8, true), (8, false)] {
            let batcher = Batcher::on(&runtime, &BatchOptions::new(cap), increment).unwrap();
            let future = runtime.spawn_future(async move {
                let reply = batcher.submit(1).unwrap();
                if flushes {
                    batcher.flush();
                }
                while !reply.is_finished() {
                    let mut polled = false;
                    poll_fn(|context| {
                        context.waker().wake_by_ref();
                        if std::mem::replace(&mut polled, true) {
                            Poll::Ready(())
                        } else {
                            Poll::Pending
                        }
                    })
                    .await;
                }
                reply.await
            });
            assert_eq!(future.join().unwrap(), Ok(2));
        }
    });
}

/// Of two late batchers the second is not forgotten, beside a task that always spawns another one.
#[test]
fn each_of_two_late_batchers_runs() {
    watched("two late batchers", || {
        fn again(runtime: &Arc<Runtime>, stop: &Arc<AtomicBool>) {
            if !stop.load(SeqCst) {
                let (own, stop) = (runtime.clone(), stop.clone());
                drop(runtime.spawn(move || again(&own, &stop)));
            }
        }
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        again(&runtime, &stop);
        let options = BatchOptions::new(8).linger(Duration::from_secs(3600));
        let batchers = [(); 2].map(|()| Batcher::on(&runtime, &options, increment).unwrap());
        let replies = batchers.map(|batcher| batcher.submit_within(1, Duration::from_millis(1)).unwrap());
        for reply in replies {
            assert_eq!(reply.wait(), Ok(2));
        }
        stop.store(true, SeqCst);
    });
}

/// A batcher that always has full batches had one late item, once: other tasks run after it all the same.
#[test]
fn one_late_item_does_not_put_a_batcher_first_for_ever() {
    watched("a task beside a saturated batcher", || {
        let runtime = runtime(1);
        let options = BatchOptions::new(4).backlog(8);
        let batcher = Batcher::on(&runtime, &options, increment).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    while !stop.load(SeqCst) {
                        batcher.push(1).unwrap();
                    }
                });
            }
            assert_eq!(batcher.submit_within(1, Duration::ZERO).unwrap().wait(), Ok(2));
            assert_eq!(runtime.spawn(|| 3).join().unwrap(), 3);
            stop.store(true, SeqCst);
        });
    });
}

/// Each batch pushes the next item: begun before the end, the chain is run before the end, as it is with tasks.
#[test]
fn the_end_of_the_runtime_waits_for_what_executors_push() {
    for _ in 0..100 {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let own: Arc<Mutex<Option<Batcher<u64, ()>>>> = Arc::default();
        let ran = Arc::new(AtomicUsize::new(0));
        let executor = {
            let (own, ran) = (own.clone(), ran.clone());
            move |items: &mut Vec<u64>, _: &mut Vec<()>| {
                for item in items.drain(..) {
                    ran.fetch_add(1, SeqCst);
                    if item > 0 {
                        let batcher = own.lock().unwrap().clone().unwrap();
                        batcher.push(item - 1).unwrap();
                    }
                }
            }
        };
        let batcher = Batcher::on(&runtime, &BatchOptions::new(8), executor).unwrap();
        *own.lock().unwrap() = Some(batcher.clone());
        batcher.push(20).unwrap();
        runtime.shutdown();
        assert_eq!(ran.load(SeqCst), 21);
        // Or the executor would own itself for ever.
        own.lock().unwrap().take();
    }
}
