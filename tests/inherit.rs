//! What a task inherits: the context of whoever made it, here a span of `tracing` or a number, wherever and however the task runs.

mod support;

use std::cell::Cell;
use std::future::{poll_fn, Future};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Once};
use std::task::Poll;
use support::{message, panic_of, watched, yields, Meeting};
use tracing::{info_span, Span};
use upbeat::{Builder, Runtime, Worker};

/// A builder whose tasks inherit spans, in a process that knows which span is current.
fn with_spans() -> Builder {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
    Runtime::builder().task_context(Span::current, |span, run| span.in_scope(run))
}

fn current() -> Option<tracing::Id> {
    Span::current().id()
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// A builder whose tasks inherit [`NUMBER`].
fn with_numbers() -> Builder {
    Runtime::builder().task_context(
        || NUMBER.get(),
        |&number, run| {
            struct Restore(u32);
            impl Drop for Restore {
                fn drop(&mut self) {
                    NUMBER.set(self.0);
                }
            }
            let _restore = Restore(NUMBER.replace(number));
            run();
        },
    )
}

#[test]
fn a_span_that_is_current_at_spawn_is_current_in_the_task() {
    for workers in [1, 2, 4] {
        let runtime = with_spans().workers(workers).build().unwrap();
        for _ in 0..100 {
            let span = info_span!("request");
            let id = span.id();
            assert!(id.is_some(), "the span is enabled");
            let _entered = span.enter();
            assert_eq!(runtime.spawn(current).join().unwrap(), id);
            assert_eq!(runtime.install(|_| current()), id);
            let (left, right) = runtime.join(current, current);
            assert_eq!([left, right], [id.clone(), id.clone()]);
            let mut seen = [None, None];
            runtime.scope(|scope| {
                for seen in &mut seen {
                    scope.spawn(move |_| *seen = current());
                }
            });
            assert_eq!(seen, [id.clone(), id]);
        }
        assert_eq!(runtime.spawn(current).join().unwrap(), None, "a worker keeps no span");
    }
}

/// Spawned from within a task, in a span of the task's own.
#[test]
fn a_task_of_a_task_inherits_what_is_current_there() {
    let runtime = with_spans().workers(2).build().unwrap();
    let outer = info_span!("outer");
    let (own, inner, scoped) = outer.in_scope(|| {
        runtime.install(|_| {
            let span = info_span!("inner");
            let own = span.id();
            let inner = span.in_scope(|| upbeat::spawn(current)).join().unwrap();
            let mut scoped = None;
            span.in_scope(|| upbeat::scope(|scope| scope.spawn(|_| scoped = current())));
            assert_eq!(current(), Span::current().id());
            (own, inner, scoped)
        })
    });
    assert_eq!([inner, scoped], [own.clone(), own]);
}

/// Woken from a thread that is in another span, and polled by any worker.
#[test]
fn a_future_has_its_span_in_each_poll() {
    watched("polls in a span", || {
        let runtime = with_spans().workers(2).build().unwrap();
        let span = info_span!("request");
        let polls = Arc::new(AtomicUsize::new(0));
        let (id, counted) = (span.id(), polls.clone());
        let mut rest = Box::pin(yields(10));
        let mut woken = false;
        let handle = span.in_scope(|| {
            runtime.spawn_future(poll_fn(move |context| {
                assert_eq!(current(), id);
                counted.fetch_add(1, Ordering::Relaxed);
                if !woken {
                    woken = true;
                    let waker = context.waker().clone();
                    std::thread::spawn(move || info_span!("other").in_scope(|| waker.wake()));
                    return Poll::Pending;
                }
                rest.as_mut().poll(context)
            }))
        });
        handle.join().unwrap();
        assert_eq!(polls.load(Ordering::Relaxed), 12);
    });
}

/// Both sides of a join meet, so one of them was stolen; and both sides of the joins inside each.
#[test]
fn a_stolen_part_of_a_join_has_the_context_of_its_task() {
    fn both(worker: &Worker, meeting: &Meeting, party: usize, depth: u32) -> Vec<u32> {
        if depth == 0 {
            meeting.arrive(party);
            return vec![NUMBER.get()];
        }
        let (mut left, right) = worker
            .join(|w| both(w, meeting, party * 2, depth - 1), |w| both(w, meeting, party * 2 + 1, depth - 1));
        left.extend(right);
        left
    }
    watched("stolen joins", || {
        let runtime = with_numbers().workers(4).build().unwrap();
        for round in 1..200 {
            NUMBER.set(round);
            let meeting = Meeting::of(4);
            assert_eq!(runtime.install(|worker| both(worker, &meeting, 0, 2)), [round; 4]);
            let spawned = runtime.spawn(|| {
                let meeting = Meeting::of(2);
                let arrive = |party| {
                    meeting.arrive(party);
                    NUMBER.get()
                };
                upbeat::join(|| arrive(0), || arrive(1))
            });
            let seen = runtime.install(|_| upbeat::par::map(0..20_000, |_| NUMBER.get()));
            assert!(seen.into_iter().all(|number| number == round));
            assert_eq!(spawned.join().unwrap(), (round, round));
        }
        NUMBER.set(0);
    });
}

/// What the left side has set up for itself is not the right side's.
#[test]
fn a_stolen_part_does_not_inherit_from_the_other_part() {
    watched("a stolen right side", || {
        let runtime = with_numbers().workers(2).build().unwrap();
        NUMBER.set(5);
        let seen = runtime.install(|worker| {
            let meeting = Meeting::of(2);
            let left = |_: &Worker| {
                NUMBER.set(6);
                meeting.arrive(0);
                NUMBER.set(5);
            };
            let right = |_: &Worker| {
                meeting.arrive(1);
                NUMBER.get()
            };
            worker.join(left, right).1
        });
        assert_eq!(seen, 5);
        NUMBER.set(0);
    });
}

/// A worker that waits runs another task on top; each has its own context, and finds it again afterwards.
#[test]
fn tasks_that_nest_on_one_stack_have_a_context_each() {
    watched("nested tasks", || {
        let runtime = with_numbers().workers(1).build().unwrap();
        for _ in 0..100 {
            NUMBER.set(1);
            let (sender, receiver) = channel();
            let (go, gate) = tokio::sync::oneshot::channel();
            let outer = runtime.spawn(move || {
                let before = NUMBER.get();
                upbeat::block_on(gate).unwrap();
                sender.send((before, NUMBER.get())).unwrap();
            });
            NUMBER.set(2);
            let inner = runtime.spawn(move || {
                go.send(()).unwrap();
                let (left, right) = upbeat::join(|| NUMBER.get(), || NUMBER.get());
                (left, right)
            });
            assert_eq!(inner.join().unwrap(), (2, 2));
            outer.join().unwrap();
            assert_eq!(receiver.recv(), Ok((1, 1)));
        }
        assert_eq!(runtime.install(|_| NUMBER.get()), 2);
        NUMBER.set(0);
    });
}

#[test]
fn a_panic_leaves_the_context_and_reaches_the_handle() {
    let runtime = with_numbers().workers(1).build().unwrap();
    NUMBER.set(3);
    assert_eq!(message(runtime.spawn(|| panic!("inside")).join().unwrap_err()), "inside");
    assert_eq!(message(panic_of(|| runtime.install(|_| panic!("installed")))), "installed");
    NUMBER.set(0);
    assert_eq!(runtime.spawn(|| NUMBER.get()).join().unwrap(), 0);
}

/// A hook that panics, or forgets the task: the task is dropped, and whoever waits for it is told.
#[test]
fn a_hook_that_fails_is_the_tasks_failure() {
    let forgets = Runtime::builder().workers(2).task_context(|| (), |(), _run| {}).build().unwrap();
    let payload = forgets.spawn(|| 1).join().unwrap_err();
    assert_eq!(message(payload), "the task context was entered, but the task was not run");
    let panics =
        Runtime::builder().workers(2).task_context(|| (), |(), _run| panic!("a hook")).build().unwrap();
    assert_eq!(message(panics.spawn(|| 1).join().unwrap_err()), "a hook");
    assert_eq!(message(panics.spawn_future(async { 1 }).join().unwrap_err()), "a hook");
    assert_eq!(message(panic_of(|| panics.scope(|scope| scope.spawn(|_| ())))), "a hook");
}
