//! What the runtime promises of memory: what is done is given back, also while the only worker never comes to rest.

// An allocator that counts.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::Mutex;
use support::watched;
use upbeat::{CancelToken, Runtime, Spawn};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static HIGHEST: AtomicIsize = AtomicIsize::new(0);

struct Counting;

fn grow(by: isize) {
    let live = LIVE.fetch_add(by, Ordering::Relaxed) + by;
    HIGHEST.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size() as isize);
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: the counters are the process's.
static ALONE: Mutex<()> = Mutex::new(());

/// How much more memory was in use while `f` ran than before, at most, on a runtime of one worker that does nothing else.
fn most_used_by(what: &str, f: impl FnOnce(&Runtime) + Send) -> isize {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    watched(what, || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.install(|_| {
            let before = LIVE.load(Ordering::Relaxed);
            HIGHEST.store(before, Ordering::Relaxed);
            f(&runtime);
            HIGHEST.load(Ordering::Relaxed) - before
        })
    })
}

const ROUNDS: usize = 100_000;
/// Far below what it would take to keep anything of each round.
const LITTLE: isize = 1 << 20;

#[test]
fn scopes_leave_nothing_behind() {
    let used = most_used_by("scopes", |_| {
        for _ in 0..ROUNDS {
            let mut results = [0; 3];
            upbeat::scope(|scope| {
                for (i, result) in results.iter_mut().enumerate() {
                    scope.spawn(move |_| *result = i);
                }
            });
            assert_eq!(results, [0, 1, 2]);
        }
    });
    assert!(used < LITTLE, "{used} bytes");
}

#[test]
fn joined_tasks_leave_nothing_behind() {
    let used = most_used_by("spawned tasks", |_| {
        for i in 0..ROUNDS {
            assert_eq!(upbeat::spawn(move || i).join().unwrap(), i);
        }
    });
    assert!(used < LITTLE, "{used} bytes");
}

#[test]
fn isolated_tasks_leave_nothing_behind() {
    let used = most_used_by("isolated tasks", |_| {
        for i in 0..ROUNDS / 100 {
            upbeat::isolate(|| {
                for j in 0..10 {
                    let nested = || upbeat::isolate(|| upbeat::spawn(move || j).join().unwrap());
                    assert_eq!(upbeat::spawn(move || i).join().unwrap() + nested(), i + j);
                }
            });
        }
        upbeat::isolate(|| {
            for i in 0..ROUNDS {
                let nested = || upbeat::isolate(|| upbeat::spawn(move || 1).join().unwrap());
                assert_eq!(upbeat::spawn(move || i).join().unwrap() + nested(), i + 1);
            }
        });
    });
    assert!(used < LITTLE, "{used} bytes");
}

/// What still has to run is not dropped with what is done, and stays in turn.
#[test]
fn tasks_that_wait_are_kept_in_order() {
    let order = &*Box::leak(Box::new(Mutex::new(Vec::with_capacity(ROUNDS))));
    most_used_by("spawned tasks among scopes", |_| {
        for i in 0..1000 {
            drop(upbeat::spawn(move || order.lock().unwrap().push(i)));
            for _ in 0..10 {
                upbeat::scope(|scope| scope.spawn(|_| ()));
            }
        }
    });
    // The runtime is gone, so all have run.
    assert!(order.lock().unwrap().iter().copied().eq(0..1000));
}

#[test]
fn a_token_forgets_tasks_that_are_done() {
    let token = CancelToken::new();
    let used = most_used_by("tasks with a token", |_| {
        for i in 0..ROUNDS {
            let options = Spawn::new().cancel(&token);
            assert_eq!(upbeat::spawn_with(options, move || i).join().unwrap(), i);
        }
    });
    assert!(used < LITTLE, "{used} bytes");
}
