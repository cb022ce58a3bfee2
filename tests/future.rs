//! What spawned futures and `block_on` promise: a future is polled by one worker at a time, again after each wake-up, and is dropped
//! once, whether it ends, panics, is cancelled or forgotten, or its runtime ends first. Awaited handles are in `executors.rs`.

mod support;

use std::future::{pending, poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use support::{message, panic_of, until, watched, yields, Grenade, SharedCount};
use tokio::sync::oneshot;
use upbeat::{CancelToken, Cancelled, Priority, Runtime, ShutDown, Spawn};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// No wake-up is lost and none is answered twice while the future wakes itself.
#[test]
fn a_future_is_polled_once_for_each_time_that_it_wakes_itself() {
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let polls = Arc::new(AtomicUsize::new(0));
        let handles = [0, 1, 10, 1000].map(|times| {
            let polls = polls.clone();
            let mut inner = Box::pin(yields(times));
            runtime.spawn_future(poll_fn(move |context| {
                polls.fetch_add(1, Ordering::Relaxed);
                inner.as_mut().poll(context)
            }))
        });
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1011 + 4);
    }
}

/// Threads that wake at random moments: one poll at a time, and one after the last wake-up.
#[test]
fn wakes_from_many_threads_neither_overlap_polls_nor_get_lost() {
    const WAKES: usize = 2_000;
    watched("woken by many", || {
        for workers in [1, 2, 4] {
            let runtime = runtime(workers);
            let (woken, polls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
            let inside = AtomicBool::new(false);
            let handle = {
                let (woken, polls, waker) = (woken.clone(), polls.clone(), waker.clone());
                runtime.spawn_future(poll_fn(move |context| {
                    assert!(!inside.swap(true, Ordering::Relaxed), "two polls at once");
                    polls.fetch_add(1, Ordering::Relaxed);
                    *waker.lock().unwrap() = Some(context.waker().clone());
                    let over = woken.load(Ordering::Relaxed) == 3 * WAKES;
                    inside.store(false, Ordering::Relaxed);
                    if over {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                }))
            };
            until(|| waker.lock().unwrap().is_some());
            thread::scope(|threads| {
                for _ in 0..3 {
                    threads.spawn(|| {
                        for _ in 0..WAKES {
                            let waker = waker.lock().unwrap().clone().unwrap();
                            woken.fetch_add(1, Ordering::Relaxed);
                            waker.wake();
                        }
                    });
                }
            });
            handle.join().unwrap();
            assert!(polls.load(Ordering::Relaxed) <= 3 * WAKES + 1);
        }
    });
}

#[test]
fn one_worker_waits_for_futures_that_it_spawned() {
    watched("one worker in block_on", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let got = runtime.install(|_| {
                upbeat::block_on(upbeat::spawn_future(async {
                    yields(5).await;
                    let inner = upbeat::spawn_future(async { upbeat::spawn(|| 20).await.unwrap() + 1 });
                    inner.await.unwrap() * 2
                }))
            });
            assert_eq!(got.unwrap(), 42);
            let joined = runtime.install(|_| upbeat::spawn_future(yields(5)).join());
            joined.unwrap();
            assert_eq!(runtime.block_on(async { upbeat::spawn(|| 3).await.unwrap() }), 3);
        }
    });
}

#[test]
fn what_block_on_polls_needs_not_be_send() {
    let rc = Rc::new(5);
    let got = upbeat::block_on(async {
        let inner = rc.clone();
        yields(3).await;
        *inner
    });
    assert_eq!(got, 5);
    // On a worker as well, where other tasks run between the polls.
    let got = runtime(1).install(|_| {
        let rc = Rc::new(6);
        upbeat::block_on(async move {
            yields(3).await;
            *rc
        })
    });
    assert_eq!(got, 6);
}

#[test]
fn block_on_returns_when_another_thread_wakes_it() {
    watched("woken from outside", || {
        for on_worker in [false, true] {
            for _ in 0..200 {
                let (sender, receiver) = oneshot::channel();
                let other = thread::spawn(move || sender.send(9).unwrap());
                let got = match on_worker {
                    true => runtime(1).block_on(receiver),
                    false => upbeat::block_on(receiver),
                };
                assert_eq!(got, Ok(9));
                other.join().unwrap();
            }
        }
    });
}

#[test]
fn a_panic_in_block_on_comes_out() {
    assert_eq!(message(panic_of(|| upbeat::block_on(async { panic!("outside") }))), "outside");
    let runtime = runtime(1);
    assert_eq!(message(panic_of(|| runtime.block_on(async { panic!("inside") }))), "inside");
}

#[test]
fn futures_use_the_runtime_that_polls_them() {
    let runtime = runtime(3);
    let numbers: Vec<u64> = (0..100_000).collect();
    let sum = runtime.spawn_future(async move {
        assert_eq!(upbeat::current_num_workers(), 3);
        let (a, b) =
            upbeat::join(|| numbers[..50_000].iter().sum::<u64>(), || numbers[50_000..].iter().sum::<u64>());
        yields(1).await;
        assert_eq!(upbeat::current_num_workers(), 3);
        a + b
    });
    assert_eq!(sum.join().unwrap(), 4_999_950_000);
}

#[test]
fn two_runtimes_await_each_other() {
    watched("two runtimes", || {
        let (a, b) = (Arc::new(runtime(1)), runtime(1));
        let own = a.clone();
        let handle = b.spawn_future(async move {
            let mut total = 0;
            for i in 0..100 {
                total += own.spawn(move || i).await.unwrap();
            }
            total
        });
        let total = a.spawn_future(handle);
        assert_eq!(total.join().unwrap().unwrap(), 4950);
    });
}

/// The future is gone before its end can be seen.
#[test]
fn a_future_is_dropped_once_and_before_its_result_is_there() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for round in 0..300 {
            let dropped = Arc::new(AtomicUsize::new(0));
            let captured = SharedCount(dropped.clone());
            let handle = runtime.spawn_future(async move {
                let _captured = captured;
                yields(round % 3).await;
                if round % 2 == 0 {
                    panic!("on purpose");
                }
            });
            assert_eq!(handle.join().is_err(), round % 2 == 0);
            assert_eq!(dropped.load(Ordering::Relaxed), 1);
        }
    }
}

#[test]
fn a_future_that_nothing_can_wake_is_dropped_at_once() {
    watched("forgotten", || {
        let runtime = runtime(1);
        let dropped = Arc::new(AtomicUsize::new(0));
        let captured = SharedCount(dropped.clone());
        let handle = runtime.spawn_future(async move {
            let _captured = captured;
            pending::<()>().await;
        });
        assert!(!handle.is_finished());
        drop(handle);
        until(|| dropped.load(Ordering::Relaxed) == 1);
    });
}

/// Where the waker is all that is left of a future, it keeps it.
#[test]
fn a_future_without_a_handle_runs_when_it_is_woken() {
    watched("detached", || {
        let runtime = runtime(2);
        let (go, gate) = oneshot::channel::<()>();
        let (sender, receiver) = channel();
        drop(runtime.spawn_future(async move {
            gate.await.unwrap();
            sender.send(1).unwrap();
        }));
        assert!(receiver.try_recv().is_err());
        go.send(()).unwrap();
        assert_eq!(receiver.recv(), Ok(1));
    });
}

/// Polls `runtime` futures that wait until they have left their wakers, then returns those.
fn waiting(
    runtime: &Runtime,
    count: usize,
    dropped: &Arc<AtomicUsize>,
) -> (Vec<upbeat::JoinHandle<()>>, Vec<Waker>) {
    let (sender, wakers) = channel();
    let handles = (0..count).map(|_| {
        let (sender, captured) = (sender.clone(), SharedCount(dropped.clone()));
        runtime.spawn_future(poll_fn(move |context| {
            let _ = (&captured, sender.send(context.waker().clone()));
            Poll::Pending
        }))
    });
    (handles.collect(), wakers.iter().take(count).collect())
}

#[test]
fn a_runtime_that_ends_drops_waiting_futures_once_and_tells_their_handles() {
    watched("ends with futures", || {
        for workers in [1, 2, 8] {
            let (runtime, dropped) = (runtime(workers), Arc::new(AtomicUsize::new(0)));
            let (mut handles, wakers) = waiting(&runtime, 100, &dropped);
            // Half of them detached: nobody is told, and no handler is missed.
            drop(handles.split_off(50));
            runtime.shutdown();
            assert_eq!(dropped.load(Ordering::Relaxed), 100);
            for handle in handles {
                assert!(handle.is_finished());
                assert!(handle.join().unwrap_err().is::<ShutDown>());
            }
            // Too late to have any effect.
            wakers.into_iter().for_each(Waker::wake);
            assert_eq!(dropped.load(Ordering::Relaxed), 100);
        }
    });
}

/// Wake-ups race with the end: each future is dropped once and each handle told, whoever wins.
#[test]
fn wakes_race_with_the_end_of_the_runtime() {
    watched("woken while it ends", || {
        for round in 0..100 {
            let (runtime, dropped) = (runtime(1 + round % 3), Arc::new(AtomicUsize::new(0)));
            let (handles, wakers) = waiting(&runtime, 20, &dropped);
            let waking = thread::spawn(move || wakers.iter().for_each(Waker::wake_by_ref));
            runtime.shutdown();
            waking.join().unwrap();
            for handle in handles {
                assert!(handle.join().unwrap_err().is::<ShutDown>());
            }
            assert_eq!(dropped.load(Ordering::Relaxed), 20);
        }
    });
}

/// What a future's destructor does while the runtime ends: spawned closures run, spawned futures are refused, other futures
/// may be woken, and its panic is the task's.
#[test]
fn destructors_may_use_the_runtime_that_ends() {
    struct OnDrop<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            self.0.take().unwrap()();
        }
    }
    watched("destructors at the end", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let (sender, receiver) = channel();
            let (started, starts) = channel();
            let spawning = OnDrop(Some(move || {
                let ran = sender.clone();
                drop(upbeat::spawn(move || ran.send("closure").unwrap()));
                let handle = upbeat::spawn_future(async {});
                assert!(handle.join().unwrap_err().is::<ShutDown>());
                sender.send("refused").unwrap();
            }));
            let panicking = OnDrop(Some(|| panic!("a destructor")));
            fn wait_with<T: Send + 'static>(
                captured: T,
                started: std::sync::mpsc::Sender<Waker>,
            ) -> impl Future<Output = ()> + Send {
                let mut started = Some(started);
                poll_fn(move |context| {
                    let _ = &captured;
                    if let Some(started) = started.take() {
                        started.send(context.waker().clone()).unwrap();
                    }
                    Poll::Pending
                })
            }
            let first = runtime.spawn_future(wait_with(spawning, started.clone()));
            let second = runtime.spawn_future(wait_with(panicking, started));
            assert_eq!(starts.iter().count(), 2);
            runtime.shutdown();
            assert!(first.join().unwrap_err().is::<ShutDown>());
            assert_eq!(message(second.join().unwrap_err()), "a destructor");
            let mut seen: Vec<_> = receiver.iter().collect();
            seen.sort_unstable();
            assert_eq!(seen, ["closure", "refused"]);
        }
    });
}

/// The future's own destructor panics after it gave its result: the panic is what the handle gets.
#[test]
fn the_panic_of_a_futures_destructor_is_the_tasks() {
    struct Ready(#[allow(dead_code)] Grenade);
    impl Future for Ready {
        type Output = u32;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
            Poll::Ready(1)
        }
    }
    let runtime = runtime(1);
    assert_eq!(message(runtime.spawn_future(Ready(Grenade)).join().unwrap_err()), "a destructor");
}

/// A token that is cancelled while a future is queued, polled, or waits drops it once and tells the handle.
#[test]
fn a_cancelled_future_is_dropped_once_and_its_handle_told() {
    watched("cancelled futures", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let dropped = Arc::new(AtomicUsize::new(0));
            for round in 0..300 {
                let token = CancelToken::new();
                let captured = SharedCount(dropped.clone());
                let inner = token.clone();
                let future = async move {
                    let _captured = captured;
                    if round % 3 == 0 {
                        inner.cancel();
                    }
                    pending::<()>().await;
                };
                let handle = runtime.spawn_future_with(Spawn::new().cancel(&token), future);
                if round % 3 == 1 {
                    thread::yield_now();
                }
                token.cancel();
                assert!(handle.join().unwrap_err().is::<Cancelled>());
                assert_eq!(dropped.load(Ordering::Relaxed), round + 1);
            }
            // One that was cancelled before is not polled at all.
            let token = CancelToken::new();
            token.cancel();
            let never = async { panic!("polled") };
            let handle = runtime.spawn_future_with(Spawn::new().cancel(&token), never);
            assert!(handle.join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn futures_of_high_priority_go_first_each_time_that_they_are_woken() {
    let runtime = runtime(1);
    let (go, gate) = channel::<()>();
    let order = Arc::new(Mutex::new(Vec::new()));
    let busy = runtime.spawn(move || gate.recv());
    let handles = [(Priority::Normal, "normal"), (Priority::High, "high")].map(|(priority, name)| {
        let order = order.clone();
        runtime.spawn_future_with(Spawn::new().priority(priority), async move {
            for _ in 0..2 {
                order.lock().unwrap().push(name);
                yields(1).await;
            }
        })
    });
    drop(go);
    for handle in handles {
        handle.join().unwrap();
    }
    assert!(busy.join().unwrap().is_err());
    assert_eq!(*order.lock().unwrap(), ["high", "high", "normal", "normal"]);
}

#[test]
fn thousands_of_futures_pass_a_token_around() {
    watched("a ring of futures", || {
        let runtime = runtime(4);
        let (first, mut previous) = oneshot::channel::<usize>();
        let mut handles = Vec::new();
        for _ in 0..5_000 {
            let (next, after) = oneshot::channel();
            let before = std::mem::replace(&mut previous, after);
            handles.push(runtime.spawn_future(async move { next.send(before.await.unwrap() + 1).unwrap() }));
        }
        first.send(0).unwrap();
        assert_eq!(runtime.block_on(previous), Ok(5_000));
        for handle in handles {
            handle.join().unwrap();
        }
    });
}
