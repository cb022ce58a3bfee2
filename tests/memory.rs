//! What the runtime promises of memory: what is done is given back, also while the only worker never comes to rest.

// An allocator that counts.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::Mutex;
use support::{until, watched, Meeting};
use upbeat::{CancelToken, JoinHandle, Runtime, Spawn};

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

/// The same while another worker is busy, so that nobody takes anything: scopes in a scope, one after the other, leave neither tickets
/// nor queues behind.
#[test]
fn scopes_leave_nothing_behind_while_no_worker_is_idle() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let used = watched("scopes beside a busy worker", || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = std::sync::mpsc::channel();
        let busy = runtime.spawn(move || {
            begin.send(()).unwrap();
            released.recv()
        });
        begun.recv().unwrap();
        let used = runtime.install(|worker| {
            let before = LIVE.load(Ordering::Relaxed);
            HIGHEST.store(before, Ordering::Relaxed);
            worker.scope(|outer| {
                for _ in 0..ROUNDS {
                    let mut result = 0;
                    worker.scope(|inner| inner.spawn(|_| result = 1));
                    assert_eq!(result, 1);
                }
                outer.spawn(|_| ());
            });
            HIGHEST.load(Ordering::Relaxed) - before
        });
        drop(release);
        assert!(busy.join().unwrap().is_err());
        used
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

/// As above, a million times: what the queue keeps does not grow with the number of tasks.
#[test]
fn a_million_tasks_joined_by_one_worker_leave_nothing_behind() {
    let used = most_used_by("a million tasks", |_| {
        let sum: u64 = (0..1_000_000u64).map(|i| upbeat::spawn(move || i).join().unwrap()).sum();
        assert_eq!(sum, 499_999_500_000);
    });
    assert!(used < LITTLE, "{used} bytes");
}

/// Outside threads, and how many tasks each of them spawns: a million together.
const SPAWNERS: usize = 64;
const EACH: usize = 15_625;

/// How much memory was in use at most, and how much when the runtime of two workers had ended, while 64 threads ran `spawner`.
fn used_by_spawners(what: &str, spawner: impl Fn(&Runtime) + Sync) -> (isize, isize) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    watched(what, || {
        let before = LIVE.load(Ordering::Relaxed);
        HIGHEST.store(before, Ordering::Relaxed);
        let runtime = Runtime::builder().workers(2).build().unwrap();
        std::thread::scope(|threads| {
            for _ in 0..SPAWNERS {
                threads.spawn(|| spawner(&runtime));
            }
        });
        runtime.shutdown();
        (HIGHEST.load(Ordering::Relaxed) - before, LIVE.load(Ordering::Relaxed) - before)
    })
}

/// Who keeps a window of handles bounds the memory by it, however many tasks there are.
#[test]
fn a_million_tasks_from_64_threads_all_run_in_memory_that_the_handles_bound() {
    const WINDOW: usize = 32;
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let (most, left) = used_by_spawners("64 threads that join", |runtime| {
        let mut window = VecDeque::with_capacity(WINDOW);
        for i in 0..EACH {
            if window.len() == WINDOW {
                let (oldest, handle): (usize, JoinHandle<usize>) = window.pop_front().unwrap();
                assert_eq!(handle.join().unwrap(), oldest);
            }
            window.push_back((
                i,
                runtime.spawn(move || {
                    RAN.fetch_add(1, Ordering::Relaxed);
                    i
                }),
            ));
        }
        for (i, handle) in window {
            assert_eq!(handle.join().unwrap(), i);
        }
    });
    assert_eq!(RAN.load(Ordering::Relaxed), SPAWNERS * EACH);
    println!("joined: at most {most} bytes, {left} left");
    assert!(most < 4 * LITTLE, "{most} bytes at most");
    assert!(left < LITTLE / 16, "{left} bytes left");
}

/// Who keeps no handle may be faster than the workers; a waiting task costs its packet and its place in the queue, and nothing is left.
#[test]
fn a_million_detached_tasks_from_64_threads_all_run_and_leave_nothing() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let (most, left) = used_by_spawners("64 threads that detach", |runtime| {
        for _ in 0..EACH {
            drop(runtime.spawn(|| RAN.fetch_add(1, Ordering::Relaxed)));
        }
    });
    assert_eq!(RAN.load(Ordering::Relaxed), SPAWNERS * EACH);
    println!("detached: at most {most} bytes, {left} left");
    assert!(most < 256 * (SPAWNERS * EACH) as isize, "{most} bytes at most");
    assert!(left < LITTLE / 16, "{left} bytes left");
}

/// The same of futures, each of which is woken from elsewhere once.
#[test]
fn futures_from_64_threads_all_end_and_leave_nothing() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let (most, left) = used_by_spawners("64 threads that spawn futures", |runtime| {
        for _ in 0..EACH / 16 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let handle =
                runtime.spawn_future(async { RAN.fetch_add(receiver.await.unwrap(), Ordering::Relaxed) });
            sender.send(1).unwrap();
            handle.join().unwrap();
        }
    });
    assert_eq!(RAN.load(Ordering::Relaxed), SPAWNERS * (EACH / 16));
    println!("futures: at most {most} bytes, {left} left");
    assert!(most < 4 * LITTLE, "{most} bytes at most");
    assert!(left < LITTLE / 16, "{left} bytes left");
}

/// Tasks for a node whose only worker is busy, joined by who spawned them: their tickets go, and what has not begun stays, in its order.
#[test]
fn tasks_for_a_busy_node_leave_nothing_behind() {
    const KEPT: usize = 100;
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    static ORDER: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let order = &ORDER;
    order.lock().unwrap().reserve(KEPT);
    let used = watched("tasks for a busy node", || {
        let machine = upbeat::topology::Machine::synthetic("node:2 core:1").unwrap();
        let runtime = Runtime::builder().topology(machine).build().unwrap();
        let used = AtomicIsize::new(0);
        let both = Meeting::of(2);
        runtime.broadcast(|worker| {
            both.arrive(worker.index());
            if worker.index() == 1 {
                return until(|| order.lock().unwrap().len() == KEPT);
            }
            let before = LIVE.load(Ordering::Relaxed);
            HIGHEST.store(before, Ordering::Relaxed);
            for i in 0..ROUNDS {
                if i % (ROUNDS / KEPT) == 0 {
                    let nth = i / (ROUNDS / KEPT);
                    let note = move || order.lock().unwrap().push(nth);
                    drop(upbeat::spawn_with(Spawn::new().on_node(1), note));
                }
                let handle = upbeat::spawn_with(Spawn::new().on_node(1), move || i);
                assert_eq!(handle.join().unwrap(), i);
            }
            used.store(HIGHEST.load(Ordering::Relaxed) - before, Ordering::Relaxed);
        });
        used.into_inner()
    });
    assert!(used < LITTLE, "{used} bytes");
    assert!(order.lock().unwrap().iter().copied().eq(0..KEPT));
}

/// What still has to run is not dropped with what is done, and stays in turn.
#[test]
fn tasks_that_wait_are_kept_in_order() {
    static ORDER: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let order = &ORDER;
    order.lock().unwrap().reserve(ROUNDS);
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
