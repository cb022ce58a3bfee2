//! What the life of a runtime promises: nothing queued is lost, it can be dropped from anywhere, runtimes can wait for each
//! other, and an idle one costs nothing.

// Processor time and affinity are the operating system's to tell.
#![allow(unsafe_code)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::thread;
use support::watched;
use upbeat::Runtime;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Fault 41.
#[test]
fn dropping_a_runtime_runs_each_queued_task_once() {
    watched("drop with queued tasks", || {
        for workers in [1, 2, 8] {
            for _ in 0..20 {
                let count = Arc::new(AtomicUsize::new(0));
                let runtime = runtime(workers);
                for _ in 0..200 {
                    let count = count.clone();
                    drop(runtime.spawn(move || {
                        let inner = count.clone();
                        drop(upbeat::spawn(move || inner.fetch_add(1, Ordering::Relaxed)));
                        count.fetch_add(1, Ordering::Relaxed);
                    }));
                }
                runtime.shutdown();
                assert_eq!(count.load(Ordering::Relaxed), 400);
            }
        }
    });
}

/// Fault 42.
#[test]
fn a_runtime_can_be_dropped_by_its_own_worker() {
    watched("dropped from within", || {
        for workers in [1, 2, 8] {
            for _ in 0..20 {
                let runtime = Arc::new(runtime(workers));
                let (sender, receiver) = channel();
                let (own, report) = (runtime.clone(), sender.clone());
                drop(runtime.spawn(move || {
                    while Arc::strong_count(&own) > 1 {
                        thread::yield_now();
                    }
                    drop(upbeat::spawn(move || report.send("queued").unwrap()));
                    drop(own);
                    sender.send("dropped").unwrap();
                }));
                drop(runtime);
                let mut messages: Vec<_> = receiver.iter().collect();
                messages.sort_unstable();
                assert_eq!(messages, ["dropped", "queued"]);
            }
        }
    });
}

#[test]
fn many_runtimes_come_and_go() {
    watched("many runtimes", || {
        for round in 0..300 {
            let runtime = runtime(1 + round % 4);
            assert_eq!(runtime.join(|| round, || round + 1), (round, round + 1));
        }
    });
}

/// Fault 34.
#[test]
fn two_runtimes_install_into_each_other() {
    watched("mutual install", || {
        for workers in [1, 2] {
            let (left, right) = (runtime(workers), runtime(workers));
            thread::scope(|threads| {
                for (a, b) in [(&left, &right), (&right, &left)] {
                    threads.spawn(move || {
                        for i in 0..500 {
                            let nested = a.install(|_| b.install(|_| a.install(|_| b.install(|_| i + 1))));
                            assert_eq!(nested, i + 1);
                        }
                    });
                }
            });
        }
    });
}

/// Fault 34: the dropped runtime's tasks need the worker that drops it.
#[test]
fn a_runtime_can_be_dropped_by_another_ones_worker() {
    watched("dropped by another runtime's worker", || {
        for workers in [1, 2] {
            for _ in 0..20 {
                let (outer, inner) = (Arc::new(runtime(workers)), runtime(workers));
                let count = Arc::new(AtomicUsize::new(0));
                for _ in 0..10 {
                    let (outer, count) = (outer.clone(), count.clone());
                    drop(inner.spawn(move || {
                        count.fetch_add(outer.install(|_| 1), Ordering::Relaxed);
                    }));
                }
                outer.install(|_| drop(inner));
                assert_eq!(count.load(Ordering::Relaxed), 10);
            }
        }
    });
}

/// 100 tasks of one worker wait on top of each other, or would if so many might nest, for what a closure does that is installed from
/// outside: it runs above all bounds.
#[test]
fn what_is_installed_from_outside_runs_though_a_stack_is_full_of_waits() {
    watched("an install behind waiting tasks", || {
        let runtime = Runtime::builder().workers(1).enrol_callers(false).build().unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..100).map(|_| tokio::sync::oneshot::channel::<()>()).unzip();
        let begun = Arc::new(AtomicUsize::new(0));
        let wait = |receiver| {
            let begun = begun.clone();
            runtime.spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                upbeat::block_on(receiver)
            })
        };
        let tasks: Vec<_> = receivers.into_iter().map(wait).collect();
        while begun.load(Ordering::Relaxed) < 60 {
            thread::yield_now();
        }
        runtime.install(|_| senders.into_iter().for_each(|sender| sender.send(()).unwrap()));
        for task in tasks {
            task.join().unwrap().unwrap();
        }
    });
}

#[test]
fn many_threads_install_at_once() {
    watched("many callers", || {
        let runtime = &runtime(2);
        thread::scope(|threads| {
            for caller in 0..8 {
                threads.spawn(move || {
                    for i in 0..500 {
                        assert_eq!(runtime.join(|| caller, || i), (caller, i));
                    }
                });
            }
        });
    });
}

/// Fault 44.
#[test]
fn a_destructor_of_a_thread_local_can_use_a_runtime() {
    struct Last(std::sync::mpsc::Sender<usize>);
    impl Drop for Last {
        fn drop(&mut self) {
            let (a, b) = upbeat::join(|| 40, || 2);
            self.0.send(a + b).unwrap();
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    watched("thread-local destructors", || {
        let (sender, receiver) = channel();
        let set = |sender| LAST.with_borrow_mut(|last| *last = Some(Last(sender)));
        let for_thread = sender.clone();
        thread::spawn(move || set(for_thread)).join().unwrap();
        let runtime = runtime(1);
        runtime.run_on_worker(|_| set(sender));
        drop(runtime);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [42, 42]);
    });
}

/// Fault 43.
#[test]
fn the_process_may_end_while_workers_run() {
    if support::role().is_some() {
        let (sender, receiver) = channel();
        drop(upbeat::spawn(move || loop {
            upbeat::join(|| (), || ());
            let _ = sender.send(());
        }));
        receiver.recv().unwrap();
        std::process::exit(0);
    }
    for _ in 0..10 {
        let output = support::rerun("the_process_may_end_while_workers_run", "exit").output().unwrap();
        assert!(output.status.success(), "{}", support::stderr(&output));
    }
}

/// Faults 46 and 50: without a number in the environment the affinity mask counts; with one, that.
#[cfg(target_os = "linux")]
#[test]
fn the_default_size_is_that_of_the_affinity_mask() {
    const NAME: &str = "the_default_size_is_that_of_the_affinity_mask";
    match support::role().as_deref() {
        Some("one") => {
            // SAFETY: zeros are a value of this plain bit array.
            let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: the set is of the size given, and 0 means this thread.
            assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) }, 0);
            // SAFETY: the index is below the number of bits in the set.
            let last = (0..1024).rfind(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).unwrap();
            // SAFETY: as above.
            unsafe { libc::CPU_ZERO(&mut set) };
            // SAFETY: as above.
            unsafe { libc::CPU_SET(last, &mut set) };
            // SAFETY: as above.
            assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }, 0);
            let runtime = Runtime::builder().pin(upbeat::Pin::Cores).build().unwrap();
            assert_eq!((runtime.num_workers(), runtime.topology().cpu(0).id), (1, last));
            assert_eq!(runtime.join(|| 1, || 2), (1, 2));
        }
        Some(number) => assert_eq!(upbeat::current_num_workers().to_string(), number),
        None => {
            support::assert_passed(
                &support::rerun(NAME, "one").env_remove("UPBEAT_WORKERS").output().unwrap(),
            );
            support::assert_passed(&support::rerun(NAME, "5").env("UPBEAT_WORKERS", "5").output().unwrap());
        }
    }
}

/// "An idle runtime uses no measurable CPU": 2 s of 8 idle workers, before any work and after some, cost less than 5 ms.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_runtime_uses_no_processor_time() {
    fn processor_time() -> std::time::Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a `timespec` to write to.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
        std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
    const NAME: &str = "an_idle_runtime_uses_no_processor_time";
    if support::role().is_none() {
        return support::assert_passed(&support::rerun(NAME, "idle").output().unwrap());
    }
    let runtime = runtime(8);
    let idle = |when: &str| {
        // Whoever still looks for work has time to find none.
        thread::sleep(std::time::Duration::from_millis(500));
        let before = processor_time();
        thread::sleep(std::time::Duration::from_secs(2));
        let used = processor_time() - before;
        assert!(used.as_millis() < 5, "{when}: {used:?} in 2 s");
    };
    idle("before any work");
    runtime.install(|_| {
        for _ in 0..20 {
            upbeat::par::for_each(0..10_000, |i| drop(std::hint::black_box(vec![i; 10])));
        }
    });
    let handles: Vec<_> = (0..100).map(|i| runtime.spawn(move || i)).collect();
    assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq(0..100));
    runtime.scope(|scope| (0..100).for_each(|_| scope.spawn(|_| ())));
    idle("after work");
}
