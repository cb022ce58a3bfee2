//! Faults of tasks that no other file has: leaked handles, and closures and results of any size outside joins.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use support::{watched, Counted};
use upbeat::{par, JoinHandle, Runtime};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Fault 11: a handle that is never dropped. Its task runs once, its runtime ends, and nothing that it leads to is freed early.
#[test]
fn a_leaked_handle_leaks_memory_and_nothing_else() {
    // What is leaked stays reachable, so that a leak checker has nothing to say.
    static LEAKED: Mutex<Vec<JoinHandle<Arc<String>>>> = Mutex::new(Vec::new());
    watched("leaked handles", || {
        for workers in [1, 2, 8] {
            let runs = Arc::new(AtomicUsize::new(0));
            let runtime = runtime(workers);
            for i in 0..100 {
                let runs = runs.clone();
                LEAKED.lock().unwrap().push(runtime.spawn(move || {
                    runs.fetch_add(1, Ordering::Relaxed);
                    Arc::new(format!("result {i}"))
                }));
            }
            runtime.shutdown();
            assert_eq!(runs.load(Ordering::Relaxed), 100);
            assert_eq!(Arc::strong_count(&runs), 1, "each closure was dropped");
        }
        // Far later, long after their runtimes: what the handles hold is whole.
        let leaked = std::mem::take(&mut *LEAKED.lock().unwrap());
        for (i, handle) in leaked.into_iter().enumerate() {
            assert!(handle.is_finished());
            assert_eq!(*handle.join().unwrap(), format!("result {}", i % 100));
        }
    });
}

/// Fault 11: the result of a task whose handle is leaked is dropped never, not twice.
#[test]
fn a_result_is_dropped_once_or_stays_with_its_handle() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    static LEAKED: Mutex<Vec<JoinHandle<Counted>>> = Mutex::new(Vec::new());
    let runtime = runtime(2);
    let spawn = || runtime.spawn(|| Counted(&DROPS));
    for i in 0..99 {
        let handle = spawn();
        match i % 3 {
            0 => drop(handle.join().unwrap()),
            1 => drop(handle),
            _ => LEAKED.lock().unwrap().push(handle),
        }
    }
    runtime.shutdown();
    assert_eq!(DROPS.load(Ordering::Relaxed), 66);
}

#[repr(align(4096))]
#[derive(Clone, Copy, PartialEq, Debug)]
struct Page(u8);

/// Sends a copy of `value` through a spawned task, a scope's task, an installed closure and a loop.
#[inline(never)]
fn pass<T: Copy + Send + Sync + PartialEq + 'static>(runtime: &Runtime, value: &T) {
    let arrived = |what: &str, result: &T| {
        assert!(std::ptr::from_ref(result).addr().is_multiple_of(align_of::<T>()), "{what}: misplaced");
        assert!(result == value, "{what}: a value of {} bytes arrives whole", size_of::<T>());
    };
    let copy = *value;
    arrived("spawn", &runtime.spawn(move || copy).join().unwrap());
    arrived("install", &runtime.install(move |_| copy));
    let mut slot = None;
    runtime.scope(|scope| scope.spawn(|_| slot = Some(copy)));
    arrived("scope", &slot.unwrap());
    for result in runtime.install(|_| par::map(0..5, |_| copy)) {
        arrived("map", &result);
    }
    let last = runtime.install(|_| par::map_reduce(0..9, |_| copy, |_, right| right, || copy));
    arrived("map_reduce", &last);
}

/// Fault 14: values of no bytes, of 4 KiB's alignment and of a megabyte, everywhere but in joins (those: `tests/join.rs`).
#[test]
fn tasks_of_any_size_and_alignment_will_do() {
    watched("sizes", || {
        // Each level of a reduction keeps several values of a mebibyte, under a sanitizer more of them.
        const STACK: usize = 256 << 20;
        let runtime = Runtime::builder().workers(2).stack_size(STACK).build().unwrap();
        // The caller of `install` may run it, so it needs as much stack as a worker.
        let caller = std::thread::Builder::new().stack_size(STACK);
        let test = move || {
            let large: Box<[u64; 1 << 17]> = Box::new(std::array::from_fn(|i| i as u64));
            for round in 0..20 {
                pass(&runtime, &());
                pass(&runtime, &round);
                pass(&runtime, &Page(round));
                pass(&runtime, &[round; 4097]);
                pass(&runtime, &*large);
            }
        };
        caller.spawn(test).unwrap().join().unwrap();
    });
}
