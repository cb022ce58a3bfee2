//! What a handle promises to executors, here tokio's two: awaiting it wakes them and does not block them, whether the task ends,
//! panics, is cancelled, or its runtime ends; and their channels and timers wake futures on upbeat.

mod support;

use std::future::{pending, Future};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use support::{message, panic_of, until, watched, yields, SharedCount};
use tokio::sync::mpsc;
use upbeat::{CancelToken, Cancelled, Runtime, ShutDown, Spawn};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Both flavours of tokio's executor.
fn executors() -> [tokio::runtime::Runtime; 2] {
    let both = [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()];
    both.map(|mut builder| builder.worker_threads(2).enable_time().build().unwrap())
}

#[test]
fn a_handle_is_awaited_on_any_executor() {
    watched("tokio awaits upbeat", || {
        for executor in executors() {
            let runtime = runtime(2);
            let total = executor.block_on(async {
                let handles: Vec<_> = (0..1000).map(|i| runtime.spawn(move || i)).collect();
                let mut total = 0;
                for handle in handles {
                    total += handle.await.unwrap();
                }
                total
            });
            assert_eq!(total, 499_500);
        }
    });
}

/// The task can end only after the executor, with its one thread, has run something else.
#[test]
fn an_awaited_handle_does_not_block_its_executor() {
    watched("tokio goes on", || {
        for executor in executors() {
            let runtime = runtime(1);
            let (sender, receiver) = channel();
            let got = executor.block_on(async {
                let task = runtime.spawn(move || receiver.recv().unwrap());
                let (got, ()) = tokio::join!(task, async { sender.send(7).unwrap() });
                got.unwrap()
            });
            assert_eq!(got, 7);
        }
    });
}

#[test]
fn a_handle_that_is_dropped_while_it_is_awaited_detaches_its_task() {
    watched("cancelled awaits", || {
        for executor in executors() {
            let runtime = runtime(2);
            let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            executor.block_on(async {
                for _ in 0..100 {
                    let (go, gate) = channel::<()>();
                    let (inner, result) = (ran.clone(), SharedCount(dropped.clone()));
                    let task = runtime.spawn(move || {
                        gate.recv().unwrap();
                        inner.fetch_add(1, Ordering::Relaxed);
                        result
                    });
                    tokio::select! {
                        biased;
                        _ = task => panic!("the gate is closed"),
                        () = std::future::ready(()) => {}
                    }
                    go.send(()).unwrap();
                }
            });
            runtime.shutdown();
            assert_eq!((ran.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)), (100, 100));
        }
    });
}

#[test]
fn a_panic_arrives_where_the_handle_is_awaited() {
    for executor in executors() {
        let runtime = runtime(2);
        let payload = executor.block_on(runtime.spawn(|| panic!("the closure"))).unwrap_err();
        assert_eq!(message(payload), "the closure");
        let failing = async {
            yields(3).await;
            panic!("the future")
        };
        let payload = executor.block_on(runtime.spawn_future(failing)).unwrap_err();
        assert_eq!(message(payload), "the future");
        let payload = runtime.spawn_future(async { panic!("joined") }).join().unwrap_err();
        assert_eq!(message(payload), "joined");
    }
}

/// Wakes itself and others: tokio's channels need no tokio runtime to wake a future on upbeat.
#[test]
fn spawned_futures_and_another_executor_wake_each_other() {
    watched("ping pong", || {
        for executor in executors() {
            let runtime = runtime(2);
            let (ping, mut pings) = mpsc::channel::<u32>(1);
            let (pong, mut pongs) = mpsc::channel::<u32>(1);
            let echo = runtime.spawn_future(async move {
                let mut count = 0;
                while let Some(n) = pings.recv().await {
                    pong.send(n + 1).await.unwrap();
                    count += 1;
                }
                count
            });
            executor.block_on(async {
                for n in 0..1000 {
                    ping.send(n).await.unwrap();
                    assert_eq!(pongs.recv().await, Some(n + 1));
                }
                drop(ping);
                assert_eq!(echo.await.unwrap(), 1000);
            });
        }
    });
}

#[test]
fn a_timer_of_another_executor_wakes_a_spawned_future() {
    watched("tokio's clock", || {
        for executor in executors() {
            let runtime = runtime(1);
            let entered = executor.enter();
            let sleeping = tokio::time::sleep(std::time::Duration::from_millis(1));
            drop(entered);
            let handle = runtime.spawn_future(sleeping);
            executor.block_on(handle).unwrap();
        }
    });
}

#[test]
fn who_awaits_a_future_is_woken_when_the_runtime_ends() {
    watched("awaited while it ends", || {
        for executor in executors() {
            let runtime = runtime(2);
            let awaited = executor.spawn(runtime.spawn_future(pending::<()>()));
            runtime.shutdown();
            let payload = executor.block_on(awaited).unwrap().unwrap_err();
            assert!(payload.is::<ShutDown>());
        }
    });
}

/// As of closures: the executor that awaits the handle is woken.
#[test]
fn who_awaits_a_task_is_woken_when_it_is_cancelled() {
    watched("cancelled while awaited", || {
        for executor in executors() {
            let runtime = runtime(1);
            let (go, gate) = channel::<()>();
            let busy = runtime.spawn(move || gate.recv());
            let token = CancelToken::new();
            let queued = executor.spawn(runtime.spawn_with(Spawn::new().cancel(&token), || 1));
            token.cancel();
            assert!(executor.block_on(queued).unwrap().unwrap_err().is::<Cancelled>());
            drop(go);
            assert!(busy.join().unwrap().is_err());
        }
    });
}

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_handle_wakes_who_polled_it_last_once() {
    let runtime = runtime(1);
    let (go, gate) = channel::<()>();
    let mut handle = pin!(runtime.spawn(move || gate.recv().unwrap()));
    let counts = [(); 2].map(|()| Arc::new(Count::default()));
    for count in &counts {
        let waker = Waker::from(count.clone());
        assert!(handle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    go.send(()).unwrap();
    until(|| counts[1].0.load(Ordering::Relaxed) == 1);
    assert_eq!(counts[0].0.load(Ordering::Relaxed), 0);
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(handle.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    let again = panic_of(|| handle.as_mut().poll(&mut context).is_ready());
    assert_eq!(message(again), "a JoinHandle was polled after it gave its result");
}
