//! A library with a C interface that uses upbeat, as a plug-in does. `tests/unload.rs` beside it loads, uses and unloads it: fault 45.
// Functions that are found by name.
#![allow(unsafe_code)]

use std::future::poll_fn;
use std::task::Poll;

use upbeat::{par, Runtime, Worker};

fn fib(worker: &Worker, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    a + b
}

/// What both entries compute with a little of everything.
fn work(runtime: &Runtime) -> u64 {
    let joins = runtime.install(|worker| fib(worker, 20));
    let spawned: Vec<_> = (0..100).map(|i| runtime.spawn(move || i)).collect();
    let spawned: u64 = spawned.into_iter().map(|handle| handle.join().unwrap_or_default()).sum();
    let mut parts = [0; 10];
    runtime.scope(|scope| parts.iter_mut().for_each(|part| scope.spawn(|_| *part = 1)));
    let mut woken = false;
    let future = poll_fn(move |context| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(7);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    });
    let future = runtime.spawn_future(future).join().unwrap_or_default();
    let looped = runtime.install(|_| par::map_reduce(0..10_000, |i| i as u64, |a, b| a + b, || 0));
    joins + spawned + parts.iter().sum::<u64>() + future + looped
}

/// Builds a runtime, works, and shuts it down. 0 when it cannot be built.
// SAFETY: nobody else exports this name.
#[unsafe(no_mangle)]
pub extern "C" fn upbeat_unload_use_and_shut_down() -> u64 {
    let Ok(runtime) = Runtime::builder().workers(3).build() else { return 0 };
    let result = work(&runtime);
    runtime.shutdown();
    result
}

/// Works on the global runtime, whose threads stay.
// SAFETY: nobody else exports this name.
#[unsafe(no_mangle)]
pub extern "C" fn upbeat_unload_use_global() -> u64 {
    let (a, b) = upbeat::join(|| 1, || 2);
    upbeat::spawn(move || a + b).join().unwrap_or_default()
}
