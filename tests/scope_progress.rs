//! Scopes make progress and run every task once: bodies that block on their tasks, tasks behind futures that wake themselves, callers that come
//! and go, closures of odd sizes and alignments, panics and cancellation among them, sizes that change meanwhile.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{mpsc, Arc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use support::watched;
use upbeat::{CancelToken, Runtime};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Runs `task` as a spawned task of a runtime of `workers`.
fn in_a_task(what: &'static str, workers: usize, task: impl FnOnce() + Send + 'static) {
    watched(what, move || runtime(workers).spawn(task).join().unwrap());
}

fn spin_future(flag: Arc<AtomicBool>) -> impl std::future::Future<Output = ()> {
    std::future::poll_fn(move |context| {
        if flag.load(Acquire) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// One worker waits for a future that wakes itself until a task of the open scope has run.
#[test]
fn a_future_that_wakes_itself_does_not_starve_a_scope_of_one_worker() {
    in_a_task("future and scope, one worker", 1, || {
        let flag = Arc::new(AtomicBool::new(false));
        let future = upbeat::spawn_future(spin_future(flag.clone()));
        upbeat::scope(|scope| {
            scope.spawn(|_| flag.store(true, Release));
            future.join().unwrap();
        });
    });
}

/// The same with two workers: the helper meets a future that wakes itself, and the scope's body blocks.
#[test]
fn a_future_that_wakes_itself_does_not_starve_a_scope_of_its_helper() {
    in_a_task("future and scope, two workers", 2, || {
        let flag = Arc::new(AtomicBool::new(false));
        upbeat::scope(|scope| {
            let (tx, rx) = mpsc::sync_channel(1);
            let flag = flag.clone();
            scope.spawn(move |scope| {
                // On the helper, for the body blocks.
                drop(upbeat::spawn_future(spin_future(flag.clone())));
                scope.spawn(move |_| {
                    flag.store(true, Release);
                    tx.send(()).unwrap();
                });
            });
            rx.recv().unwrap();
        });
    });
}

#[test]
fn yielding_in_a_body_reaches_its_tasks_past_a_future_that_wakes_itself() {
    in_a_task("yield_now and scope", 1, || {
        let flag = Arc::new(AtomicBool::new(false));
        let future = upbeat::spawn_future(spin_future(flag.clone()));
        upbeat::scope(|scope| {
            scope.spawn(|_| flag.store(true, Release));
            while !flag.load(Acquire) {
                upbeat::yield_now();
            }
        });
        future.join().unwrap();
    });
}

fn again<'env>(scope: &upbeat::Scope<'_, 'env>, done: &'env AtomicBool) {
    if !done.load(Acquire) {
        scope.spawn(move |scope| again(scope, done));
    }
}

/// The helper looks at the oldest scope first, which always has a task until the inner one's has run.
#[test]
fn an_outer_scope_that_always_has_a_task_does_not_starve_an_inner_one() {
    in_a_task("outer and inner", 2, || {
        let done = AtomicBool::new(false);
        let done = &done;
        upbeat::scope(|outer| {
            again(outer, done);
            let (tx, rx) = mpsc::channel();
            upbeat::scope(move |inner| {
                inner.spawn(move |_| {
                    done.store(true, Release);
                    tx.send(()).unwrap();
                });
                rx.recv().unwrap();
            });
        });
    });
}

/// A caller sits in worker 1's seat while worker 0 opens a scope and then naps inside of isolation, for something that only the scope's
/// task brings. The caller leaves: somebody has to look for work.
#[test]
fn a_caller_that_leaves_wakes_somebody_for_the_scope_of_one_that_naps() {
    watched("guest leaves, worker naps", || {
        for with_scope in [true, false] {
            let runtime = runtime(2);
            let (sits, is_in_seat) = mpsc::channel();
            let (published, is_published) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            // Worker `a`, its own thread.
            let handle = runtime.spawn(move || {
                let flag = Arc::new(AtomicBool::new(false));
                let waker: Arc<std::sync::Mutex<Option<std::task::Waker>>> = Arc::default();
                let future = {
                    let (flag, waker) = (flag.clone(), waker.clone());
                    upbeat::spawn_future(std::future::poll_fn(move |context| {
                        *waker.lock().unwrap() = Some(context.waker().clone());
                        if flag.load(Acquire) {
                            Poll::Ready(())
                        } else {
                            Poll::Pending
                        }
                    }))
                };
                while waker.lock().unwrap().is_none() {
                    upbeat::yield_now();
                }
                go.send(()).unwrap();
                let () = is_in_seat.recv().unwrap();
                let ring = {
                    let (flag, waker) = (flag.clone(), waker.clone());
                    move || {
                        flag.store(true, Release);
                        waker.lock().unwrap().take().unwrap().wake();
                    }
                };
                if with_scope {
                    upbeat::scope(|scope| {
                        scope.spawn(move |_| ring());
                        published.send(()).unwrap();
                        upbeat::isolate(|| future.join().unwrap());
                    });
                } else {
                    drop(upbeat::spawn(ring));
                    published.send(()).unwrap();
                    upbeat::isolate(|| future.join().unwrap());
                }
            });
            gone.recv().unwrap();
            // Nobody works but `a`, which blocks; a caller takes the other seat.
            runtime.install(move |_| {
                sits.send(()).unwrap();
                is_published.recv().unwrap();
                // Long enough for the worker to be in its nap when the caller leaves.
                thread::sleep(Duration::from_millis(20));
            });
            handle.join().unwrap();
        }
    });
}

#[inline(never)]
fn scope_that_may_block(blocks: bool) {
    upbeat::scope(|scope| {
        let (tx, rx) = mpsc::channel();
        // Who does not block does not listen.
        scope.spawn(move |_| _ = tx.send(()));
        if blocks {
            rx.recv().unwrap();
        }
    });
}

/// The call site is known for short scopes, so nobody is woken for its tasks if somebody watches.
#[test]
fn bodies_that_block_on_their_task_now_and_then_go_on() {
    watched("body blocks now and then", || {
        for workers in [2, 3] {
            let runtime = runtime(workers);
            for round in 0..3000u32 {
                let blocks = round % 7 == 0;
                if round % 3 == 0 {
                    runtime.install(|_| scope_that_may_block(blocks));
                } else {
                    runtime.spawn(move || scope_that_may_block(blocks)).join().unwrap();
                }
                if round % 500 == 0 {
                    thread::sleep(Duration::from_millis(110));
                }
            }
        }
    });
}

#[test]
fn callers_come_and_go_while_bodies_block() {
    watched("callers and blocking bodies", || {
        let runtime = runtime(3);
        let end = Instant::now() + Duration::from_secs(3);
        thread::scope(|threads| {
            let blocker = threads.spawn(|| {
                let mut rounds = 0;
                while Instant::now() < end {
                    runtime.run_on_worker(|_| scope_that_may_block(rounds % 2 == 0));
                    rounds += 1;
                }
                rounds
            });
            threads.spawn(|| {
                while Instant::now() < end {
                    runtime.install(|_| std::hint::black_box(0));
                    runtime.install(|worker| worker.scope(|scope| scope.spawn(|_| ())));
                }
            });
            assert!(blocker.join().unwrap() > 0);
        });
    });
}

#[test]
fn bodies_block_while_the_size_changes() {
    watched("resize and blocking bodies", || {
        let runtime = runtime(4);
        let end = Instant::now() + Duration::from_secs(3);
        thread::scope(|threads| {
            threads.spawn(|| {
                let mut size = 2;
                while Instant::now() < end {
                    runtime.resize(2 + size % 3).unwrap();
                    size += 1;
                    thread::sleep(Duration::from_micros(300));
                }
            });
            let mut rounds = 0;
            while Instant::now() < end {
                runtime.run_on_worker(|_| scope_that_may_block(rounds % 2 == 0));
                rounds += 1;
            }
        });
    });
}

struct Drops<'a>(&'a AtomicUsize);
impl Drop for Drops<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Aligned(u64);

/// Each closure runs once and drops what it holds once, whatever its size and alignment, whether it panics or is cancelled.
#[test]
fn closures_of_all_sizes_and_alignments_run_once_and_are_dropped_once() {
    watched("closures", || {
        let runtime = runtime(3);
        for round in 0..300u64 {
            let counts = (AtomicUsize::new(0), AtomicUsize::new(0));
            let (ran, dropped) = (&counts.0, &counts.1);
            let token = CancelToken::new();
            macro_rules! spawn_sized {
                ($scope:ident, $ran:ident, $dropped:ident, $($n:literal)*) => {$(
                    let drops = Drops($dropped);
                    let words = [round ^ $n; $n];
                    let ran = $ran;
                    $scope.spawn(move |_| {
                        let _drops = &drops;
                        assert!(words.iter().all(|&word| word == round ^ $n));
                        ran.fetch_add(1, Relaxed);
                    });
                )*};
            }
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.scope_with(&token, |scope| {
                    spawn_sized!(scope, ran, dropped, 0 1 2 3 4 5 6 7 8 9 17);
                    for i in 0..8 {
                        let (drops, aligned) = (Drops(dropped), Aligned(i));
                        let token = token.clone();
                        scope.spawn(move |scope| {
                            let _drops = &drops;
                            assert!((&raw const aligned).addr() % 64 == 0 && aligned.0 == i);
                            ran.fetch_add(1, Relaxed);
                            let inner = Drops(dropped);
                            scope.spawn(move |_| drop(inner));
                            if round % 3 == 1 && i == 5 {
                                std::panic::resume_unwind(Box::new(7));
                            }
                            if round % 3 == 2 && i == 5 {
                                token.cancel();
                            }
                        });
                    }
                })
            }));
            match round % 3 {
                0 => assert!(result.is_ok_and(|r| r.is_ok())),
                1 => assert!(result.is_err()),
                _ => assert!(result.is_ok_and(|r| r.is_err())),
            }
            if round % 3 < 2 {
                assert_eq!((ran.load(Relaxed), dropped.load(Relaxed)), (19, 27));
            } else {
                assert!(dropped.load(Relaxed) >= 19);
            }
        }
    });
}

fn tree<'env>(scope: &upbeat::Scope<'_, 'env>, depth: u32, outer: &'env AtomicUsize, seed: u64) {
    outer.fetch_add(1, Relaxed);
    if depth == 0 {
        return;
    }
    let inner = AtomicUsize::new(0);
    let count = (seed % 4) as usize + 1;
    fn body<'env>(scope: &upbeat::Scope<'_, 'env>, count: usize, inner: &'env AtomicUsize) {
        for _ in 0..count {
            scope.spawn(move |_| {
                inner.fetch_add(1, Relaxed);
            });
        }
    }
    match seed % 5 {
        0 => upbeat::isolate(|| upbeat::scope(|scope| body(scope, count, &inner))),
        1 => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            upbeat::scope(|scope| {
                body(scope, count, &inner);
                std::panic::resume_unwind(Box::new(1));
            })
        }))),
        _ => upbeat::scope(|scope| body(scope, count, &inner)),
    }
    assert_eq!(inner.load(Relaxed), count);
    for child in 0..3 {
        let seed = (seed ^ (child + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
        scope.spawn(move |scope| tree(scope, depth - 1, outer, seed));
    }
}

fn nodes(depth: u32) -> usize {
    (0..=depth).map(|level| 3usize.pow(level)).sum()
}

#[test]
fn trees_of_scopes_in_scopes_run_every_task_once() {
    watched("trees", || {
        for workers in [1, 2, 4] {
            let runtime = runtime(workers);
            for round in 0..60 {
                let outer = AtomicUsize::new(0);
                if round % 2 == 0 {
                    runtime.scope(|scope| tree(scope, 5, &outer, round));
                } else {
                    runtime.run_on_worker(|worker| {
                        worker.scope(|scope| {
                            worker.join(
                                |_| tree(scope, 4, &outer, round),
                                |_| tree(scope, 4, &outer, round + 1),
                            );
                        })
                    });
                }
                let expected = if round % 2 == 0 { nodes(5) } else { 2 * nodes(4) };
                assert_eq!(outer.load(Relaxed), expected);
            }
            let seen = runtime.broadcast(|worker| worker.index());
            assert_eq!(seen.len(), workers);
        }
    });
}

fn nest(depth: usize, ran: &AtomicUsize) {
    if depth == 0 {
        return;
    }
    upbeat::scope(|scope| {
        scope.spawn(|_| {
            ran.fetch_add(1, Relaxed);
        });
        nest(depth - 1, ran);
        scope.spawn(|_| {
            ran.fetch_add(1, Relaxed);
        });
    });
}

#[test]
fn scopes_nest_a_thousand_deep() {
    watched("deep", || {
        for workers in [1, 2, 4] {
            let runtime = Runtime::builder().workers(workers).stack_size(16 << 20).build().unwrap();
            for _ in 0..20 {
                let ran = AtomicUsize::new(0);
                runtime.run_on_worker(|_| nest(1000, &ran));
                assert_eq!(ran.load(Relaxed), 2000);
            }
        }
    });
}

/// Threads that are no workers spawn into a scope whose body waits for them, while helpers run its tasks.
#[test]
fn plain_threads_and_stolen_halves_spawn_into_a_scope() {
    watched("plain threads", || {
        let runtime = runtime(3);
        for _ in 0..200 {
            let ran = AtomicUsize::new(0);
            runtime.scope(|scope| {
                thread::scope(|threads| {
                    for _ in 0..2 {
                        threads.spawn(|| {
                            for _ in 0..50 {
                                scope.spawn(|scope| {
                                    ran.fetch_add(1, Relaxed);
                                    scope.spawn(|_| {
                                        ran.fetch_add(1, Relaxed);
                                    });
                                });
                            }
                        });
                    }
                    for _ in 0..50 {
                        scope.spawn(|_| {
                            ran.fetch_add(1, Relaxed);
                        });
                    }
                });
            });
            assert_eq!(ran.load(Relaxed), 250);
        }
    });
}
