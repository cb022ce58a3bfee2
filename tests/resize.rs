//! What resizing promises while the runtime works: who is retired takes nothing more, who is called back works again, and nothing that
//! is queued or open gets lost (fault 35).

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use support::{watched, Meeting};
use upbeat::{Generator, Runtime};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        thread::yield_now();
    }
}

/// Resizes while each worker is in the middle of a task, so that each knows of it before it looks for the next one.
fn resize_while_all_work(runtime: &Runtime, size: usize) {
    let working = runtime.size();
    let (meeting, resized) = (Arc::new(Meeting::of(working + 1)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..working)
        .map(|party| {
            let (meeting, resized) = (meeting.clone(), resized.clone());
            runtime.spawn(move || {
                meeting.arrive(party);
                wait_for(&resized);
            })
        })
        .collect();
    meeting.arrive(working);
    runtime.resize(size).unwrap();
    resized.store(true, Ordering::Release);
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

/// Fault 35.
#[test]
fn who_is_retired_takes_nothing_and_who_is_called_back_works() {
    watched("shrink and grow", || {
        let runtime = runtime(4);
        for size in [1, 4, 2, 3, 1, 2, 4] {
            resize_while_all_work(&runtime, size);
            assert_eq!((runtime.size(), runtime.num_workers()), (size, 4));
            let tasks: Vec<_> = (0..200).map(|_| runtime.spawn(upbeat::current_worker_index)).collect();
            for task in tasks {
                assert!(task.join().unwrap().is_some_and(|worker| worker < size));
            }
            // As many as there shall be can work at once.
            let meeting = Arc::new(Meeting::of(size));
            let tasks: Vec<_> = (0..size)
                .map(|party| {
                    let meeting = meeting.clone();
                    runtime.spawn(move || meeting.arrive(party))
                })
                .collect();
            tasks.into_iter().for_each(|task| task.join().unwrap());
        }
    });
}

/// Fault 35: all sleep when the size changes, and are woken by what comes then.
#[test]
fn a_runtime_that_sleeps_can_be_resized() {
    watched("resize while asleep", || {
        let runtime = runtime(8);
        for round in 0..200 {
            runtime.resize(1 + round % 8).unwrap();
            assert_eq!(runtime.spawn(move || round).join().unwrap(), round);
            assert_eq!(runtime.join(|| 1, || 2), (1, 2));
        }
    });
}

#[test]
fn nothing_is_lost_under_load() {
    fn tree(depth: u32) -> usize {
        if depth == 0 {
            return 1;
        }
        let (a, b) = upbeat::join(|| tree(depth - 1), || tree(depth - 1));
        a + b
    }
    watched("resize under load", || {
        let runtime = &runtime(4);
        let ended = AtomicBool::new(false);
        thread::scope(|threads| {
            let resizer = threads.spawn(|| {
                let mut random = Generator::new(35);
                while !ended.load(Ordering::Acquire) {
                    runtime.resize(1 + random.below(4)).unwrap();
                    (0..random.below(5000)).for_each(|_| std::hint::spin_loop());
                }
            });
            let callers: Vec<_> = (0..3)
                .map(|caller| {
                    threads.spawn(move || {
                        for _ in 0..100 {
                            match caller {
                                0 => assert_eq!(runtime.install(|_| tree(10)), 1024),
                                1 => {
                                    let tasks: Vec<_> = (0..50).map(|_| runtime.spawn(|| tree(4))).collect();
                                    assert!(tasks.into_iter().all(|task| task.join().unwrap() == 16));
                                }
                                _ => {
                                    let count = AtomicUsize::new(0);
                                    runtime.scope(|scope| {
                                        for _ in 0..50 {
                                            scope.spawn(|_| {
                                                count.fetch_add(tree(3), Ordering::Relaxed);
                                            });
                                        }
                                    });
                                    assert_eq!(count.into_inner(), 400);
                                }
                            }
                        }
                    })
                })
                .collect();
            let results: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
            ended.store(true, Ordering::Release);
            resizer.join().unwrap();
            results.into_iter().for_each(|result| result.unwrap());
        });
    });
}

/// What a worker has in its queue when it retires is run by the others, also when the runtime ends.
#[test]
fn a_retired_worker_leaves_its_queue_to_the_rest() {
    watched("the queue of a retired worker", || {
        for shut_down in [false, true] {
            for _ in 0..20 {
                let runtime = runtime(3);
                let meeting = Arc::new(Meeting::of(4));
                let (resized, ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
                for party in 0..3 {
                    let (meeting, resized, ran) = (meeting.clone(), resized.clone(), ran.clone());
                    drop(runtime.spawn(move || {
                        meeting.arrive(party);
                        wait_for(&resized);
                        for _ in 0..100 {
                            let ran = ran.clone();
                            drop(upbeat::spawn(move || ran.fetch_add(1, Ordering::Release)));
                        }
                    }));
                }
                meeting.arrive(3);
                runtime.resize(1).unwrap();
                resized.store(true, Ordering::Release);
                if shut_down {
                    runtime.shutdown();
                    assert_eq!(ran.load(Ordering::Acquire), 300);
                } else {
                    while ran.load(Ordering::Acquire) < 300 {
                        thread::yield_now();
                    }
                }
            }
        }
    });
}

#[test]
fn a_worker_may_retire_itself() {
    watched("resized from within", || {
        let runtime = Arc::new(runtime(2));
        let (own, meeting) = (runtime.clone(), Arc::new(Meeting::of(2)));
        let other = {
            let meeting = meeting.clone();
            runtime.spawn(move || meeting.arrive(0))
        };
        let resized = runtime.spawn(move || {
            meeting.arrive(1);
            own.resize(1).unwrap();
            upbeat::spawn(|| 42).join().unwrap()
        });
        assert_eq!(resized.join().unwrap(), 42);
        other.join().unwrap();
        assert_eq!(runtime.size(), 1);
    });
}

/// Fault 33.
#[test]
fn sizes_out_of_range_are_refused() {
    let runtime = runtime(2);
    for asked in [0, 3, usize::MAX] {
        let error = runtime.resize(asked).unwrap_err();
        assert_eq!((error.asked, error.most), (asked, 2));
        assert!(error.to_string().contains(&asked.to_string()));
        assert_eq!(runtime.size(), 2);
    }
    runtime.resize(2).unwrap();
}
