//! What a spawned task promises: it runs once, its result or panic reaches its handle, and a panic that nobody asks for is
//! never lost: it goes to the handler or ends the process.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use support::{message, watched, Grenade};
use upbeat::Runtime;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[test]
fn join_returns_the_result() {
    watched("join a handle", || {
        for workers in [1, 2, 8] {
            let runtime = runtime(workers);
            let handles: Vec<_> = (0..1000).map(|i| runtime.spawn(move || i * 2)).collect();
            assert_eq!(handles.into_iter().map(|h| h.join().unwrap()).sum::<usize>(), 999_000);
        }
    });
}

#[test]
fn a_worker_waits_for_tasks_that_it_spawned() {
    fn tree(depth: u32) -> usize {
        if depth == 0 {
            return 1;
        }
        let handles = [(); 3].map(|()| upbeat::spawn(move || tree(depth - 1)));
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    }
    watched("a tree of spawned tasks", || {
        for workers in [1, 2, 8] {
            assert_eq!(runtime(workers).install(|_| tree(6)), 729);
        }
    });
}

#[test]
fn a_panic_arrives_at_the_handle() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let payload = runtime.spawn(|| panic!("the task")).join().unwrap_err();
        assert_eq!(message(payload), "the task");
        let payload = runtime.install(|_| upbeat::spawn(|| panic!("inside")).join()).unwrap_err();
        assert_eq!(message(payload), "inside");
    }
}

#[test]
fn a_detached_task_runs_all_the_same() {
    let (sender, receiver) = channel();
    let runtime = runtime(2);
    for i in 0..100 {
        let sender = sender.clone();
        drop(runtime.spawn(move || sender.send(i).unwrap()));
    }
    drop(sender);
    let mut all: Vec<i32> = receiver.iter().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..100));
}

#[test]
fn a_spawned_task_runs_while_its_spawner_is_blocked() {
    watched("spawn, then receive", || {
        let runtime = runtime(2);
        for _ in 0..1000 {
            let got = runtime.install(|_| {
                let (sender, receiver) = channel();
                drop(upbeat::spawn(move || sender.send(7).unwrap()));
                receiver.recv().unwrap()
            });
            assert_eq!(got, 7);
        }
    });
}

#[test]
fn is_finished_says_whether_join_would_wait() {
    let runtime = runtime(1);
    let (sender, receiver) = channel::<()>();
    let handle = runtime.spawn(move || receiver.recv());
    assert!(!handle.is_finished());
    drop(sender);
    while !handle.is_finished() {
        std::thread::yield_now();
    }
    assert!(handle.join().unwrap().is_err());
}

/// A runtime whose handler counts payloads with the message `a destructor` or `detached`.
fn counting(count: &Arc<AtomicUsize>) -> Runtime {
    let count = count.clone();
    Runtime::builder()
        .workers(2)
        .on_panic(move |payload| {
            assert!(["detached", "a destructor"].contains(&message(payload).as_str()));
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap()
}

/// Fault 6, with a handler. The handle is dropped before, during or after the task: the panic is handled once.
#[test]
fn the_handler_gets_each_panic_that_nobody_asks_for() {
    let count = Arc::new(AtomicUsize::new(0));
    let runtime = counting(&count);
    for round in 0..300 {
        let started = Arc::new(AtomicBool::new(false));
        let start = started.clone();
        let handle = runtime.spawn(move || {
            start.store(true, Ordering::Relaxed);
            panic!("detached");
        });
        while (round % 3 == 1 && !started.load(Ordering::Relaxed))
            || (round % 3 == 2 && !handle.is_finished())
        {
            std::thread::yield_now();
        }
        drop(handle);
    }
    drop(runtime);
    assert_eq!(count.load(Ordering::Relaxed), 300);
}

/// Fault 5: a result that nobody takes and whose destructor panics, whoever drops it.
#[test]
fn the_handler_gets_the_panic_of_a_results_destructor() {
    let count = Arc::new(AtomicUsize::new(0));
    let runtime = counting(&count);
    for round in 0..100 {
        let handle = runtime.spawn(|| Grenade);
        while round % 2 == 0 && !handle.is_finished() {
            std::thread::yield_now();
        }
        drop(handle);
    }
    drop(runtime);
    assert_eq!(count.load(Ordering::Relaxed), 100);
}

/// Fault 6, without a handler: the message names the task and says what it said.
#[cfg(unix)]
#[test]
fn without_a_handler_the_process_aborts_and_names_the_task() {
    const NAME: &str = "without_a_handler_the_process_aborts_and_names_the_task";
    if support::role().is_some() {
        drop(runtime(1).spawn(|| panic!("broken on purpose")));
        return;
    }
    let output = support::rerun(NAME, "abort").output().unwrap();
    support::assert_aborted(&output, "no on_panic handler is set");
    support::assert_aborted(&output, "broken on purpose");
    support::assert_aborted(&output, &format!("the detached task `spawn::{NAME}::"));
}

/// Fault 7.
#[cfg(unix)]
#[test]
fn a_handler_that_panics_aborts() {
    if support::role().is_some() {
        let handler = |_| panic!("the handler's own");
        let runtime = Runtime::builder().workers(1).on_panic(handler).build().unwrap();
        drop(runtime.spawn(|| panic!("the task's")));
        return;
    }
    let output = support::rerun("a_handler_that_panics_aborts", "abort").output().unwrap();
    support::assert_aborted(&output, "the on_panic handler panicked (the handler's own)");
}
