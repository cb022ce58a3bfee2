//! What cancelling promises: what has not begun never begins and is dropped once, what runs finishes, and whoever waits is told.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::thread;
use support::{message, panic_of, watched, Counted, Grenade};
use upbeat::{CancelToken, Cancelled, Runtime, Spawn};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        thread::yield_now();
    }
}

/// Keeps each worker of `runtime` busy until the result is dropped.
fn occupy(runtime: &Runtime) -> std::sync::mpsc::Sender<()> {
    let (occupied, all_occupied) = channel();
    let (release, gate) = channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    for _ in 0..runtime.num_workers() {
        let (occupied, gate) = (occupied.clone(), gate.clone());
        drop(runtime.spawn(move || {
            occupied.send(()).unwrap();
            assert!(gate.lock().unwrap().recv().is_err(), "nothing is ever sent");
        }));
    }
    (0..runtime.num_workers()).for_each(|_| all_occupied.recv().unwrap());
    release
}

/// Counts its drops, from any thread.
struct Owned(Arc<AtomicUsize>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fault 19. The workers are busy, so it must be the canceller who drops the closures and tells the handles.
#[test]
fn tasks_that_have_not_begun_are_dropped_at_once() {
    watched("cancel before the start", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let busy = occupy(&runtime);
            let token = CancelToken::new();
            let dropped = Arc::new(AtomicUsize::new(0));
            let spawn = || {
                let capture = Owned(dropped.clone());
                runtime.spawn_with(Spawn::new().cancel(&token), move || drop(capture))
            };
            let handles: Vec<_> = (0..200).map(|_| spawn()).collect();
            for _ in 0..200 {
                drop(spawn());
            }
            assert!(!token.is_cancelled() && !handles.iter().any(|handle| handle.is_finished()));
            token.cancel();
            assert!(token.is_cancelled());
            assert_eq!(dropped.load(Ordering::Relaxed), 400);
            for handle in handles {
                assert!(handle.join().unwrap_err().is::<Cancelled>());
            }
            // What comes later is dropped as well.
            let late = spawn();
            assert!(late.is_finished() && late.join().unwrap_err().is::<Cancelled>());
            assert_eq!(dropped.load(Ordering::Relaxed), 401);
            drop(busy);
        }
    });
}

/// Fault 19.
#[test]
fn a_task_that_runs_finishes_and_sees_the_token() {
    watched("cancel a running task", || {
        let runtime = runtime(2);
        let token = CancelToken::new();
        let begun = Arc::new(AtomicBool::new(false));
        let (seen, entered) = (token.clone(), begun.clone());
        let handle = runtime.spawn_with(Spawn::new().cancel(&token), move || {
            entered.store(true, Ordering::Release);
            while !seen.is_cancelled() {
                thread::yield_now();
            }
            "finished"
        });
        wait_for(&begun);
        token.cancel();
        assert_eq!(handle.join().unwrap(), "finished");
    });
}

/// Fault 19: a race of one canceller against workers and joiners. Each task has run or was dropped, once, and its handle knows which.
#[test]
fn each_task_runs_or_is_dropped() {
    watched("cancel against start", || {
        for workers in [1, 2, 8] {
            let runtime = runtime(workers);
            for round in 0..50 {
                let token = CancelToken::new();
                let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let canceller = {
                    let token = token.clone();
                    thread::spawn(move || {
                        (0..round * 20).for_each(|_| std::hint::spin_loop());
                        token.cancel();
                    })
                };
                let handles: Vec<_> = (0..100)
                    .map(|_| {
                        let (ran, capture) = (ran.clone(), Owned(dropped.clone()));
                        runtime.spawn_with(Spawn::new().cancel(&token), move || {
                            let _capture = capture;
                            ran.fetch_add(1, Ordering::Relaxed);
                        })
                    })
                    .collect();
                let finished = handles.into_iter().map(|handle| handle.join());
                let (ok, cancelled): (Vec<_>, Vec<_>) = finished.partition(Result::is_ok);
                assert_eq!(ok.len(), ran.load(Ordering::Relaxed));
                assert_eq!(ok.len() + cancelled.len(), 100);
                assert!(cancelled.iter().all(|outcome| outcome.as_ref().unwrap_err().is::<Cancelled>()));
                assert_eq!(dropped.load(Ordering::Relaxed), 100);
                canceller.join().unwrap();
            }
        }
    });
}

/// Fault 20.
#[test]
fn to_cancel_twice_or_to_drop_the_token_does_nothing() {
    let runtime = runtime(1);
    let token = CancelToken::new();
    let handle = runtime.spawn_with(Spawn::new().cancel(&token), || 1);
    drop(token);
    assert_eq!(handle.join().unwrap(), 1);
    let token = CancelToken::default();
    let clone = token.clone();
    token.cancel();
    clone.cancel();
    drop(token);
    assert!(clone.is_cancelled());
    assert_eq!(clone.run(|| unreachable!()), Err::<(), _>(Cancelled));
}

/// Fault 19: with one worker the body is over before a task begins, so none does.
#[test]
fn a_scope_drops_what_has_not_begun() {
    watched("cancel a scope", || {
        for workers in [1, 2, 8] {
            let runtime = runtime(workers);
            for cancel_after in [0, 50, 100] {
                let token = CancelToken::new();
                let (ran, dropped) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
                let outcome = runtime.scope_with(&token, |scope| {
                    for i in 0..100 {
                        if i == cancel_after {
                            token.cancel();
                        }
                        let capture = Counted(dropped);
                        scope.spawn(move |_| {
                            let _capture = capture;
                            ran.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
                if cancel_after < 100 {
                    assert_eq!(outcome, Err(Cancelled));
                    assert!(ran.load(Ordering::Relaxed) <= if workers == 1 { 0 } else { cancel_after });
                } else {
                    assert_eq!((outcome, ran.load(Ordering::Relaxed)), (Ok(()), 100));
                }
                assert_eq!(dropped.load(Ordering::Relaxed), 100);
            }
        }
    });
}

/// Fault 19: what runs when the token is cancelled is waited for.
#[test]
fn a_scope_waits_for_what_has_begun() {
    watched("cancel a scope that runs", || {
        let runtime = runtime(2);
        let token = CancelToken::new();
        let (begun, finished) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let seen = &token;
        let outcome = runtime.scope_with(&token, |scope| {
            scope.spawn(move |scope| {
                begun.store(true, Ordering::Release);
                while !seen.is_cancelled() {
                    thread::yield_now();
                }
                scope.spawn(|_| unreachable!("it is cancelled"));
                finished.store(true, Ordering::Release);
            });
            wait_for(begun);
            token.cancel();
            "the body's result is dropped"
        });
        assert_eq!((outcome, finished.load(Ordering::Acquire)), (Err(Cancelled), true));
    });
}

#[test]
fn a_panic_comes_out_of_a_cancelled_scope() {
    let runtime = runtime(2);
    let token = CancelToken::new();
    let body = panic_of(|| {
        runtime.scope_with(&token, |_| {
            token.cancel();
            panic!("the body");
        })
    });
    assert_eq!(message(body), "the body");
    let token = CancelToken::new();
    let task = panic_of(|| {
        runtime.scope_with(&token, |scope| {
            scope.spawn(|_| {
                token.cancel();
                panic!("a task");
            });
            upbeat::par::for_each(0..usize::MAX, |_| ());
        })
    });
    assert_eq!(message(task), "a task");
}

#[test]
fn destructors_of_what_was_dropped_may_panic() {
    watched("destructors that panic", || {
        let runtime = runtime(1);
        let busy = occupy(&runtime);
        let token = CancelToken::new();
        let spawn = || {
            let grenade = Grenade;
            runtime.spawn_with(Spawn::new().cancel(&token), move || drop(grenade))
        };
        let handles = [spawn(), spawn()];
        token.cancel();
        for handle in handles {
            assert!(handle.join().unwrap_err().is::<Cancelled>());
        }
        drop(busy);
        let outcome = runtime.scope_with(&token, |_| unreachable!());
        assert_eq!(outcome, Err::<(), _>(Cancelled));
    });
}

/// The first two loops have more items than any machine gets done, so they must stop, on whatever worker their parts run.
#[test]
fn loops_stop_between_chunks() {
    watched("cancelled loops", || {
        let cancel_at = |token: &CancelToken, seen: &AtomicUsize| {
            if seen.fetch_add(1, Ordering::Relaxed) == 10_000 {
                token.cancel();
            }
        };
        let mut zero_sized = vec![(); usize::MAX];
        for workers in [1, 2, 8] {
            let runtime = runtime(workers);
            let stops = |token: &CancelToken, work: &mut (dyn FnMut() + Send)| {
                assert_eq!(runtime.install(|_| token.run(work)), Err(Cancelled));
            };
            let (token, seen) = (&CancelToken::new(), &AtomicUsize::new(0));
            stops(token, &mut || upbeat::par::for_each(0..usize::MAX, |_| cancel_at(token, seen)));
            let (token, seen) = (&CancelToken::new(), &AtomicUsize::new(0));
            stops(token, &mut || {
                upbeat::par::chunks_mut(&mut zero_sized, 1, |_, _| cancel_at(token, seen));
            });
            let (token, seen) = (&CancelToken::new(), &AtomicUsize::new(0));
            stops(token, &mut || {
                upbeat::par::map_reduce(0..1 << 20, |_| cancel_at(token, seen), |(), ()| (), || ());
            });
            assert!(seen.load(Ordering::Relaxed) < 1 << 20);
        }
    });
}

/// A loop that was handed over to another thread, or to another runtime's, is under the caller's token all the same.
#[test]
fn a_token_goes_with_the_call_to_a_runtime() {
    watched("a token across threads", || {
        let (here, there) = (runtime(2), runtime(1));
        for nested in [false, true] {
            let token = CancelToken::new();
            let endless = || {
                upbeat::par::for_each(0..usize::MAX, |i| {
                    if i == 10_000 {
                        token.cancel();
                    }
                })
            };
            let outcome = token.run(|| match nested {
                false => here.run_on_worker(|_| endless()),
                true => here.run_on_worker(|_| there.run_on_worker(|_| endless())),
            });
            assert_eq!(outcome, Err(Cancelled));
        }
    });
}

/// The code under a token may wait for a task that is not, run it on its own stack, and must not stop that one's loops.
#[test]
fn a_task_without_the_token_is_not_stopped() {
    watched("a task without the token", || {
        let runtime = runtime(1);
        let token = CancelToken::new();
        let outcome = runtime.install(|_| {
            token.run(|| {
                let plain = upbeat::spawn(|| upbeat::par::map_reduce(0..100_000, |i| i, |a, b| a + b, || 0));
                token.cancel();
                plain.join().unwrap()
            })
        });
        assert_eq!(outcome, Ok(4_999_950_000));
    });
}

/// A reduction that was short begins where it is called; it is told all the same that it was cancelled.
#[test]
fn a_reduction_that_was_short_is_cancelled() {
    let runtime = runtime(2);
    let cancel_at = AtomicUsize::new(usize::MAX);
    let run = |token: &CancelToken| {
        let item = |i: usize| {
            if i == cancel_at.load(Ordering::Relaxed) {
                token.cancel();
            }
            i as u64
        };
        token.run(|| upbeat::par::map_reduce(0..600, item, |a, b| a + b, || 0))
    };
    for outside in [false, true] {
        let call = || match outside {
            true => run(&CancelToken::new()),
            false => runtime.install(|_| run(&CancelToken::new())),
        };
        cancel_at.store(usize::MAX, Ordering::Relaxed);
        for _ in 0..50 {
            assert_eq!(call(), Ok(600 * 599 / 2));
        }
        for at in [0, 1, 20, 511, 512, 599] {
            cancel_at.store(at, Ordering::Relaxed);
            assert_eq!(call(), Err(Cancelled), "cancelled at {at}");
        }
    }
}
